/** What each node is to hold for use to follow room. Pure. */

const BISECTIONS = 60;

/**
 * The same share of every node's room, but on none more than `mostBytes`: one fragment of each segment. `rooms`: what a node holds and could hold
 * besides.
 */
export function evenTargets(
  rooms: ReadonlyMap<number, number>,
  totalBytes: number,
  mostBytes: number,
): Map<number, number> {
  const at = (level: number, roomBytes: number): number => Math.min(mostBytes, level * roomBytes);
  const held = (level: number): number => {
    let sum = 0;
    for (const roomBytes of rooms.values()) sum += at(level, roomBytes);
    return sum;
  };
  let low = 0;
  let high = 1;
  for (let round = 0; round < BISECTIONS; round++) {
    const middle = (low + high) / 2;
    if (held(middle) < totalBytes) low = middle;
    else high = middle;
  }
  return new Map([...rooms].map(([id, roomBytes]) => [id, at(high, roomBytes)]));
}
