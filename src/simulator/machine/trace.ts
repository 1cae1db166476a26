/**
 * What happened, as a rolling hash of all of it, so that two runs can be compared, and as lines for whoever asks. Hashing goes
 * over every scheduler step too: two runs of one hash took the same steps at the same moments.
 */
import { hashText, mixBits } from '../../base/prng.ts';
import type { LogFields } from '../../platform/platform.ts';
import type { Trace } from '../contract.ts';

export type TraceSink = (atMs: number, what: string, fields: LogFields | undefined) => void;

/** Names of events come from the code, so there are few. */
const MAX_CACHED_NAMES = 4_096;
const STACK_BEGIN = '\n    at ';

export class RollingTrace implements Trace {
  readonly #sink: TraceSink | undefined;
  readonly #nameHashes = new Map<string, number>();
  readonly #float = new Float64Array(1);
  readonly #words = new Uint32Array(this.#float.buffer);
  #low = 0x243f6a88;
  #high = 0x85a308d3;
  #nowMs = 0;
  #steps = 0;

  constructor(sink: TraceSink | undefined) {
    this.#sink = sink;
  }

  get steps(): number {
    return this.#steps;
  }

  /** The hash of everything so far, in hexadecimal. */
  get hash(): string {
    const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0');
    return hex(mixBits(this.#low)) + hex(mixBits(this.#high ^ this.#low));
  }

  /** A step of the scheduler, for the process of that number. */
  step(nowMs: number, ownerNumber: number): void {
    this.#nowMs = nowMs;
    this.#steps++;
    this.#word(ownerNumber);
    this.number(nowMs);
  }

  event(what: string, fields?: LogFields): void {
    this.#word(this.#hashOf(what));
    if (fields !== undefined) this.#fields(fields);
    this.#sink?.(this.#nowMs, what, fields);
  }

  /** A line of a process's log. What goes with all of its lines says nothing new, so it is not hashed. */
  log(event: string, fields: LogFields | undefined, common: () => LogFields): void {
    this.#word(this.#hashOf(event));
    if (fields !== undefined) this.#fields(fields);
    this.#sink?.(this.#nowMs, event, { ...common(), ...fields });
  }

  /** Hashes a number that has no line of its own. */
  number(value: number): void {
    this.#float[0] = value;
    this.#word(this.#words[0]!);
    this.#word(this.#words[1]!);
  }

  #fields(fields: LogFields): void {
    for (const name in fields) {
      const value = fields[name];
      if (typeof value === 'number') this.number(value);
      else if (typeof value === 'string') this.#word(hashText(withoutStack(value)));
      else this.#word(value === true ? 1 : value === false ? 2 : 3);
    }
  }

  #word(word: number): void {
    this.#low = Math.imul(this.#low ^ word, 0x01000193);
    this.#high = (Math.imul(this.#high, 0x85ebca6b) + (this.#low ^ (this.#low >>> 15))) | 0;
  }

  #hashOf(what: string): number {
    const known = this.#nameHashes.get(what);
    if (known !== undefined) return known;
    const hash = hashText(what);
    if (this.#nameHashes.size < MAX_CACHED_NAMES) this.#nameHashes.set(what, hash);
    return hash;
  }
}

/** Where the code lies says nothing about what happened. */
function withoutStack(text: string): string {
  const stackAt = text.indexOf(STACK_BEGIN);
  return stackAt < 0 ? text : text.slice(0, stackAt);
}
