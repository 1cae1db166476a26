/**
 * A log of plain memory, for tests of the layer above: segments go into a map instead of to nodes, in an order and at moments that the test may
 * decide. Segment memory is the real SegmentBuffer; the store outlives a crash, memory does not.
 */
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import {
  type DurableSegment,
  type InlineBlocks,
  LogUnreadable,
  LogUnwritable,
  type Placement,
  type ReadBuffer,
  type SegmentReader,
  type SegmentWriter,
} from '../../../src/log/log.ts';
import { SegmentBuffer } from '../../../src/log/segment-buffer.ts';
import { slotGeometry } from '../../../src/log/segment-layout.ts';
import { nativeKernels } from '../../../src/platform/native/native-kernels.ts';

/** What survives: segments that were stored. */
export type SegmentStore = Map<number, Buffer>;

export interface StandInLogOptions {
  readonly term: number;
  readonly segmentBlocks: number;
  readonly slotCount: number;
}

export class StandInWriter implements SegmentWriter {
  awaitsRoom = false;
  onDurable: ((segment: DurableSegment) => void) | undefined;
  onTrouble: ((trouble: LogUnwritable | undefined) => void) | undefined;
  trouble: LogUnwritable | undefined;
  /** Segments are stored only when storeNext() says so. */
  held = false;
  /** Turns of the event loop until a sealed segment is stored. */
  latencyTurns = 0;
  freeBytes = 1024 * MIB;
  freed: number[] = [];

  readonly #options: StandInLogOptions;
  readonly #store: SegmentStore;
  readonly #free: SegmentBuffer[] = [];
  readonly #pending = new Map<number, SegmentBuffer>();
  readonly #pinned = new Map<number, SegmentBuffer>();
  #sealed: SegmentBuffer[] = [];
  #open: SegmentBuffer | undefined;
  #counter = 0;
  #roomWaiters: { resolve: () => void; reject: (reason: Error) => void }[] = [];
  #drainWaiters: (() => void)[] = [];
  #segmentsWritten = 0;
  #closed = false;

  constructor(store: SegmentStore, options: StandInLogOptions) {
    this.#store = store;
    this.#options = options;
    const geometry = slotGeometry({ dataFragments: 1, parityFragments: 0 }, options.segmentBlocks);
    for (let slot = 0; slot < options.slotCount; slot++)
      this.#free.push(new SegmentBuffer(slot, Buffer.alloc(geometry.slotBlocks * BLOCK_BYTES), geometry));
  }

  landing(): readonly Uint8Array[] | undefined {
    const parts: Uint8Array[] = [];
    let room = 0;
    if (this.#open !== undefined) {
      parts.push(this.#open.view(this.#open.blockCount, this.#open.roomBlocks));
      room += this.#open.roomBlocks;
    }
    for (let at = this.#free.length - 1; room < MIB / BLOCK_BYTES; at--) {
      if (at < 0) return undefined;
      const blocks = this.#options.segmentBlocks - 1;
      parts.push(this.#free[at]!.view(0, blocks));
      room += blocks;
    }
    return parts;
  }

  async whenRoom(): Promise<void> {
    if (this.trouble !== undefined) throw this.trouble;
    if (this.landing() !== undefined) return;
    await new Promise<void>((resolve, reject) => {
      this.#roomWaiters.push({ resolve, reject });
    });
  }

  appendLanded(inode: number, firstFileBlock: number, blockCount: number): readonly Placement[] {
    if (this.trouble !== undefined) throw this.trouble;
    if (blockCount * BLOCK_BYTES > this.freeBytes) throw new LogUnwritable('full', 'no room');
    this.freeBytes -= blockCount * BLOCK_BYTES;
    const placements: Placement[] = [];
    for (let done = 0; done < blockCount; ) {
      const buffer = this.#open ?? this.#openNext();
      const count = Math.min(blockCount - done, buffer.roomBlocks);
      const blockIndex = buffer.append(inode, firstFileBlock + done, count);
      placements.push({ segmentId: buffer.segmentId, blockIndex, count });
      done += count;
      if (buffer.roomBlocks === 0) this.#launch(buffer);
    }
    return placements;
  }

  append(inode: number, firstFileBlock: number, blocks: Uint8Array): readonly Placement[] {
    const parts = this.landing();
    if (parts === undefined || blocks.length > MIB) throw new Error('an append needs a landing');
    let from = 0;
    for (const part of parts) {
      const piece = blocks.subarray(from, from + part.length);
      part.set(piece);
      from += piece.length;
    }
    return this.appendLanded(inode, firstFileBlock, blocks.length / BLOCK_BYTES);
  }

  pendingBytes(segmentId: number, blockIndex: number, count: number): Uint8Array | undefined {
    return this.#pending.get(segmentId)?.view(blockIndex, count);
  }

  isPending(segmentId: number): boolean {
    return this.pendingBytes(segmentId, 0, 1) !== undefined;
  }

  pin(segmentId: number): void {
    const buffer = this.#pending.get(segmentId)!;
    buffer.pins += 1;
    this.#pinned.set(segmentId, buffer);
  }

  unpin(segmentId: number): void {
    const buffer = this.#pinned.get(segmentId);
    if (buffer === undefined || buffer.pins === 0) throw new Error('unpin without pin');
    buffer.pins -= 1;
    if (buffer.pins > 0) return;
    this.#pinned.delete(segmentId);
    if (buffer.released) this.#recycle(buffer);
  }

  get pinnedCount(): number {
    return this.#pinned.size;
  }

  markDead(segmentId: number, blockIndex: number): void {
    const buffer = this.#pending.get(segmentId);
    if (buffer === undefined) throw new Error(`segment ${segmentId} is not pending`);
    buffer.markDead(blockIndex);
  }

  forEachPendingBlock(
    inode: number,
    visit: (segmentId: number, blockIndex: number, fileBlock: number) => void,
  ): void {
    for (const buffer of this.#pending.values()) buffer.forEachLive(inode, visit);
  }

  get openDirtyBytes(): number {
    return (this.#open?.dirtyBlocks ?? 0) * BLOCK_BYTES;
  }

  get sealedSegments(): readonly number[] {
    return [...this.#pending.keys()].filter((segmentId) => segmentId !== this.#open?.segmentId);
  }

  get openSegmentId(): number | undefined {
    return this.#open?.segmentId;
  }

  takeInline(): InlineBlocks | undefined {
    return this.#open?.takeInline(nativeKernels);
  }

  seal(force = false): number | undefined {
    const open = this.#open;
    if (open === undefined || (open.dirtyBlocks === 0 && !force)) return undefined;
    if (open.liveBlocks > 0) {
      this.#launch(open);
      return open.segmentId;
    }
    this.#open = undefined;
    this.release(open.segmentId);
    return undefined;
  }

  /** Stores the oldest sealed segment. */
  storeNext(): boolean {
    const buffer = this.#sealed.shift();
    if (buffer === undefined || this.#closed) return false;
    this.#store.set(buffer.segmentId, Buffer.from(buffer.view(0, buffer.blockCount)));
    this.#segmentsWritten += 1;
    this.onDurable?.({ record: this.#record(buffer), contents: buffer.contents(buffer.blockCount) });
    return true;
  }

  release(segmentId: number): void {
    const buffer = this.#pending.get(segmentId);
    if (buffer === undefined) throw new Error(`segment ${segmentId} is released once`);
    this.#pending.delete(segmentId);
    buffer.released = true;
    if (buffer.pins === 0) this.#recycle(buffer);
    if (this.#pending.size === 0) for (const wake of this.#drainWaiters.splice(0)) wake();
  }

  setTrouble(trouble: LogUnwritable | undefined): void {
    this.trouble = trouble;
    if (trouble !== undefined) for (const { reject } of this.#roomWaiters.splice(0)) reject(trouble);
    this.onTrouble?.(trouble);
  }

  availableBytes(): number {
    return this.freeBytes;
  }

  roomSegments(): number {
    return Math.floor(this.availableBytes() / (4 * MIB));
  }

  totalBytes(): number {
    return 1024 * MIB;
  }

  readonly lacksNodes = false;

  free(record: SegmentRecord): void {
    this.freed.push(record.segmentId);
    this.#store.delete(record.segmentId);
  }

  statistics() {
    return {
      segmentsWritten: this.#segmentsWritten,
      segmentsRewritten: 0,
      inFlight: this.#sealed.length,
      freeSlots: this.#free.length,
    };
  }

  async drain(): Promise<void> {
    this.seal(true);
    if (this.#pending.size > 0) await new Promise<void>((resolve) => this.#drainWaiters.push(resolve));
  }

  /** A crash: nothing more is stored or handed over. */
  close(): void {
    this.#closed = true;
  }

  #openNext(): SegmentBuffer {
    const buffer = this.#free.pop();
    if (buffer === undefined) throw new Error('an append needs a landing');
    this.#counter += 1;
    buffer.reset(this.#options.term * 2 ** 32 + this.#counter);
    this.#open = buffer;
    this.#pending.set(buffer.segmentId, buffer);
    return buffer;
  }

  #launch(buffer: SegmentBuffer): void {
    this.#open = undefined;
    buffer.finish(nativeKernels);
    this.#sealed.push(buffer);
    this.#storeAfter(this.latencyTurns);
  }

  #storeAfter(turns: number): void {
    setImmediate(() => {
      if (turns > 0) this.#storeAfter(turns - 1);
      else if (!this.held) this.storeNext();
    });
  }

  #record(buffer: SegmentBuffer): SegmentRecord {
    return {
      ...{ segmentId: buffer.segmentId, generation: 0, dataFragments: 1, parityFragments: 0 },
      ...{ fragmentBlocks: buffer.blockCount + buffer.summaryBlocks, dataBlocks: buffer.blockCount },
      ...{ summaryBlocks: buffer.summaryBlocks, nodes: [1], liveBlocks: buffer.liveBlocks },
    };
  }

  #recycle(buffer: SegmentBuffer): void {
    // Whoever still reads this memory sees that it is not his any more.
    buffer.bytes.fill(0xee);
    this.#free.push(buffer);
    if (this.landing() !== undefined) for (const { resolve } of this.#roomWaiters.splice(0)) resolve();
  }
}

export class StandInReader implements SegmentReader {
  readonly #store: SegmentStore;
  readonly #poolBytes: number;
  #usedBytes = 0;
  #waiters: (() => void)[] = [];
  /** The next so many reads are refused as stale. */
  staleReads = 0;
  blocksRead = 0;
  reads = 0;
  /** Reads wait for this. */
  gate: Promise<void> | undefined;

  constructor(store: SegmentStore, poolBytes = 32 * MIB) {
    this.#store = store;
    this.#poolBytes = poolBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  takeBuffer(lengthBytes: number): ReadBuffer | undefined {
    if (this.#usedBytes + lengthBytes > this.#poolBytes) return undefined;
    this.#usedBytes += lengthBytes;
    let released = false;
    return {
      bytes: Buffer.alloc(lengthBytes, 0xdd),
      release: () => {
        if (released) throw new Error('a buffer is released once');
        released = true;
        this.#usedBytes -= lengthBytes;
        for (const wake of this.#waiters.splice(0)) wake();
      },
    };
  }

  async whenBuffer(lengthBytes: number): Promise<ReadBuffer> {
    for (;;) {
      const buffer = this.takeBuffer(lengthBytes);
      if (buffer !== undefined) return buffer;
      await new Promise<void>((resolve) => this.#waiters.push(resolve));
    }
  }

  async readBlocks(
    record: SegmentRecord,
    blockIndex: number,
    count: number,
    checksums: Uint32Array,
    checksumIndex: number,
    into: Uint8Array,
  ): Promise<void> {
    this.reads += 1;
    await (this.gate ?? Promise.resolve());
    if (this.staleReads > 0) {
      this.staleReads -= 1;
      throw new LogUnreadable('stale', 'moved');
    }
    const bytes = this.#store.get(record.segmentId);
    if (bytes === undefined) throw new LogUnreadable('lost', `segment ${record.segmentId} is nowhere`);
    bytes.copy(into, 0, blockIndex * BLOCK_BYTES, (blockIndex + count) * BLOCK_BYTES);
    this.blocksRead += count;
    const found = new Uint32Array(count);
    nativeKernels.crc32cBlocks(into.subarray(0, count * BLOCK_BYTES), BLOCK_BYTES, found, 0);
    for (let at = 0; at < count; at++)
      if (found[at] !== checksums[checksumIndex + at])
        throw new LogUnreadable('lost', `block ${blockIndex + at} does not match its checksum`);
  }

  statistics() {
    return {
      usedPoolBytes: 0,
      blocksRead: this.blocksRead,
      blocksRebuilt: 0,
      corruptBlocks: 0,
      slowReads: 0,
    };
  }

  close(): void {}
}
