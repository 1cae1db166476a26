/**
 * The journal's entries since the last checkpoint, in memory: what a member that joins or comes back is brought up to date with.
 *
 * Bound: checkpoints are taken by the bytes held here, and a backlog pushes back before that (see checkpointer.ts).
 */
import { assert } from '../base/assert.ts';
import {
  encodeAppendRequest,
  type JournalEntry,
  journalEntriesBytes,
  MAX_JOURNAL_BATCH_BYTES,
  MAX_JOURNAL_ENTRIES,
} from '../format/journal-messages.ts';

/** Left for the headers of a request and its frame in the journal. */
const BATCH_BYTES = MAX_JOURNAL_BATCH_BYTES - 8192;
const ENTRY_OVERHEAD_BYTES = 16;

export class RetainedEntries {
  #entries: JournalEntry[] = [];
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

  push(entry: JournalEntry): void {
    this.#entries.push(entry);
    this.lengthBytes += entry.bytes.length;
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

  /** An append request with the entries behind `afterSequence`, as many as one takes. */
  request(term: number, afterSequence: number): { body: Buffer; toSequence: number } {
    const start = afterSequence - this.#baseSequence;
    const previousTerm = this.termOf(afterSequence);
    assert(previousTerm !== undefined, 'entries are retained from where a member stands');
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
