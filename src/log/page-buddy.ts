/**
 * A buddy allocator over page numbers: blocks of 1, 2, 4 ... pages, merged again when both halves are free. Constant memory, no
 * allocation per call. It hands out numbers; what lies there is the owner's.
 */
import { assert } from '../base/assert.ts';

const NONE = -1;
const NOT_FREE = -1;

export class PageBuddy {
  readonly pageCount: number;
  readonly #topOrder: number;
  /** First free block of each order; the blocks of one order are linked both ways. */
  readonly #heads: Int32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  /** Order of the free block that begins at a page, or NOT_FREE. */
  readonly #freeOrder: Int8Array;
  #freePages: number;

  /** `pageCount` is a multiple of the largest block, 2^topOrder pages. */
  constructor(pageCount: number, topOrder: number) {
    assert(pageCount > 0 && pageCount % (1 << topOrder) === 0, `${pageCount} pages of order ${topOrder}`);
    this.pageCount = pageCount;
    this.#topOrder = topOrder;
    this.#heads = new Int32Array(topOrder + 1).fill(NONE);
    this.#next = new Int32Array(pageCount);
    this.#previous = new Int32Array(pageCount);
    this.#freeOrder = new Int8Array(pageCount).fill(NOT_FREE);
    this.#freePages = pageCount;
    for (let page = pageCount - (1 << topOrder); page >= 0; page -= 1 << topOrder) this.#push(page, topOrder);
  }

  get freePages(): number {
    return this.#freePages;
  }

  /** First page of a block of 2^order pages, or -1. */
  take(order: number): number {
    assert(order <= this.#topOrder, `order ${order}`);
    let from = order;
    while (from <= this.#topOrder && this.#heads[from] === NONE) from++;
    if (from > this.#topOrder) return NONE;
    const page = this.#heads[from]!;
    this.#remove(page, from);
    while (from > order) {
      from--;
      this.#push(page + (1 << from), from);
    }
    this.#freePages -= 1 << order;
    return page;
  }

  give(page: number, order: number): void {
    assert(this.#freeOrder[page] === NOT_FREE, `page ${page} is given back once`);
    this.#freePages += 1 << order;
    let at = page;
    let merged = order;
    while (merged < this.#topOrder) {
      const buddy = at ^ (1 << merged);
      if (this.#freeOrder[buddy] !== merged) break;
      this.#remove(buddy, merged);
      at = Math.min(at, buddy);
      merged++;
    }
    this.#push(at, merged);
  }

  #push(page: number, order: number): void {
    const head = this.#heads[order]!;
    this.#next[page] = head;
    this.#previous[page] = NONE;
    if (head !== NONE) this.#previous[head] = page;
    this.#heads[order] = page;
    this.#freeOrder[page] = order;
  }

  #remove(page: number, order: number): void {
    const next = this.#next[page]!;
    const previous = this.#previous[page]!;
    if (previous === NONE) this.#heads[order] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#freeOrder[page] = NOT_FREE;
  }
}
