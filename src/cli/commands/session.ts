/** What every command that talks to processes needs: the platform, with quiet logs. */
import type { Platform } from '../../platform/platform.ts';
import { realLogger } from '../../platform/real/logger.ts';
import { realPlatform } from '../../platform/real/real-platform.ts';

let cached: Platform | undefined;

/** Logs of a command go nowhere unless they are errors: its messages are what it prints. */
export function commandPlatform(): Platform {
  cached ??= realPlatform({ log: realLogger({ level: 'error' }) });
  return cached;
}
