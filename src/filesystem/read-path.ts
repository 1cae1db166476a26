/**
 * Reads: gathers a range of a file from the memory of uncommitted segments, from stored segments, and from nothing (holes).
 *
 * What needs no stored block is answered in the same turn, from the memory where it lies: the segment stays pinned until the result
 * is released. Stored blocks come through pooled buffers, neighbours in one read. A read returns what the file held at some moment
 * between its call and its result.
 */
import { assert } from '../base/assert.ts';
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { LogUnreadable, type ReadBuffer, type SegmentReader, type SegmentWriter } from '../log/log.ts';
import type { BlockMap, MetadataManager } from '../metadata/metadata.ts';
import { BlockMapPool, MAX_REQUEST_BLOCKS } from './block-maps.ts';
import type { MaybePromise, ReadResult } from './file-system.ts';
import type { InodeState } from './inode-state.ts';
import { indexOf, NONE } from './pending-blocks.ts';
import type { UncommittedData } from './uncommitted-data.ts';

const ZEROS = Buffer.alloc(MAX_REQUEST_BYTES);
const BUFFER_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;
/** A segment moved while it was looked up: so often in a row is not believed. */
const MAX_STALE_LOOKUPS = 8;

export const EMPTY_READ: ReadResult = { parts: [], lengthBytes: 0, release: () => undefined };

/** A range of a file: bytes [offsetBytes, offsetBytes + lengthBytes), at most BUFFER_BLOCKS blocks. */
interface Range {
  readonly inode: number;
  readonly state: InodeState | undefined;
  readonly offsetBytes: number;
  readonly lengthBytes: number;
  readonly firstBlock: number;
  readonly blockCount: number;
}

class Pieces implements ReadResult {
  readonly parts: Uint8Array[] = [];
  readonly lengthBytes: number;
  readonly #writer: SegmentWriter;
  /** Segments pinned for it, if any. */
  #pinned: number[] | undefined;
  #buffer: ReadBuffer | undefined;
  #released = false;

  constructor(writer: SegmentWriter, lengthBytes: number, buffer: ReadBuffer | undefined) {
    this.#writer = writer;
    this.lengthBytes = lengthBytes;
    this.#buffer = buffer;
  }

  pin(segmentId: number): void {
    this.#writer.pin(segmentId);
    this.#pinned ??= [];
    this.#pinned.push(segmentId);
  }

  release(): void {
    assert(!this.#released, 'a read result is released once');
    this.#released = true;
    if (this.#pinned !== undefined) for (const segmentId of this.#pinned) this.#writer.unpin(segmentId);
    this.#buffer?.release();
    this.#buffer = undefined;
  }
}

export class ReadPath {
  readonly #metadata: MetadataManager;
  readonly #writer: SegmentWriter;
  readonly #reader: SegmentReader;
  readonly #data: UncommittedData;
  readonly #maps = new BlockMapPool();
  /** Locations of the range's pending blocks; filled and used within a turn. */
  readonly #locations = new Int32Array(MAX_REQUEST_BLOCKS).fill(NONE);

  constructor(
    metadata: MetadataManager,
    writer: SegmentWriter,
    reader: SegmentReader,
    data: UncommittedData,
  ) {
    this.#metadata = metadata;
    this.#writer = writer;
    this.#reader = reader;
    this.#data = data;
  }

  /** Bytes of the file; the caller has cut the range to the file's size. Length at most MAX_REQUEST_BYTES. */
  read(
    inode: number,
    state: InodeState | undefined,
    offsetBytes: number,
    lengthBytes: number,
  ): MaybePromise<ReadResult> {
    if (lengthBytes === 0) return EMPTY_READ;
    const firstBlock = Math.floor(offsetBytes / BLOCK_BYTES);
    const blockCount = Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES) - firstBlock;
    if (blockCount > BUFFER_BLOCKS) return this.#readInTwo(inode, state, offsetBytes, lengthBytes);
    const range: Range = { inode, state, offsetBytes, lengthBytes, firstBlock, blockCount };
    const map = this.#lookUp(range);
    if (!this.#needsStored(map, blockCount)) {
      const pieces = new Pieces(this.#writer, lengthBytes, undefined);
      this.#gather(range, map, pieces, undefined);
      this.#maps.give(map);
      return pieces;
    }
    const buffer = this.#reader.takeBuffer(blockCount * BLOCK_BYTES);
    if (buffer !== undefined) return this.#readStored(range, map, buffer, 1);
    this.#maps.give(map);
    return this.#readAgain(range, 1);
  }

  /**
   * One block as it is now, if it can be told without I/O: its bytes (valid in this turn), 'hole', or 'stored'.
   */
  peek(state: InodeState, fileBlock: number): Uint8Array | 'hole' | 'stored' {
    const location = state.pending.get(fileBlock);
    if (location !== NONE) return this.#pendingBytes(location, 1);
    const map = this.#maps.take();
    this.#metadata.mapBlocks(state.inode, fileBlock, 1, map);
    const isHole = map.segmentIds[0] === 0;
    this.#maps.give(map);
    return isHole ? 'hole' : 'stored';
  }

  /** Copies one block into `into` (zeros for a hole). True if it exists. */
  async copyBlock(state: InodeState, fileBlock: number, into: Uint8Array): Promise<boolean> {
    const found = this.peek(state, fileBlock);
    if (found === 'hole') {
      into.fill(0);
      return false;
    }
    if (found !== 'stored') {
      into.set(found);
      return true;
    }
    const result = await this.read(state.inode, state, fileBlock * BLOCK_BYTES, BLOCK_BYTES);
    into.set(result.parts[0]!);
    result.release();
    return true;
  }

  /** One block more than a buffer holds: the last one is copied, so that nobody waits for a buffer while holding one. */
  async #readInTwo(
    inode: number,
    state: InodeState | undefined,
    offsetBytes: number,
    lengthBytes: number,
  ): Promise<ReadResult> {
    const middle = (Math.floor(offsetBytes / BLOCK_BYTES) + BUFFER_BLOCKS) * BLOCK_BYTES;
    const second = await this.read(inode, state, middle, offsetBytes + lengthBytes - middle);
    const tail = Buffer.concat(second.parts);
    second.release();
    const first = await this.read(inode, state, offsetBytes, middle - offsetBytes);
    return { parts: [...first.parts, tail], lengthBytes, release: () => first.release() };
  }

  #lookUp(range: Range): BlockMap {
    const map = this.#maps.take();
    const { state, firstBlock, blockCount } = range;
    const pending = state !== undefined ? state.pending.blockCount : 0;
    if (pending > 0) state!.pending.read(firstBlock, blockCount, this.#locations);
    else this.#locations.fill(NONE, 0, blockCount);
    this.#metadata.mapBlocks(range.inode, firstBlock, blockCount, map);
    return map;
  }

  #needsStored(map: BlockMap, blockCount: number): boolean {
    for (let at = 0; at < blockCount; at++)
      if (map.segmentIds[at] !== 0 && this.#locations[at] === NONE) return true;
    return false;
  }

  async #readAgain(range: Range, attempt: number): Promise<ReadResult> {
    const buffer = await this.#reader.whenBuffer(range.blockCount * BLOCK_BYTES);
    return this.#readStored(range, this.#lookUp(range), buffer, attempt);
  }

  #readStored(range: Range, map: BlockMap, buffer: ReadBuffer, attempt: number): Promise<ReadResult> {
    const pieces = new Pieces(this.#writer, range.lengthBytes, buffer);
    const reads: Promise<void>[] = [];
    try {
      this.#gather(range, map, pieces, { buffer: buffer.bytes, reads });
    } catch (error) {
      reads.push(Promise.reject(error));
    }
    const failed = (error: unknown): Promise<ReadResult> => {
      this.#maps.give(map);
      pieces.release();
      const isStale = error instanceof LogUnreadable && error.reason === 'stale';
      if (!isStale || attempt >= MAX_STALE_LOOKUPS) throw error;
      return this.#readAgain(range, attempt + 1);
    };
    if (reads.length === 1) {
      return reads[0]!.then(() => {
        this.#maps.give(map);
        return pieces;
      }, failed);
    }
    // All of them settle before the buffer may be used for something else.
    return Promise.allSettled(reads).then((outcomes) => {
      for (const outcome of outcomes) if (outcome.status === 'rejected') return failed(outcome.reason);
      this.#maps.give(map);
      return pieces;
    });
  }

  /** Turns the range, run by run, into parts; reads of stored blocks are started. */
  #gather(
    range: Range,
    map: BlockMap,
    pieces: Pieces,
    stored: { buffer: Uint8Array; reads: Promise<void>[] } | undefined,
  ): void {
    const locations = this.#locations;
    const skip = range.offsetBytes - range.firstBlock * BLOCK_BYTES;
    const end = skip + range.lengthBytes;
    let storedFrom = -1;
    let at = 0;
    while (at < range.blockCount) {
      const location = locations[at]!;
      const count = runLength(map, locations, at, range.blockCount);
      const isStored = location === NONE && map.segmentIds[at] !== 0;
      if (isStored) {
        if (storedFrom < 0) storedFrom = at;
        stored!.reads.push(this.#startRead(map, at, count, stored!.buffer));
      } else {
        if (storedFrom >= 0) pushPart(pieces, stored!.buffer, 0, storedFrom, at, skip, end);
        storedFrom = -1;
        if (location === NONE) pushPart(pieces, ZEROS, at, at, at + count, skip, end);
        else {
          pieces.pin(this.#data.segmentId(location));
          pushPart(pieces, this.#pendingBytes(location, count), at, at, at + count, skip, end);
        }
      }
      at += count;
    }
    if (storedFrom >= 0) pushPart(pieces, stored!.buffer, 0, storedFrom, range.blockCount, skip, end);
  }

  #startRead(map: BlockMap, at: number, count: number, buffer: Uint8Array): Promise<void> {
    const segmentId = map.segmentIds[at]!;
    const record = this.#metadata.segment(segmentId);
    if (record === undefined)
      return Promise.reject(new LogUnreadable('stale', `segment ${segmentId} has no record`));
    const into = buffer.subarray(at * BLOCK_BYTES, (at + count) * BLOCK_BYTES);
    return this.#reader.readBlocks(record, map.blockIndexes[at]!, count, map.checksums, at, into);
  }

  #pendingBytes(location: number, count: number): Uint8Array {
    const bytes = this.#writer.pendingBytes(this.#data.segmentId(location), indexOf(location), count);
    assert(bytes !== undefined, 'a pending block is in memory');
    return bytes;
  }
}

/** Blocks from `at` on that continue the same source: pending and neighbours, stored and neighbours, or holes. */
function runLength(map: BlockMap, locations: Int32Array, at: number, end: number): number {
  const location = locations[at]!;
  let next = at + 1;
  if (location !== NONE) {
    while (next < end && locations[next] === location + next - at) next++;
    return next - at;
  }
  const segmentId = map.segmentIds[at]!;
  if (segmentId === 0) {
    while (next < end && locations[next] === NONE && map.segmentIds[next] === 0) next++;
    return next - at;
  }
  const index = map.blockIndexes[at]! - at;
  while (
    next < end &&
    locations[next] === NONE &&
    map.segmentIds[next] === segmentId &&
    map.blockIndexes[next] === index + next
  )
    next++;
  return next - at;
}

/**
 * Adds blocks [from, to) of the range, cut to its bytes [skip, end). `bytes` starts at block `bytesFrom` of the range.
 */
function pushPart(
  pieces: Pieces,
  bytes: Uint8Array,
  bytesFrom: number,
  from: number,
  to: number,
  skip: number,
  end: number,
): void {
  const begin = Math.max(from * BLOCK_BYTES, skip) - bytesFrom * BLOCK_BYTES;
  const stop = Math.min(to * BLOCK_BYTES, end) - bytesFrom * BLOCK_BYTES;
  pieces.parts.push(bytes.subarray(begin, stop));
}
