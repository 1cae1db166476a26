/**
 * Which segment to clean next. Cleaning a segment costs reading it and writing its live blocks again; it yields the rest of its space.
 *
 * Pure: a policy scores, whoever cleans takes the highest scores. Time is counted in blocks that users wrote, so that an idle hour ages
 * nothing.
 */

/** What a policy may look at. */
export interface Candidate {
  readonly liveBlocks: number;
  /** All blocks, live or dead; at least 1. */
  readonly blocks: number;
  /** Blocks that users wrote since this segment was. */
  readonly ageBlocks: number;
}

export interface VictimPolicy {
  readonly name: string;
  /** Higher is better. A segment without dead blocks scores 0 or less: nothing is won by cleaning it. */
  score(candidate: Candidate): number;
}

/** Takes the emptiest: least to copy now. Right when all blocks are equally likely to die next. */
export const greedy: VictimPolicy = {
  name: 'greedy',
  score: ({ liveBlocks, blocks }) => 1 - liveBlocks / blocks,
};

/**
 * Benefit over cost, with age: (1 - u) age / (1 + u). The space won from an old, cold segment stays won for longer, so that it is worth
 * cleaning at a higher utilisation u than a hot one, which empties by itself.
 * Rosenblum and Ousterhout, "The Design and Implementation of a Log-Structured File System", 1991, section 3.6.
 */
export const costBenefit: VictimPolicy = {
  name: 'cost-benefit',
  score({ liveBlocks, blocks, ageBlocks }) {
    const utilisation = liveBlocks / blocks;
    return ((1 - utilisation) * Math.max(ageBlocks, 1)) / (1 + utilisation);
  },
};
