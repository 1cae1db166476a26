/**
 * The numbers of a primary's segments: its term and a counter. One counter for all writers of a reign, so that an id is never given twice; segments
 * of different writers are committed in any order.
 */
import { assert } from '../base/assert.ts';

const TWO_32 = 2 ** 32;

export class SegmentIds {
  readonly #term: number;
  #counter = 0;

  constructor(term: number) {
    assert(term >= 1 && Number.isSafeInteger(term * TWO_32), `term ${term}`);
    this.#term = term;
  }

  next(): number {
    this.#counter++;
    return this.#term * TWO_32 + this.#counter;
  }
}
