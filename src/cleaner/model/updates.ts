/** Which blocks users overwrite: the update patterns that the log's model is run with. Each draws the next of `blocks` blocks. */
import type { Prng } from '../../base/prng.ts';

export type Updates = () => number;

export function uniform(random: Prng, blocks: number): Updates {
  return () => random.below(blocks);
}

/** `hotShare` of the writes go to `hotBlocks` of the blocks (90/10: 0.9 and 0.1), evenly within each part. */
export function hotCold(random: Prng, blocks: number, hotShare: number, hotBlocks: number): Updates {
  const hot = Math.max(1, Math.round(blocks * hotBlocks));
  return () => (random.unit() < hotShare ? random.below(hot) : hot + random.below(blocks - hot));
}

/**
 * Zipf: the r-th most popular block is written in proportion to 1 / r^exponent. Popularity is scattered over the blocks, so that neighbours
 * have nothing in common. Drawn by bisection in the cumulative distribution.
 */
export function zipf(random: Prng, blocks: number, exponent: number): Updates {
  const cumulative = new Float64Array(blocks);
  let total = 0;
  for (let rank = 0; rank < blocks; rank++) {
    total += (rank + 1) ** -exponent;
    cumulative[rank] = total;
  }
  const blockOfRank = shuffled(random, blocks);
  return () => {
    const wanted = random.unit() * total;
    let low = 0;
    let high = blocks - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (cumulative[middle]! < wanted) low = middle + 1;
      else high = middle;
    }
    return blockOfRank[low]!;
  };
}

/** Fisher and Yates. */
function shuffled(random: Prng, count: number): Int32Array {
  const result = Int32Array.from({ length: count }, (_, index) => index);
  for (let at = count - 1; at > 0; at--) {
    const other = random.below(at + 1);
    const kept = result[at]!;
    result[at] = result[other]!;
    result[other] = kept;
  }
  return result;
}
