/**
 * An owner who empties nodes and takes them into use again or removes them, and pauses and resumes what follows from it. No load on the file system; others bring that.
 * When all is calm again, the nodes that are to be empty have to be, and use has to be even, unless too few nodes or too little room is left.
 */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { ReleaseObstacle } from '../../replicator/balance/node-release.ts';
import type { Upkeep } from '../../replicator/upkeep.ts';
import { CheckFailed, MountLost, type Workload, type WorkloadContext } from '../contract.ts';

const BOUND_MS = 60_000;
const POLL_MS = 50;

export class MoverWorkload implements Workload {
  readonly name = 'mover';
  readonly #drains: boolean;
  /** No command can name them any more, so nothing takes them into use again, though a mount may not have heard yet that they left. */
  readonly #struckOff = new Set<number>();

  /** `drains`: nodes are emptied, too. */
  constructor(drains: boolean) {
    this.#drains = drains;
  }

  async run(context: WorkloadContext): Promise<void> {
    const { dice } = context;
    while (!context.stopping) {
      try {
        const { volume } = await context.mounted();
        this.#act(context, volume.upkeep, [...volume.links.links.keys()]);
        if (this.#drains && dice.chance(0.3)) await this.#remove(context);
      } catch (error) {
        if (error instanceof MountLost) return;
        if (!(error instanceof MetadataUnavailable)) throw error;
      }
      await context.sleep(100 + dice.below(1_000));
    }
  }

  #act({ dice, world }: WorkloadContext, upkeep: Upkeep, nodes: readonly number[]): void {
    const kind = dice.below(10);
    world.trace.event('mover', { kind });
    if (kind === 0) upkeep.changeBalancing({ paused: true });
    else if (kind < 3) upkeep.changeBalancing({ paused: false });
    else if (kind < 5) upkeep.balanceNow();
    else if (!this.#drains) return;
    else if (kind < 6) upkeep.drain([...this.#struckOff]);
    else {
      const picked = dice.chance(0.2) ? [dice.pick(nodes), dice.pick(nodes)] : [dice.pick(nodes)];
      upkeep.drain([...this.#struckOff, ...picked]);
    }
  }

  /** A node that is empty, if it comes to that while enough others are left to bear faults. */
  async #remove(context: WorkloadContext): Promise<void> {
    const mount = await context.mounted();
    const { links, shape, upkeep } = mount.volume;
    const empty = upkeep.balance().draining.find(({ id }) => upkeep.releaseObstacle(id) === undefined);
    if (empty === undefined || links.links.size <= shape.parityFragments + 2) return;
    const { id } = empty;
    const release = () => upkeep.release(id).catch(asBusy);
    const obstacle = await context.operate(mount, 'release', { id }, release).catch(asBusy);
    if (obstacle !== undefined) return;
    // Whatever happens until then, nothing may come to lie on it.
    await context.sleep(context.dice.below(800));
    this.#struckOff.add(id);
    context.strikeOff(id);
  }

  async check(context: WorkloadContext): Promise<void> {
    const { volume } = await context.mounted();
    const { upkeep } = volume;
    upkeep.changeBalancing({ paused: false });
    for (let waitedMs = 0; ; waitedMs += POLL_MS) {
      const { state, reason, bytesLeft, draining } = upkeep.balance();
      if (state === 'blocked') return;
      if (state === 'idle' && reason === undefined) return;
      if (waitedMs >= BOUND_MS) {
        const left = draining.map(({ id, bytesLeft: bytes }) => `node ${id} ${bytes}`).join(', ');
        throw new CheckFailed(
          `${bytesLeft} bytes stay where they are not meant to be (${state}: ${reason}; ${left})`,
        );
      }
      await context.sleep(POLL_MS);
    }
  }
}

function asBusy(error: unknown): ReleaseObstacle {
  if (error instanceof MetadataUnavailable || error instanceof MountLost) return { kind: 'busy' };
  throw error;
}
