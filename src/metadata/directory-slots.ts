/**
 * The changed slots of one directory in one overlay generation: look-up by cookie, and iteration in cookie order.
 *
 * Cookies that came since the last iteration wait in a short unsorted list, so that listing a large directory while entries come and go costs
 * no re-sort a page. Slots never leave: a removed entry is a slot without an inode.
 */
import type { EntryRecord } from '../format/metadata-records.ts';

export interface Entry extends EntryRecord {
  readonly parent: number;
  /** Its slot, and the position of a listing behind it. */
  readonly cookie: number;
}

const MAX_UNSORTED = 2048;

export class DirectorySlots {
  readonly #slots = new Map<number, Entry>();
  #sorted: number[] = [];
  #unsorted: number[] = [];
  /** Slots that hold an entry. */
  live = 0;

  get(cookie: number): Entry | undefined {
    return this.#slots.get(cookie);
  }

  set(entry: Entry): void {
    const before = this.#slots.get(entry.cookie);
    if (before === undefined) this.#unsorted.push(entry.cookie);
    this.live += Number(entry.inode !== 0) - Number(before !== undefined && before.inode !== 0);
    this.#slots.set(entry.cookie, entry);
  }

  all(): Iterable<Entry> {
    return this.#slots.values();
  }

  /** Slots behind `cookie` in order. Changes during the iteration are not seen as new slots. */
  *after(cookie: number): Generator<Entry> {
    if (this.#unsorted.length > MAX_UNSORTED) this.#sort();
    const sorted = this.#sorted;
    const late = this.#unsorted.filter((each) => each > cookie).sort((a, b) => a - b);
    let at = firstBehind(sorted, cookie);
    for (const next of late) {
      while (at < sorted.length && sorted[at]! < next) yield this.#slots.get(sorted[at++]!)!;
      yield this.#slots.get(next)!;
    }
    while (at < sorted.length) yield this.#slots.get(sorted[at++]!)!;
  }

  #sort(): void {
    const cookies = Float64Array.from(this.#slots.keys()).sort();
    this.#sorted = Array.from(cookies);
    this.#unsorted = [];
  }
}

function firstBehind(sorted: readonly number[], cookie: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (sorted[middle]! <= cookie) low = middle + 1;
    else high = middle;
  }
  return low;
}
