/**
 * Bodies of the journal and metadata replica service (rpcMethods 32..41). What an entry holds is the metadata layer's matter: here
 * it is bytes with a sequence number and the term of the primary that made it. Byte tables: docs/format/journal-messages.md.
 *
 * Statuses other than ok: fenced (body: u64 term); conflict (body: the state, journal's or replica's, as the node has it); missing (read of
 * trimmed entries or an expired view); corrupt (read of a damaged entry); full; ioError; invalid; busy.
 */
import { KIB } from '../base/units.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';

/** Entries' bytes in one append or read: what an entry may hold at most is a little under this. */
export const MAX_JOURNAL_BATCH_BYTES = 512 * KIB;
export const MAX_JOURNAL_ENTRIES = 4096;
/** Operations' bytes in one part of a checkpoint and in one page of a snapshot. */
export const MAX_REPLICA_PART_BYTES = 512 * KIB;
export const MAX_REPLICA_KEY_BYTES = 1024;

export interface JournalEntry {
  readonly term: number;
  readonly bytes: Uint8Array;
}

export interface JournalState {
  /** The promised term: older ones are refused. */
  readonly term: number;
  /** First entry held; lastSequence + 1 when the journal is empty. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** Term of entry firstSequence - 1, 0 if there never was one. */
  readonly previousTerm: number;
  /** Term of entry lastSequence; previousTerm when the journal is empty. */
  readonly lastTerm: number;
  /** This entry was written and cannot be read any more; 0 if all can. lastSequence is the one before. */
  readonly damagedSequence: number;
  /** The last entry that was written, as far as can be told; lastSequence where nothing is damaged. Some up to here may be readable. */
  readonly endSequence: number;
  readonly endTerm: number;
  /** Behind endSequence something was written that cannot be read: a write that a crash cut short, or damage to the very last one. */
  readonly doubtfulEnd: boolean;
  /** It never was a member's journal, or lost everything: that it holds nothing says nothing. */
  readonly blank: boolean;
}

const STATE_BYTES = 72;
const DOUBTFUL_END = 1;
const BLANK = 2;

export function encodeJournalState(state: JournalState): Buffer {
  const out = Buffer.allocUnsafe(STATE_BYTES);
  writeSafe(out, state.term, 0);
  writeSafe(out, state.firstSequence, 8);
  writeSafe(out, state.lastSequence, 16);
  writeSafe(out, state.previousTerm, 24);
  writeSafe(out, state.lastTerm, 32);
  writeSafe(out, state.damagedSequence, 40);
  writeSafe(out, state.endSequence, 48);
  writeSafe(out, state.endTerm, 56);
  writeSafe(out, (state.doubtfulEnd ? DOUBTFUL_END : 0) + (state.blank ? BLANK : 0), 64);
  return out;
}

export function decodeJournalState(body: Buffer): JournalState {
  must(body.length === STATE_BYTES, 'length of a journal state');
  const flags = readSafe(body, 64);
  must(flags <= (DOUBTFUL_END | BLANK), 'flags of a journal state');
  return {
    term: readSafe(body, 0),
    firstSequence: readSafe(body, 8),
    lastSequence: readSafe(body, 16),
    previousTerm: readSafe(body, 24),
    lastTerm: readSafe(body, 32),
    damagedSequence: readSafe(body, 40),
    endSequence: readSafe(body, 48),
    endTerm: readSafe(body, 56),
    doubtfulEnd: (flags & DOUBTFUL_END) !== 0,
    blank: (flags & BLANK) !== 0,
  };
}

// Entries: u32 count, u32 zero, then for each u64 term, u32 length, u32 zero, bytes. Used in appends, in reads, and in journal files.

export const JOURNAL_ENTRIES_HEADER_BYTES = 8;
const ENTRY_HEADER_BYTES = 16;

export function journalEntryBytes(entry: JournalEntry): number {
  return ENTRY_HEADER_BYTES + entry.bytes.length;
}

export function journalEntriesBytes(entries: readonly JournalEntry[]): number {
  let total = JOURNAL_ENTRIES_HEADER_BYTES;
  for (const entry of entries) total += journalEntryBytes(entry);
  return total;
}

export function writeJournalEntryCount(out: Buffer, offset: number, count: number): void {
  out.writeUInt32LE(count, offset);
  out.writeUInt32LE(0, offset + 4);
}

function writeEntryHeader(out: Buffer, offset: number, term: number, lengthBytes: number): void {
  writeSafe(out, term, offset);
  out.writeUInt32LE(lengthBytes, offset + 8);
  out.writeUInt32LE(0, offset + 12);
}

export function encodeJournalEntry(entry: JournalEntry, out: Buffer, offset: number): number {
  writeEntryHeader(out, offset, entry.term, entry.bytes.length);
  out.set(entry.bytes, offset + ENTRY_HEADER_BYTES);
  return offset + ENTRY_HEADER_BYTES + entry.bytes.length;
}

export function encodeJournalEntries(entries: readonly JournalEntry[], out: Buffer, offset: number): number {
  writeJournalEntryCount(out, offset, entries.length);
  let at = offset + JOURNAL_ENTRIES_HEADER_BYTES;
  for (const entry of entries) at = encodeJournalEntry(entry, out, at);
  return at;
}

/** Entries are views of `bytes`. They have to fill it up to `end`. */
export function decodeJournalEntries(bytes: Buffer, offset: number, end: number): JournalEntry[] {
  must(end <= bytes.length && end - offset >= JOURNAL_ENTRIES_HEADER_BYTES, 'journal entries are short');
  const count = bytes.readUInt32LE(offset);
  mustBeZero(bytes, offset + 4, offset + JOURNAL_ENTRIES_HEADER_BYTES);
  must(count <= MAX_JOURNAL_ENTRIES, 'too many journal entries');
  const entries: JournalEntry[] = [];
  let at = offset + JOURNAL_ENTRIES_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    must(end - at >= ENTRY_HEADER_BYTES, 'journal entry is cut');
    const lengthBytes = bytes.readUInt32LE(at + 8);
    mustBeZero(bytes, at + 12, at + ENTRY_HEADER_BYTES);
    must(end - at - ENTRY_HEADER_BYTES >= lengthBytes, 'journal entry is cut');
    const start = at + ENTRY_HEADER_BYTES;
    entries.push({ term: readSafe(bytes, at), bytes: bytes.subarray(start, start + lengthBytes) });
    at = start + lengthBytes;
  }
  must(at === end, 'bytes behind the journal entries');
  return entries;
}

/**
 * Appends entries previousSequence + 1, ... Entries that are there already with the same term are left; at the first one with another term the
 * old tail is cut. No entries at all: everything behind previousSequence is cut. conflict: there is no entry previousSequence of
 * previousTerm here. The reply is the journal's state, with everything up to lastSequence durable.
 */
export interface AppendRequest {
  /** The caller's reign. */
  readonly term: number;
  readonly previousSequence: number;
  readonly previousTerm: number;
  readonly entries: readonly JournalEntry[];
}

const APPEND_HEADER_BYTES = 24;

export function encodeAppendRequest(request: AppendRequest): Buffer {
  const out = Buffer.allocUnsafe(APPEND_HEADER_BYTES + journalEntriesBytes(request.entries));
  writeSafe(out, request.term, 0);
  writeSafe(out, request.previousSequence, 8);
  writeSafe(out, request.previousTerm, 16);
  encodeJournalEntries(request.entries, out, APPEND_HEADER_BYTES);
  return out;
}

/** In front of an entry's bytes there is room for the header of an append request that carries it alone. */
export const APPEND_HEADROOM_BYTES = APPEND_HEADER_BYTES + JOURNAL_ENTRIES_HEADER_BYTES + ENTRY_HEADER_BYTES;

/** The same for one entry whose bytes lie in `framed` already, behind the headroom. */
export function fillAppendRequest(
  framed: Buffer,
  term: number,
  previousSequence: number,
  previousTerm: number,
  entryTerm: number,
): void {
  writeSafe(framed, term, 0);
  writeSafe(framed, previousSequence, 8);
  writeSafe(framed, previousTerm, 16);
  writeJournalEntryCount(framed, APPEND_HEADER_BYTES, 1);
  const entry = APPEND_HEADER_BYTES + JOURNAL_ENTRIES_HEADER_BYTES;
  writeEntryHeader(framed, entry, entryTerm, framed.length - APPEND_HEADROOM_BYTES);
}

export function decodeAppendRequest(body: Buffer): AppendRequest {
  must(body.length >= APPEND_HEADER_BYTES, 'append request is short');
  return {
    term: readSafe(body, 0),
    previousSequence: readSafe(body, 8),
    previousTerm: readSafe(body, 16),
    entries: decodeJournalEntries(body, APPEND_HEADER_BYTES, body.length),
  };
}

export interface ReadRequest {
  readonly fromSequence: number;
  /** Bound of the reply's entries (at least one comes, if there is one). */
  readonly maxBytes: number;
}

export function encodeReadRequest(request: ReadRequest): Buffer {
  const out = Buffer.allocUnsafe(12);
  writeSafe(out, request.fromSequence, 0);
  out.writeUInt32LE(request.maxBytes, 8);
  return out;
}

export function decodeReadRequest(body: Buffer): ReadRequest {
  must(body.length === 12, 'length of a read request');
  return { fromSequence: readSafe(body, 0), maxBytes: body.readUInt32LE(8) };
}

export function encodeReadReply(entries: readonly JournalEntry[]): Buffer {
  const out = Buffer.allocUnsafe(journalEntriesBytes(entries));
  encodeJournalEntries(entries, out, 0);
  return out;
}

/** Entries fromSequence, ...; none when there is nothing from there on. */
export function decodeReadReply(body: Buffer): JournalEntry[] {
  return decodeJournalEntries(body, 0, body.length);
}

/** Drops entries up to and with `sequence`. The reply is the state. */
export interface TrimRequest {
  readonly term: number;
  readonly sequence: number;
}

export function encodeTrimRequest(request: TrimRequest): Buffer {
  const out = Buffer.allocUnsafe(16);
  writeSafe(out, request.term, 0);
  writeSafe(out, request.sequence, 8);
  return out;
}

export function decodeTrimRequest(body: Buffer): TrimRequest {
  must(body.length === 16, 'length of a trim request');
  return { term: readSafe(body, 0), sequence: readSafe(body, 8) };
}

/** Empties the journal: the next entry will be sequence + 1, behind one of `sequenceTerm`. The reply is the state. */
export interface ResetRequest {
  readonly term: number;
  readonly sequence: number;
  readonly sequenceTerm: number;
}

export function encodeResetRequest(request: ResetRequest): Buffer {
  const out = Buffer.allocUnsafe(24);
  writeSafe(out, request.term, 0);
  writeSafe(out, request.sequence, 8);
  writeSafe(out, request.sequenceTerm, 16);
  return out;
}

export function decodeResetRequest(body: Buffer): ResetRequest {
  must(body.length === 24, 'length of a reset request');
  return { term: readSafe(body, 0), sequence: readSafe(body, 8), sequenceTerm: readSafe(body, 16) };
}
