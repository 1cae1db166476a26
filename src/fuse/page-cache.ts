/**
 * Tells the kernel's page cache that a fast disk is behind the mount: long read-ahead, and as many dirty pages as any
 * other disk may have. By default a FUSE mount gets 128 KiB and 1 %. Needs root; without it the defaults stay.
 */
import { writeFileSync } from 'node:fs';
import { KIB, MIB } from '../base/units.ts';
import type { Logger } from '../platform/platform.ts';

const READ_AHEAD_BYTES = 16 * MIB;

export function tunePageCache(device: string, log: Logger): void {
  const settings = [
    ['read_ahead_kb', String(READ_AHEAD_BYTES / KIB)],
    ['strict_limit', '0'],
    ['max_ratio', '100'],
  ] as const;
  for (const [name, value] of settings) {
    try {
      writeFileSync(`/sys/class/bdi/${device}/${name}`, value);
    } catch (error) {
      log.debug('fuse-page-cache-untuned', { device, name, code: (error as NodeJS.ErrnoException).code });
    }
  }
}
