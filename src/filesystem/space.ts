/**
 * Whether there is room for what a write adds, or for what is to be reserved. Blocks that are overwritten need none in the end, and those that are
 * reserved have theirs: only those that are neither mapped nor pending nor reserved are counted, of writes only while room is scarce, since counting
 * costs a look-up a write.
 *
 * What is admitted here may still have to wait for the log, which waits for the cleaner. So that nobody takes what another one has reserved, a write asks
 * in the same turn in which it is appended, and room that was granted ahead is void once something is reserved.
 */
import { blockCount, hasBlock, outside } from '../base/block-ranges.ts';
import { posixOutcome } from '../base/errno.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { MetadataManager } from '../metadata/metadata.ts';
import { BlockMapPool, MAX_REQUEST_BLOCKS } from './block-maps.ts';
import type { InodeState } from './inode-state.ts';

export interface VolumeSpace {
  /** Blocks that users can store in all. */
  totalBlocks(): number;
  /** Blocks that users can still add; those that are reserved are taken. */
  freeBlocks(): number;
  /** Blocks that hold nothing of users'. More than those where nodes are away. */
  unusedBlocks(): number;
}

/** With less than this left every write is counted. */
const SCARCE_BLOCKS = (32 * MIB) / BLOCK_BYTES;
/** Blocks that may be written before the room is looked at again. */
const MOST_CREDIT_BLOCKS = (64 * MIB) / BLOCK_BYTES;

export class SpaceCheck {
  readonly #space: VolumeSpace;
  readonly #metadata: MetadataManager;
  readonly #maps = new BlockMapPool();
  #creditBlocks = 0;

  constructor(space: VolumeSpace, metadata: MetadataManager) {
    this.#space = space;
    this.#metadata = metadata;
  }

  /** Throws ENOSPC if the blocks of a write cannot be added. */
  mustFit(state: InodeState, firstBlock: number, blockCount: number): void {
    this.#creditBlocks -= blockCount;
    if (this.#creditBlocks >= 0) return;
    const free = this.#space.freeBlocks();
    if (free > SCARCE_BLOCKS + blockCount) {
      this.#creditBlocks = Math.min(MOST_CREDIT_BLOCKS, Math.floor((free - SCARCE_BLOCKS - blockCount) / 2));
      return;
    }
    this.#creditBlocks = 0;
    if (this.#addedBlocks(state, firstBlock, blockCount) > free) throw posixOutcome('ENOSPC');
  }

  /** Throws ENOSPC unless `addedBlocks` can be reserved; they are to be reserved in this turn. */
  mustReserve(addedBlocks: number): void {
    if (addedBlocks > this.#space.freeBlocks()) throw posixOutcome('ENOSPC');
    this.#creditBlocks = 0;
  }

  /** Blocks of [firstBlock, endBlock) for which there is nothing yet. Bounded by the caller where the file has blocks. */
  unallocatedBlocks(state: InodeState, firstBlock: number, endBlock: number): number {
    const sizeBlocks = Math.ceil(state.sizeBytes / BLOCK_BYTES);
    const middle = Math.max(firstBlock, Math.min(endBlock, sizeBlocks));
    const behind = outside(this.#metadata.reservation(state.inode), middle, endBlock);
    return this.#addedBlocks(state, firstBlock, middle - firstBlock) + blockCount(behind);
  }

  #addedBlocks(state: InodeState, firstBlock: number, count: number): number {
    const map = this.#maps.take();
    const reservation = this.#metadata.reservation(state.inode);
    let added = 0;
    for (let done = 0; done < count; done += MAX_REQUEST_BLOCKS) {
      const length = Math.min(MAX_REQUEST_BLOCKS, count - done);
      this.#metadata.mapBlocks(state.inode, firstBlock + done, length, map);
      for (let at = 0; at < length; at++) {
        const block = firstBlock + done + at;
        if (map.segmentIds[at] === 0 && !state.pending.has(block) && !hasBlock(reservation, block)) added++;
      }
    }
    this.#maps.give(map);
    return added;
  }
}
