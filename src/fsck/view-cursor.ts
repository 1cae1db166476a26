/**
 * Walks over the records of one kind in key order, page by page. Several cursors over kinds that are ordered by inode are joined by stepping
 * them together. Memory: one page.
 */
import { prefixEnd } from '../metadata/state-reader.ts';
import type { StateView } from '../metadata/state-view.ts';

export interface ViewRecord {
  readonly key: Buffer;
  readonly value: Buffer;
}

const PAGE_RECORDS = 512;

export class ViewCursor {
  readonly #view: StateView;
  readonly #end: string;
  #from: string;
  #page: [Buffer, Buffer][] = [];
  #at = 0;
  #last = false;

  constructor(view: StateView, prefix: string) {
    this.#view = view;
    this.#from = prefix;
    this.#end = prefixEnd(prefix);
  }

  /** The record it stands at; undefined at the end. Not to be asked while `isDry`. */
  get head(): ViewRecord | undefined {
    const pair = this.#page[this.#at];
    return pair === undefined ? undefined : { key: pair[0], value: pair[1] };
  }

  /** The inode that the record belongs to; infinite at the end. For kinds whose keys begin with one. */
  get inode(): number {
    const pair = this.#page[this.#at];
    return pair === undefined ? Number.POSITIVE_INFINITY : pair[0].readUIntBE(1, 6);
  }

  /** The next page has to be fetched. */
  get isDry(): boolean {
    return this.#at === this.#page.length && !this.#last;
  }

  async fetch(): Promise<void> {
    while (this.isDry) {
      this.#page = await this.#view.range(this.#from, this.#end, PAGE_RECORDS);
      this.#at = 0;
      this.#last = this.#page.length < PAGE_RECORDS;
      const lastKey = this.#page.at(-1)?.[0];
      if (lastKey !== undefined) this.#from = `${lastKey.toString('latin1')}\0`;
    }
  }

  advance(): void {
    this.#at++;
  }
}

/** All records of a kind. */
export async function* recordsOf(view: StateView, prefix: string): AsyncGenerator<ViewRecord> {
  const cursor = new ViewCursor(view, prefix);
  for (;;) {
    if (cursor.isDry) await cursor.fetch();
    const record = cursor.head;
    if (record === undefined) return;
    yield record;
    cursor.advance();
  }
}
