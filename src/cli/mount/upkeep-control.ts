/** What `tartan heal`, `tartan scrub`, `tartan rebalance`, `tartan copies` and `tartan availability` ask of the mount's process. */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Adapter, AvailabilityReport } from '../../replicator/adapt/adapter.ts';
import type { ReleaseObstacle } from '../../replicator/balance/node-release.ts';
import type { ScrubStatus } from '../../replicator/scrub/scrubber.ts';
import type { BalanceReport, CopiesReport, HealReport, Upkeep } from '../../replicator/upkeep.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { PlanningFacts, UpkeepAction, UpkeepJob } from '../supervisor/control-messages.ts';
import { formatSize } from '../volume/sizes.ts';

/** Most milliseconds that the settings hold. */
const MOST_GRACE_MS = 2 ** 32 - 1;

export async function controlUpkeep(
  upkeep: Upkeep,
  job: UpkeepJob,
  action: UpkeepAction,
): Promise<HealReport | ScrubStatus | AvailabilityReport | BalanceReport | CopiesReport> {
  try {
    if (job === 'heal') controlHealing(upkeep, action);
    else if (job === 'scrub') controlScrubbing(upkeep, action);
    else if (job === 'balance') await controlBalancing(upkeep, action);
    else if (job === 'copies') controlCopies(upkeep, action);
    else controlAvailability(upkeep.adapter, action);
  } catch (error) {
    if (!(error instanceof MetadataUnavailable)) throw error;
    throw new CommandFailure(exitCodes.unavailable, `nothing can be changed now: ${error.message}`, error);
  }
  if (job === 'availability') return upkeep.availability();
  if (job === 'balance') return upkeep.balance();
  if (job === 'copies') return upkeep.copies();
  return job === 'heal' ? upkeep.heal() : upkeep.scrub();
}

export function planningFacts(adapter: Adapter): PlanningFacts | null {
  const { targetUnavailability: wantedUnavailability } = adapter.report();
  const request = adapter.planRequest();
  if (request === undefined) return null;
  return {
    ...request,
    domainUnavailability: [...(request.domainUnavailability ?? [])],
    wantedUnavailability,
  };
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

async function controlBalancing(upkeep: Upkeep, action: UpkeepAction): Promise<void> {
  switch (action.kind) {
    case 'status':
      return;
    case 'start':
      upkeep.balanceNow();
      return;
    case 'pause':
      upkeep.changeBalancing({ paused: true });
      return;
    case 'resume':
      upkeep.changeBalancing({ paused: false });
      return;
    case 'limit':
      upkeep.changeBalancing({ limitBytesPerSecond: action.bytesPerSecond });
      return;
    case 'drain':
      drain(upkeep, action.id);
      return;
    case 'undrain':
      upkeep.drain(drainingIds(upkeep).filter((id) => id !== action.id));
      return;
    case 'release':
      await release(upkeep, action.id);
      return;
    default:
      throw new CommandFailure(exitCodes.usage, `rebalance has no ${action.kind}`);
  }
}

function controlCopies(upkeep: Upkeep, action: UpkeepAction): void {
  switch (action.kind) {
    case 'status':
      return;
    case 'switch':
      upkeep.changeCopies({ enabled: action.on });
      return;
    case 'limit':
      upkeep.changeCopies({ limitBytesPerSecond: action.bytesPerSecond });
      return;
    case 'when': {
      const { kind: _, ...conditions } = action;
      upkeep.changeCopies(conditions);
      return;
    }
    default:
      throw new CommandFailure(exitCodes.usage, `copies has no ${action.kind}`);
  }
}

const drainingIds = (upkeep: Upkeep): number[] => upkeep.balance().draining.map(({ id }) => id);

function drain(upkeep: Upkeep, id: number): void {
  const obstacle = upkeep.releaseObstacle(id);
  if (obstacle?.kind === 'parity') throw refusal(id, obstacle);
  upkeep.drain([...drainingIds(upkeep), id]);
}

async function release(upkeep: Upkeep, id: number): Promise<void> {
  const obstacle = await upkeep.release(id);
  if (obstacle !== undefined) throw refusal(id, obstacle);
}

function refusal(id: number, obstacle: ReleaseObstacle): CommandFailure {
  const empty = `empty it with \`tartan node drain ${id}\`, and wait with \`tartan wait balanced\``;
  switch (obstacle.kind) {
    case 'holds':
      return new CommandFailure(
        exitCodes.unavailable,
        `node ${id} still holds ${formatSize(obstacle.bytes)}: ${empty}`,
      );
    case 'journal':
      return new CommandFailure(exitCodes.unavailable, `node ${id} still holds the journal: ${empty}`);
    case 'parity':
      return new CommandFailure(
        exitCodes.configuration,
        `without node ${id}, ${obstacle.others} would be left, and full parity needs ${obstacle.needed}: add one first`,
      );
    case 'busy':
      return new CommandFailure(
        exitCodes.unavailable,
        `node ${id} cannot be let go at this moment; try again`,
      );
  }
}

function controlAvailability(adapter: Adapter, action: UpkeepAction): void {
  switch (action.kind) {
    case 'status':
      return;
    case 'start':
      adapter.planNow();
      return;
    case 'pause':
      adapter.setPaused(true);
      return;
    case 'resume':
      adapter.setPaused(false);
      return;
    case 'limit':
      adapter.setLimit(action.bytesPerSecond);
      return;
    case 'target':
      adapter.setTarget(action.unavailability);
      return;
    default:
      throw new CommandFailure(exitCodes.usage, `availability has no ${action.kind}`);
  }
}
