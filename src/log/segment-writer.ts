/**
 * The segment writer: the open segment, the slots, the order of commits. See log.ts for the contract.
 *
 * A segment is open (takes blocks), then in flight (segment-flight.ts makes it durable), then handed over in the order of ids, then released.
 * Memory is the slab's slots and nothing grows beyond it: no free slot means no landing, which pushes back on writers.
 *
 * Appends are refused when one more full segment could not be placed beside those under way, so that what was accepted can be written.
 */
import { assert } from '../base/assert.ts';
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { FragmentFreeing } from './fragment-freeing.ts';
import { holdings } from './fragment-holders.ts';
import type { FragmentLocations } from './fragment-locations.ts';
import {
  type DurableSegment,
  type InlineBlocks,
  LogUnwritable,
  type Placement,
  type SegmentWriter,
  type WriterStatistics,
} from './log.ts';
import { SegmentBuffer } from './segment-buffer.ts';
import { type FlightContext, SegmentFlight } from './segment-flight.ts';
import { SegmentIds } from './segment-ids.ts';
import { type Reigns, StorageFencing } from './storage-fencing.ts';
import { usableBytes } from './usable-space.ts';
import { Waiters } from './waiters.ts';
import { type Protection, WritableNodes } from './writable-nodes.ts';
import type { WriteSlab } from './write-slab.ts';

export interface SegmentWriterOptions {
  readonly links: NodeLinks;
  readonly slab: WriteSlab;
  readonly locations: FragmentLocations;
  /** Of this primary; segment ids begin with it. */
  readonly term: number;
  /** Shared by all writers of this primary. */
  readonly ids?: SegmentIds;
  readonly nodes?: WritableNodes;
  /** 'full' unless said otherwise. */
  readonly leastProtection?: Protection;
  /** What landing() gives at least: the longest append. */
  readonly landingBlocks?: number;
  readonly room?: RoomRule;
  /** On a node: what is given up as soon as the room is needed, and counts as room therefore. */
  readonly yieldingBytes?: (nodeId: number) => number;
  /** Without it nodes that have forgotten their term go on without one. */
  readonly reigns?: Reigns;
}

/** For a writer that leaves room to others, who may win some for it. */
export interface RoomRule {
  /** Full segments that must still fit when this writer begins one. */
  reserveSegments(): number;
  /**
   * There is no room for a segment: whether to wait. If not, appends are refused. `isMoreComing`: nodes are being told to free something, or segments of
   * this writer are about to be committed, and what they overwrite will be dead then.
   */
  mayWait(isMoreComing: boolean): boolean;
}

/** The pace of looking after flights: answers overdue, nodes to try again. */
const TICK_MS = 100;
/** Without any progress for so long, writers and fsyncs are told. */
const TROUBLE_TICKS = 30;
const REQUEST_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;

export function createSegmentWriter(platform: Platform, options: SegmentWriterOptions): SegmentWriter {
  return new LogWriter(platform, options);
}

class LogWriter implements SegmentWriter {
  onDurable: ((segment: DurableSegment) => void) | undefined;
  onTrouble: ((trouble: LogUnwritable | undefined) => void) | undefined;
  awaitsRoom = false;

  readonly #platform: Platform;
  readonly #options: SegmentWriterOptions;
  readonly #nodes: WritableNodes;
  readonly #least: Protection;
  readonly #context: FlightContext;
  readonly #freeing: FragmentFreeing;
  readonly #fencing: StorageFencing;
  readonly #unsubscribe: () => void;
  readonly #segmentBlocks: number;
  readonly #ids: SegmentIds;
  readonly #landingBlocks: number;
  /** There was room for the next segments when it was last looked at, for this open one. */
  #nextFits = false;

  /** Slots of no segment; the last ones are taken first. */
  readonly #free: SegmentBuffer[] = [];
  /** Taken from `free` for the landing; the first becomes the open segment when this one is full. */
  readonly #upcoming: SegmentBuffer[] = [];
  #open: SegmentBuffer | undefined;
  /** Sealed and not handed over yet, in order of ids. */
  readonly #flights: SegmentFlight[] = [];
  /** Open, in flight, or handed over and not released: what may be read from memory. */
  readonly #pending = new Map<number, SegmentBuffer>();

  #landing: Uint8Array[] | undefined;
  #timer: Timer | undefined;
  #progressTick = 0;
  #trouble: LogUnwritable | undefined;
  #fenced = false;
  #closed = false;
  #segmentsWritten = 0;
  #segmentsRewritten = 0;
  readonly #roomWaiters = new Waiters();
  readonly #drainWaiters = new Waiters();

  constructor(platform: Platform, options: SegmentWriterOptions) {
    const { links, slab, locations, term } = options;
    this.#ids = options.ids ?? new SegmentIds(term);
    this.#landingBlocks = options.landingBlocks ?? REQUEST_BLOCKS;
    assert(slab.slotCount * (slab.geometry.segmentBlocks - 1) >= this.#landingBlocks, 'slots for a landing');
    this.#platform = platform;
    this.#options = options;
    this.#segmentBlocks = slab.geometry.segmentBlocks;
    this.#nodes = options.nodes ?? new WritableNodes(links, slab.shape);
    this.#least = options.leastProtection ?? 'full';
    this.#freeing = new FragmentFreeing(links, platform.timers, platform.log, term);
    this.#freeing.onFreed = () => this.#recheckRoom();
    for (let slot = slab.slotCount - 1; slot >= 0; slot--) {
      this.#free.push(new SegmentBuffer(slot, slab.slot(slot), slab.geometry));
    }
    this.#context = {
      links,
      locations,
      term,
      nodes: this.#nodes,
      leastProtection: this.#least,
      freeing: this.#freeing,
      kernels: platform.kernels,
      log: platform.log,
      zeroBlockChecksum: platform.kernels.crc32c(Buffer.alloc(BLOCK_BYTES)),
      tick: 0,
      onProgress: () => {
        this.#progressTick = this.#context.tick;
      },
      onDone: () => this.#handOver(),
      onFenced: () => this.#beFenced(),
    };
    const { reigns = () => Promise.resolve('unknown' as const) } = options;
    this.#fencing = new StorageFencing(platform, links, term, reigns, () => this.#beFenced());
    this.#unsubscribe = links.onChange(() => this.#advanceFlights());
  }

  // Appending

  landing(): readonly Uint8Array[] | undefined {
    if (this.#landing !== undefined) return this.#landing;
    let room = this.#open?.roomBlocks ?? 0;
    this.awaitsRoom = room < this.#landingBlocks && this.#mustWait();
    if (this.awaitsRoom) return undefined;
    let upcoming = 0;
    while (room < this.#landingBlocks) {
      if (upcoming === this.#upcoming.length) {
        const buffer = this.#free.pop();
        if (buffer === undefined) return undefined;
        this.#upcoming.push(buffer);
      }
      upcoming++;
      room += this.#segmentBlocks - 1;
    }
    const parts: Uint8Array[] = [];
    if (this.#open !== undefined) parts.push(this.#open.view(this.#open.blockCount, this.#open.roomBlocks));
    for (let index = 0; index < upcoming; index++) {
      parts.push(this.#upcoming[index]!.view(0, this.#segmentBlocks - 1));
    }
    this.#landing = parts;
    return parts;
  }

  whenRoom(): Promise<void> {
    if (this.#trouble !== undefined) return Promise.reject(this.#trouble);
    if (this.landing() !== undefined) return Promise.resolve();
    if (this.awaitsRoom) this.#timer ??= this.#platform.timers.after(TICK_MS, () => this.#onTick());
    return this.#roomWaiters.wait();
  }

  /** The nodes have no room for the segments that a landing would begin, and some is being won. */
  #mustWait(): boolean {
    const { room } = this.#options;
    if (room === undefined || this.#nextFits) return false;
    if (this.#trouble !== undefined || !this.#nodes.enoughAnswer(this.#least)) return false;
    this.#nextFits = this.#fits(Math.ceil(this.#landingBlocks / (this.#segmentBlocks - 1)));
    return !this.#nextFits && this.#mayWait;
  }

  get #mayWait(): boolean {
    const unplaced = (this.#open === undefined ? 0 : 1) + this.#unplacedFlights();
    const isMoreComing = this.#pending.size > unplaced || this.#freeing.isUnderWay;
    return this.#options.room?.mayWait(isMoreComing) === true;
  }

  /** Whether so many more segments can be written beside those under way and the reserve. */
  #fits(beginning: number): boolean {
    const unplaced = (this.#open === undefined ? 0 : 1) + this.#unplacedFlights();
    const reserve = this.#options.room?.reserveSegments() ?? 0;
    return this.#nodes.admits(this.#segmentBlocks, unplaced + beginning - 1 + reserve, this.#least);
  }

  /** The nodes may have more room than before. */
  #recheckRoom(): void {
    if (this.#roomWaiters.size > 0 && this.landing() !== undefined) this.#roomWaiters.resolveAll();
  }

  appendLanded(inode: number, firstFileBlock: number, blockCount: number): readonly Placement[] {
    assert(blockCount > 0, 'an append of no blocks');
    const open = this.#open;
    if (open !== undefined && blockCount <= open.roomBlocks) {
      if (this.#trouble !== undefined) throw this.#trouble;
      return [this.#claim(open, inode, firstFileBlock, blockCount)];
    }
    this.#admit(blockCount - (open?.roomBlocks ?? 0));
    const placements: Placement[] = [];
    let done = 0;
    while (done < blockCount) {
      const buffer = this.#open ?? this.#openNext();
      const count = Math.min(blockCount - done, buffer.roomBlocks);
      placements.push(this.#claim(buffer, inode, firstFileBlock + done, count));
      done += count;
    }
    return placements;
  }

  append(inode: number, firstFileBlock: number, blocks: Uint8Array): readonly Placement[] {
    const parts = this.landing();
    assert(
      parts !== undefined && blocks.length <= this.#landingBlocks * BLOCK_BYTES,
      'an append needs a landing',
    );
    assert(blocks.length % BLOCK_BYTES === 0, 'only whole blocks are appended');
    let from = 0;
    for (const part of parts) {
      const piece = blocks.subarray(from, from + part.length);
      part.set(piece);
      from += piece.length;
    }
    return this.appendLanded(inode, firstFileBlock, blocks.length / BLOCK_BYTES);
  }

  #claim(buffer: SegmentBuffer, inode: number, fileBlock: number, count: number): Placement {
    const blockIndex = buffer.append(inode, fileBlock, count);
    this.#landing = undefined;
    if (buffer.roomBlocks === 0) this.#launch(buffer);
    return { segmentId: buffer.segmentId, blockIndex, count };
  }

  /** Throws unless the segments that `blockCount` more blocks begin can be written beside those under way. */
  #admit(blockCount: number): void {
    if (this.#trouble !== undefined) throw this.#trouble;
    const beginning = Math.ceil(blockCount / (this.#segmentBlocks - 1));
    // Kept in memory until nodes return; trouble comes if they do not.
    if (!this.#nodes.enoughAnswer(this.#least)) return;
    // What landed while there was room is taken; the reserve bears it.
    if (this.#fits(beginning) || this.#mayWait) return;
    throw new LogUnwritable('full', 'the storage nodes have no room for another segment');
  }

  #unplacedFlights(): number {
    let unplaced = 0;
    for (const flight of this.#flights) if (flight.unplaced) unplaced++;
    return unplaced;
  }

  #openNext(): SegmentBuffer {
    const buffer = this.#upcoming.shift() ?? this.#free.pop();
    assert(buffer !== undefined, 'an append needs a landing');
    buffer.reset(this.#ids.next());
    this.#nextFits = false;
    this.#open = buffer;
    this.#pending.set(buffer.segmentId, buffer);
    return buffer;
  }

  // Blocks in memory

  pendingBytes(segmentId: number, blockIndex: number, count: number): Uint8Array | undefined {
    return this.#pending.get(segmentId)?.view(blockIndex, count);
  }

  isPending(segmentId: number): boolean {
    return this.#pending.has(segmentId);
  }

  get sealedSegments(): readonly number[] {
    return [...this.#pending.keys()].filter((segmentId) => segmentId !== this.#open?.segmentId);
  }

  pin(segmentId: number): void {
    const buffer = this.#pending.get(segmentId);
    assert(buffer !== undefined, 'only a pending segment is pinned');
    buffer.pins++;
    this.#pinned.set(segmentId, buffer);
  }

  unpin(segmentId: number): void {
    const buffer = this.#pinned.get(segmentId);
    assert(buffer !== undefined && buffer.pins > 0, 'unpin without pin');
    buffer.pins--;
    if (buffer.pins > 0) return;
    this.#pinned.delete(segmentId);
    if (buffer.released) this.#recycle(buffer);
  }

  /** Pinned segments, released ones too. */
  readonly #pinned = new Map<number, SegmentBuffer>();

  markDead(segmentId: number, blockIndex: number): void {
    this.#pending.get(segmentId)?.markDead(blockIndex);
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

  get openSegmentId(): number | undefined {
    return this.#open?.segmentId;
  }

  takeInline(): InlineBlocks | undefined {
    return this.#open?.takeInline(this.#platform.kernels);
  }

  // Writing out

  seal(force = false): number | undefined {
    const open = this.#open;
    if (open === undefined || (open.dirtyBlocks === 0 && !force)) return undefined;
    if (open.liveBlocks > 0) {
      this.#launch(open);
      return open.segmentId;
    }
    this.#open = undefined;
    this.#landing = undefined;
    this.release(open.segmentId);
    return undefined;
  }

  #launch(buffer: SegmentBuffer): void {
    this.#open = undefined;
    this.#landing = undefined;
    buffer.finish(this.#platform.kernels);
    const flight = new SegmentFlight(buffer, this.#context);
    if (this.#flights.length === 0) this.#progressTick = this.#context.tick;
    this.#flights.push(flight);
    this.#timer ??= this.#platform.timers.after(TICK_MS, () => this.#onTick());
    flight.advance();
    if (flight.lacksRoom) this.#judge();
  }

  #onTick(): void {
    this.#timer = undefined;
    const isIdle = this.#flights.length === 0 && this.#roomWaiters.size === 0;
    if (isIdle && this.#trouble === undefined) return;
    this.#context.tick++;
    this.#nodes.advance();
    this.#timer = this.#platform.timers.after(TICK_MS, () => this.#onTick());
    this.#advanceFlights();
    this.#recheckRoom();
  }

  #advanceFlights(): void {
    for (const flight of [...this.#flights]) flight.advance();
    this.#judge();
  }

  #handOver(): void {
    for (let flight = this.#flights[0]; flight?.done; flight = this.#flights[0]) {
      this.#flights.shift();
      this.#segmentsWritten++;
      if (flight.rewritten) this.#segmentsRewritten++;
      const { buffer } = flight;
      this.onDurable?.({ record: flight.record, contents: buffer.contents(buffer.blockCount) });
    }
    this.#judge();
  }

  release(segmentId: number): void {
    const buffer = this.#pending.get(segmentId);
    assert(buffer !== undefined, `segment ${segmentId} is released once`);
    this.#pending.delete(segmentId);
    buffer.released = true;
    if (buffer.pins === 0) this.#recycle(buffer);
    if (this.#pending.size === 0) this.#drainWaiters.resolveAll();
  }

  #recycle(buffer: SegmentBuffer): void {
    this.#free.push(buffer);
    this.#recheckRoom();
  }

  // Trouble

  get trouble(): LogUnwritable | undefined {
    return this.#trouble;
  }

  #judge(): void {
    const stuckTicks = this.#flights.length === 0 ? 0 : this.#context.tick - this.#progressTick;
    if (this.#fenced) this.#setTrouble('unavailable', 'another mount has taken this volume over');
    else if (this.#flights.some((flight) => flight.lacksRoom) && !this.#mayWait) {
      this.#setTrouble('full', 'the storage nodes have no room for what was written');
    } else if (stuckTicks >= TROUBLE_TICKS) {
      this.#setTrouble('unavailable', 'too few storage nodes answer to write');
    } else this.#clearTrouble();
  }

  #setTrouble(reason: LogUnwritable['reason'], message: string): void {
    if (this.#trouble?.message === message) return;
    this.#platform.log.warn('log-unwritable', { reason, message });
    this.#trouble = new LogUnwritable(reason, message);
    this.#roomWaiters.rejectAll(this.#trouble);
    this.#drainWaiters.rejectAll(this.#trouble);
    this.onTrouble?.(this.#trouble);
  }

  #clearTrouble(): void {
    if (this.#trouble === undefined) return;
    this.#platform.log.info('log-writable-again');
    this.#trouble = undefined;
    this.onTrouble?.(undefined);
  }

  #beFenced(): void {
    this.#fenced = true;
    this.#judge();
  }

  // Space

  availableBytes(): number {
    const { slab, yieldingBytes = () => 0 } = this.#options;
    // Away is not full: while too few nodes answer for full parity, what is written waits for them, or will once have it.
    const nodes = this.#nodes.enoughAnswer('full') ? this.#nodes.live() : this.#nodes.known();
    const roomBytes = nodes.map((node) => node.freeBytes + yieldingBytes(node.id));
    const accepted = ((this.#open === undefined ? 0 : 1) + this.#unplacedFlights()) * this.#segmentBlocks;
    return Math.max(0, usableBytes(roomBytes, slab.shape, this.#segmentBlocks) - accepted * BLOCK_BYTES);
  }

  roomSegments(): number {
    const unplaced = (this.#open === undefined ? 0 : 1) + this.#unplacedFlights();
    return Math.max(0, this.#nodes.roomSegments(this.#segmentBlocks, this.#least) - unplaced);
  }

  totalBytes(): number {
    return usableBytes(this.#nodes.capacities(), this.#options.slab.shape, this.#segmentBlocks);
  }

  get lacksNodes(): boolean {
    return !this.#nodes.allAnswer;
  }

  free(record: SegmentRecord): void {
    const { segmentId, generation } = record;
    this.#options.locations.forgetSegment(segmentId);
    for (const { nodeId, position } of holdings(record)) {
      this.#freeing.free(nodeId, { segmentId, position, generation });
    }
  }

  statistics(): WriterStatistics {
    return {
      segmentsWritten: this.#segmentsWritten,
      segmentsRewritten: this.#segmentsRewritten,
      inFlight: this.#flights.length,
      freeSlots: this.#free.length + this.#upcoming.length,
    };
  }

  async drain(): Promise<void> {
    this.seal(true);
    if (this.#pending.size === 0) return;
    if (this.#trouble !== undefined) throw this.#trouble;
    await this.#drainWaiters.wait();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
    this.#freeing.close();
    this.#fencing.close();
    for (const flight of this.#flights) flight.abandon();
    const closed = new LogUnwritable('unavailable', 'the log is closed');
    this.#trouble = closed;
    this.#roomWaiters.rejectAll(closed);
    this.#drainWaiters.rejectAll(closed);
  }
}
