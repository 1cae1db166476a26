/**
 * Wins back the room of dead blocks: when the nodes' room runs low, it picks segments by the victim policy and moves what lives in them elsewhere,
 * until there is enough room again. It runs inside the process that is the volume's primary.
 *
 * It never blocks a writer: moving is optimistic (maintenance/relocator.ts), its memory and its last segments of room are its own, and it works the
 * harder the less room is left. Writers that find none wait for it as long as it gets on. A volume at rest with room enough is left alone: what
 * dies by itself until it is needed need not be copied.
 */
import { LogUnwritable, type SegmentWriter } from '../log/log.ts';
import { SegmentSizes } from '../log/segment-size.ts';
import { Waiters } from '../log/waiters.ts';
import type { WriteSlab } from '../log/write-slab.ts';
import type { Relocator } from '../maintenance/relocator.ts';
import type { PrimaryManager } from '../metadata/manager.ts';
import { MetadataUnavailable } from '../metadata/metadata.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { pauseMs, segmentsAtOnce, urgency } from './pace.ts';
import { SegmentWatch } from './segment-watch.ts';
import { Space } from './space.ts';
import { type Victim, VictimIndex } from './victim-index.ts';
import { costBenefit } from './victims.ts';

export interface CleanerParts {
  readonly metadata: PrimaryManager;
  /** Of the file system. */
  readonly users: SegmentWriter;
  readonly relocator: Relocator;
  readonly slab: WriteSlab;
}

export interface CleanerStatistics {
  readonly running: boolean;
  readonly cleanedSegments: number;
  readonly movedBlocks: number;
  /** Copied, and overwritten or deleted before the copy counted. */
  readonly droppedBlocks: number;
  /** Of the segments that users wrote in this reign. */
  readonly userBlocks: number;
  /** What cleaning could win, and what may still be added. */
  readonly reclaimableBlocks: number;
  readonly freeBlocks: number;
}

/** A round wins at least as much as sealing so many segments early may cost, or it is not worth it. */
const LEAST_SEALS = 4;
/** Segments with less than this part of theirs to win wait until nothing better is left. */
const WORTH_WHILE = 1 / 16;
const LAST_RESORT = 1 / 256;
/** Victims that are chosen at a time, and at most. */
const CHOICES = 16;
const MOST_CHOICES = 1024;
/** A segment that could not be read is left alone for so long. */
const UNREADABLE_MS = 30_000;
const RETRY_MS = 1_000;
/** A segment of moved blocks that is not full waits so long for more. */
const FLUSH_MS = 1_000;
/** Writers wait for room while it has been won within this time. */
const PATIENCE_MS = 10_000;
/** Room that was won shows in what the nodes say after their answer. */
const ANSWER_MS = 1_000;
/** Writers that asked within this time are still waiting. */
const EPISODE_MS = 1_000;

export class Cleaner {
  readonly space: Space;
  readonly #platform: Platform;
  readonly #parts: CleanerParts;
  readonly #sizes: SegmentSizes;
  readonly #index = new VictimIndex();
  readonly #watch: SegmentWatch;
  readonly #relocator: Relocator;
  readonly #changes = new Waiters();
  /** Being cleaned, or cleaned and not yet freed, with what each yields. */
  readonly #yields = new Map<number, number>();
  readonly #unreadableUntilMs = new Map<number, number>();
  readonly #active = new Set<Promise<void>>();
  #loading: Promise<void> = Promise.resolve();
  #choices: Victim[] = [];
  #running = false;
  #closed = false;
  #retryTimer: Timer | undefined;
  #flushTimer: Timer | undefined;
  #progressMs = Number.NEGATIVE_INFINITY;
  #waitingSinceMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;
  #cleanedSegments = 0;

  constructor(platform: Platform, parts: CleanerParts) {
    const { metadata, users, relocator, slab } = parts;
    const { segmentBlocks } = slab.geometry;
    this.#platform = platform;
    this.#parts = parts;
    this.#sizes = new SegmentSizes(slab.shape, segmentBlocks);
    this.#watch = new SegmentWatch(metadata, this.#sizes, this.#index);
    this.space = new Space({
      availableBytes: () => users.availableBytes(),
      totalBytes: () => users.totalBytes(),
      lacksNodes: () => users.lacksNodes,
      roomSegments: () => users.roomSegments(),
      totals: () => metadata.totals(),
      sizes: this.#sizes,
      index: this.#index,
      isIndexed: () => this.#watch.isLoaded,
    });
    this.#relocator = relocator;
    relocator.pause = () => this.#pause();
    relocator.onCommitted = (segmentId, from) => {
      this.#watch.tookOver(segmentId, from);
      this.#changes.resolveAll();
    };
    this.#watch.onChange = () => this.#check();
    this.#watch.onForgotten = (segmentId) => this.#freed(segmentId);
  }

  /** Begins to watch the room. Resolves when every segment is known. */
  start(): Promise<void> {
    this.#loading = this.#load();
    return this.#loading;
  }

  async #load(): Promise<void> {
    try {
      await this.#watch.load(() => this.#closed);
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('segments-not-indexed', { why: error.message });
    }
  }

  /** Segments are to have another shape: what each takes is counted by it. One pass over all, in one turn. */
  recount(): void {
    this.#watch.recount();
  }

  /**
   * Whether a writer that finds no room may expect some; `isMoreComing`: also from what it is about to commit. To be asked again and again while it
   * waits.
   */
  mayWait(isMoreComing: boolean): boolean {
    if (this.#closed) return false;
    const nowMs = this.#platform.clock.monotonicMs();
    if (nowMs - this.#askedMs > EPISODE_MS) this.#waitingSinceMs = nowMs;
    this.#askedMs = nowMs;
    if (nowMs - this.#progressMs < ANSWER_MS) return true;
    const isMore =
      isMoreComing || !this.#watch.isLoaded || this.space.reclaimableBlocks() >= this.#leastYield;
    if (!isMore) return false;
    this.#check();
    return nowMs - Math.max(this.#waitingSinceMs, this.#progressMs) < PATIENCE_MS;
  }

  statistics(): CleanerStatistics {
    return {
      running: this.#running,
      cleanedSegments: this.#cleanedSegments,
      movedBlocks: this.#relocator.movedBlocks,
      droppedBlocks: this.#relocator.droppedBlocks,
      userBlocks: this.#watch.now,
      reclaimableBlocks: this.space.reclaimableBlocks(),
      freeBlocks: this.space.freeBlocks(),
    };
  }

  /** What is on its way is given up: fragments without a record, which a sweep frees. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#retryTimer?.cancel();
    this.#flushTimer?.cancel();
    this.#relocator.close();
    this.#watch.close();
    this.#changes.resolveAll();
    await Promise.allSettled([this.#loading, ...this.#active]);
  }

  get #leastYield(): number {
    return LEAST_SEALS * this.#sizes.sealingBlocks;
  }

  #freed(segmentId: number): void {
    if (this.#yields.delete(segmentId)) this.#cleanedSegments++;
    this.#progressMs = this.#platform.clock.monotonicMs();
  }

  /** After every change of the segments: wakes the cleaner if there is something to do. */
  #check(): void {
    this.#changes.resolveAll();
    if (this.#running || this.#closed || !this.#watch.isLoaded || this.#retryTimer !== undefined) return;
    const { blocks, beginBlocks } = this.space.headroom();
    if (blocks >= beginBlocks || this.#index.reclaimableBlocks < this.#leastYield) return;
    this.#running = true;
    this.#flushTimer?.cancel();
    // Not within the transaction that told of the change.
    this.#platform.timers.defer(() => void this.#run());
  }

  async #run(): Promise<void> {
    try {
      await this.#clean();
    } catch (error) {
      if (!(error instanceof MetadataUnavailable) && !(error instanceof LogUnwritable)) throw error;
      this.#retryLater(error.message);
    } finally {
      this.#running = false;
      this.#choices = [];
    }
    const { cleanedSegments, movedBlocks, reclaimableBlocks } = this.statistics();
    this.#platform.log.debug('cleaning-paused', { cleanedSegments, movedBlocks, reclaimableBlocks });
    if (!this.#closed) this.#flushSoon();
  }

  async #clean(): Promise<void> {
    while (!this.#closed && this.#retryTimer === undefined) {
      this.#dropFailedYields();
      const headroom = this.space.headroom();
      let expected = 0;
      for (const blocks of this.#yields.values()) expected += blocks;
      const isEnough = headroom.blocks + expected >= headroom.endBlocks;
      const isBusy = this.#active.size >= segmentsAtOnce(urgency(headroom));
      const victim = isEnough || isBusy ? undefined : this.#nextVictim();
      if (victim !== undefined) {
        this.#begin(victim);
        continue;
      }
      if (this.#active.size === 0) return;
      await this.#changes.wait();
    }
  }

  #begin(victim: Victim): void {
    const { segmentId, blocks, liveBlocks } = victim;
    this.#yields.set(segmentId, blocks - liveBlocks);
    const cleaning = this.#relocate(segmentId).finally(() => {
      this.#active.delete(cleaning);
      this.#changes.resolveAll();
    });
    this.#active.add(cleaning);
  }

  async #relocate(segmentId: number): Promise<void> {
    try {
      const outcome = await this.#relocator.relocate(segmentId);
      if (outcome !== 'unreadable') return;
      this.#platform.log.warn('segment-not-cleaned', { segmentId });
      this.#unreadableUntilMs.set(segmentId, this.#platform.clock.monotonicMs() + UNREADABLE_MS);
    } catch (error) {
      if (!(error instanceof MetadataUnavailable) && !(error instanceof LogUnwritable)) throw error;
      this.#retryLater(error.message);
    }
  }

  #retryLater(why: string): void {
    if (this.#closed || this.#retryTimer !== undefined) return;
    this.#platform.log.warn('cleaning-interrupted', { why });
    this.#retryTimer = this.#platform.timers.after(RETRY_MS, () => {
      this.#retryTimer = undefined;
      this.#check();
    });
  }

  /** Segments that were to be empty by now and are not, or were freed before they were begun with. */
  #dropFailedYields(): void {
    for (const segmentId of this.#yields.keys()) {
      if (this.#relocator.isMoving(segmentId)) continue;
      if (this.#parts.metadata.segment(segmentId)?.liveBlocks !== 0) this.#yields.delete(segmentId);
    }
  }

  #nextVictim(): Victim | undefined {
    for (;;) {
      if (this.#choices.length === 0) this.#choices = this.#choose();
      const choice = this.#choices.shift();
      if (choice === undefined) return undefined;
      if (!this.#isExcluded(choice.segmentId)) return choice;
    }
  }

  /** What is worth moving now, best first; nothing if all of it together would not pay for the segments that it is moved to. */
  #choose(): Victim[] {
    for (const leastYield of [WORTH_WHILE, LAST_RESORT]) {
      // Where segments are short, a few win less than is worth while, however much many do.
      for (let limit = CHOICES; limit <= MOST_CHOICES; limit *= 8) {
        const chosen = this.#index.choose({
          ...{ policy: costBenefit, now: this.#watch.now, limit, leastYield },
          excluded: (segmentId) => this.#isExcluded(segmentId),
        });
        const won = chosen.reduce((sum, { blocks, liveBlocks }) => sum + blocks - liveBlocks, 0);
        if (won >= this.#leastYield) return chosen;
        if (chosen.length < limit) break;
      }
    }
    return [];
  }

  #isExcluded(segmentId: number): boolean {
    if (this.#yields.has(segmentId) || this.#relocator.isMoving(segmentId)) return true;
    const untilMs = this.#unreadableUntilMs.get(segmentId);
    if (untilMs === undefined) return false;
    if (untilMs > this.#platform.clock.monotonicMs()) return true;
    this.#unreadableUntilMs.delete(segmentId);
    return false;
  }

  /** Before each batch: yields to users as long as there is room. */
  #pause(): Promise<void> | undefined {
    const { users } = this.#parts;
    const isBusy = users.openDirtyBytes > 0 || users.statistics().inFlight > 0;
    const delayMs = pauseMs(urgency(this.space.headroom()), isBusy);
    return delayMs < 1 ? undefined : this.#platform.timers.sleep(delayMs);
  }

  /** Writers are waiting for room. */
  get #isAwaited(): boolean {
    return this.#platform.clock.monotonicMs() - this.#askedMs <= EPISODE_MS;
  }

  /** What was moved last is not durable, and its room not won, before its segment is closed. */
  #flushSoon(): void {
    this.#flushTimer?.cancel();
    // Who waits asks again and again, which would put a timer off each time.
    if (urgency(this.space.headroom()) > 0.5 || this.#isAwaited) {
      this.#relocator.flush();
      return;
    }
    this.#flushTimer = this.#platform.timers.after(FLUSH_MS, () => {
      if (!this.#running) this.#relocator.flush();
    });
  }
}
