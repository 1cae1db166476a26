/**
 * What a stored segment takes of the nodes' room, counted in data blocks of a full segment of the volume's own shape: so many blocks of users could
 * lie there instead. A full segment counts its data blocks; a short or narrow one more than it holds. Pure, but for the shape, which may change:
 * whoever keeps counts takes them anew then.
 */
import { summaryBlocksFor } from '../format/segment-summary.ts';
import { fragmentBlocksFor, type Shape } from './segment-layout.ts';
import { storedFragmentBytes } from './writable-nodes.ts';

/** What of a segment's record says how much it takes. */
export interface StoredShape {
  readonly fragmentBlocks: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
  readonly dataBlocks: number;
}

export class SegmentSizes {
  readonly #shape: Shape;
  readonly #segmentBlocks: number;
  /** Data blocks of a full segment. */
  readonly fullBlocks: number;

  constructor(shape: Shape, segmentBlocks: number) {
    this.#shape = shape;
    this.#segmentBlocks = segmentBlocks;
    this.fullBlocks = segmentBlocks - summaryBlocksFor(1);
  }

  get #bytesPerBlock(): number {
    const { dataFragments, parityFragments } = this.#shape;
    const fragmentBlocks = fragmentBlocksFor(this.#segmentBlocks, dataFragments);
    return storedBytes({ fragmentBlocks, dataFragments, parityFragments }) / this.fullBlocks;
  }

  /** Rounded up: no segment counts less than the blocks it holds, not even one with less parity than the volume's. */
  blocksOf(stored: StoredShape): number {
    return Math.max(stored.dataBlocks, Math.ceil(storedBytes(stored) / this.#bytesPerBlock));
  }

  /** What sealing a segment before it is full may cost at most: headers, summary, and fragments filled up with zeros. */
  get sealingBlocks(): number {
    const { dataFragments, parityFragments } = this.#shape;
    return (
      this.blocksOf({ dataFragments, parityFragments, fragmentBlocks: 1, dataBlocks: 1 }) + dataFragments
    );
  }
}

function storedBytes(stored: Omit<StoredShape, 'dataBlocks'>): number {
  const fragments = stored.dataFragments + stored.parityFragments;
  return fragments * storedFragmentBytes(stored.fragmentBlocks, fragments);
}
