/**
 * The volume's owner: asks for another availability now and then, and pauses and resumes what follows from it. No load on the file system; others bring
 * that. When all is calm again, everything has to get the shape that was chosen last, and to lie within one of the groups of nodes that were chosen with it.
 */
import type { Volume } from '../../filesystem/volume.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Adapter } from '../../replicator/adapt/adapter.ts';
import { CheckFailed, MountLost, type Workload, type WorkloadContext } from '../contract.ts';

/** From what the first layout gives to what asks for all the parity that there can be. */
const TARGETS = [1e-2, 1e-4, 1e-6, 1e-8, 1e-12, 0];
const PAGE_SEGMENTS = 512;
const BOUND_MS = 60_000;
const POLL_MS = 50;

export class OwnerWorkload implements Workload {
  readonly name = 'owner';
  readonly #targets: readonly number[];

  constructor(targets = TARGETS) {
    this.#targets = targets;
  }

  async run(context: WorkloadContext): Promise<void> {
    const { dice } = context;
    while (!context.stopping) {
      try {
        const { volume } = await context.mounted();
        this.#act(context, volume.upkeep.adapter);
      } catch (error) {
        if (error instanceof MountLost) return;
        if (!(error instanceof MetadataUnavailable)) throw error;
      }
      await context.sleep(100 + dice.below(1_000));
    }
  }

  #act({ dice, world }: WorkloadContext, adapter: Adapter): void {
    const kind = dice.below(10);
    world.trace.event('owner', { kind });
    if (kind === 0) adapter.setPaused(true);
    else if (kind < 4) adapter.setPaused(false);
    else if (kind < 5) adapter.planNow();
    else adapter.setTarget(dice.pick(this.#targets));
  }

  async check(context: WorkloadContext): Promise<void> {
    const { volume } = await context.mounted();
    const { upkeep } = volume;
    upkeep.adapter.setPaused(false);
    for (let waitedMs = 0; ; waitedMs += POLL_MS) {
      const { segmentsKnown, segmentsLeft, state } = upkeep.availability();
      const isDone = segmentsKnown && segmentsLeft === 0;
      const apart = isDone ? await segmentsApart(volume) : 0;
      if (isDone && apart === 0) return;
      if (waitedMs >= BOUND_MS)
        throw new CheckFailed(
          `${segmentsLeft} segments keep another layout (${state}), and ${apart} lie across groups`,
        );
      await context.sleep(POLL_MS);
    }
  }
}

/** Segments that are within no group, though one has as many nodes as they have fragments. */
async function segmentsApart({ metadata, upkeep }: Volume): Promise<number> {
  const { groups } = upkeep.availability();
  if (groups.length === 0) return 0;
  const largest = Math.max(...groups.map((group) => group.length));
  let apart = 0;
  for (let after = 0; ; ) {
    const page = await metadata.segments(after, PAGE_SEGMENTS);
    for (const { nodes, liveBlocks } of page) {
      if (liveBlocks === 0 || nodes.length > largest) continue;
      if (!groups.some((group) => nodes.every((id) => group.includes(id)))) apart += 1;
    }
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE_SEGMENTS) return apart;
    after = last.segmentId;
  }
}
