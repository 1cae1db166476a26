/**
 * Reads a journal back from its files: every frame in the order it was written. A frame cuts what is behind its previous sequence and appends its
 * entries, so replay needs no other rule.
 *
 * The end of a file is where no valid frame is. If valid frames follow that do not connect, something in the middle is damaged: the entries
 * between are lost, and the journal says so, until a frame written later cuts there (a primary repairs it from another member). What follows
 * the last valid frame may be a write that a crash cut short or damage to the last one: where it looks like either, that is said, too.
 */
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import { FormatError, UnknownVersion } from '../format/fields.ts';
import {
  decodeFrame,
  decodeJournalFileHeader,
  type Frame,
  frameLap,
  frameLength,
  JOURNAL_FILE_HEADER_BYTES,
  looksLikeFrame,
} from '../format/journal-file.ts';
import type { JournalSlotState } from '../format/storage-slot.ts';
import type { Platform } from '../platform/platform.ts';
import type { JournalFile, JournalFiles } from './journal-files.ts';
import { JournalIndex } from './journal-index.ts';
import { isUnreadable, laterVersion, StorageUnusable } from './storage-error.ts';

/** Two frames of the greatest length. */
const MAX_WINDOW_BYTES = 2 * MIB;

export interface RecoveredJournal {
  readonly index: JournalIndex<JournalFile>;
  /** Behind the last frame something was begun that cannot be read. */
  readonly doubtfulEnd: boolean;
}

interface Found {
  readonly frame: Frame;
  readonly offset: number;
  readonly lengthBytes: number;
}

export async function recoverJournal(
  platform: Platform,
  files: JournalFiles,
  state: JournalSlotState,
  volumeId: Buffer,
): Promise<RecoveredJournal> {
  const recovery = new Recovery(platform, files, state);
  return recovery.run(volumeId);
}

class Recovery {
  readonly #platform: Platform;
  readonly #files: JournalFiles;
  readonly #state: JournalSlotState;
  /** Holds `#windowBytes` bytes of `#windowFile` from `#windowStart` on. Kept from frame to frame: each byte is read about once. */
  readonly #window: Buffer;
  #windowFile: JournalFile | undefined;
  #windowStart = 0;
  #windowBytes = 0;
  readonly #index: JournalIndex<JournalFile>;
  #doubtfulEnd = false;

  constructor(platform: Platform, files: JournalFiles, state: JournalSlotState) {
    this.#platform = platform;
    this.#files = files;
    this.#state = state;
    this.#window = platform.memory.allocate(Math.min(MAX_WINDOW_BYTES, files.fileBytes));
    this.#index = new JournalIndex(state.baseSequence, state.baseTerm);
  }

  async run(volumeId: Buffer): Promise<RecoveredJournal> {
    const all = await this.#files.openAll();
    for (const file of all) await this.#readLap(file, volumeId);
    this.#files.nextLap = Math.max(1, this.#state.firstLap, ...all.map((file) => file.lap + 1));
    const used = all.filter((file) => file.lap > 0 && file.lap >= this.#state.firstLap);
    used.sort((a, b) => a.lap - b.lap);
    for (const file of all) if (!used.includes(file)) await this.#files.addSpare(file);
    for (const file of used) {
      await this.#replayFile(file);
      this.#files.active.push(file);
    }
    return { index: this.#index, doubtfulEnd: this.#doubtfulEnd };
  }

  async #readLap(file: JournalFile, volumeId: Buffer): Promise<void> {
    await this.#fill(file, 0, 2 * BLOCK_BYTES);
    try {
      const page = this.#window.subarray(0, JOURNAL_FILE_HEADER_BYTES);
      const header = decodeJournalFileHeader(page, this.#platform.kernels.crc32c);
      if (!header.volumeId.equals(volumeId)) {
        throw new StorageUnusable(`${file.file.path} belongs to another volume`);
      }
      file.lap = header.lap;
    } catch (error) {
      if (error instanceof UnknownVersion) throw laterVersion(file.file.path, error);
      if (!(error instanceof FormatError)) throw error;
      // A spare has no header yet. If a header rotted, the first frame still tells the lap.
      file.lap = frameLap(this.#window.subarray(JOURNAL_FILE_HEADER_BYTES, 2 * BLOCK_BYTES)) ?? 0;
    }
  }

  async #replayFile(file: JournalFile): Promise<void> {
    let offset = JOURNAL_FILE_HEADER_BYTES;
    let skipped = false;
    for (;;) {
      const found = await this.#nextFrame(file, offset);
      if (found === undefined) break;
      if (found.offset > offset) skipped = true;
      offset = found.offset + found.lengthBytes;
      this.#replay(file, found);
    }
    // Behind something unreadable nothing is written in this file any more: what follows there could look like a continuation.
    file.tailBytes = skipped ? this.#files.fileBytes : offset;
  }

  #replay(file: JournalFile, { frame, offset, lengthBytes }: Found): void {
    const { previousSequence, entries } = frame;
    const index = this.#index;
    if (previousSequence > index.lastSequence) {
      index.lose(previousSequence, frame.previousTerm);
    } else if (
      previousSequence >= index.baseSequence &&
      (index.termOf(previousSequence) ?? frame.previousTerm) !== frame.previousTerm
    ) {
      // A frame that cannot be read replaced entries that are held; which is not known.
      index.cut(index.baseSequence);
      if (previousSequence > index.baseSequence) index.lose(previousSequence, frame.previousTerm);
    }
    index.cut(previousSequence);
    let sequence = previousSequence;
    for (const entry of entries) {
      sequence++;
      if (sequence > this.#index.lastSequence) this.#index.extend(entry.term);
    }
    this.#index.place({ file, offset, lengthBytes, previousSequence, lastSequence: sequence });
  }

  /**
   * First valid frame at or behind `from`. Where none begins the search goes on page by page to the end of the file. What the last call of all finds
   * at `from` is the journal's end.
   */
  async #nextFrame(file: JournalFile, from: number): Promise<Found | undefined> {
    this.#doubtfulEnd = false;
    for (let offset = from; offset < this.#files.fileBytes; offset += BLOCK_BYTES) {
      if (!this.#inWindow(file, offset, BLOCK_BYTES)) {
        await this.#fill(file, offset);
        if (this.#windowBytes < BLOCK_BYTES) return undefined;
      }
      if (offset === from) {
        const start = this.#window.subarray(offset - this.#windowStart, this.#windowBytes);
        this.#doubtfulEnd = looksLikeFrame(start, file.lap, offset);
      }
      const lengthBytes = this.#lengthAt(file, offset);
      if (lengthBytes === undefined) continue;
      if (!this.#inWindow(file, offset, lengthBytes)) {
        await this.#fill(file, offset);
        if (this.#windowBytes < lengthBytes) continue;
      }
      const start = offset - this.#windowStart;
      const frame = this.#decode(file, offset, this.#window.subarray(start, start + lengthBytes));
      if (frame !== undefined) return { frame, offset, lengthBytes };
    }
    return undefined;
  }

  #inWindow(file: JournalFile, offset: number, lengthBytes: number): boolean {
    const end = this.#windowStart + this.#windowBytes;
    return this.#windowFile === file && offset >= this.#windowStart && offset + lengthBytes <= end;
  }

  async #fill(file: JournalFile, offset: number, wantedBytes = this.#window.length): Promise<void> {
    const lengthBytes = Math.min(wantedBytes, this.#files.fileBytes - offset);
    this.#windowFile = undefined;
    this.#windowBytes = await this.#read(file, lengthBytes, offset);
    this.#windowStart = offset;
    this.#windowFile = file;
  }

  /** A page that the disk cannot read is like one whose bytes are wrong. */
  async #read(file: JournalFile, lengthBytes: number, offset: number): Promise<number> {
    try {
      return await file.file.read([this.#window.subarray(0, lengthBytes)], offset);
    } catch (error) {
      if (!isUnreadable(error)) throw error;
    }
    let at = 0;
    for (; at < lengthBytes; at += BLOCK_BYTES) {
      const page = this.#window.subarray(at, at + BLOCK_BYTES);
      try {
        if ((await file.file.read([page], offset + at)) < BLOCK_BYTES) break;
      } catch (error) {
        if (!isUnreadable(error)) throw error;
        page.fill(0);
      }
    }
    return at;
  }

  #lengthAt(file: JournalFile, offset: number): number | undefined {
    const start = offset - this.#windowStart;
    try {
      const lengthBytes = frameLength(this.#window.subarray(start, this.#windowBytes), file.lap, offset);
      return lengthBytes === undefined || lengthBytes === 0 || lengthBytes > this.#window.length
        ? undefined
        : lengthBytes;
    } catch (error) {
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }

  #decode(file: JournalFile, offset: number, bytes: Buffer): Frame | undefined {
    try {
      return decodeFrame(file.lap, offset, bytes, this.#platform.kernels.crc32c);
    } catch (error) {
      if (error instanceof UnknownVersion) throw laterVersion(file.file.path, error);
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }
}
