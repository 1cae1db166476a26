/** How much fits on a group of nodes of unlike size. Pure. */

/**
 * Bytes, parity included, that stripes of `width` fragments can store on nodes of these capacities, a node holding at most one fragment of
 * each: the largest X with sum(min(capacity, X / width)) >= X.
 */
export function storableBytes(capacities: readonly number[], width: number): number {
  const sorted = [...capacities].sort((a, b) => b - a);
  let rest = sorted.reduce((sum, bytes) => sum + bytes, 0);
  // Nodes with more than X / width give that; try how many those are. The others give all they have.
  for (let capped = 0; capped < width; capped++) {
    const share = rest / (width - capped);
    const largest = sorted[capped] ?? 0;
    if (largest <= share) return share * width;
    rest -= largest;
  }
  return 0;
}
