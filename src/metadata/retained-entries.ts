/**
 * The journal's entries since the last checkpoint, in memory: what a member that joins or comes back is brought up to date with.
 *
 * Bound: checkpoints are taken by the bytes held here, and a backlog pushes back before that (see checkpointer.ts).
 */
import { Arena } from '../base/arena.ts';
import { assert } from '../base/assert.ts';
import type { GroupEncoder } from '../format/journal-entry.ts';
import {
  APPEND_HEADROOM_BYTES,
  encodeAppendRequest,
  fillAppendRequest,
  type JournalEntry,
  journalEntriesBytes,
  MAX_JOURNAL_BATCH_BYTES,
  MAX_JOURNAL_ENTRIES,
} from '../format/journal-messages.ts';

/** Left for the headers of a request and its frame in the journal. */
const BATCH_BYTES = MAX_JOURNAL_BATCH_BYTES - 8192;
const ENTRY_OVERHEAD_BYTES = 16;

interface RetainedEntry extends JournalEntry {
  /** `bytes` with room in front for the request that carries them alone. */
  readonly framed: Buffer;
}

export class RetainedEntries {
  readonly #arena = new Arena();
  #entries: RetainedEntry[] = [];
  /** Entry behind which these follow. */
  #baseSequence: number;
  #baseTerm: number;
  lengthBytes = 0;

  constructor(baseSequence: number, baseTerm: number) {
    this.#baseSequence = baseSequence;
    this.#baseTerm = baseTerm;
  }

  get baseSequence(): number {
    return this.#baseSequence;
  }

  get lastSequence(): number {
    return this.#baseSequence + this.#entries.length;
  }

  /** Takes a copy of an entry's bytes. */
  push(term: number, bytes: Uint8Array): void {
    this.#room(term, bytes.length).set(bytes);
  }

  /** Takes the open group as the next entry. Returns its length. */
  close(term: number, group: GroupEncoder): number {
    const sequence = this.lastSequence + 1;
    return group.close(sequence, this.#room(term, group.lengthBytes)).length;
  }

  #room(term: number, lengthBytes: number): Buffer {
    const framed = this.#arena.take(APPEND_HEADROOM_BYTES + lengthBytes);
    const bytes = framed.subarray(APPEND_HEADROOM_BYTES);
    this.#entries.push({ term, bytes, framed });
    this.lengthBytes += lengthBytes;
    return bytes;
  }

  /** Term of an entry held, or of the base; undefined for others. */
  termOf(sequence: number): number | undefined {
    if (sequence === this.#baseSequence) return this.#baseTerm;
    return this.#entries[sequence - this.#baseSequence - 1]?.term;
  }

  bytesOf(sequence: number): Uint8Array {
    const entry = this.#entries[sequence - this.#baseSequence - 1];
    assert(entry !== undefined, 'an entry that is retained');
    return entry.bytes;
  }

  /** Bytes of the entries behind `sequence`. */
  lengthBehind(sequence: number): number {
    let total = 0;
    for (const { bytes } of this.#entries.slice(Math.max(0, sequence - this.#baseSequence)))
      total += bytes.length;
    return total;
  }

  /** An append request with the entries behind `afterSequence`, as many as one takes. Valid until the next one. */
  request(term: number, afterSequence: number): { body: Buffer; toSequence: number } {
    const start = afterSequence - this.#baseSequence;
    const previousTerm = this.termOf(afterSequence);
    assert(previousTerm !== undefined, 'entries are retained from where a member stands');
    if (start === this.#entries.length - 1) {
      const { framed, term: entryTerm } = this.#entries[start]!;
      fillAppendRequest(framed, term, afterSequence, previousTerm, entryTerm);
      return { body: framed, toSequence: afterSequence + 1 };
    }
    let end = start;
    for (let total = 0; end < this.#entries.length && end - start < MAX_JOURNAL_ENTRIES; end++) {
      total += ENTRY_OVERHEAD_BYTES + this.#entries[end]!.bytes.length;
      if (total > BATCH_BYTES && end > start) break;
    }
    const entries = this.#entries.slice(start, end);
    assert(journalEntriesBytes(entries) <= MAX_JOURNAL_BATCH_BYTES, 'an entry fits in a request');
    return {
      body: encodeAppendRequest({ term, previousSequence: afterSequence, previousTerm, entries }),
      toSequence: this.#baseSequence + end,
    };
  }

  /** Entries up to `sequence` are in a checkpoint. */
  trim(sequence: number): void {
    const term = this.termOf(sequence);
    assert(term !== undefined, 'only what is held is trimmed');
    for (const entry of this.#entries.splice(0, sequence - this.#baseSequence)) {
      this.lengthBytes -= entry.bytes.length;
    }
    this.#baseSequence = sequence;
    this.#baseTerm = term;
  }
}
