/** What `tartan heal` and `tartan scrub` ask of the mount's process. */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { ScrubStatus } from '../../replicator/scrub/scrubber.ts';
import type { HealReport, Upkeep } from '../../replicator/upkeep.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { UpkeepAction, UpkeepJob } from '../supervisor/control-messages.ts';

/** Most milliseconds that the settings hold. */
const MOST_GRACE_MS = 2 ** 32 - 1;

export function controlUpkeep(
  upkeep: Upkeep,
  job: UpkeepJob,
  action: UpkeepAction,
): HealReport | ScrubStatus {
  try {
    if (job === 'heal') controlHealing(upkeep, action);
    else controlScrubbing(upkeep, action);
  } catch (error) {
    if (!(error instanceof MetadataUnavailable)) throw error;
    throw new CommandFailure(exitCodes.unavailable, `nothing can be changed now: ${error.message}`, error);
  }
  return job === 'heal' ? upkeep.heal() : upkeep.scrub();
}

function controlHealing(upkeep: Upkeep, action: UpkeepAction): void {
  switch (action.kind) {
    case 'status':
      return;
    case 'start':
      upkeep.healNow();
      return;
    case 'pause':
      upkeep.changeHealing({ paused: true });
      return;
    case 'resume':
      upkeep.changeHealing({ paused: false });
      return;
    case 'limit':
      upkeep.changeHealing({ limitBytesPerSecond: action.bytesPerSecond });
      return;
    case 'grace':
      upkeep.changeHealing({ graceMs: Math.min(action.ms, MOST_GRACE_MS) });
      return;
    default:
      throw new CommandFailure(exitCodes.usage, `heal has no ${action.kind}`);
  }
}

function controlScrubbing(upkeep: Upkeep, action: UpkeepAction): void {
  switch (action.kind) {
    case 'status':
      return;
    case 'start':
      upkeep.scrubNow();
      return;
    case 'pause':
      upkeep.changeScrubbing({ paused: true });
      return;
    case 'resume':
      upkeep.changeScrubbing({ paused: false });
      return;
    case 'limit':
      upkeep.changeScrubbing({ limitBytesPerSecond: action.bytesPerSecond });
      return;
    case 'every':
      upkeep.changeScrubbing({ intervalSeconds: action.seconds });
      return;
    default:
      throw new CommandFailure(exitCodes.usage, `scrub has no ${action.kind}`);
  }
}
