/**
 * Decides when written data becomes durable: on fsync, and by itself some tens of milliseconds after it was written, so that a crash
 * loses little.
 *
 * Little data goes into the journal and stays in the open segment, which goes on filling up; more data closes the segment. A segment
 * that was journaled from and stays open is closed after some seconds, since the journal must keep those bytes until then.
 */
import { MAX_INLINE_BYTES } from '../base/limits.ts';
import type { LogUnwritable, SegmentWriter } from '../log/log.ts';
import { type MetadataManager, MetadataUnavailable } from '../metadata/metadata.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import type { Committer } from './committer.ts';
import type { InodeState } from './inode-state.ts';
import type { UncommittedData } from './uncommitted-data.ts';

const FLUSH_AFTER_MS = 30;
/** Timers fire early by fractions of a millisecond. */
const TIMER_SLACK_MS = 1;
const SEAL_JOURNALED_AFTER_MS = 5000;

interface Waiter {
  readonly segmentId: number;
  readonly resolve: () => void;
  readonly reject: (reason: Error) => void;
}

export class Flusher {
  readonly #platform: Platform;
  readonly #metadata: MetadataManager;
  readonly #writer: SegmentWriter;
  readonly #data: UncommittedData;
  readonly #committer: Committer;
  #waiters: Waiter[] = [];
  #timer: Timer | undefined;
  /** The segment whose dirty blocks the timer is for, and since when they wait. 0: none. */
  #dirtySegment = 0;
  #dirtySinceMs = 0;
  #journaledSegment = 0;
  /** The open segment, if blocks of it were left out of an inline commit: closing it is what makes them durable. */
  #leftOutSegment: number | undefined;
  #sealTimer: Timer | undefined;
  #closed = false;
  /** Called when the log can be written again or cannot any more. */
  onTrouble: () => void = () => undefined;

  constructor(
    platform: Platform,
    metadata: MetadataManager,
    writer: SegmentWriter,
    data: UncommittedData,
    committer: Committer,
  ) {
    this.#platform = platform;
    this.#metadata = metadata;
    this.#writer = writer;
    this.#data = data;
    this.#committer = committer;
    data.onSegmentGone = () => this.#wake();
    committer.onRefused = (reason) => this.#failWaiters(reason);
    writer.onTrouble = (trouble: LogUnwritable | undefined) => {
      if (trouble !== undefined) this.#failWaiters(trouble);
      this.onTrouble();
    };
  }

  /** After each append. */
  appended(): void {
    const segmentId = this.#data.newestSegmentId;
    if (segmentId === this.#dirtySegment) return;
    this.#dirtySegment = segmentId;
    this.#dirtySinceMs = this.#platform.clock.monotonicMs();
    if (this.#timer === undefined && !this.#closed) this.#arm(FLUSH_AFTER_MS);
  }

  /**
   * After each write that did not wait. Where an fsync is expected next, the journaling that it would wait for begins now and goes on while the
   * kernel gets its reply and sends the fsync. An expectation that fails costs an append, once for each fsync at most.
   */
  written(state: InodeState): void {
    if (++state.writesSinceSync !== state.writesBeforeSync) return;
    if (this.#canInline(state) && this.#tryCommitInline()) this.#metadata.hasten();
  }

  /** Everything that was written to the file so far, and all metadata changes before, are durable when it resolves. */
  fsync(state: InodeState | undefined): Promise<void> {
    if (state !== undefined) {
      state.writesBeforeSync = state.writesSinceSync;
      state.writesSinceSync = 0;
      if (this.#canInline(state)) this.#commitInline();
      const last = state.parts.at(-1);
      if (last !== undefined) return this.#commitUpTo(last.segmentId);
    }
    return this.#metadata.sync();
  }

  /** All that the file has uncommitted can be journaled. */
  #canInline({ parts }: InodeState): boolean {
    return parts.length === 1 && parts[0]!.segmentId === this.#writer.openSegmentId && this.#fitsInline;
  }

  /** The same for all files. */
  async syncAll(): Promise<void> {
    if (this.#fitsInline) this.#commitInline();
    if (this.#openHasLeftOut) this.#writer.seal(true);
    this.#writer.seal();
    const newest = this.#data.newestSegmentId;
    if (newest !== 0 && newest !== this.#writer.openSegmentId) await this.#commitUpTo(newest);
    else await this.#commitUpTo(newest - 1);
  }

  /** Writes all that was appended to the log, without a detour through the journal. */
  storeAll(): Promise<void> {
    return this.#commitUpTo(this.#data.newestSegmentId);
  }

  /** Resolves when no block of a segment up to this one is uncommitted; seals what is needed. */
  async #commitUpTo(segmentId: number): Promise<void> {
    if (this.#writer.openSegmentId !== undefined && this.#writer.openSegmentId <= segmentId)
      this.#writer.seal(true);
    await this.#committed(segmentId);
    await this.#metadata.sync();
  }

  /** Commits all that the file has uncommitted, without waiting for the journal. */
  async commit(state: InodeState): Promise<void> {
    while (state.parts.length > 0) {
      if (this.#fitsInline) this.#commitInline();
      const last = state.parts.at(-1);
      if (last === undefined) return;
      if (last.segmentId === this.#writer.openSegmentId) this.#writer.seal(true);
      await this.#committed(last.segmentId);
    }
  }

  /** Little enough is dirty in the open segment to be journaled. */
  get #fitsInline(): boolean {
    return this.#writer.openDirtyBytes <= MAX_INLINE_BYTES;
  }

  /** Journals what is dirty in the open segment. */
  #commitInline(): void {
    const segmentId = this.#writer.openSegmentId;
    if (segmentId === undefined) return;
    if (!this.#committer.commitInline()) this.#leftOutSegment = segmentId;
    // What an earlier one left out still waits for the timer, also when nothing is left out of this one.
    if (!this.#openHasLeftOut) this.#dirtySegment = 0;
    if (segmentId === this.#journaledSegment) return;
    this.#journaledSegment = segmentId;
    this.#sealTimer?.cancel();
    this.#sealTimer = this.#platform.timers.after(SEAL_JOURNALED_AFTER_MS, () => {
      if (this.#writer.openSegmentId === segmentId) this.#writer.seal(true);
    });
  }

  get #openHasLeftOut(): boolean {
    return this.#leftOutSegment !== undefined && this.#leftOutSegment === this.#writer.openSegmentId;
  }

  /** No timer fires any more. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#sealTimer?.cancel();
    this.#failWaiters(new MetadataUnavailable('the file system is being closed'));
  }

  #arm(delayMs: number): void {
    this.#timer = this.#platform.timers.after(delayMs, () => {
      this.#timer = undefined;
      if (this.#dirtySegment === 0) return;
      const waitedMs = this.#platform.clock.monotonicMs() - this.#dirtySinceMs;
      if (waitedMs < FLUSH_AFTER_MS - TIMER_SLACK_MS) this.#arm(FLUSH_AFTER_MS - waitedMs);
      else this.#flush();
    });
  }

  #flush(): void {
    this.#dirtySegment = 0;
    if (this.#openHasLeftOut || !this.#fitsInline) {
      this.#writer.seal(true);
      return;
    }
    this.#tryCommitInline();
    if (this.#openHasLeftOut) this.#writer.seal(true);
  }

  /** False if the metadata refuses it now, which nobody waits for. */
  #tryCommitInline(): boolean {
    try {
      this.#commitInline();
      return true;
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('flush-refused', { reason: error.message });
      return false;
    }
  }

  #committed(segmentId: number): Promise<void> {
    if (!this.#data.hasLive(segmentId)) return Promise.resolve();
    const trouble = this.#writer.trouble ?? this.#metadata.trouble;
    if (trouble !== undefined) return Promise.reject(trouble);
    return new Promise((resolve, reject) => {
      this.#waiters.push({ segmentId, resolve, reject });
    });
  }

  #wake(): void {
    if (this.#waiters.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => {
      if (this.#data.hasLive(waiter.segmentId)) return true;
      waiter.resolve();
      return false;
    });
  }

  #failWaiters(reason: Error): void {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const waiter of waiters) waiter.reject(reason);
  }
}
