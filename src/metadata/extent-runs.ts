/**
 * What callers of the manager hand in or get filled: maps of blocks, and the extents of a segment's blocks as parallel arrays, neighbours merged. The arrays
 * are allocated once and reused: the metadata takes what it needs before the call returns.
 */
import { assert } from '../base/assert.ts';
import type { BlockMap, ExtentRuns } from './metadata.ts';

export function newBlockMap(capacityBlocks: number): BlockMap {
  return {
    count: 0,
    segmentIds: new Float64Array(capacityBlocks),
    blockIndexes: new Uint32Array(capacityBlocks),
    checksums: new Uint32Array(capacityBlocks),
  };
}

export class ExtentRunsBuilder implements ExtentRuns {
  runCount = 0;
  inodes = new Float64Array(0);
  fileBlocks = new Float64Array(0);
  blockIndexes = new Uint32Array(0);
  counts = new Uint32Array(0);
  checksumIndexes = new Uint32Array(0);
  checksums = new Uint32Array(0);

  /** Starts anew. checksums[i] belongs to segment block i. */
  begin(maxBlocks: number, checksums: Uint32Array): void {
    this.runCount = 0;
    this.checksums = checksums as Uint32Array<ArrayBuffer>;
    if (this.inodes.length >= maxBlocks) return;
    this.inodes = new Float64Array(maxBlocks);
    this.fileBlocks = new Float64Array(maxBlocks);
    this.blockIndexes = new Uint32Array(maxBlocks);
    this.counts = new Uint32Array(maxBlocks);
    this.checksumIndexes = new Uint32Array(maxBlocks);
  }

  /** In order of block indexes. */
  add(inode: number, fileBlock: number, blockIndex: number): void {
    const last = this.runCount - 1;
    if (last >= 0) {
      const count = this.counts[last]!;
      if (
        this.inodes[last] === inode &&
        this.fileBlocks[last]! + count === fileBlock &&
        this.blockIndexes[last]! + count === blockIndex
      ) {
        this.counts[last] = count + 1;
        return;
      }
    }
    const run = this.runCount;
    assert(run < this.inodes.length, 'more runs than blocks');
    this.inodes[run] = inode;
    this.fileBlocks[run] = fileBlock;
    this.blockIndexes[run] = blockIndex;
    this.counts[run] = 1;
    this.checksumIndexes[run] = blockIndex;
    this.runCount = run + 1;
  }
}
