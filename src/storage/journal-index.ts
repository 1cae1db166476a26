/**
 * What a journal holds and where: frames in order, and the terms of entries. Pure memory; recovery and the writer feed it the same way, so a
 * restart arrives where the running journal was.
 *
 * Invariant: the frames' entries and the lost ranges are contiguous from baseSequence + 1 to lastSequence. A lost entry was written, is not to be taken
 * for absent, and cannot be read; its term is known only where the frame behind it tells.
 */
import { assert } from '../base/assert.ts';

export interface FrameRef<File> {
  readonly file: File;
  readonly offset: number;
  readonly lengthBytes: number;
  readonly previousSequence: number;
  /** Last entry of the frame that still counts: later frames may have cut some. */
  lastSequence: number;
}

interface TermRun {
  readonly firstSequence: number;
  readonly term: number;
}

interface LostRange {
  readonly firstSequence: number;
  readonly lastSequence: number;
}

/** Of lost entries. */
const UNKNOWN_TERM = 0;

export class JournalIndex<File> {
  baseSequence: number;
  baseTerm: number;
  lastSequence: number;
  #frames: FrameRef<File>[] = [];
  /** Ascending; a run lasts until the next. */
  #runs: TermRun[] = [];
  /** Ascending. */
  #lost: LostRange[] = [];

  constructor(baseSequence: number, baseTerm: number) {
    this.baseSequence = baseSequence;
    this.baseTerm = baseTerm;
    this.lastSequence = baseSequence;
  }

  get lastTerm(): number {
    return this.#runs.at(-1)?.term ?? this.baseTerm;
  }

  /** Term of an entry that is held, or of the one before the first; undefined also for lost ones where nothing tells. */
  termOf(sequence: number): number | undefined {
    if (sequence < this.baseSequence || sequence > this.lastSequence) return undefined;
    if (sequence === this.baseSequence) return this.baseTerm;
    let low = 0;
    let high = this.#runs.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#runs[middle]!.firstSequence <= sequence) low = middle;
      else high = middle - 1;
    }
    const term = this.#runs[low]?.term;
    return term === UNKNOWN_TERM ? undefined : term;
  }

  /** The first lost entry from `sequence` on; undefined: none. */
  firstLost(sequence = 0): number | undefined {
    for (const { firstSequence, lastSequence } of this.#lost) {
      if (lastSequence >= sequence) return Math.max(firstSequence, sequence);
    }
    return undefined;
  }

  isLost(sequence: number): boolean {
    return this.#lost.length > 0 && this.firstLost(sequence) === sequence;
  }

  /** Entries up to `sequence`, which is of this term, were written and cannot be read. */
  lose(sequence: number, term: number): void {
    assert(sequence > this.lastSequence, 'what is lost is not held');
    this.#addLost({ firstSequence: this.lastSequence + 1, lastSequence: sequence });
    if (sequence > this.lastSequence + 1) {
      this.#runs.push({ firstSequence: this.lastSequence + 1, term: UNKNOWN_TERM });
    }
    this.#runs.push({ firstSequence: sequence, term });
    this.lastSequence = sequence;
  }

  /** The frame turned out to be unreadable: its entries are lost. */
  loseFrame(frame: FrameRef<File>): void {
    const at = this.#frames.indexOf(frame);
    if (at === -1) return; // cut or trimmed meanwhile
    this.#frames.splice(at, 1);
    const firstSequence = Math.max(frame.previousSequence, this.baseSequence) + 1;
    this.#addLost({ firstSequence, lastSequence: frame.lastSequence });
  }

  #addLost(range: LostRange): void {
    this.#lost.push(range);
    this.#lost.sort((a, b) => a.firstSequence - b.firstSequence);
  }

  #keepLost(first: number, last: number): void {
    this.#lost = this.#lost.flatMap(({ firstSequence, lastSequence }) => {
      const range = {
        firstSequence: Math.max(firstSequence, first),
        lastSequence: Math.min(lastSequence, last),
      };
      return range.firstSequence <= range.lastSequence ? [range] : [];
    });
  }

  /** Forgets everything behind `sequence`. */
  cut(sequence: number): void {
    const last = Math.max(sequence, this.baseSequence);
    if (last >= this.lastSequence) return;
    while ((this.#frames.at(-1)?.previousSequence ?? -1) >= last) this.#frames.pop();
    const frame = this.#frames.at(-1);
    if (frame !== undefined && frame.lastSequence > last) frame.lastSequence = last;
    while ((this.#runs.at(-1)?.firstSequence ?? -1) > last) this.#runs.pop();
    this.#keepLost(0, last);
    this.lastSequence = last;
  }

  /** An entry of this term follows. Its frame is noted later, when it is known (or never, if it could not be written). */
  extend(term: number): void {
    this.lastSequence++;
    if (term !== this.lastTerm || this.#runs.length === 0) {
      this.#runs.push({ firstSequence: this.lastSequence, term });
    }
  }

  /** The frame that holds entries previousSequence + 1 ... lastSequence. Empty ones need no place. */
  place(frame: FrameRef<File>): void {
    if (frame.lastSequence <= Math.max(frame.previousSequence, this.baseSequence)) return;
    this.#frames.push(frame);
  }

  /** Frames that hold entries from `sequence` on; between them entries may be lost. */
  framesFrom(sequence: number): readonly FrameRef<File>[] {
    let low = 0;
    let high = this.#frames.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#frames[middle]!.lastSequence < sequence) low = middle + 1;
      else high = middle;
    }
    return this.#frames.slice(low, low + 64);
  }

  /** Forgets everything up to `sequence`. */
  trim(sequence: number): void {
    const term = this.termOf(sequence);
    assert(term !== undefined, 'what is trimmed is held');
    this.baseSequence = sequence;
    this.baseTerm = term;
    const keep = this.#frames.findIndex((frame) => frame.lastSequence > sequence);
    this.#frames = keep === -1 ? [] : this.#frames.slice(keep);
    const run = this.#runs.findLastIndex((one) => one.firstSequence <= sequence + 1);
    if (run > 0) this.#runs = this.#runs.slice(run);
    if (this.lastSequence === sequence) this.#runs = [];
    this.#keepLost(sequence + 1, this.lastSequence);
  }

  /** The file of the first entry, if any entry has a place. */
  get firstFile(): File | undefined {
    return this.#frames[0]?.file;
  }
}
