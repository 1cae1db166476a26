/**
 * Searching a file's mapping for data and holes. A few chunks are looked through in the same turn; larger gaps are crossed with the store's
 * ordered keys, and long dense stretches in steps that leave the event loop room.
 */

import { chunkKey, chunkOfKey } from '../format/metadata-keys.ts';
import { CHUNK_BLOCKS } from '../format/metadata-records.ts';
import type { Timers } from '../platform/platform.ts';
import type { Chunk } from './extent-table.ts';
import type { MetadataState } from './state.ts';
import type { StateReader } from './state-reader.ts';

const CHUNKS_IN_ONE_TURN = 64;
const RANGE_PAGE = 64;
/** Behind the last chunk of the largest file. */
const CHUNK_END = 2 ** 23;

export class ExtentSearch {
  readonly #state: MetadataState;
  readonly #reader: StateReader;
  readonly #timers: Timers;

  constructor(state: MetadataState, reader: StateReader, timers: Timers) {
    this.#state = state;
    this.#reader = reader;
    this.#timers = timers;
  }

  /** Smallest mapped block >= fromBlock. */
  nextMapped(inode: number, fromBlock: number): number | undefined | Promise<number | undefined> {
    if ((this.#state.inodes.get(inode)?.mappedBlocks ?? 0) === 0) return undefined;
    const first = Math.floor(fromBlock / CHUNK_BLOCKS);
    const end = Math.min(first + CHUNKS_IN_ONE_TURN, CHUNK_END);
    for (let index = first; index < end; index++) {
      const found = this.#mappedIn(inode, index, fromBlock);
      if (found !== undefined) return found;
    }
    return end === CHUNK_END ? undefined : this.#nextMappedFar(inode, end);
  }

  #mappedIn(inode: number, index: number, fromBlock: number): number | undefined {
    const chunk = this.#state.extents.chunk(inode, index);
    return chunk && scan(chunk, fromBlock, (segment) => segment !== 0);
  }

  async #nextMappedFar(inode: number, fromIndex: number): Promise<number | undefined> {
    let index = fromIndex;
    for (;;) {
      // The overlay first, in the turn in which the store's view is made: what a checkpoint moves down meanwhile is in one of them.
      const changed = this.#firstChanged(inode, index);
      const page = await this.#reader.range(chunkKey(inode, index), chunkKey(inode, CHUNK_END), RANGE_PAGE);
      const stored = page.map(([key]) => chunkOfKey(key));
      if (changed !== undefined) stored.push(changed);
      stored.sort((a, b) => a - b);
      const covered = page.length === RANGE_PAGE ? chunkOfKey(page[RANGE_PAGE - 1]![0]) : CHUNK_END;
      for (const candidate of stored) {
        if (candidate > covered) break;
        const found = this.#mappedIn(inode, candidate, candidate * CHUNK_BLOCKS);
        if (found !== undefined) return found;
      }
      if (covered === CHUNK_END) return undefined;
      index = covered + 1;
    }
  }

  /** Smallest changed chunk of the inode at or behind `index`. */
  #firstChanged(inode: number, index: number): number | undefined {
    let first: number | undefined;
    for (const [, chunk] of this.#state.extents.chunks.changed()) {
      if (chunk === null || chunk.inode !== inode || chunk.index < index) continue;
      if (first === undefined || chunk.index < first) first = chunk.index;
    }
    return first;
  }

  /** Smallest unmapped block >= fromBlock. */
  nextHole(inode: number, fromBlock: number): number | Promise<number> {
    if ((this.#state.inodes.get(inode)?.mappedBlocks ?? 0) === 0) return fromBlock;
    const end = Math.floor(fromBlock / CHUNK_BLOCKS) + CHUNKS_IN_ONE_TURN;
    return this.#holeBefore(inode, fromBlock, end) ?? this.#nextHoleFar(inode, end);
  }

  #holeBefore(inode: number, fromBlock: number, endIndex: number): number | undefined {
    for (let index = Math.floor(fromBlock / CHUNK_BLOCKS); index < endIndex; index++) {
      const from = Math.max(fromBlock, index * CHUNK_BLOCKS);
      const chunk = index < CHUNK_END ? this.#state.extents.chunk(inode, index) : undefined;
      if (chunk === undefined) return from;
      const found = scan(chunk, from, (segment) => segment === 0);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  /** Between two steps: leaves the event loop room. */
  pause(): Promise<void> {
    return new Promise((resolve) => this.#timers.defer(resolve));
  }

  async #nextHoleFar(inode: number, fromIndex: number): Promise<number> {
    for (let index = fromIndex; ; index += CHUNKS_IN_ONE_TURN) {
      await this.pause();
      const found = this.#holeBefore(inode, index * CHUNK_BLOCKS, index + CHUNKS_IN_ONE_TURN);
      if (found !== undefined) return found;
    }
  }
}

/** First block of the chunk at or behind `fromBlock` whose segment satisfies `test`. */
function scan(chunk: Chunk, fromBlock: number, test: (segmentId: number) => boolean): number | undefined {
  const start = chunk.index * CHUNK_BLOCKS;
  for (let within = Math.max(fromBlock - start, 0); within < CHUNK_BLOCKS; within++) {
    if (test(chunk.pairs[2 * within] ?? 0)) return start + within;
  }
  return undefined;
}
