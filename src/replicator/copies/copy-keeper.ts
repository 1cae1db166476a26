/**
 * Keeps extra copies of fragments where reading pays for them: it measures the use of segments and nodes, asks the policy (plan/read-copies.ts), makes
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
import { storedFragmentBytes } from '../../log/writable-nodes.ts';
import { BackgroundWork } from '../../maintenance/background-work.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import { dropCopies, makeCopy } from '../../maintenance/fragment-copies.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import type { RepairMemory } from '../../maintenance/repair-memory.ts';
import type { Platform } from '../../platform/platform.ts';
import type { SegmentPlaces } from '../heal/segment-places.ts';
import { type CopyNode, placeCopies } from '../plan/copy-places.ts';
import {
  DEFAULT_READ_COPY_POLICY,
  decideReadCopy,
  type ReadCopyDecision,
  type ReadCopyPolicy,
  readsPerDayLimits,
} from '../plan/read-copies.ts';
import { UseMeter } from './use-meter.ts';

export interface CopyKeeperParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly use: ReadUse;
  readonly budget: IoBudget;
  readonly limit: RateLimit;
  readonly draining: DrainingNodes;
  readonly isGone: (nodeId: number) => boolean;
  /** Something more urgent is under way. */
  readonly mustWait: () => boolean;
  /** More room than others count on. */
  readonly hasRoom: () => boolean;
  readonly onDamage: (record: SegmentRecord, nodeId: number) => void;
}

/** Beside those of the policy: no node is left that holds nothing of the segment. */
export type CopyReason = ReadCopyDecision['reason'] | 'no-node-left';

export interface SegmentCopies {
  readonly copies: readonly FragmentCopy[];
  readonly readBytesPerSecond: number;
  readonly overwrittenBytesPerSecond: number;
  readonly verdict: ReadCopyDecision['verdict'];
  readonly reason: CopyReason;
  readonly readsPerDay: number;
  /** null: nothing is read. */
  readonly writesPerRead: number | null;
  readonly imbalance: number;
}

export interface CopyStatus {
  readonly state: 'off' | 'idle' | 'working' | 'waiting';
  readonly copiedSegments: number;
  readonly copies: number;
  readonly bytes: number;
  /** Since the volume was opened. */
  readonly made: number;
  readonly dropped: number;
  /** What is read from each node now. */
  readonly nodes: readonly { readonly id: number; readonly readBytesPerSecond: number }[];
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

interface Decision {
  readonly decision: Omit<ReadCopyDecision, 'reason'> & { readonly reason: CopyReason };
  readonly wanted: readonly FragmentCopy[];
}

/** Of the hottest segments, so many are looked at at once. */
const CANDIDATES = 64;
const BATCH_SEGMENTS = 16;
const LOOKS_A_WINDOW = 8;
const MOST_LOOK_MS = 30_000;
const LOOK_WITH_COPIES_MS = 5_000;
const LOOK_WHILE_SHORT_MS = 200;
/** After a writer found no room none are made for so long. */
const SHORT_MS = 60_000;
/** Writers wait for room of copies while some was won within this time. */
const PATIENCE_MS = 10_000;
/** Room that was won shows in what the nodes say after their answer. */
const ANSWER_MS = 1_000;
/** Writers that asked within this time are still waiting. */
const EPISODE_MS = 1_000;
/** A node keeps room for so many times what it gets. */
const ROOM_FACTOR = 4;
/** A node that freed a copy refuses it for a while. */
const REFUSED_MS = 600_000;
const MOST_REFUSED = 4096;

export class CopyKeeper {
  readonly #platform: Platform;
  readonly #parts: CopyKeeperParts;
  readonly #meter: UseMeter;
  readonly #work: BackgroundWork<Task>;
  readonly #unsubscribe: readonly (() => void)[];
  /** Copies that are not what they should be, by segment. */
  readonly #bad = new Map<number, Set<number>>();
  /** Until when a node does not want a segment's copy. */
  readonly #refusedUntilMs = new Map<string, number>();
  /** Bytes that nodes are being told to free. */
  readonly #freeing = new Map<number, number>();
  #settings: CopySettings;
  #shortUntilMs = Number.NEGATIVE_INFINITY;
  #progressMs = Number.NEGATIVE_INFINITY;
  #waitingSinceMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;
  #made = 0;
  #dropped = 0;

  constructor(platform: Platform, parts: CopyKeeperParts, settings: CopySettings) {
    const { links, metadata, claims, limit, budget, draining, places, use } = parts;
    this.#platform = platform;
    this.#parts = parts;
    this.#settings = settings;
    this.#meter = new UseMeter(use, (segmentId) => metadata.segment(segmentId), {
      windowMs: 1000 * settings.windowSeconds,
      nowMs: platform.clock.monotonicMs(),
    });
    this.#work = new BackgroundWork<Task>(platform, {
      ...{ workers: 1, claims, limit, budget },
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
    return this.#parts.mustWait() || this.#isShort() ? 'waiting' : 'idle';
  }

  /** What is thought of a segment now; undefined: there is none. */
  explain(segmentId: number): SegmentCopies | undefined {
    const record = this.#parts.metadata.segment(segmentId);
    if (record === undefined || record.dataBlocks === 0) return undefined;
    this.#meter.look(this.#nowMs);
    const { readBytesPerMs, overwrittenBytesPerMs } = this.#meter.segment(segmentId);
    const { decision } = this.#decide(record);
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
    return this.#parts.places.copyBytes(nodeId) + (this.#freeing.get(nodeId) ?? 0);
  }

  /** A writer finds no room: gives up all copies. Whether to wait for what that wins; to be asked again and again while it waits. */
  giveUpAll(): boolean {
    const nowMs = this.#nowMs;
    if (nowMs - this.#askedMs > EPISODE_MS) this.#waitingSinceMs = nowMs;
    this.#askedMs = nowMs;
    if (nowMs - this.#progressMs < ANSWER_MS) return true;
    if (this.#parts.places.copiedCount === 0 && this.#freeing.size === 0) return false;
    this.#shortUntilMs = nowMs + SHORT_MS;
    this.#work.wake();
    return nowMs - Math.max(this.#waitingSinceMs, this.#progressMs) < PATIENCE_MS;
  }

  get #nowMs(): number {
    return this.#platform.clock.monotonicMs();
  }

  #isShort(): boolean {
    return this.#nowMs < this.#shortUntilMs || !this.#parts.hasRoom();
  }

  #lookInMs(): number {
    const { copiedCount } = this.#parts.places;
    if (copiedCount > 0 && this.#nowMs < this.#shortUntilMs) return LOOK_WHILE_SHORT_MS;
    const usual = Math.min(MOST_LOOK_MS, (1000 * this.#settings.windowSeconds) / LOOKS_A_WINDOW);
    return copiedCount > 0 ? Math.min(LOOK_WITH_COPIES_MS, usual) : usual;
  }

  #batch(): Task[] {
    this.#meter.look(this.#nowMs);
    const isShort = this.#isShort();
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
    const { verdict, reason } = this.#decide(record).decision;
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
    return this.#decide(record).wanted;
  }

  /** What copies there are and what more there might be are decided on one by one: the first with the laxer limits of keeping. */
  #decide(record: SegmentRecord): Decision {
    const policy = this.#policy();
    const nodes = this.#nodes(record, policy);
    const rates = nodes.map(({ readBytesPerMs }) => readBytesPerMs);
    const meanNodeReadBytesPerMs = rates.reduce((sum, rate) => sum + rate, 0) / Math.max(1, rates.length);
    const copies = copiesOf(record);
    const uncopied = record.nodes
      .slice(0, record.dataFragments)
      .filter((_, position) => !copies.some((copy) => copy.position === position));
    const use = {
      dataBytes: record.dataBlocks * BLOCK_BYTES,
      ...this.#meter.segment(record.segmentId),
      busiestHolderReadBytesPerMs: Math.max(0, ...uncopied.map((id) => this.#meter.nodeReadBytesPerMs(id))),
      meanNodeReadBytesPerMs,
    };
    const more = decideReadCopy({ ...use, hasCopy: false, freeShare: 1 }, policy);
    const least = Math.max(policy.busyBytesPerMs, policy.imbalance * meanNodeReadBytesPerMs);
    const wanted = more.verdict === 'make' ? placeCopies(record, nodes, least) : [];
    if (copies.length > 0) {
      const freeShare = Math.min(...copies.map(({ nodeId }) => this.#freeShare(nodeId)));
      const decision = decideReadCopy({ ...use, hasCopy: true, freeShare }, policy);
      return { decision, wanted: decision.verdict === 'keep' ? wanted : [] };
    }
    if (more.verdict !== 'make' || wanted.length > 0) return { decision: more, wanted };
    return { decision: { ...more, verdict: 'none', reason: this.#whyNowhere(record) }, wanted };
  }

  #policy(): ReadCopyPolicy {
    const { enabled, readsPerDay, busyBytesPerSecond } = this.#settings;
    return {
      ...DEFAULT_READ_COPY_POLICY,
      enabled,
      readsPerDay: readsPerDayLimits(readsPerDay),
      busyBytesPerMs: busyBytesPerSecond / 1000,
    };
  }

  /** All nodes that are meant to hold fragments and answer. */
  #nodes({ segmentId, fragmentBlocks, nodes: holders }: SegmentRecord, policy: ReadCopyPolicy): CopyNode[] {
    const { links, draining } = this.#parts;
    const needBytes = ROOM_FACTOR * storedFragmentBytes(fragmentBlocks, holders.length);
    return [...links.links.values()]
      .filter(({ id, state }) => state === 'up' && !draining.has(id))
      .map(({ id, domain, freeBytes }) => ({
        ...{ id, domain, readBytesPerMs: this.#meter.nodeReadBytesPerMs(id) },
        isAble:
          freeBytes >= needBytes &&
          this.#freeShare(id) >= policy.freeShare.toMake &&
          (this.#refusedUntilMs.get(refusalKey(segmentId, id)) ?? 0) <= this.#nowMs,
      }));
  }

  #freeShare(nodeId: number): number {
    const link = this.#parts.links.links.get(nodeId);
    // One that is away says nothing: it is not for its room that a copy on it would go.
    if (link === undefined || link.state === 'down') return 1;
    return link.capacityBytes > 0 ? link.freeBytes / link.capacityBytes : 0;
  }

  #whyNowhere(record: SegmentRecord): CopyReason {
    const { links, draining } = this.#parts;
    const isSpare = [...links.links.values()].some(
      ({ id, state }) => state === 'up' && !draining.has(id) && !record.nodes.includes(id),
    );
    return isSpare ? 'little-space' : 'no-node-left';
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
      for (const { nodeId } of going) this.#noteFreeing(nodeId, bytes);
      try {
        if (!(await dropCopies(this.#repairParts(memory), record, isDropped))) return false;
      } finally {
        for (const { nodeId } of going) this.#noteFreeing(nodeId, -bytes);
      }
      this.#dropped += going.length;
      this.#progressMs = this.#nowMs;
      this.#bad.delete(segmentId);
      return true;
    });
  }

  #noteFreeing(nodeId: number, bytes: number): void {
    const left = (this.#freeing.get(nodeId) ?? 0) + bytes;
    if (left === 0) this.#freeing.delete(nodeId);
    else this.#freeing.set(nodeId, left);
  }

  async #make(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const lengthBytes = (this.#parts.metadata.segment(segmentId)?.fragmentBlocks ?? 0) * BLOCK_BYTES;
    const wanted = this.#wanted(segmentId).length;
    const moved = await this.#work.turn(wanted * lengthBytes, 2 * wanted * lengthBytes);
    // Waiting took a while.
    if (moved === undefined || !this.#mayMake() || this.#isShort()) return false;
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
      else if (outcome === 'refused') this.#noteRefused(segmentId, copy.nodeId);
    }
    return made > 0;
  }

  #noteRefused(segmentId: number, nodeId: number): void {
    if (this.#refusedUntilMs.size >= MOST_REFUSED) this.#refusedUntilMs.clear();
    this.#refusedUntilMs.set(refusalKey(segmentId, nodeId), this.#nowMs + REFUSED_MS);
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

const refusalKey = (segmentId: number, nodeId: number): string => `${segmentId}/${nodeId}`;
