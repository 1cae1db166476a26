/**
 * Every segment has as much parity as the volume was made with, once all nodes are there: what was written while too few were gets the rest
 * by itself, in time.
 */
import { type Checker, CheckFailed, type ClusterView, type World } from '../contract.ts';

const HEALED_MS = 30_000;
const RETRY_MS = 500;
const PAGE_SEGMENTS = 256;

export class FullParity implements Checker {
  readonly name = 'full-parity';

  async phase(cluster: ClusterView, world: World): Promise<void> {
    const endMs = world.scheduler.nowMs + HEALED_MS;
    for (;;) {
      const lacking = await segmentsLackingParity(cluster);
      if (lacking.length === 0) return;
      if (world.scheduler.nowMs > endMs) {
        throw new CheckFailed(
          `segments ${lacking.slice(0, 5)} still have less than ${cluster.parityFragments} parity fragments after ${HEALED_MS} ms`,
        );
      }
      await new Promise<void>((resolve) => world.scheduler.after(RETRY_MS, resolve));
    }
  }
}

async function segmentsLackingParity({ mount, parityFragments }: ClusterView): Promise<number[]> {
  const found: number[] = [];
  if (mount === undefined) return found;
  const { metadata } = mount.volume;
  for (let after = 0; ; ) {
    const page = await metadata.segments(after, PAGE_SEGMENTS);
    for (const { segmentId, liveBlocks, parityFragments: has } of page) {
      if (liveBlocks > 0 && has < parityFragments) found.push(segmentId);
    }
    const last = page.at(-1);
    if (last === undefined || page.length < PAGE_SEGMENTS) return found;
    after = last.segmentId;
  }
}
