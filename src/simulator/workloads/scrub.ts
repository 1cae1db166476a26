/**
 * An owner who starts scrubs, pauses and resumes them, slows them down, and has them come by themselves. No load on the file system; others bring that. When
 * all is calm again, one pass has to find and repair whatever is bad, so that the next one finds nothing.
 */
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Upkeep } from '../../replicator/upkeep.ts';
import { CheckFailed, MountLost, type Workload, type WorkloadContext } from '../contract.ts';

const BOUND_MS = 60_000;
const POLL_MS = 50;
const SLOW_BYTES_PER_SECOND = [0, 200_000, 2_000_000];
/** What a healer puts off is tried again within this. */
const MOST_PASSES = 3;

export class ScrubWorkload implements Workload {
  readonly name = 'scrub';

  async run(context: WorkloadContext): Promise<void> {
    const { dice } = context;
    while (!context.stopping) {
      try {
        const { volume } = await context.mounted();
        this.#act(context, volume.upkeep);
      } catch (error) {
        if (error instanceof MountLost) return;
        if (!(error instanceof MetadataUnavailable)) throw error;
      }
      await context.sleep(50 + dice.below(500));
    }
  }

  #act({ dice, world }: WorkloadContext, upkeep: Upkeep): void {
    const kind = dice.below(10);
    world.trace.event('scrub', { kind });
    if (kind < 5) upkeep.scrubNow();
    else if (kind < 6) upkeep.changeScrubbing({ paused: true });
    else if (kind < 7) upkeep.changeScrubbing({ paused: false });
    else if (kind < 8) upkeep.changeScrubbing({ intervalSeconds: dice.below(3) });
    else upkeep.changeScrubbing({ limitBytesPerSecond: dice.pick(SLOW_BYTES_PER_SECOND) });
  }

  async check(context: WorkloadContext): Promise<void> {
    const { volume } = await context.mounted();
    const { upkeep } = volume;
    upkeep.changeScrubbing({ paused: false, limitBytesPerSecond: 0, intervalSeconds: 0 });
    // Begun while faults were at work.
    await this.#passed(context, upkeep);
    const found: number[] = [];
    while (found.length < MOST_PASSES) {
      upkeep.scrubNow();
      await this.#passed(context, upkeep);
      found.push(upkeep.scrub().found);
      if (found.at(-1) === 0) return;
      await this.#healed(context, upkeep);
    }
    throw new CheckFailed(`scrubs found ${found.join(', then ')} bad fragments, with nothing going wrong`);
  }

  /** No pass is under way. */
  async #passed(context: WorkloadContext, upkeep: Upkeep): Promise<void> {
    await this.#until(context, () => !upkeep.scrub().underWay, 'a scrub does not end');
  }

  async #healed(context: WorkloadContext, upkeep: Upkeep): Promise<void> {
    const isWhole = () => upkeep.heal().degradedSegments === 0;
    await this.#until(context, isWhole, 'what a scrub found is not repaired');
  }

  async #until(context: WorkloadContext, isSo: () => boolean, otherwise: string): Promise<void> {
    for (let waitedMs = 0; !isSo(); waitedMs += POLL_MS) {
      if (waitedMs >= BOUND_MS) throw new CheckFailed(`${otherwise} within ${BOUND_MS} ms`);
      await context.sleep(POLL_MS);
    }
  }
}
