/**
 * Keeps extra copies of fragments where reading pays for them: it measures the use of segments and nodes, asks the judge (copy-judge.ts), makes
 * copies and drops them.
 *
 * Copies are the first to go: when room gets short, when they lie on a node that is draining or gone, when they are not what they should be, when their
 * segment is hardly read or often overwritten, and when they are switched off. It makes none while something more urgent is under way. What is done is in the
 * segment table; use is forgotten when the volume is closed, and copies that are there then are kept until it is known again.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import type { CopySettings } from '../../format/maintenance-state.ts';
import type { FragmentCopy, SegmentRecord } from '../../format/segment-record.ts';
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import { copiesOf, type Holding } from '../../log/fragment-holders.ts';
import type { ReadUse } from '../../log/read-use.ts';
import { BackgroundWork } from '../../maintenance/background-work.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import { dropCopies, makeCopy } from '../../maintenance/fragment-copies.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import type { RepairMemory } from '../../maintenance/repair-memory.ts';
import type { SharedPieces } from '../../maintenance/shared-pieces.ts';
import type { Platform } from '../../platform/platform.ts';
import type { SegmentPlaces } from '../heal/segment-places.ts';
import { DEFAULT_READ_COPY_POLICY } from '../plan/read-copies.ts';
import { CopyJudge } from './copy-judge.ts';
import type { CopyStatus, SegmentCopies } from './copy-report.ts';
import { RoomForWriters } from './room-for-writers.ts';
import { UseMeter } from './use-meter.ts';

export interface CopyKeeperParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly use: ReadUse;
  readonly budget: IoBudget;
  readonly pieces: SharedPieces;
  readonly limit: RateLimit;
  readonly draining: DrainingNodes;
  readonly isGone: (nodeId: number) => boolean;
  /** Something more urgent is under way. */
  readonly mustWait: () => boolean;
  /** More room than others count on. */
  readonly hasRoom: () => boolean;
  readonly onDamage: (record: SegmentRecord, nodeId: number) => void;
}

export const DEFAULT_COPY_SETTINGS: CopySettings = {
  enabled: true,
  limitBytesPerSecond: 0,
  windowSeconds: 600,
  readsPerDay: DEFAULT_READ_COPY_POLICY.readsPerDay.toMake,
  busyBytesPerSecond: 1000 * DEFAULT_READ_COPY_POLICY.busyBytesPerMs,
};

type Task =
  | { readonly kind: 'make'; readonly segmentId: number }
  | { readonly kind: 'drop'; readonly segmentId: number; readonly isDropped: (copy: Holding) => boolean };

/** Of the hottest segments, so many are looked at at once. */
const CANDIDATES = 64;
const BATCH_SEGMENTS = 16;
const LOOKS_A_WINDOW = 8;
const MOST_LOOK_MS = 30_000;
const LOOK_WITH_COPIES_MS = 5_000;
const LOOK_WHILE_SHORT_MS = 200;

export class CopyKeeper {
  readonly #platform: Platform;
  readonly #parts: CopyKeeperParts;
  readonly #meter: UseMeter;
  readonly #judge: CopyJudge;
  readonly #room: RoomForWriters;
  readonly #work: BackgroundWork<Task>;
  readonly #unsubscribe: readonly (() => void)[];
  /** Copies that are not what they should be, by segment. */
  readonly #bad = new Map<number, Set<number>>();
  #settings: CopySettings;
  #made = 0;
  #dropped = 0;

  constructor(platform: Platform, parts: CopyKeeperParts, settings: CopySettings) {
    const { links, metadata, claims, limit, budget, pieces, draining, places, use, hasRoom } = parts;
    this.#platform = platform;
    this.#parts = parts;
    this.#settings = settings;
    this.#meter = new UseMeter(use, (segmentId) => metadata.segment(segmentId), {
      windowMs: 1000 * settings.windowSeconds,
      nowMs: platform.clock.monotonicMs(),
    });
    const { clock } = platform;
    this.#judge = new CopyJudge({ clock, links, draining, meter: this.#meter }, settings);
    this.#room = new RoomForWriters({ clock, places, hasRoom, onShort: () => this.#work.wake() });
    this.#work = new BackgroundWork<Task>(platform, {
      ...{ workers: 1, claims, limit, budget, pieces },
      isNeeded: () => places.isLoaded && (this.#settings.enabled || places.copiedCount > 0),
      isHeldUp: () => false,
      batch: () => this.#batch(),
      carryOut: (task, memory) => this.#carryOut(task, memory),
      segmentOf: ({ segmentId }) => segmentId,
      retryInMs: () => this.#lookInMs(),
      onEnd: (tasks) => this.#log(tasks),
      onInterrupted: ({ message }) => platform.log.warn('copies-interrupted', { why: message }),
    });
    this.#unsubscribe = [
      metadata.observeSegments(this.#meter),
      draining.onChange(() => this.#work.retryNow()),
      links.onChange(() => {
        if (places.copiedCount > 0) this.#work.wake();
      }),
    ];
  }

  wake(): void {
    this.#work.wake();
  }

  set settings(settings: CopySettings) {
    const before = this.#settings;
    this.#settings = settings;
    this.#judge.settings = settings;
    if (settings.windowSeconds !== before.windowSeconds) {
      this.#meter.restart(1000 * settings.windowSeconds, this.#nowMs);
    }
    this.#work.retryNow();
  }

  status(): CopyStatus {
    const { places, links } = this.#parts;
    this.#meter.look(this.#nowMs);
    let copies = 0;
    let bytes = 0;
    for (const each of places.copied()) {
      copies += each.copies.length;
      bytes += each.copies.length * each.fragmentBlocks * BLOCK_BYTES;
    }
    return {
      state: this.#state(),
      ...{ copiedSegments: places.copiedCount, copies, bytes, made: this.#made, dropped: this.#dropped },
      nodes: [...links.links.keys()].map((id) => ({ id, readBytesPerSecond: this.#nodeRate(id) })),
    };
  }

  #nodeRate(nodeId: number): number {
    return Math.round(1000 * this.#meter.nodeReadBytesPerMs(nodeId));
  }

  #state(): CopyStatus['state'] {
    if (this.#work.isRunning) return 'working';
    if (!this.#settings.enabled) return 'off';
    return this.#parts.mustWait() || this.#room.isShort ? 'waiting' : 'idle';
  }

  /** What is thought of a segment now; undefined: there is none. */
  explain(segmentId: number): SegmentCopies | undefined {
    const record = this.#parts.metadata.segment(segmentId);
    if (record === undefined || record.dataBlocks === 0) return undefined;
    this.#meter.look(this.#nowMs);
    const { readBytesPerMs, overwrittenBytesPerMs } = this.#meter.segment(segmentId);
    const { decision } = this.#judge.judge(record);
    return {
      ...decision,
      copies: copiesOf(record),
      readBytesPerSecond: 1000 * readBytesPerMs,
      overwrittenBytesPerSecond: 1000 * overwrittenBytesPerMs,
      writesPerRead: Number.isFinite(decision.writesPerRead) ? decision.writesPerRead : null,
    };
  }

  /** A reader, a scrub or the inventory met a copy that is not what it should be. */
  noteBad(segmentId: number, nodeId: number): void {
    const bad = this.#bad.get(segmentId) ?? new Set();
    this.#bad.set(segmentId, bad.add(nodeId));
    this.#work.wake();
  }

  /** On a node: what writers may count on, since it is given up when they need it. */
  yieldingBytes(nodeId: number): number {
    return this.#room.yieldingBytes(nodeId);
  }

  /** A writer finds no room: gives up all copies. Whether to wait for what that wins; to be asked again and again while it waits. */
  giveUpAll(): boolean {
    return this.#room.isWorthWaiting();
  }

  get #nowMs(): number {
    return this.#platform.clock.monotonicMs();
  }

  #lookInMs(): number {
    const { copiedCount } = this.#parts.places;
    if (copiedCount > 0 && this.#room.wasMissed) return LOOK_WHILE_SHORT_MS;
    const usual = Math.min(MOST_LOOK_MS, (1000 * this.#settings.windowSeconds) / LOOKS_A_WINDOW);
    return copiedCount > 0 ? Math.min(LOOK_WITH_COPIES_MS, usual) : usual;
  }

  #batch(): Task[] {
    this.#meter.look(this.#nowMs);
    const { isShort } = this.#room;
    const tasks: Task[] = [];
    if (this.#parts.places.copiedCount === 0) this.#bad.clear();
    for (const { segmentId, copies } of this.#parts.places.copied()) {
      if (tasks.length === BATCH_SEGMENTS) return tasks;
      if (this.#work.isPostponed(segmentId)) continue;
      const isDropped = this.#toDrop(segmentId, isShort);
      if (isDropped !== undefined && copies.some(isDropped))
        tasks.push({ kind: 'drop', segmentId, isDropped });
    }
    if (tasks.length > 0 || isShort || !this.#mayMake()) return tasks;
    for (const segmentId of this.#meter.hottest().slice(0, CANDIDATES)) {
      if (tasks.length === BATCH_SEGMENTS) break;
      if (!this.#work.isPostponed(segmentId) && this.#wanted(segmentId).length > 0) {
        tasks.push({ kind: 'make', segmentId });
      }
    }
    return tasks;
  }

  #mayMake(): boolean {
    return this.#settings.enabled && !this.#parts.mustWait();
  }

  /** undefined: all of them stay. */
  #toDrop(segmentId: number, isShort: boolean): ((copy: Holding) => boolean) | undefined {
    const { metadata, links, draining, isGone } = this.#parts;
    const record = metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0) return undefined;
    if (isShort || !this.#settings.enabled) return () => true;
    const { verdict, reason } = this.#judge.judge(record).decision;
    // What was not seen to be read yet may have been read a lot before the volume was opened.
    if (verdict === 'drop' && (reason !== 'read-seldom' || this.#meter.isSettled(this.#nowMs)))
      return () => true;
    const bad = this.#bad.get(segmentId);
    return ({ nodeId }) =>
      bad?.has(nodeId) === true || draining.has(nodeId) || !links.links.has(nodeId) || isGone(nodeId);
  }

  #wanted(segmentId: number): readonly FragmentCopy[] {
    const record = this.#parts.metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0 || record.dataBlocks === 0) return [];
    return this.#judge.judge(record).wanted;
  }

  /** False: not now. */
  #carryOut(task: Task, memory: RepairMemory): Promise<boolean> {
    return task.kind === 'drop' ? this.#drop(task, memory) : this.#make(task.segmentId, memory);
  }

  #drop({ segmentId, isDropped }: Extract<Task, { kind: 'drop' }>, memory: RepairMemory): Promise<boolean> {
    return this.#work.claimed(segmentId, async () => {
      const record = this.#parts.metadata.segment(segmentId);
      if (record === undefined || record.liveBlocks === 0) return false;
      const going = copiesOf(record).filter(isDropped);
      const bytes = record.fragmentBlocks * BLOCK_BYTES;
      const holders = going.map(({ nodeId }) => nodeId);
      const drop = () => dropCopies(this.#repairParts(memory), record, isDropped);
      if (!(await this.#room.whileFreeing(holders, bytes, drop))) return false;
      this.#dropped += going.length;
      this.#bad.delete(segmentId);
      return true;
    });
  }

  async #make(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const lengthBytes = (this.#parts.metadata.segment(segmentId)?.fragmentBlocks ?? 0) * BLOCK_BYTES;
    const wanted = this.#wanted(segmentId).length;
    const moved = await this.#work.turn(wanted * lengthBytes, 2 * wanted * lengthBytes);
    // Waiting took a while.
    if (moved === undefined || !this.#mayMake() || this.#room.isShort) return false;
    if (!(await this.#work.claimed(segmentId, () => this.#makeAll(segmentId, memory)))) return false;
    moved();
    return true;
  }

  async #makeAll(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const parts = this.#repairParts(memory);
    let made = 0;
    for (const copy of this.#wanted(segmentId)) {
      const record = this.#parts.metadata.segment(segmentId);
      if (record === undefined || record.liveBlocks === 0) break;
      const outcome = await makeCopy(parts, record, copy);
      if (outcome === 'made') {
        made++;
        this.#made++;
        this.#work.progress.add(record.fragmentBlocks * BLOCK_BYTES);
      } else if (outcome === 'wrong') this.#parts.onDamage(record, record.nodes[copy.position]!);
      else if (outcome === 'refused') this.#judge.noteRefused(segmentId, copy.nodeId);
    }
    return made > 0;
  }

  #repairParts(memory: RepairMemory): RepairParts {
    const { metadata, calls, sources, claims } = this.#parts;
    return { platform: this.#platform, metadata, calls, sources, claims, memory };
  }

  #log(tasks: number): void {
    if (tasks > 0) this.#platform.log.info('copies-kept', { made: this.#made, dropped: this.#dropped });
  }

  /** What is under way ends; the metadata still has to be open. */
  async close(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#work.close();
  }
}
