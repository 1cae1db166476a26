/**
 * Whether there is room for what a write adds. Blocks that are overwritten need none in the end: only those that are neither mapped nor pending are
 * counted, and only while room is scarce, since counting costs a look-up a write.
 *
 * What is admitted here may still have to wait for the log, which waits for the cleaner.
 */
import { posixOutcome } from '../base/errno.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { MetadataManager } from '../metadata/metadata.ts';
import { BlockMapPool, MAX_REQUEST_BLOCKS } from './block-maps.ts';
import type { InodeState } from './inode-state.ts';

export interface VolumeSpace {
  /** Blocks that users can store in all. */
  totalBlocks(): number;
  /** Blocks that users can still add. */
  freeBlocks(): number;
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

  #addedBlocks(state: InodeState, firstBlock: number, blockCount: number): number {
    const map = this.#maps.take();
    let added = 0;
    for (let done = 0; done < blockCount; done += MAX_REQUEST_BLOCKS) {
      const count = Math.min(MAX_REQUEST_BLOCKS, blockCount - done);
      this.#metadata.mapBlocks(state.inode, firstBlock + done, count, map);
      for (let at = 0; at < count; at++) {
        if (map.segmentIds[at] === 0 && !state.pending.has(firstBlock + done + at)) added++;
      }
    }
    this.#maps.give(map);
    return added;
  }
}
