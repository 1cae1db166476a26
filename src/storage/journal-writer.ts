/**
 * Puts entries into frames and frames onto the disk, one write at a time and in order. What is appended while a write is under way goes
 * into the next one together (group commit). A short frame can be written in the same turn: a hop through a queue costs more than the disk.
 *
 * Owns two staging buffers: one is filled while the other is written. Entries are copied once, into the frame that goes to the disk.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES, KIB, MIB } from '../base/units.ts';
import { FRAME_HEADER_BYTES, JOURNAL_FILE_HEADER_BYTES, sealFrame } from '../format/journal-file.ts';
import {
  encodeJournalEntry,
  JOURNAL_ENTRIES_HEADER_BYTES,
  type JournalEntry,
  journalEntryBytes,
  MAX_JOURNAL_ENTRIES,
  writeJournalEntryCount,
} from '../format/journal-messages.ts';
import type { Platform } from '../platform/platform.ts';
import type { JournalFile, JournalFiles } from './journal-files.ts';
import type { FrameRef } from './journal-index.ts';
import { StorageError } from './storage-error.ts';

const MAX_FRAME_BYTES = MIB;
/** Frames up to this may be written in the turn in which they are appended. */
const SAME_TURN_BYTES = 64 * KIB;
const DURABLE = { durable: true };
const CONTENT_START = FRAME_HEADER_BYTES + JOURNAL_ENTRIES_HEADER_BYTES;

interface Waiter {
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** A frame being filled. */
interface Staged {
  readonly buffer: Buffer;
  end: number;
  count: number;
  previousSequence: number;
  previousTerm: number;
  waiters: Waiter[];
}

export class JournalWriter {
  readonly #platform: Platform;
  readonly #files: JournalFiles;
  /** A frame lies in one file. */
  readonly #maxFrameBytes: number;
  readonly #onDurable: (frame: FrameRef<JournalFile>) => void;
  readonly #onFailure: () => void;
  #filling: Staged;
  #other: Staged;
  #isStaged = false;
  #scheduled = false;
  #writing = false;
  #whenIdle: (() => void)[] = [];

  /** `onDurable` is told of each frame before its waiters; `onFailure` that nothing appended since the last durable frame will be written. */
  constructor(
    platform: Platform,
    files: JournalFiles,
    onDurable: (frame: FrameRef<JournalFile>) => void,
    onFailure: () => void,
  ) {
    this.#platform = platform;
    this.#files = files;
    this.#maxFrameBytes = Math.min(MAX_FRAME_BYTES, files.fileBytes - JOURNAL_FILE_HEADER_BYTES);
    this.#onDurable = onDurable;
    this.#onFailure = onFailure;
    this.#filling = emptyStage(platform.memory.allocate(this.#maxFrameBytes));
    this.#other = emptyStage(platform.memory.allocate(this.#maxFrameBytes));
  }

  /** Refuses an append that no frame could hold. */
  mustFit(entries: readonly JournalEntry[]): void {
    let total = CONTENT_START;
    for (const entry of entries) total += journalEntryBytes(entry);
    if (total > this.#maxFrameBytes || entries.length > MAX_JOURNAL_ENTRIES) {
      throw new StorageError({ reason: 'invalid' }, `an append of ${total} bytes is over the bound`);
    }
  }

  /** Is there room for these entries behind `previousSequence` in the frame being filled? */
  hasRoom(entries: readonly JournalEntry[], previousSequence: number): boolean {
    if (!this.#isStaged) return true;
    const { end, count, previousSequence: first } = this.#filling;
    if (previousSequence !== first + count || count + entries.length > MAX_JOURNAL_ENTRIES) return false;
    let total = end;
    for (const entry of entries) total += journalEntryBytes(entry);
    return total <= this.#maxFrameBytes;
  }

  /** Takes entries into the next frame; durable when it resolves. There is room (hasRoom). */
  append(previousSequence: number, previousTerm: number, entries: readonly JournalEntry[]): Promise<void> {
    const stage = this.#stage(previousSequence, previousTerm, entries);
    return new Promise((resolve, reject) => {
      stage.waiters.push({ resolve, reject });
      this.#schedule();
    });
  }

  /** Would a frame with these entries be written by `appendInTurn`? */
  canAppendInTurn(entries: readonly JournalEntry[]): boolean {
    if (!this.isIdle) return false;
    let end = CONTENT_START;
    for (const entry of entries) end += journalEntryBytes(entry);
    const lengthBytes = Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES;
    return lengthBytes <= SAME_TURN_BYTES && this.#files.isReadyFor(lengthBytes);
  }

  /** Entries are durable when it returns; throws the disk's failure. */
  appendInTurn(previousSequence: number, previousTerm: number, entries: readonly JournalEntry[]): void {
    this.#stage(previousSequence, previousTerm, entries);
    const stage = this.#takeStage();
    try {
      const frame = this.#seal(stage);
      frame.file.file.writeSync(stage.buffer.subarray(0, frame.lengthBytes), frame.offset, DURABLE);
      this.#written(stage, frame);
    } catch (error) {
      this.#failed(stage, error);
      throw error;
    }
  }

  #stage(previousSequence: number, previousTerm: number, entries: readonly JournalEntry[]): Staged {
    const stage = this.#filling;
    if (!this.#isStaged) {
      this.#isStaged = true;
      stage.end = CONTENT_START;
      stage.count = 0;
      stage.previousSequence = previousSequence;
      stage.previousTerm = previousTerm;
      stage.waiters = [];
    }
    assert(previousSequence === stage.previousSequence + stage.count, 'a frame is contiguous');
    for (const entry of entries) stage.end = encodeJournalEntry(entry, stage.buffer, stage.end);
    stage.count += entries.length;
    return stage;
  }

  /** At the end of this turn's work, so that appends that arrived together go together. */
  #schedule(): void {
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      if (!this.#writing && this.#isStaged) void this.#flush();
    });
  }

  /** Until nothing is staged. */
  async #flush(): Promise<void> {
    this.#writing = true;
    while (this.#isStaged) {
      const lengthBytes = Math.ceil(this.#filling.end / BLOCK_BYTES) * BLOCK_BYTES;
      let stage: Staged | undefined;
      try {
        if (!this.#files.isReadyFor(lengthBytes)) {
          await this.#files.prepare();
          continue; // more may have been staged meanwhile
        }
        stage = this.#takeStage();
        const frame = this.#seal(stage);
        await frame.file.file.write([stage.buffer.subarray(0, frame.lengthBytes)], frame.offset, DURABLE);
        this.#written(stage, frame);
      } catch (error) {
        this.#failed(stage ?? this.#takeStage(), error);
      }
    }
    this.#writing = false;
    this.#idle();
  }

  #takeStage(): Staged {
    const stage = this.#filling;
    this.#filling = this.#other;
    this.#other = stage;
    this.#isStaged = false;
    return stage;
  }

  #seal(stage: Staged): FrameRef<JournalFile> {
    const { buffer, end, count, previousSequence, previousTerm } = stage;
    const lengthOnDisk = Math.ceil(end / BLOCK_BYTES) * BLOCK_BYTES;
    const file = this.#files.fileFor(lengthOnDisk);
    const offset = file.tailBytes;
    writeJournalEntryCount(buffer, FRAME_HEADER_BYTES, count);
    const lengthBytes = sealFrame(
      { lap: file.lap, offset, previousSequence, previousTerm },
      buffer,
      end,
      this.#platform.kernels.crc32c,
    );
    return { file, offset, lengthBytes, previousSequence, lastSequence: previousSequence + count };
  }

  #written(stage: Staged, frame: FrameRef<JournalFile>): void {
    frame.file.tailBytes = frame.offset + frame.lengthBytes;
    this.#onDurable(frame);
    for (const waiter of stage.waiters) waiter.resolve();
  }

  /** What is staged behind a frame that was not written cannot follow anything: it fails with it. */
  #failed(stage: Staged, error: unknown): void {
    const waiters = [...stage.waiters];
    if (this.#isStaged) waiters.push(...this.#takeStage().waiters);
    this.#onFailure();
    for (const waiter of waiters) waiter.reject(error);
  }

  #idle(): void {
    if (this.#isStaged) {
      this.#schedule();
      return;
    }
    const waiting = this.#whenIdle;
    this.#whenIdle = [];
    for (const resolve of waiting) resolve();
  }

  get isIdle(): boolean {
    return !this.#writing && !this.#isStaged;
  }

  /** Resolves when everything appended so far is durable or has failed. */
  async idle(): Promise<void> {
    while (!this.isIdle) await new Promise<void>((resolve) => this.#whenIdle.push(resolve));
  }
}

function emptyStage(buffer: Buffer): Staged {
  return { buffer, end: 0, count: 0, previousSequence: 0, previousTerm: 0, waiters: [] };
}
