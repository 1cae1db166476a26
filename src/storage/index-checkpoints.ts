/**
 * Decides when the fragment index is written: after a while, when many entries are waiting, when much of the log would have to be scanned, and
 * when the reclaimer needs it. Checkpoints take their turn; each sees the index and the log files' records of one moment.
 */
import { MIB } from '../base/units.ts';
import type { IndexedFile } from '../format/storage-index.ts';
import type { Platform } from '../platform/platform.ts';
import type { FragmentIndex } from './fragment-index.ts';
import type { LogFile } from './log-file.ts';
import type { LogFiles } from './log-files.ts';
import { StorageError } from './storage-error.ts';
import type { TombstoneRing } from './tombstone-ring.ts';

const MANY_ENTRIES = 4096;
/** A put is refused rather than let more wait in memory. */
const TOO_MANY_ENTRIES = 16 * MANY_ENTRIES;
const MUCH_LOG_BYTES = 256 * MIB;
const AFTER_MS = 5000;

export class IndexCheckpoints {
  readonly #platform: Platform;
  readonly #index: FragmentIndex;
  readonly #logs: LogFiles;
  readonly #ring: TombstoneRing;
  readonly #nonce: Buffer;
  #tail: Promise<void> = Promise.resolve();
  #uncoveredBytes = 0;
  #timed = false;
  #hurrying = false;
  #stopped = false;

  constructor(platform: Platform, index: FragmentIndex, logs: LogFiles, ring: TombstoneRing, nonce: Buffer) {
    this.#platform = platform;
    this.#index = index;
    this.#logs = logs;
    this.#ring = ring;
    this.#nonce = nonce;
  }

  /** The index changed; `logBytes` were appended with the change. */
  note(logBytes: number): void {
    this.#uncoveredBytes += logBytes;
    if (this.#stopped) return;
    const much = this.#index.dirtyEntries >= MANY_ENTRIES || this.#uncoveredBytes >= MUCH_LOG_BYTES;
    if (much && !this.#hurrying) {
      this.#hurrying = true;
      void this.#inBackground().finally(() => {
        this.#hurrying = false;
      });
    } else if (!this.#timed) {
      this.#timed = true;
      this.#platform.timers.after(AFTER_MS, () => {
        this.#timed = false;
        if (!this.#stopped && this.#index.dirtyEntries > 0) void this.#inBackground();
      });
    }
  }

  async #inBackground(): Promise<void> {
    try {
      await this.run();
    } catch (error) {
      this.#platform.log.warn('index-checkpoint-failed', { why: String(error) });
    }
  }

  /** Puts wait here when the index cannot be written. Refuses with ioError. */
  admit(): Promise<void> | undefined {
    if (this.#index.dirtyEntries < TOO_MANY_ENTRIES) return undefined;
    return this.run().catch((error: unknown) => {
      throw new StorageError({ reason: 'ioError' }, `the fragment index cannot be written: ${String(error)}`);
    });
  }

  /** Durable when it resolves. Tombstones up to `released` are done with by then; removed files are forgotten. */
  run(released?: number, removedFiles: readonly number[] = []): Promise<void> {
    const turn = this.#tail.then(() => {
      const files: (readonly [number, IndexedFile])[] = [];
      for (const log of this.#logs.byId.values()) {
        if (!removedFiles.includes(log.fileId)) files.push([log.fileId, recordOf(log)]);
      }
      const uncovered = this.#uncoveredBytes;
      this.#uncoveredBytes = 0;
      const state = {
        nonce: this.#nonce,
        nextFileId: this.#logs.nextFileId,
        releasedTombstones: released ?? this.#ring.releasedSerial,
      };
      return this.#index.checkpoint(state, files, removedFiles).catch((error: unknown) => {
        this.#uncoveredBytes += uncovered;
        throw error;
      });
    });
    this.#tail = turn.catch(() => undefined); // whoever asked for it hears of it
    return turn;
  }

  /** None starts by itself any more; resolves when those under way are over. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#tail;
  }
}

function recordOf(log: LogFile): IndexedFile {
  return {
    liveFragments: log.liveFragments,
    liveBytes: log.liveBytes,
    indexedTo: log.indexedTo,
    sealed: log.sealed && !log.hasWrites,
  };
}
