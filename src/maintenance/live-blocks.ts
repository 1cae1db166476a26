/**
 * Which blocks of a segment live: its summary says what each was written for, and the extents say whether that still is so. In steps of bounded
 * work, since users overwrite and delete meanwhile: a step tells what is so in its turn.
 */
import { assert } from '../base/assert.ts';
import type { SegmentSummary } from '../format/segment-summary.ts';
import { newBlockMap } from '../metadata/extent-runs.ts';
import type { BlockMap, MetadataManager } from '../metadata/metadata.ts';

/** Look-ups in one turn; a step with few live blocks ends with them. */
const LOOKUPS = 128;

/** Live blocks of one step, in order of their place in the segment. Reused from step to step. */
export class LiveBatch {
  readonly capacity: number;
  count = 0;
  readonly inodes: Float64Array;
  readonly fileBlocks: Float64Array;
  readonly blockIndexes: Uint32Array;
  readonly checksums: Uint32Array;

  constructor(capacity: number) {
    assert(capacity > 0, 'a batch holds a block');
    this.capacity = capacity;
    this.inodes = new Float64Array(capacity);
    this.fileBlocks = new Float64Array(capacity);
    this.blockIndexes = new Uint32Array(capacity);
    this.checksums = new Uint32Array(capacity);
  }

  add(inode: number, fileBlock: number, blockIndex: number, checksum: number): void {
    const at = this.count++;
    this.inodes[at] = inode;
    this.fileBlocks[at] = fileBlock;
    this.blockIndexes[at] = blockIndex;
    this.checksums[at] = checksum;
  }

  /** End of the blocks from `from` on that follow each other in the segment. */
  endOfStretch(from: number): number {
    let end = from + 1;
    while (end < this.count && this.blockIndexes[end] === this.blockIndexes[end - 1]! + 1) end++;
    return end;
  }

  /** End of the blocks from `from` on that follow each other in one file. */
  endOfRun(from: number): number {
    let end = from + 1;
    while (
      end < this.count &&
      this.inodes[end] === this.inodes[from] &&
      this.fileBlocks[end] === this.fileBlocks[end - 1]! + 1
    ) {
      end++;
    }
    return end;
  }
}

export class LiveBlocks {
  readonly #metadata: Pick<MetadataManager, 'mapBlocks'>;
  readonly #summary: SegmentSummary;
  readonly #map: BlockMap = newBlockMap(LOOKUPS);
  #run = 0;
  #within = 0;
  #index = 0;

  constructor(metadata: Pick<MetadataManager, 'mapBlocks'>, summary: SegmentSummary) {
    this.#metadata = metadata;
    this.#summary = summary;
  }

  get done(): boolean {
    return this.#run === this.#summary.runCount;
  }

  /** The next step; may find none before it is done. */
  next(batch: LiveBatch): void {
    const { segmentId, inodes, fileBlocks, counts } = this.#summary;
    batch.count = 0;
    let lookups = 0;
    while (!this.done && lookups < LOOKUPS && batch.count < batch.capacity) {
      const left = counts[this.#run]! - this.#within;
      const count = Math.min(left, LOOKUPS - lookups, batch.capacity - batch.count);
      const inode = inodes[this.#run]!;
      const first = fileBlocks[this.#run]! + this.#within;
      this.#metadata.mapBlocks(inode, first, count, this.#map);
      for (let at = 0; at < count; at++) {
        if (this.#map.segmentIds[at] !== segmentId || this.#map.blockIndexes[at] !== this.#index + at)
          continue;
        batch.add(inode, first + at, this.#index + at, this.#map.checksums[at]!);
      }
      lookups += count;
      this.#index += count;
      this.#within += count;
      if (count < left) continue;
      this.#run++;
      this.#within = 0;
    }
  }
}
