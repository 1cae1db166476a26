/**
 * How much room there is, in blocks of file data: what the nodes can still take, what cleaning can win, and what of it is kept back.
 *
 * Three things are kept back. Users may not begin a segment in the last few segments' room: the cleaner needs it to move blocks before it can free where they were. And
 * of the whole volume a part is never promised to users, since cleaning a volume without dead blocks wins nothing. And what is reserved for a file is
 * promised to nobody else.
 */
import { MAX_REQUEST_BYTES, SEGMENT_DATA_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentSizes } from '../log/segment-size.ts';
import type { VictimIndex } from './victim-index.ts';

/** Segments that the cleaner fills or writes out at once. */
export const CLEANER_SLOTS = 4;
/** Of the volume, kept free of live blocks; and at least what the cleaner needs to run ahead of writers. */
const KEPT_BACK = 0.05;
/** The cleaner begins when the room above its own reserve falls below this part of the volume, and within these bounds. */
const AHEAD = 0.01;
const LEAST_AHEAD_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;
const MOST_AHEAD_SEGMENTS = 64;
/** A volume too small for all that keeps back so much at most. */
const MOST_RESERVED = 0.5;
/**
 * What the nodes of a volume have to have room for, in bytes of file data, so that this does not cut into what the cleaner needs: below it writers wait for
 * the cleaner as long as they have patience. One segment more for headers and summaries.
 */
export const LEAST_VOLUME_BYTES = ((2 * (CLEANER_SLOTS + 1)) / MOST_RESERVED + 1) * SEGMENT_DATA_BYTES;

export interface SpaceSources {
  /** Users' file data that fits on the nodes that are up, and that would fit on all nodes if they were empty. */
  readonly availableBytes: () => number;
  readonly totalBytes: () => number;
  /** What nodes that are away have room for is part of the total, and not of what is available. */
  readonly lacksNodes: () => boolean;
  /** Full segments that the nodes can take. */
  readonly roomSegments: () => number;
  /** Of the metadata: known before the index is. */
  readonly totals: () => {
    readonly mappedBlocks: number;
    readonly reservedBlocks: number;
    readonly segments: number;
    readonly segmentBlocks: number;
  };
  readonly sizes: SegmentSizes;
  readonly index: VictimIndex;
  /** The index knows every segment. */
  readonly isIndexed: () => boolean;
}

export class Space {
  readonly #sources: SpaceSources;

  constructor(sources: SpaceSources) {
    this.#sources = sources;
  }

  /** Blocks that users can store in all. */
  totalBlocks(): number {
    const total = this.#nodesBlocks();
    return Math.max(0, total - this.#keptBackBlocks(total));
  }

  /**
   * Blocks that users can still add. Those that are overwritten need no more room than there is, and those that are reserved count as there: what is
   * kept back is what both are written in.
   */
  freeBlocks(): number {
    const kept = this.#keptBackBlocks(this.#nodesBlocks()) + this.#sources.totals().reservedBlocks;
    return Math.max(0, this.physicalBlocks() + this.reclaimableBlocks() - kept);
  }

  /**
   * Blocks that hold nothing of users': what they can add, were all nodes there. While some are away it follows from what is stored, without the little that
   * the ends of segments and dead blocks take.
   */
  unusedBlocks(): number {
    if (!this.#sources.lacksNodes()) return this.freeBlocks();
    const { mappedBlocks, reservedBlocks } = this.#sources.totals();
    return Math.max(this.freeBlocks(), this.totalBlocks() - mappedBlocks - reservedBlocks);
  }

  /** What the nodes that are up can take as they are. */
  physicalBlocks(): number {
    return Math.floor(this.#sources.availableBytes() / BLOCK_BYTES);
  }

  /** What cleaning could win. */
  reclaimableBlocks(): number {
    const { index, isIndexed, totals } = this.#sources;
    if (isIndexed()) return index.reclaimableBlocks;
    const { segmentBlocks, segments, mappedBlocks } = totals();
    return Math.max(0, segmentBlocks - segments - mappedBlocks);
  }

  /** Full segments that users leave to the cleaner. */
  reserveSegments(): number {
    return Math.floor(this.#reserveBlocks(this.#nodesBlocks()) / this.#sources.sizes.fullBlocks);
  }

  /** Room above the reserve, and that which the cleaner means to keep there: it begins below the first and ends at the second. */
  headroom(): { readonly blocks: number; readonly beginBlocks: number; readonly endBlocks: number } {
    const total = this.#nodesBlocks();
    const ahead = this.#aheadBlocks(total);
    return {
      blocks: this.#sources.roomSegments() * this.#sources.sizes.fullBlocks - this.#reserveBlocks(total),
      beginBlocks: ahead,
      endBlocks: Math.ceil(1.25 * ahead),
    };
  }

  /** The same without what is reserved for files: for copies that users could do without. */
  spareRoom(): { readonly blocks: number; readonly beginBlocks: number } {
    const { blocks, beginBlocks } = this.headroom();
    return { blocks: blocks - this.#sources.totals().reservedBlocks, beginBlocks };
  }

  #nodesBlocks(): number {
    return Math.floor(this.#sources.totalBytes() / BLOCK_BYTES);
  }

  #reserveBlocks(total: number): number {
    const wanted = (CLEANER_SLOTS + 1) * this.#sources.sizes.fullBlocks;
    return Math.min(wanted, Math.floor((total * MOST_RESERVED) / 2));
  }

  #aheadBlocks(total: number): number {
    const { fullBlocks } = this.#sources.sizes;
    const wanted = Math.min(
      Math.max(AHEAD * total, LEAST_AHEAD_BLOCKS + 2 * fullBlocks),
      MOST_AHEAD_SEGMENTS * fullBlocks,
    );
    return Math.floor(Math.min(wanted, (total * MOST_RESERVED) / 4));
  }

  #keptBackBlocks(total: number): number {
    const needed = this.#reserveBlocks(total) + 2 * this.#aheadBlocks(total);
    return Math.ceil(Math.max(needed, KEPT_BACK * total));
  }
}
