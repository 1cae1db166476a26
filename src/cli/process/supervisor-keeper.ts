/**
 * Brings the supervisor back when it died. Data pass it by, but the coordinator that it hosts has to agree when a node is lost, too: without it
 * writers would wait until somebody types a command. The mount's process runs this, since it is the one that waits.
 *
 * At most one supervisor runs for all that: the lock of the coordinator's database sees to it.
 */
import type { Logger } from '../../platform/platform.ts';
import { exitCodes } from '../failure.ts';
import { startSupervisor } from '../supervisor/supervisor-client.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { liveProcess } from './process-file.ts';

const LOOK_INTERVAL_MS = 250;
/** Before the next attempt when one has failed. */
const PAUSE_MS = 5_000;

/** Returns what ends it. */
export function keepSupervisor(layout: VolumeLayout, log: Logger): () => void {
  let timer: NodeJS.Timeout;
  let ended = false;
  const look = async (): Promise<void> => {
    let failed = false;
    if (liveProcess(layout.pidFile('supervisor')) === undefined) {
      log.warn('supervisor-gone');
      const failure = await startSupervisor(layout);
      // `unavailable`: a command was quicker.
      failed = failure !== undefined && failure.exitCode !== exitCodes.unavailable;
      if (failed) log.warn('supervisor-not-started', { error: String(failure) });
    }
    if (!ended) timer = setTimeout(() => void look(), failed ? PAUSE_MS : LOOK_INTERVAL_MS);
  };
  timer = setTimeout(() => void look(), LOOK_INTERVAL_MS);
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
