/**
 * Shrinks a failing schedule of faults by delta debugging (Zeller's ddmin): parts are left out as long as the run fails in the same way. The
 * load stays the same, because it is drawn from dice of its own.
 */

/** `fails` runs the schedule again. Gives a part that fails and of which no single element can be left out, as far as `maxRuns` allows. */
export async function shrink<T>(
  list: readonly T[],
  fails: (part: readonly T[]) => Promise<boolean>,
  maxRuns: number,
): Promise<readonly T[]> {
  let current = list;
  let runs = 0;
  const stillFails = async (part: readonly T[]): Promise<boolean> => runs++ < maxRuns && (await fails(part));
  if (current.length > 0 && (await stillFails([]))) return [];
  for (let pieces = 2; current.length >= 2 && runs < maxRuns; ) {
    const length = Math.ceil(current.length / pieces);
    let smaller: readonly T[] | undefined;
    for (let from = 0; from < current.length && smaller === undefined; from += length) {
      const rest = [...current.slice(0, from), ...current.slice(from + length)];
      if (await stillFails(rest)) smaller = rest;
    }
    if (smaller !== undefined) {
      current = smaller;
      pieces = Math.max(pieces - 1, 2);
    } else if (length === 1) break;
    else pieces = Math.min(pieces * 2, current.length);
  }
  return current;
}
