/**
 * Read-ahead for streams: when a handle is read in sequence with little in flight, the chunks that follow are fetched before they are
 * asked for. A kernel that reads ahead by itself has many requests in flight: then this stays out of the way.
 *
 * Memory is the reader's pool, bounded over all streams. Chunks go when they were consumed, when the file changes, when the handle
 * closes, and when the stream pauses. Files with pending blocks are not read ahead.
 */
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { KIB, MIB } from '../base/units.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import type { MaybePromise, ReadResult } from './file-system.ts';
import type { ContentListener, InodeState } from './inode-state.ts';
import type { ReadPath } from './read-path.ts';

const CHUNK_BYTES = MAX_REQUEST_BYTES;
const MAX_WINDOW_CHUNKS = 12;
/** Over all streams. */
const MAX_CHUNKS = 24;
/** A stream starts after so many bytes in sequence. */
const MIN_SEQUENTIAL_BYTES = MIB / 8;
/** So much in flight is another's read-ahead... */
const PARALLEL_BYTES = MIB;
/** ...and it counts until so many reads came alone. */
const PARALLEL_MEMORY = 8;
/** Reads that do not count as in flight: a kernel that reads ahead asks for more at once. */
const SMALL_READ_BYTES = 16 * KIB;
const IDLE_MS = 2000;

/** CHUNK_BYTES of the file in memory or on their way. The chunk is released when it was dropped and no reader uses it. */
class Chunk {
  result: ReadResult | undefined;
  /** Resolves when `result` is there, or it failed. */
  ready: Promise<void> | undefined;
  failed = false;
  #users = 0;
  #dropped = false;

  use(): void {
    this.#users += 1;
  }

  unuse(): void {
    this.#users -= 1;
    this.#releaseUnused();
  }

  drop(): void {
    this.#dropped = true;
    this.#releaseUnused();
  }

  loaded(result: ReadResult): void {
    this.result = result;
    this.ready = undefined;
    this.#releaseUnused();
  }

  #releaseUnused(): void {
    if (!this.#dropped || this.#users > 0 || this.result === undefined) return;
    this.result.release();
    this.result = undefined;
    this.failed = true;
  }
}

/** One handle's position and what was fetched for it. */
export class ReadStream implements ContentListener {
  readonly state: InodeState;
  readonly chunks = new Map<number, Chunk>();
  nextOffset = 0;
  sequentialBytes = 0;
  activeBytes = 0;
  parallel = 0;
  lastUsedMs = 0;
  onDropped: (count: number) => void = () => undefined;

  constructor(state: InodeState) {
    this.state = state;
  }

  contentChanged(): void {
    this.dropBefore(Number.POSITIVE_INFINITY);
  }

  /** Drops the chunks that end at or before `offsetBytes`. */
  dropBefore(offsetBytes: number): void {
    if (this.chunks.size === 0) return;
    let dropped = 0;
    for (const [number, chunk] of this.chunks) {
      if ((number + 1) * CHUNK_BYTES > offsetBytes) continue;
      this.chunks.delete(number);
      chunk.drop();
      dropped += 1;
    }
    if (dropped > 0) this.onDropped(dropped);
  }
}

export class ReadAhead {
  readonly #platform: Platform;
  readonly #reads: ReadPath;
  /** Streams that hold chunks. */
  readonly #streams = new Set<ReadStream>();
  #chunkCount = 0;
  #idleTimer: Timer | undefined;

  constructor(platform: Platform, reads: ReadPath) {
    this.#platform = platform;
    this.#reads = reads;
  }

  /** Reads a range that lies within the file. */
  read(stream: ReadStream, offsetBytes: number, lengthBytes: number): MaybePromise<ReadResult> {
    const { state } = stream;
    this.#follow(stream, offsetBytes, lengthBytes);
    if (stream.chunks.size === 0 && !worthIt(stream, lengthBytes))
      return this.#plain(stream, offsetBytes, lengthBytes);
    stream.lastUsedMs = this.#platform.clock.monotonicMs();
    if (worthIt(stream, lengthBytes)) this.#fetch(stream, offsetBytes);
    const first = Math.floor(offsetBytes / CHUNK_BYTES);
    const last = Math.floor((offsetBytes + lengthBytes - 1) / CHUNK_BYTES);
    const chunks: Chunk[] = [];
    for (let number = first; number <= last; number++) {
      const chunk = stream.chunks.get(number);
      if (chunk === undefined || chunk.failed) return this.#plain(stream, offsetBytes, lengthBytes);
      chunks.push(chunk);
    }
    for (const chunk of chunks) chunk.use();
    stream.dropBefore(stream.nextOffset);
    if (chunks.every((chunk) => chunk.result !== undefined))
      return assemble(chunks, first, offsetBytes, lengthBytes);
    stream.activeBytes += lengthBytes;
    return Promise.all(chunks.map((chunk) => chunk.ready)).then(() => {
      stream.activeBytes -= lengthBytes;
      if (chunks.every((chunk) => chunk.result !== undefined))
        return assemble(chunks, first, offsetBytes, lengthBytes);
      for (const chunk of chunks) chunk.unuse();
      return this.#reads.read(state.inode, state, offsetBytes, lengthBytes);
    });
  }

  /** The handle is closed. */
  end(stream: ReadStream): void {
    stream.dropBefore(Number.POSITIVE_INFINITY);
  }

  close(): void {
    this.#idleTimer?.cancel();
    for (const stream of [...this.#streams]) this.end(stream);
  }

  #follow(stream: ReadStream, offsetBytes: number, lengthBytes: number): void {
    if (offsetBytes !== stream.nextOffset) {
      stream.sequentialBytes = 0;
      stream.dropBefore(Number.POSITIVE_INFINITY);
    }
    stream.sequentialBytes += lengthBytes;
    stream.nextOffset = offsetBytes + lengthBytes;
    if (stream.activeBytes >= PARALLEL_BYTES) stream.parallel = PARALLEL_MEMORY;
    else if (stream.parallel > 0 && stream.activeBytes === 0) stream.parallel -= 1;
  }

  #plain(stream: ReadStream, offsetBytes: number, lengthBytes: number): MaybePromise<ReadResult> {
    const { state } = stream;
    const result = this.#reads.read(state.inode, state, offsetBytes, lengthBytes);
    if (!(result instanceof Promise) || lengthBytes <= SMALL_READ_BYTES) return result;
    stream.activeBytes += lengthBytes;
    return result.then(
      (found) => {
        stream.activeBytes -= lengthBytes;
        return found;
      },
      (error: unknown) => {
        stream.activeBytes -= lengthBytes;
        throw error;
      },
    );
  }

  /** Starts what is missing of the window from `offsetBytes` on, as far as memory permits. */
  #fetch(stream: ReadStream, offsetBytes: number): void {
    const { state } = stream;
    const window = Math.min(MAX_WINDOW_CHUNKS, Math.ceil(stream.sequentialBytes / CHUNK_BYTES) + 1);
    const first = Math.floor(offsetBytes / CHUNK_BYTES);
    for (let number = first; number < first + window; number++) {
      const begin = number * CHUNK_BYTES;
      if (begin >= state.sizeBytes || this.#chunkCount >= MAX_CHUNKS) return;
      if (stream.chunks.has(number)) continue;
      const chunk = new Chunk();
      stream.chunks.set(number, chunk);
      this.#hold(stream);
      this.#load(stream, chunk, begin, Math.min(CHUNK_BYTES, state.sizeBytes - begin));
    }
  }

  #load(stream: ReadStream, chunk: Chunk, begin: number, lengthBytes: number): void {
    const { state } = stream;
    let result: MaybePromise<ReadResult>;
    try {
      result = this.#reads.read(state.inode, state, begin, lengthBytes);
    } catch {
      // The reader of these bytes tries again and gets the error.
      chunk.failed = true;
      return;
    }
    if (!(result instanceof Promise)) {
      chunk.loaded(result);
      return;
    }
    chunk.ready = result.then(
      (loaded) => chunk.loaded(loaded),
      () => {
        chunk.failed = true;
        chunk.ready = undefined;
      },
    );
  }

  #hold(stream: ReadStream): void {
    this.#chunkCount += 1;
    if (!this.#streams.has(stream)) {
      this.#streams.add(stream);
      stream.state.listeners.add(stream);
      stream.onDropped = (count) => this.#dropped(stream, count);
    }
    this.#idleTimer ??= this.#platform.timers.after(IDLE_MS, () => this.#dropIdle());
  }

  #dropped(stream: ReadStream, count: number): void {
    this.#chunkCount -= count;
    if (stream.chunks.size > 0) return;
    this.#streams.delete(stream);
    stream.state.listeners.delete(stream);
  }

  #dropIdle(): void {
    this.#idleTimer = undefined;
    const nowMs = this.#platform.clock.monotonicMs();
    for (const stream of [...this.#streams])
      if (nowMs - stream.lastUsedMs >= IDLE_MS) stream.dropBefore(Number.POSITIVE_INFINITY);
    if (this.#streams.size > 0)
      this.#idleTimer = this.#platform.timers.after(IDLE_MS, () => this.#dropIdle());
  }
}

function worthIt(stream: ReadStream, lengthBytes: number): boolean {
  return (
    stream.sequentialBytes > lengthBytes &&
    stream.sequentialBytes >= MIN_SEQUENTIAL_BYTES &&
    stream.parallel === 0 &&
    stream.state.pending.blockCount === 0
  );
}

/** A result made of views of the chunks, which are in use until it is released. */
function assemble(
  chunks: readonly Chunk[],
  firstNumber: number,
  offsetBytes: number,
  lengthBytes: number,
): ReadResult {
  const parts: Uint8Array[] = [];
  let at = firstNumber * CHUNK_BYTES;
  for (const chunk of chunks) {
    for (const part of chunk.result!.parts) {
      const from = Math.max(0, offsetBytes - at);
      const to = Math.min(part.length, offsetBytes + lengthBytes - at);
      if (from < to) parts.push(part.subarray(from, to));
      at += part.length;
    }
  }
  const release = () => {
    for (const chunk of chunks) chunk.unuse();
  };
  return { parts, lengthBytes, release };
}
