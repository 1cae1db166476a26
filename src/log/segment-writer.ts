/**
 * The segment writer: the open segment, and all that are in memory until they are committed and read no more. See log.ts for the contract.
 *
 * A segment is open (takes blocks), then in flight (segments-in-flight.ts), handed over in the order of ids when it is durable, then released.
 * Memory is the slab's slots and nothing grows beyond it: no free slot (free-slots.ts) means no landing, which pushes back on writers.
 *
 * Appends are refused when one more full segment could not be placed beside those under way (segment-room.ts), so that what was accepted can be
 * written. Here it is judged whether writing is in trouble, and who waits is told.
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
import { FreeSlots } from './free-slots.ts';
import {
  type DurableSegment,
  type InlineBlocks,
  LogUnwritable,
  type Placement,
  type SegmentWriter,
  type WriterStatistics,
} from './log.ts';
import type { SegmentBuffer } from './segment-buffer.ts';
import { SegmentIds } from './segment-ids.ts';
import { type RoomRule, SegmentRoom, type UnderWay } from './segment-room.ts';
import { SegmentsInFlight } from './segments-in-flight.ts';
import { type Reigns, StorageFencing } from './storage-fencing.ts';
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

/** The pace of looking after flights: answers overdue, nodes to try again. */
const TICK_MS = 100;
/** Without any progress for so long, writers and fsyncs are told. */
const TROUBLE_TICKS = 30;
const REQUEST_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;

export function createSegmentWriter(platform: Platform, options: SegmentWriterOptions): SegmentWriter {
  return new LogWriter(platform, options);
}

class LogWriter implements SegmentWriter, UnderWay {
  onDurable: ((segment: DurableSegment) => void) | undefined;
  onTrouble: ((trouble: LogUnwritable | undefined) => void) | undefined;
  awaitsRoom = false;

  readonly #platform: Platform;
  readonly #nodes: WritableNodes;
  readonly #locations: FragmentLocations;
  readonly #freeing: FragmentFreeing;
  readonly #fencing: StorageFencing;
  readonly #unsubscribe: () => void;
  readonly #ids: SegmentIds;
  readonly #landingBlocks: number;
  readonly #room: SegmentRoom;

  readonly #slots: FreeSlots;
  #open: SegmentBuffer | undefined;
  readonly #flights: SegmentsInFlight;
  /** Open, in flight, or handed over and not released: what may be read from memory. */
  readonly #pending = new Map<number, SegmentBuffer>();
  /** Pinned segments, released ones too. */
  readonly #pinned = new Map<number, SegmentBuffer>();

  #landing: Uint8Array[] | undefined;
  #timer: Timer | undefined;
  #trouble: LogUnwritable | undefined;
  #fenced = false;
  #closed = false;
  readonly #roomWaiters = new Waiters();
  readonly #drainWaiters = new Waiters();

  constructor(platform: Platform, options: SegmentWriterOptions) {
    const { links, slab, locations, term } = options;
    this.#ids = options.ids ?? new SegmentIds(term);
    this.#landingBlocks = options.landingBlocks ?? REQUEST_BLOCKS;
    assert(slab.slotCount * (slab.geometry.segmentBlocks - 1) >= this.#landingBlocks, 'slots for a landing');
    this.#platform = platform;
    this.#locations = locations;
    const nodes = options.nodes ?? new WritableNodes(links, slab.shape);
    const leastProtection = options.leastProtection ?? 'full';
    this.#nodes = nodes;
    this.#freeing = new FragmentFreeing(links, platform.timers, platform.log, term);
    this.#freeing.onFreed = () => this.#recheckRoom();
    this.#slots = new FreeSlots(slab);
    this.#room = new SegmentRoom({
      nodes,
      slab,
      leastProtection,
      underWay: this,
      rule: options.room,
      yieldingBytes: options.yieldingBytes ?? (() => 0),
    });
    this.#flights = new SegmentsInFlight(
      {
        links,
        locations,
        term,
        nodes,
        leastProtection,
        freeing: this.#freeing,
        kernels: platform.kernels,
        log: platform.log,
        onFenced: () => this.#beFenced(),
      },
      (segment) => this.onDurable?.(segment),
      () => this.#judge(),
    );
    const { reigns = () => Promise.resolve('unknown' as const) } = options;
    this.#fencing = new StorageFencing(platform, links, term, reigns, () => this.#beFenced());
    this.#unsubscribe = links.onChange(() => this.#advanceFlights());
  }

  // Appending

  landing(): readonly Uint8Array[] | undefined {
    if (this.#landing !== undefined) return this.#landing;
    const room = this.#open?.roomBlocks ?? 0;
    this.awaitsRoom =
      room < this.#landingBlocks && this.#trouble === undefined && this.#room.mustWait(this.#landingBlocks);
    if (this.awaitsRoom) return undefined;
    const upcoming = this.#slots.prepare(this.#landingBlocks - room);
    if (upcoming === undefined) return undefined;
    const parts: Uint8Array[] = [];
    if (this.#open !== undefined) parts.push(this.#open.view(this.#open.blockCount, this.#open.roomBlocks));
    this.#slots.show(upcoming, parts);
    this.#landing = parts;
    return parts;
  }

  whenRoom(): Promise<void> {
    if (this.#trouble !== undefined) return Promise.reject(this.#trouble);
    if (this.landing() !== undefined) return Promise.resolve();
    if (this.awaitsRoom) this.#timer ??= this.#platform.timers.after(TICK_MS, () => this.#onTick());
    return this.#roomWaiters.wait();
  }

  /** The nodes may have more room than before. */
  #recheckRoom(): void {
    if (this.#roomWaiters.size > 0 && this.landing() !== undefined) this.#roomWaiters.resolveAll();
  }

  appendLanded(inode: number, firstFileBlock: number, blockCount: number): readonly Placement[] {
    assert(blockCount > 0, 'an append of no blocks');
    const open = this.#open;
    if (this.#trouble !== undefined) throw this.#trouble;
    if (open !== undefined && blockCount <= open.roomBlocks) {
      return [this.#claim(open, inode, firstFileBlock, blockCount)];
    }
    this.#room.admit(blockCount - (open?.roomBlocks ?? 0));
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

  #openNext(): SegmentBuffer {
    const buffer = this.#slots.take();
    buffer.reset(this.#ids.next());
    this.#room.begun();
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
    this.#timer ??= this.#platform.timers.after(TICK_MS, () => this.#onTick());
    if (this.#flights.launch(buffer).lacksRoom) this.#judge();
  }

  #onTick(): void {
    this.#timer = undefined;
    const isIdle = this.#flights.count === 0 && this.#roomWaiters.size === 0;
    if (isIdle && this.#trouble === undefined) return;
    this.#flights.passTick();
    this.#nodes.advance();
    this.#timer = this.#platform.timers.after(TICK_MS, () => this.#onTick());
    this.#advanceFlights();
    this.#recheckRoom();
  }

  #advanceFlights(): void {
    this.#flights.advance();
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
    this.#slots.give(buffer);
    this.#recheckRoom();
  }

  // Trouble

  get trouble(): LogUnwritable | undefined {
    return this.#trouble;
  }

  #judge(): void {
    if (this.#fenced) this.#setTrouble('unavailable', 'another mount has taken this volume over');
    else if (this.#flights.lackRoom && !this.#room.mayWait) {
      this.#setTrouble('full', 'the storage nodes have no room for what was written');
    } else if (this.#flights.stuckTicks >= TROUBLE_TICKS) {
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

  get unplacedSegments(): number {
    return (this.#open === undefined ? 0 : 1) + this.#flights.unplaced;
  }

  /** What segments about to be committed overwrite will be dead then. */
  get isMoreComing(): boolean {
    return this.#pending.size > this.unplacedSegments || this.#freeing.isUnderWay;
  }

  availableBytes(): number {
    return this.#room.availableBytes();
  }

  roomSegments(): number {
    return this.#room.roomSegments();
  }

  totalBytes(): number {
    return this.#room.totalBytes();
  }

  get lacksNodes(): boolean {
    return !this.#nodes.allAnswer;
  }

  free(record: SegmentRecord): void {
    const { segmentId, generation } = record;
    this.#locations.forgetSegment(segmentId);
    for (const { nodeId, position } of holdings(record)) {
      this.#freeing.free(nodeId, { segmentId, position, generation });
    }
  }

  statistics(): WriterStatistics {
    return {
      segmentsWritten: this.#flights.written,
      segmentsRewritten: this.#flights.rewritten,
      inFlight: this.#flights.count,
      freeSlots: this.#slots.count,
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
    this.#flights.abandon();
    const closed = new LogUnwritable('unavailable', 'the log is closed');
    this.#trouble = closed;
    this.#roomWaiters.rejectAll(closed);
    this.#drainWaiters.rejectAll(closed);
  }
}
