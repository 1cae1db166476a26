/**
 * Which open segment a block goes to. Blocks that will die at about the same time belong together: their segment then empties as a whole
 * and cleaning it copies little.
 *
 * A class is an open segment of its own. Time is counted in blocks that users wrote.
 */

export interface Separation {
  readonly name: string;
  /** Classes are 0 ... classes - 1. */
  readonly classes: number;
  /** `lifespanBlocks`: how long the block that is replaced had lived; infinite for a block that replaces none. */
  classOfUserWrite(lifespanBlocks: number): number;
  /** For a live block that the cleaner moves out of a segment of class `from`, `ageBlocks` after its user wrote it. */
  classOfRewrite(from: number, ageBlocks: number): number;
  /** A segment of the class was cleaned so long after it had been opened. */
  cleaned(from: number, lifespanBlocks: number): void;
}

/** Everything into one log, as if the cleaner were a user. */
export function together(): Separation {
  return {
    name: 'together',
    classes: 1,
    classOfUserWrite: () => 0,
    classOfRewrite: () => 0,
    cleaned: () => undefined,
  };
}

/** What was cleaned once is cold: moved blocks do not mix with new ones. */
export function hotAndCold(): Separation {
  return {
    name: 'hot and cold',
    classes: 2,
    classOfUserWrite: () => 0,
    classOfRewrite: () => 1,
    cleaned: () => undefined,
  };
}

/** Segments whose lifespans make one average. */
const LIFESPAN_SAMPLES = 16;

/**
 * By inferred lifespans: a block that replaces a short-lived one will be short-lived itself; a block that survived until now will live about
 * as long again. Classes 0 and 1 are for users' writes (short, long), 2 for short-lived ones that survived their segment, 3 to 5 for others by
 * age. What is short is measured: the mean lifespan of the last 16 segments of class 0 that were cleaned.
 * Wang et al., "Separating Data via Block Invalidation Time Inference for Write Amplification Reduction in Log-Structured Storage" (SepBIT), FAST '22,
 * algorithm 1.
 */
export function byLifespan(): Separation {
  let shortBlocks = Number.POSITIVE_INFINITY;
  let samples = 0;
  let total = 0;
  return {
    name: 'by lifespan',
    classes: 6,
    classOfUserWrite: (lifespanBlocks) => (lifespanBlocks < shortBlocks ? 0 : 1),
    classOfRewrite(from, ageBlocks) {
      if (from === 0) return 2;
      if (ageBlocks < 4 * shortBlocks) return 3;
      return ageBlocks < 16 * shortBlocks ? 4 : 5;
    },
    cleaned(from, lifespanBlocks) {
      if (from !== 0) return;
      samples++;
      total += lifespanBlocks;
      if (samples < LIFESPAN_SAMPLES) return;
      shortBlocks = total / samples;
      samples = 0;
      total = 0;
    },
  };
}
