/**
 * `up --foreground`: stays until it is interrupted, and then stops the volume; or until the volume is unmounted by somebody else;
 * or until its mount process dies and nobody is asked to restart it.
 */
import { existsSync } from 'node:fs';
import { CommandFailure, exitCodes } from '../failure.ts';
import { liveProcess } from '../process/process-file.ts';
import type { Steps } from '../terminal/steps.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { bringDown } from './down.ts';

const LOOK_INTERVAL_MS = 500;
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

export async function stayInForeground(layout: VolumeLayout, restart: boolean, steps: Steps): Promise<void> {
  const end = await new Promise<'interrupted' | 'unmounted' | 'died'>((resolve) => {
    const timer = setInterval(() => {
      if (!existsSync(layout.mountSettingsFile)) finish('unmounted');
      else if (!restart && liveProcess(layout.pidFile('mount')) === undefined) finish('died');
    }, LOOK_INTERVAL_MS);
    const interrupted = (): void => finish('interrupted');
    const finish = (how: 'interrupted' | 'unmounted' | 'died'): void => {
      clearInterval(timer);
      for (const name of SIGNALS) process.removeListener(name, interrupted);
      resolve(how);
    };
    for (const name of SIGNALS) process.on(name, interrupted);
  });
  if (end === 'died') {
    const log = layout.logFile('mount');
    throw new CommandFailure(
      exitCodes.unavailable,
      `the mount process died; see ${log}, then run \`tartan up\``,
    );
  }
  if (end === 'interrupted') await bringDown(layout, false, steps);
}
