/**
 * Extents: from (inode, file block) to (segment, block index, checksum), in chunks of CHUNK_BLOCKS blocks.
 *
 * Every mapping that is set, replaced or removed is counted: live blocks of the segments concerned, mapped blocks in all, and, returned to the
 * caller, of the inode. A chunk in memory is one typed array that grows in steps, changed in place.
 */

import { assert } from '../base/assert.ts';
import { chunkKey } from '../format/metadata-keys.ts';
import {
  CHUNK_BLOCKS,
  type Checksum,
  type ChunkPairs,
  chunkCapacity,
  decodeChunk,
  encodeChunk,
} from '../format/metadata-records.ts';
import type { BlockMap } from './metadata.ts';
import { OverlayTable } from './overlay-table.ts';
import type { SegmentTable } from './segment-table.ts';
import type { StateReader } from './state-reader.ts';

export interface Chunk {
  readonly inode: number;
  readonly index: number;
  pairs: ChunkPairs;
  mapped: number;
}

const CLEAN_BYTES = 64 * 1024 * 1024;
const CHUNK_OVERHEAD_BYTES = 200;
const CHUNK_WEIGHT = 100;
const WEIGHT_A_BLOCK = 12;
const TWO_32 = 2 ** 32;
/** Of the largest file. */
const CHUNKS_PER_INODE = 2 ** 23;
const MAX_NUMERIC_INODE = 2 ** 30;

type ChunkId = number | string;

/** A number where it fits one: cheaper to look up than text. */
function chunkId(inode: number, index: number): ChunkId {
  return inode < MAX_NUMERIC_INODE ? inode * CHUNKS_PER_INODE + index : `${inode}:${index}`;
}

function splitChunkId(id: ChunkId): { inode: number; index: number } {
  if (typeof id === 'number') {
    return { inode: Math.floor(id / CHUNKS_PER_INODE), index: id % CHUNKS_PER_INODE };
  }
  const colon = id.indexOf(':');
  return { inode: Number(id.slice(0, colon)), index: Number(id.slice(colon + 1)) };
}

function weightOf(pairs: ChunkPairs): number {
  return (pairs.length / 2) * WEIGHT_A_BLOCK;
}

export class ExtentTable {
  readonly chunks: OverlayTable<ChunkId, Chunk>;
  readonly #segments: SegmentTable;
  mappedBlocks = 0;
  /** Run of blocks that lost their mapping to one segment and are not counted yet. */
  #lostSegment = 0;
  #lostBlocks = 0;

  constructor(reader: StateReader, crc32c: Checksum, segments: SegmentTable) {
    this.#segments = segments;
    this.chunks = new OverlayTable<ChunkId, Chunk>({
      keyOf: (id) => {
        const { inode, index } = splitChunkId(id);
        return chunkKey(inode, index);
      },
      encode: (chunk) => encodeChunk(chunk.pairs, crc32c),
      decode: (bytes, id) => ({ ...splitChunkId(id), ...decodeChunk(bytes, crc32c) }),
      read: reader.get,
      sizeOf: (chunk) => CHUNK_OVERHEAD_BYTES + chunk.pairs.byteLength,
      cleanBytes: CLEAN_BYTES,
      weightOf: ({ pairs }) => CHUNK_WEIGHT + weightOf(pairs),
    });
  }

  chunk(inode: number, index: number): Chunk | undefined {
    return this.chunks.get(chunkId(inode, index));
  }

  look(inode: number, firstBlock: number, count: number, out: BlockMap): void {
    const { segmentIds, blockIndexes, checksums } = out;
    out.count = count;
    let at = 0;
    while (at < count) {
      const block = firstBlock + at;
      const index = Math.floor(block / CHUNK_BLOCKS);
      const within = block - index * CHUNK_BLOCKS;
      const end = at + Math.min(count - at, CHUNK_BLOCKS - within);
      const pairs = index < CHUNKS_PER_INODE ? this.chunks.get(chunkId(inode, index))?.pairs : undefined;
      for (let pair = 2 * within; at < end; at++, pair += 2) {
        if (pairs === undefined || pair >= pairs.length || pairs[pair] === 0) {
          segmentIds[at] = 0;
          blockIndexes[at] = 0;
          checksums[at] = 0;
          continue;
        }
        const packed = pairs[pair + 1]!;
        const blockIndex = Math.floor(packed / TWO_32);
        segmentIds[at] = pairs[pair]!;
        blockIndexes[at] = blockIndex;
        checksums[at] = packed - blockIndex * TWO_32;
      }
    }
  }

  /**
   * Maps `count` blocks. Returns how many of them were holes. The segment's own live blocks are raised by `count` before others are lowered, so
   * that a segment that replaces its own blocks does not die in between.
   */
  map(
    inode: number,
    firstBlock: number,
    count: number,
    segmentId: number,
    blockIndex: number,
    checksums: Uint32Array,
    checksumIndex: number,
  ): number {
    assert(firstBlock + count <= CHUNKS_PER_INODE * CHUNK_BLOCKS, 'a block of the largest file');
    this.#segments.raise(segmentId, count);
    let holes = 0;
    let at = 0;
    while (at < count) {
      const block = firstBlock + at;
      const index = Math.floor(block / CHUNK_BLOCKS);
      const within = block - index * CHUNK_BLOCKS;
      const end = at + Math.min(count - at, CHUNK_BLOCKS - within);
      const chunk = this.#editOrMake(inode, index, within + end - at);
      const { pairs } = chunk;
      const before = holes;
      for (let pair = 2 * within; at < end; at++, pair += 2) {
        const old = pairs[pair]!;
        if (old === 0) holes++;
        else this.#lose(old);
        pairs[pair] = segmentId;
        pairs[pair + 1] = (blockIndex + at) * TWO_32 + checksums[checksumIndex + at]!;
      }
      chunk.mapped += holes - before;
    }
    this.#countLost();
    this.mappedBlocks += holes;
    return holes;
  }

  #editOrMake(inode: number, index: number, blocks: number): Chunk {
    const id = chunkId(inode, index);
    const chunk = this.chunks.edit(id);
    if (chunk === undefined) {
      const made = { inode, index, pairs: new Float64Array(2 * chunkCapacity(blocks)), mapped: 0 };
      this.chunks.set(id, made);
      return made;
    }
    if (2 * blocks > chunk.pairs.length) {
      const grown = new Float64Array(2 * chunkCapacity(blocks));
      grown.set(chunk.pairs);
      this.chunks.addWeight(weightOf(grown) - weightOf(chunk.pairs));
      chunk.pairs = grown;
    }
    return chunk;
  }

  /** Removes the mapping of [firstBlock, endBlock). Returns how many blocks were mapped. */
  unmap(inode: number, firstBlock: number, endBlock: number): number {
    let removed = 0;
    const lastIndex = Math.min(Math.ceil(endBlock / CHUNK_BLOCKS), CHUNKS_PER_INODE);
    for (let index = Math.floor(firstBlock / CHUNK_BLOCKS); index < lastIndex; index++) {
      const start = index * CHUNK_BLOCKS;
      removed += this.#unmapWithin(
        inode,
        index,
        Math.max(firstBlock - start, 0),
        Math.min(endBlock - start, CHUNK_BLOCKS),
      );
    }
    this.#countLost();
    this.mappedBlocks -= removed;
    return removed;
  }

  #unmapWithin(inode: number, index: number, from: number, to: number): number {
    const id = chunkId(inode, index);
    if (this.chunks.get(id) === undefined) return 0;
    const chunk = this.chunks.edit(id)!;
    const { pairs } = chunk;
    let removed = 0;
    for (let pair = 2 * from; pair < 2 * to && pair < pairs.length; pair += 2) {
      if (pairs[pair] === 0) continue;
      this.#lose(pairs[pair]!);
      pairs[pair] = 0;
      pairs[pair + 1] = 0;
      removed++;
    }
    chunk.mapped -= removed;
    if (chunk.mapped === 0) this.chunks.delete(id);
    return removed;
  }

  /** How many of [firstBlock, endBlock) are mapped. A look-up for each chunk in the range. */
  countMapped(inode: number, firstBlock: number, endBlock: number): number {
    let mapped = 0;
    const lastIndex = Math.min(Math.ceil(endBlock / CHUNK_BLOCKS), CHUNKS_PER_INODE);
    for (let index = Math.floor(firstBlock / CHUNK_BLOCKS); index < lastIndex; index++) {
      const chunk = this.chunk(inode, index);
      if (chunk === undefined) continue;
      const start = index * CHUNK_BLOCKS;
      if (firstBlock <= start && start + CHUNK_BLOCKS <= endBlock) mapped += chunk.mapped;
      else mapped += countWithin(chunk.pairs, Math.max(firstBlock - start, 0), endBlock - start);
    }
    return mapped;
  }

  /** A repair: nothing is counted. */
  setChunk(inode: number, index: number, contents: Pick<Chunk, 'pairs' | 'mapped'> | undefined): void {
    const id = chunkId(inode, index);
    if (contents === undefined) this.chunks.delete(id);
    else this.chunks.set(id, { inode, index, ...contents });
  }

  #lose(segmentId: number): void {
    if (segmentId !== this.#lostSegment) {
      this.#countLost();
      this.#lostSegment = segmentId;
    }
    this.#lostBlocks++;
  }

  #countLost(): void {
    if (this.#lostBlocks > 0) this.#segments.lower(this.#lostSegment, this.#lostBlocks);
    this.#lostSegment = 0;
    this.#lostBlocks = 0;
  }
}

function countWithin(pairs: ChunkPairs, from: number, to: number): number {
  let mapped = 0;
  for (let pair = 2 * from; pair < 2 * to && pair < pairs.length; pair += 2) if (pairs[pair] !== 0) mapped++;
  return mapped;
}
