/**
 * Somebody who replaces nodes, one after the other, as `tartan node replace` does: a new one joins, the old one is drained once the mount knows of the new one, and it is let
 * go of and struck off when nothing is on it. What a fault cuts short is given again, as a user would. No load on the file system; others bring that.
 *
 * When all is calm again, a replacement that is under way has to come to its end.
 */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import { CheckFailed, MountLost, type Workload, type WorkloadContext } from '../contract.ts';

const BOUND_MS = 60_000;
const POLL_MS = 50;

interface Replacement {
  readonly oldId: number;
  readonly newId: number;
}

export class ReplacerWorkload implements Workload {
  readonly name = 'replacer';
  #underWay: Replacement | undefined;
  /** The mount may not know yet that they are gone; who replaces nodes does. */
  readonly #struckOff = new Set<number>();

  async run(context: WorkloadContext): Promise<void> {
    const { dice } = context;
    await context.sleep(dice.below(1_000));
    while (!context.stopping) {
      if (!(await this.#step(context))) return;
      await context.sleep(POLL_MS + dice.below(200));
    }
  }

  async check(context: WorkloadContext): Promise<void> {
    for (let waitedMs = 0; this.#underWay !== undefined; waitedMs += POLL_MS) {
      const { oldId, newId } = this.#underWay;
      if (waitedMs >= BOUND_MS) {
        const { volume } = await context.mounted();
        const { state, reason, draining } = volume.upkeep.balance();
        const left = draining.map(({ id, bytesLeft, journal }) => `node ${id} ${bytesLeft} ${journal}`);
        throw new CheckFailed(`node ${oldId} is not replaced by ${newId}: ${state}, ${reason}, ${left}`);
      }
      await this.#step(context);
      await context.sleep(POLL_MS);
    }
    context.world.trace.event('replaced', { nodes: this.#struckOff.size });
  }

  /** False: there is nothing left to be done. */
  async #step(context: WorkloadContext): Promise<boolean> {
    try {
      this.#underWay ??= await this.#begin(context);
      if (this.#underWay === undefined) return false;
      await this.#goOn(context, this.#underWay);
    } catch (error) {
      if (error instanceof MountLost) return !context.stopping;
      if (!(error instanceof MetadataUnavailable)) throw error;
    }
    return true;
  }

  async #begin(context: WorkloadContext): Promise<Replacement | undefined> {
    const { volume } = await context.mounted();
    const listed = [...volume.links.links.keys()].filter((id) => !this.#struckOff.has(id));
    const oldId = context.dice.pick(listed);
    const newId = context.join();
    return newId === undefined ? undefined : { oldId, newId };
  }

  async #goOn(context: WorkloadContext, { oldId, newId }: Replacement): Promise<void> {
    const mount = await context.mounted();
    const { links, upkeep } = mount.volume;
    if (!links.links.has(newId)) return;
    const draining = upkeep.balance().draining.map(({ id }) => id);
    if (!draining.includes(oldId)) return upkeep.drain([...draining, oldId]);
    if (upkeep.releaseObstacle(oldId) !== undefined) return;
    const release = () => upkeep.release(oldId);
    if ((await context.operate(mount, 'release', { id: oldId }, () => asBusy(release()))) !== undefined)
      return;
    // Whatever happens until then, nothing may come to lie on it.
    await context.sleep(context.dice.below(400));
    context.strikeOff(oldId);
    this.#underWay = undefined;
    this.#struckOff.add(oldId);
  }
}

/** The metadata cannot be had now: to be tried again. */
async function asBusy(released: Promise<unknown>): Promise<unknown> {
  try {
    return await released;
  } catch (error) {
    if (error instanceof MetadataUnavailable) return 'busy';
    throw error;
  }
}
