/**
 * What a stored segment takes of the nodes' room, counted in data blocks of a full segment of the volume's own shape: so many blocks of users could
 * lie there instead. A full segment counts its data blocks; a short or narrow one more than it holds. Pure.
 */
import { summaryBlocksFor } from '../format/segment-summary.ts';
import { fragmentBlocksFor, type Shape } from './segment-layout.ts';
import { storedFragmentBytes } from './writable-nodes.ts';

/** What of a segment's record says how much it takes. */
export interface StoredShape {
  readonly fragmentBlocks: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
}

export class SegmentSizes {
  readonly #bytesPerBlock: number;
  readonly #shape: Shape;
  /** Data blocks of a full segment. */
  readonly fullBlocks: number;

  constructor(shape: Shape, segmentBlocks: number) {
    const { dataFragments, parityFragments } = shape;
    this.#shape = shape;
    this.fullBlocks = segmentBlocks - summaryBlocksFor(1);
    const fragmentBlocks = fragmentBlocksFor(segmentBlocks, dataFragments);
    this.#bytesPerBlock = storedBytes({ fragmentBlocks, dataFragments, parityFragments }) / this.fullBlocks;
  }

  /** Rounded up: no segment counts less than the blocks it holds. */
  blocksOf(stored: StoredShape): number {
    return Math.ceil(storedBytes(stored) / this.#bytesPerBlock);
  }

  /** What sealing a segment before it is full may cost at most: headers, summary, and fragments filled up with zeros. */
  get sealingBlocks(): number {
    const { dataFragments } = this.#shape;
    return this.blocksOf({ ...this.#shape, fragmentBlocks: 1 }) + dataFragments;
  }
}

function storedBytes({ fragmentBlocks, dataFragments, parityFragments }: StoredShape): number {
  const fragments = dataFragments + parityFragments;
  return fragments * storedFragmentBytes(fragmentBlocks, fragments);
}
