/**
 * One node's copy of the metadata journal: contiguous entries, each with the term of the primary that made it. Owns the node's journal directory:
 *
 *   journal.slot     term promised, base       000001.tjl ...   entries, in laps over preallocated files
 *
 * An append is acknowledged when its entries are durable. Only the primary of the promised term may change anything. What entries mean, and
 * which members hold the truth, is the metadata layer's business.
 */
import { assert } from '../base/assert.ts';
import { MIB } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import { decodeFrame } from '../format/journal-file.ts';
import type { AppendRequest, JournalEntry, JournalState } from '../format/journal-messages.ts';
import { journalEntryBytes, MAX_JOURNAL_BATCH_BYTES } from '../format/journal-messages.ts';
import {
  decodeJournalSlotState,
  encodeJournalSlotState,
  type JournalSlotState,
  slotKinds,
} from '../format/storage-slot.ts';
import type { Platform } from '../platform/platform.ts';
import { type JournalFile, JournalFiles } from './journal-files.ts';
import { type FrameRef, JournalIndex } from './journal-index.ts';
import { type RecoveredJournal, recoverJournal } from './journal-recovery.ts';
import { JournalWriter } from './journal-writer.ts';
import { SlotDamaged, SlotFile } from './slot-file.ts';
import { isNoSpace, isUnreadable, refusalOf, StorageError } from './storage-error.ts';

export interface JournalStoreOptions {
  readonly directory: string;
  /** 16 bytes. */
  readonly volumeId: Buffer;
  readonly fileBytes?: number;
  readonly maxFiles?: number;
}

interface WaitingAppend {
  readonly request: AppendRequest;
  readonly resolve: (state: JournalState) => void;
  readonly reject: (error: unknown) => void;
}

const DEFAULT_FILE_BYTES = 16 * MIB;
const DEFAULT_MAX_FILES = 32;
/** As first lap in the stored state. */
const NEVER_RESET = 0;
/** Appends that wait for room; a primary keeps far fewer in flight. */
const MAX_WAITING = 64;

export class JournalStore {
  readonly #platform: Platform;
  readonly #slot: SlotFile;
  readonly #files: JournalFiles;
  readonly #writer: JournalWriter;
  #index: JournalIndex<JournalFile>;
  #term: number;
  #durableSequence: number;
  #doubtfulEnd: boolean;
  /** Never reset, and nothing in it: not a member's journal. */
  #blank: boolean;
  #waiting: WaitingAppend[] = [];
  #draining: Promise<void> | undefined;
  #resetting: Promise<void> | undefined;
  /** Not behind #term for longer than a fence takes, unless the disk fails. */
  #durableTerm: number;
  #closing = false;

  private constructor(
    platform: Platform,
    slot: SlotFile,
    files: JournalFiles,
    { index, doubtfulEnd }: RecoveredJournal,
    state: JournalSlotState,
  ) {
    this.#platform = platform;
    this.#slot = slot;
    this.#files = files;
    this.#index = index;
    this.#term = state.term;
    this.#durableTerm = state.term;
    this.#durableSequence = index.lastSequence;
    this.#doubtfulEnd = doubtfulEnd;
    this.#blank = state.firstLap === NEVER_RESET && index.lastSequence === 0;
    this.#writer = new JournalWriter(
      platform,
      files,
      (frame) => this.#noteDurable(frame),
      () => this.#index.cut(this.#durableSequence),
    );
  }

  static async open(platform: Platform, options: JournalStoreOptions): Promise<JournalStore> {
    const { directory, volumeId } = options;
    assert(volumeId.length === 16, 'a volume id has 16 bytes');
    await platform.disk.makeDirectory(directory);
    // A killed process may have left names and entries that are not durable yet: they count as durable from here on.
    await platform.disk.syncDirectory(directory);
    const files = new JournalFiles(platform, {
      directory,
      volumeId,
      fileBytes: options.fileBytes ?? DEFAULT_FILE_BYTES,
      maxFiles: options.maxFiles ?? DEFAULT_MAX_FILES,
    });
    const { slot, state } = await openState(platform, `${directory}/journal.slot`);
    const recovered = await recoverJournal(platform, files, state, volumeId);
    for (const { file } of files.active) await file.sync();
    const { index, doubtfulEnd } = recovered;
    const damagedSequence = index.firstLost();
    if (damagedSequence !== undefined) platform.log.error('journal-damaged', { directory, damagedSequence });
    if (doubtfulEnd) platform.log.warn('journal-end-doubtful', { directory, behind: index.lastSequence });
    await prepareIfPossible(platform, files);
    platform.log.info('journal-recovered', {
      firstSequence: index.baseSequence + 1,
      lastSequence: index.lastSequence,
      lastTerm: index.lastTerm,
    });
    return new JournalStore(platform, slot, files, recovered, state);
  }

  /** Of what is durable. */
  state(): JournalState {
    const index = this.#index;
    const { baseSequence, baseTerm } = index;
    const damagedSequence = index.firstLost() ?? 0;
    const endSequence = this.#durableSequence;
    const endTerm = index.termOf(endSequence) ?? baseTerm;
    const lastSequence = damagedSequence === 0 ? endSequence : damagedSequence - 1;
    return {
      term: this.#term,
      firstSequence: baseSequence + 1,
      lastSequence,
      previousTerm: baseTerm,
      lastTerm: lastSequence === endSequence ? endTerm : (index.termOf(lastSequence) ?? baseTerm),
      damagedSequence,
      endSequence,
      endTerm,
      doubtfulEnd: this.#doubtfulEnd,
      blank: this.#blank,
    };
  }

  /** Promises to refuse primaries of older terms, also after a restart. Appends and a reset under way are over when it resolves. */
  async fence(term: number): Promise<JournalState> {
    this.#mustServe();
    if (term < this.#term) throw fenced(term, this.#term);
    this.#term = term;
    if (term > this.#durableTerm) {
      await this.#resetting?.catch(() => undefined); // its caller was told
      await this.#writer.idle();
      await this.#storeState();
      this.#durableTerm = Math.max(this.#durableTerm, term);
    }
    await this.#writer.idle();
    return this.state();
  }

  /**
   * See AppendRequest. The entries' bytes are taken before it returns. Refuses with fenced, conflict, full, invalid.
   */
  append(request: AppendRequest): Promise<JournalState> {
    try {
      this.#mustServe();
      this.#writer.mustFit(request.entries);
      if (this.#waiting.length === 0 && this.#resetting === undefined) {
        const done = this.#appendNow(request);
        if (done !== undefined) return done;
      }
      if (this.#waiting.length >= MAX_WAITING)
        throw new StorageError({ reason: 'busy' }, 'too many appends at once');
    } catch (error) {
      return Promise.reject(error);
    }
    const entries = request.entries.map(({ term, bytes }) => ({ term, bytes: Buffer.from(bytes) }));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ request: { ...request, entries }, resolve, reject });
      this.#draining ??= this.#drain().finally(() => {
        this.#draining = undefined;
      });
    });
  }

  async #drain(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#resetting?.catch(() => undefined); // its caller was told
      await this.#writer.idle();
      while (this.#waiting.length > 0) {
        const { request, resolve, reject } = this.#waiting[0]!;
        let done: Promise<JournalState> | undefined;
        try {
          done = this.#appendNow(request);
        } catch (error) {
          done = Promise.reject(error);
        }
        if (done === undefined) break;
        this.#waiting.shift();
        done.then(resolve, reject);
      }
    }
  }

  /**
   * The same in this turn, for the case that matters: a few entries that follow the last one, and nothing else under way. undefined, and nothing
   * was done: use `append`.
   */
  appendInTurn(request: AppendRequest): JournalState | undefined {
    const { previousSequence, entries } = request;
    const index = this.#index;
    if (previousSequence !== index.lastSequence || this.#waiting.length > 0 || this.#resetting !== undefined)
      return undefined;
    if (entries.length === 0 || !this.#writer.canAppendInTurn(entries)) return undefined;
    this.#mustServe();
    this.#mustFollow(request);
    for (const entry of entries) index.extend(entry.term);
    try {
      this.#writer.appendInTurn(previousSequence, request.previousTerm, entries);
    } catch (error) {
      throw refusalOf(error, 'appending to the journal');
    }
    return this.state();
  }

  #mustFollow({ term, previousSequence, previousTerm }: AppendRequest): void {
    this.mustReign(term);
    if (this.#index.termOf(previousSequence) !== previousTerm) {
      throw conflict(`no entry ${previousSequence} of term ${previousTerm}`);
    }
  }

  /** undefined: not now, the writer has to come to rest first. */
  #appendNow(request: AppendRequest): Promise<JournalState> | undefined {
    const { previousSequence, entries } = request;
    this.#mustFollow(request);
    const index = this.#index;
    let known = 0;
    while (
      known < entries.length &&
      index.termOf(previousSequence + 1 + known) === entries[known]!.term &&
      !index.isLost(previousSequence + 1 + known)
    )
      known++;
    const start = previousSequence + known;
    if (known === entries.length && (known > 0 || start === index.lastSequence))
      return this.#whenDurable(start);
    const cuts = start < index.lastSequence;
    if (cuts && !this.#writer.isIdle) return undefined;
    const fresh = known === 0 ? entries : entries.slice(known);
    if (!this.#writer.hasRoom(fresh, start)) return undefined;
    if (cuts) {
      index.cut(start);
      this.#durableSequence = Math.min(this.#durableSequence, start);
    }
    const startTerm = index.termOf(start);
    assert(startTerm !== undefined, 'entries follow one that is held');
    for (const entry of fresh) index.extend(entry.term);
    return this.#writer.append(start, startTerm, fresh).then(
      () => this.state(),
      (error: unknown) => {
        throw refusalOf(error, 'appending to the journal');
      },
    );
  }

  #noteDurable(frame: FrameRef<JournalFile>): void {
    this.#index.place(frame);
    this.#durableSequence = frame.lastSequence;
    this.#doubtfulEnd = false;
    this.#blank = false;
  }

  async #whenDurable(sequence: number): Promise<JournalState> {
    if (sequence > this.#durableSequence) {
      await this.#writer.idle();
      if (sequence > this.#durableSequence) {
        throw new StorageError({ reason: 'ioError' }, `entry ${sequence} could not be written`);
      }
    }
    return this.state();
  }

  /**
   * Entries from `fromSequence` on, at least one if there is one, and not beyond a damaged one. Refuses with missing (trimmed) and corrupt (damaged;
   * one that is found now counts as damaged from then on).
   */
  async read(fromSequence: number, maxBytes: number): Promise<JournalEntry[]> {
    this.#mustServe();
    const bound = Math.min(maxBytes, MAX_JOURNAL_BATCH_BYTES);
    const result: JournalEntry[] = [];
    let sequence = fromSequence;
    let total = 0;
    while (sequence <= this.#durableSequence && total < bound) {
      if (this.#index.isLost(sequence)) {
        if (result.length === 0) throw corrupt(sequence);
        break;
      }
      const entries = await this.#readFrames(sequence, bound - total).catch((error: unknown) => {
        if (result.length > 0 && error instanceof StorageError) return []; // what came before is fine
        throw error;
      });
      if (entries.length === 0) break;
      for (const entry of entries) {
        total += journalEntryBytes(entry);
        if (result.length > 0 && total > bound) return result;
        result.push(entry);
      }
      sequence += entries.length;
    }
    this.#mustHold(fromSequence);
    return result;
  }

  async #readFrames(from: number, wantedBytes: number): Promise<JournalEntry[]> {
    this.#mustHold(from);
    const result: JournalEntry[] = [];
    let sequence = from;
    let readBytes = 0;
    for (const ref of this.#index.framesFrom(from)) {
      if (readBytes >= Math.max(wantedBytes, 1)) break;
      const lastSequence = ref.lastSequence;
      const buffer = this.#platform.memory.allocate(ref.lengthBytes);
      readBytes += ref.lengthBytes;
      let entries: readonly JournalEntry[];
      try {
        entries = await this.#readFrame(ref, buffer, sequence);
      } catch (error) {
        if (result.length > 0 && error instanceof StorageError) break; // whoever reads on meets it
        throw error;
      }
      const skip = sequence - ref.previousSequence - 1;
      if (skip < 0) break; // behind lost ones
      assert(lastSequence >= sequence, 'frames are in order');
      for (const entry of entries.slice(skip, lastSequence - ref.previousSequence)) result.push(entry);
      sequence = lastSequence + 1;
    }
    return result;
  }

  async #readFrame(
    ref: FrameRef<JournalFile>,
    buffer: Buffer,
    sequence: number,
  ): Promise<readonly JournalEntry[]> {
    const { file, offset } = ref;
    const lap = file.lap;
    try {
      const got = await file.file.read([buffer], offset);
      return decodeFrame(lap, offset, buffer.subarray(0, got), this.#platform.kernels.crc32c).entries;
    } catch (error) {
      this.#mustHold(sequence); // trimmed while it was read?
      if (!(error instanceof FormatError) && !isUnreadable(error))
        throw refusalOf(error, 'reading the journal');
      this.#platform.log.error('journal-entry-corrupt', { path: file.file.path, offset, sequence });
      this.#index.loseFrame(ref);
      throw corrupt(sequence);
    }
  }

  #mustHold(sequence: number): void {
    if (sequence > this.#index.baseSequence) return;
    throw new StorageError({ reason: 'missing' }, `entries up to ${this.#index.baseSequence} were trimmed`);
  }

  /** Drops entries up to and with `sequence`; what is not durable here cannot be trimmed. */
  async trim(term: number, sequence: number): Promise<JournalState> {
    this.#mustServe();
    this.mustReign(term);
    if (sequence > this.#durableSequence) {
      throw new StorageError({ reason: 'invalid' }, `entry ${sequence} is not here`);
    }
    if (sequence > this.#index.baseSequence) {
      if (this.#index.termOf(sequence) === undefined) throw corrupt(sequence);
      this.#index.trim(sequence);
      await this.#storeState();
      await this.#recycle(this.#firstLap());
    }
    return this.state();
  }

  /** Empties the journal: the next entry is sequence + 1. */
  async reset(term: number, sequence: number, sequenceTerm: number): Promise<JournalState> {
    this.#mustServe();
    this.mustReign(term);
    if (this.#resetting !== undefined) throw new StorageError({ reason: 'busy' }, 'a reset is under way');
    this.#resetting = this.#resetNow(sequence, sequenceTerm).finally(() => {
      this.#resetting = undefined;
    });
    await this.#resetting;
    return this.state();
  }

  async #resetNow(sequence: number, sequenceTerm: number): Promise<void> {
    await this.#writer.idle();
    try {
      this.#index = new JournalIndex(sequence, sequenceTerm);
      this.#durableSequence = sequence;
      this.#doubtfulEnd = false;
      this.#blank = false;
      const firstLap = this.#files.nextLap;
      await this.#storeState(firstLap);
      await this.#recycle(firstLap);
      await this.#files.prepare();
    } catch (error) {
      throw refusalOf(error, 'resetting the journal');
    }
  }

  /** Lap of the oldest file that is still needed. */
  #firstLap(): number {
    return (this.#index.firstFile ?? this.#files.active.at(-1))?.lap ?? this.#files.nextLap;
  }

  async #recycle(firstLap: number): Promise<void> {
    while ((this.#files.active[0]?.lap ?? firstLap) < firstLap) {
      const file = this.#files.active.shift();
      if (file !== undefined) await this.#files.addSpare(file);
    }
  }

  async #storeState(firstLap = this.#blank ? NEVER_RESET : this.#firstLap()): Promise<void> {
    const { baseSequence, baseTerm } = this.#index;
    try {
      await this.#slot.write(encodeJournalSlotState({ term: this.#term, baseSequence, baseTerm, firstLap }));
    } catch (error) {
      throw refusalOf(error, 'storing the state of the journal');
    }
  }

  #mustServe(): void {
    if (this.#closing) throw new StorageError({ reason: 'busy' }, 'the node is stopping');
  }

  /** Only the primary of the promised term may change the journal and the replica beside it. Refuses with fenced and conflict. */
  mustReign(term: number): void {
    if (term < this.#term) throw fenced(term, this.#term);
    if (term > this.#term) throw conflict(`term ${term} was not promised: fence first`);
  }

  async close(): Promise<void> {
    this.#closing = true;
    await this.#draining;
    await this.#resetting?.catch(() => undefined); // its caller was told
    await this.#writer.idle();
    await this.#files.close();
    await this.#slot.close();
  }
}

function fenced(term: number, known: number): StorageError {
  return new StorageError({ reason: 'fenced', term: known }, `term ${term} is older than ${known}`);
}

function conflict(message: string): StorageError {
  return new StorageError({ reason: 'conflict' }, message);
}

function corrupt(sequence: number): StorageError {
  return new StorageError({ reason: 'corrupt', blockIndex: 0 }, `journal entry ${sequence} is damaged`);
}

/**
 * Without a state that can be read the journal starts from what its files say, which counts as damaged or blank. That the promised term is forgotten
 * does no harm: primaries append only over the connection over which they fenced, after asking the coordinator (docs/metadata-protocol.md).
 */
async function openState(
  platform: Platform,
  path: string,
): Promise<{ slot: SlotFile; state: JournalSlotState }> {
  try {
    const opened = await SlotFile.open(platform, path, slotKinds.journal);
    if (opened !== undefined) return { slot: opened.slot, state: decodeJournalSlotState(opened.payload) };
  } catch (error) {
    if (!(error instanceof SlotDamaged)) throw error;
    platform.log.error('journal-state-lost', { why: error.message });
  }
  const state = { term: 0, baseSequence: 0, baseTerm: 0, firstLap: NEVER_RESET };
  return {
    slot: await SlotFile.create(platform, path, slotKinds.journal, encodeJournalSlotState(state)),
    state,
  };
}

/** On a full disk the journal opens all the same: it can be read and trimmed, and what fits the files that are there can be appended. */
async function prepareIfPossible(platform: Platform, files: JournalFiles): Promise<void> {
  try {
    await files.prepare();
  } catch (error) {
    const full = error instanceof StorageError && error.refusal.reason === 'full';
    if (!full && !isNoSpace(error)) throw error;
    platform.log.warn('journal-file-not-prepared', { why: String(error) });
  }
}
