/**
 * Writes: whole blocks are appended to the open segment where they landed; anything else is put together from old and new bytes first.
 *
 * Invariant kept by everything that writes: the bytes of a file's last block behind the end of the file are zero, so that extending
 * a file never shows anything else.
 *
 * A write waits only when it must read a stored block or when the log has no room; then it holds a copy of its bytes, and writes and
 * truncations of the same file queue behind it. The copies are bounded: landing() gives nothing above MAX_WAITING_BYTES.
 */
import { posixOutcome } from '../base/errno.ts';
import { MAX_FILE_BYTES, MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { Placement, SegmentWriter } from '../log/log.ts';
import type { MetadataManager } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';
import type { MaybePromise } from './file-system.ts';
import type { Flusher } from './flusher.ts';
import type { InodeState, InodeTable } from './inode-state.ts';
import type { ReadPath } from './read-path.ts';
import type { SpaceCheck } from './space.ts';
import type { UncommittedData } from './uncommitted-data.ts';

const MAX_WAITING_BYTES = 16 * MIB;
const APPEND_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;

/** What a write needs of its old surroundings: the block it begins in, and the one it ends in, where they are not covered whole. */
interface Edges {
  /** Undefined: nothing of it is kept. */
  readonly head: number | undefined;
  readonly tail: number | undefined;
}

export class WritePath {
  readonly #platform: Platform;
  readonly #metadata: MetadataManager;
  readonly #writer: SegmentWriter;
  readonly #inodes: InodeTable;
  readonly #data: UncommittedData;
  readonly #flusher: Flusher;
  readonly #reads: ReadPath;
  readonly #space: SpaceCheck;
  /** The last landing was the spare one: what lands there is not in the log's memory. */
  #spareIsLent = false;
  /** Memory to receive writes into that will fail or wait, so that everything else goes on being served. */
  readonly #spareLanding: readonly Uint8Array[];
  #waitingBytes = 0;
  #roomWaiters: (() => void)[] = [];

  constructor(
    platform: Platform,
    metadata: MetadataManager,
    writer: SegmentWriter,
    inodes: InodeTable,
    data: UncommittedData,
    flusher: Flusher,
    reads: ReadPath,
    space: SpaceCheck,
  ) {
    this.#space = space;
    this.#platform = platform;
    this.#metadata = metadata;
    this.#writer = writer;
    this.#inodes = inodes;
    this.#data = data;
    this.#flusher = flusher;
    this.#reads = reads;
    this.#spareLanding = [platform.memory.allocate(MAX_REQUEST_BYTES)];
    flusher.onTrouble = () => this.#wakeRoomWaiters();
  }

  landing(): readonly Uint8Array[] | undefined {
    const landing = this.#writer.landing();
    const refused = this.#writer.trouble !== undefined || this.#metadata.trouble !== undefined;
    if (refused) return this.#lend(landing);
    if (this.#waitingBytes > MAX_WAITING_BYTES || this.#metadata.backlog() !== undefined) return undefined;
    // Writes that have to wait for room are copied, so that deletions, which make some, and reads do not wait behind them.
    return landing === undefined && !this.#writer.awaitsRoom ? undefined : this.#lend(landing);
  }

  #lend(landing: readonly Uint8Array[] | undefined): readonly Uint8Array[] {
    this.#spareIsLent = landing === undefined;
    return landing ?? this.#spareLanding;
  }

  /** Resolves when landing() is worth another try; never rejects: what is wrong shows in the write itself. */
  async whenWritable(): Promise<void> {
    while (this.landing() === undefined) {
      const backlog = this.#metadata.backlog();
      const waits = [new Promise<void>((resolve) => this.#roomWaiters.push(resolve))];
      if (backlog !== undefined) waits.push(backlog);
      else if (this.#waitingBytes <= MAX_WAITING_BYTES) waits.push(this.#writer.whenRoom());
      // A refusal shows in landing(), which then gives the spare memory.
      await Promise.race(waits).catch((error: unknown) => {
        this.#platform.log.debug('not-writable', { reason: String(error) });
      });
    }
    this.#wakeRoomWaiters();
  }

  write(
    state: InodeState,
    offsetBytes: number,
    data: readonly Uint8Array[],
    landed: boolean,
  ): MaybePromise<void> {
    let lengthBytes = 0;
    for (const part of data) lengthBytes += part.length;
    const endBytes = offsetBytes + lengthBytes;
    if (endBytes > MAX_FILE_BYTES) throw posixOutcome('EFBIG');
    if (lengthBytes === 0) return;
    if (this.#metadata.trouble !== undefined) throw this.#metadata.trouble;
    if (state.lock.held) return this.#writeLater(state, offsetBytes, data, lengthBytes);
    const firstBlock = Math.floor(offsetBytes / BLOCK_BYTES);
    const blockCount = Math.ceil(endBytes / BLOCK_BYTES) - firstBlock;
    const edges = edgesOf(state, offsetBytes, endBytes);
    if (this.#writer.trouble === undefined) this.#space.mustFit(state, firstBlock, blockCount);
    if (this.#writer.landing() === undefined) {
      if (this.#writer.trouble !== undefined) throw this.#writer.trouble;
      return this.#writeLater(state, offsetBytes, data, lengthBytes);
    }
    if (landed && !this.#spareIsLent && offsetBytes % BLOCK_BYTES === 0 && edges.tail === undefined) {
      zeroBehind(data.at(-1)!, endBytes);
      this.#claim(
        state,
        firstBlock,
        this.#writer.appendLanded(state.inode, firstBlock, blockCount),
        endBytes,
      );
      this.#flusher.written(state);
      return;
    }
    const blocks = Buffer.allocUnsafe(blockCount * BLOCK_BYTES);
    if (blockCount > APPEND_BLOCKS || !this.#fillEdgesNow(state, edges, firstBlock, blocks))
      return this.#writeLater(state, offsetBytes, data, lengthBytes);
    place(blocks, offsetBytes - firstBlock * BLOCK_BYTES, data, edges);
    this.#claim(state, firstBlock, this.#writer.append(state.inode, firstBlock, blocks), endBytes);
    this.#flusher.written(state);
  }

  /** The block with [from, to) of it set to zero: for truncation and holes. The caller holds the file's lock. Undefined: it is a hole. */
  async zeroedBlock(
    state: InodeState,
    fileBlock: number,
    from: number,
    to: number,
  ): Promise<Uint8Array | undefined> {
    const block = Buffer.allocUnsafe(BLOCK_BYTES);
    if (!(await this.#reads.copyBlock(state, fileBlock, block))) return undefined;
    block.fill(0, from, to);
    return block;
  }

  /** Appends whole blocks inside the file's size, leaving its times, as soon as there is room. The caller holds the lock. */
  async appendBlocks(state: InodeState, firstBlock: number, blocks: Uint8Array): Promise<void> {
    for (let wait = this.#room(); wait !== undefined; wait = this.#room()) await wait;
    this.#data.claim(state, firstBlock, this.#writer.append(state.inode, firstBlock, blocks), 0);
    this.#flusher.appended();
  }

  /**
   * undefined: there is room for a request, in this turn. To be asked again after each wait: others who waited for the same room may have
   * taken it.
   */
  #room(): Promise<void> | undefined {
    if (this.#writer.landing() !== undefined) return undefined;
    if (this.#writer.trouble !== undefined) throw this.#writer.trouble;
    return this.#writer.whenRoom();
  }

  #claim(state: InodeState, firstBlock: number, placements: readonly Placement[], endBytes: number): void {
    state.dirtyTime = this.#platform.clock.fileTime();
    this.#data.claim(state, firstBlock, placements, endBytes);
    this.#flusher.appended();
  }

  /** The same write with its own copy of the bytes, when its turn comes and its old blocks were read. */
  async #writeLater(
    state: InodeState,
    offsetBytes: number,
    data: readonly Uint8Array[],
    lengthBytes: number,
  ): Promise<void> {
    const bytes = Buffer.concat(data, lengthBytes);
    this.#waitingBytes += lengthBytes;
    try {
      await this.#inodes.exclusive(state, () => this.#writeHolding(state, offsetBytes, bytes));
    } finally {
      this.#waitingBytes -= lengthBytes;
      this.#wakeRoomWaiters();
    }
  }

  async #writeHolding(state: InodeState, offsetBytes: number, bytes: Buffer): Promise<void> {
    const endBytes = offsetBytes + bytes.length;
    const edges = edgesOf(state, offsetBytes, endBytes);
    const firstBlock = Math.floor(offsetBytes / BLOCK_BYTES);
    const blockCount = Math.ceil(endBytes / BLOCK_BYTES) - firstBlock;
    if (this.#writer.trouble === undefined) this.#space.mustFit(state, firstBlock, blockCount);
    const blocks = Buffer.allocUnsafe(blockCount * BLOCK_BYTES);
    if (edges.head !== undefined)
      await this.#reads.copyBlock(state, edges.head, blocks.subarray(0, BLOCK_BYTES));
    if (edges.tail !== undefined && edges.tail !== edges.head)
      await this.#reads.copyBlock(state, edges.tail, blocks.subarray(-BLOCK_BYTES));
    place(blocks, offsetBytes - firstBlock * BLOCK_BYTES, [bytes], edges);
    for (let at = 0; at < blockCount; at += APPEND_BLOCKS) {
      const count = Math.min(APPEND_BLOCKS, blockCount - at);
      const piece = blocks.subarray(at * BLOCK_BYTES, (at + count) * BLOCK_BYTES);
      for (let wait = this.#room(); wait !== undefined; wait = this.#room()) await wait;
      // Asked again: in the meantime the room may have been reserved.
      this.#space.mustFit(state, firstBlock + at, count);
      this.#claim(state, firstBlock + at, this.#writer.append(state.inode, firstBlock + at, piece), endBytes);
    }
  }

  /** Copies the old blocks at the edges if they are in memory or holes. */
  #fillEdgesNow(state: InodeState, edges: Edges, firstBlock: number, blocks: Buffer): boolean {
    for (const block of [edges.head, edges.tail]) {
      if (block === undefined) continue;
      const old = this.#reads.peek(state, block);
      if (old === 'stored') return false;
      const at = (block - firstBlock) * BLOCK_BYTES;
      if (old === 'hole') blocks.fill(0, at, at + BLOCK_BYTES);
      else blocks.set(old, at);
    }
    return true;
  }

  #wakeRoomWaiters(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }
}

function edgesOf(state: InodeState, offsetBytes: number, endBytes: number): Edges {
  const tailIsCut = endBytes % BLOCK_BYTES !== 0 && endBytes < state.sizeBytes;
  const headIsCut = offsetBytes % BLOCK_BYTES !== 0;
  const head = Math.floor(offsetBytes / BLOCK_BYTES);
  return {
    head: headIsCut && head * BLOCK_BYTES < state.sizeBytes ? head : undefined,
    tail: tailIsCut ? Math.floor(endBytes / BLOCK_BYTES) : undefined,
  };
}

/** Puts the new bytes in their place and zeros around them where nothing old is kept. */
function place(blocks: Buffer, at: number, data: readonly Uint8Array[], edges: Edges): void {
  if (edges.head === undefined) blocks.fill(0, 0, at);
  let end = at;
  for (const part of data) end += part.length;
  const keepsEnd = edges.tail !== undefined || (edges.head !== undefined && blocks.length === BLOCK_BYTES);
  if (!keepsEnd) blocks.fill(0, end);
  for (const part of data) {
    blocks.set(part, at);
    at += part.length;
  }
}

/** Landed bytes that end inside a block: the rest of the block, which lies behind them in the landing, becomes zero. */
function zeroBehind(last: Uint8Array, endBytes: number): void {
  const used = endBytes % BLOCK_BYTES;
  if (used === 0) return;
  new Uint8Array(last.buffer, last.byteOffset + last.length, BLOCK_BYTES - used).fill(0);
}
