/**
 * What a disk keeps of one file: bytes in sparse pages, the size, the space, and what of them a power loss may undo.
 *
 * Data and sizes are synced apart from names, and sizes are kept as a journaling file system keeps them: changes of size get to the
 * disk in their order, and the last that did is the file's size afterwards. A block that was appended and not synced reads as zeros
 * when its size survived and its bytes did not: XFS shows that; ext4 in ordered mode would not, and is thus gentler.
 */
import type { Dice } from '../contract.ts';
import type { DiskSpace } from './disk-space.ts';
import { countBlocks, Page, touchedBlocks } from './page.ts';
import { BLOCK_BYTES, chooseSurvival, PAGE_BYTES, type Sectors, survivors } from './sectors.ts';

/** More changes of size than this, and the oldest is committed: a journal of file-system metadata has an end. */
const MAX_PENDING_SIZES = 64;

/** What a sync covers: what had been changed when it began. */
export interface SyncPoint {
  readonly pages: readonly (readonly [Page, Sectors])[];
  readonly sizes: number;
}

export class StoredFile {
  readonly kind = 'file';
  readonly #space: DiskSpace;
  readonly #dice: Dice;
  readonly #pages = new Map<number, Page>();
  readonly #unsynced = new Set<Page>();
  /** The first is on the disk, the last is what readers see. */
  #sizes: number[] = [0];
  /** How many changes of size have been committed in the file's life. */
  #committedSizes = 0;
  #blocks = 0;
  #linked = false;
  #handles = 0;

  constructor(space: DiskSpace, dice: Dice) {
    this.#space = space;
    this.#dice = dice;
  }

  get sizeBytes(): number {
    return this.#sizes.at(-1)!;
  }

  /** Space belongs to the file while it has a name or is open. */
  setLinked(linked: boolean): void {
    this.#account(linked, this.#handles);
  }

  opened(): void {
    this.#account(this.#linked, this.#handles + 1);
  }

  closed(): void {
    this.#account(this.#linked, this.#handles - 1);
  }

  read(into: Uint8Array, positionBytes: number): number {
    const lengthBytes = Math.max(0, Math.min(into.length, this.sizeBytes - positionBytes));
    eachPage(positionBytes, lengthBytes, (index, from, to, done) => {
      const bytes = this.#pages.get(index)?.bytes;
      if (bytes === undefined) into.fill(0, done, done + to - from);
      else into.set(bytes.subarray(from, to), done);
    });
    return lengthBytes;
  }

  /** Reserves space and moves the end, as a write or an allocation does before any byte is written. */
  extend(positionBytes: number, lengthBytes: number, what: string): void {
    if (lengthBytes === 0) return;
    this.#reserve(positionBytes, lengthBytes, what);
    if (positionBytes + lengthBytes > this.sizeBytes) this.#setSize(positionBytes + lengthBytes);
  }

  /** Of bytes within the size, in reserved space. */
  store(source: Uint8Array, positionBytes: number, durable: boolean): void {
    eachPage(positionBytes, source.length, (index, from, to, done) => {
      const page = this.#page(index);
      page.write(source.subarray(done, done + to - from), from, durable, this.#dice);
      this.#note(page);
    });
    if (durable) this.#commitSizes(this.#sizes.length - 1);
  }

  punchHole(positionBytes: number, lengthBytes: number): void {
    const end = positionBytes + lengthBytes;
    const firstBlock = Math.min(Math.ceil(positionBytes / BLOCK_BYTES) * BLOCK_BYTES, end);
    const lastBlock = Math.max(Math.floor(end / BLOCK_BYTES) * BLOCK_BYTES, firstBlock);
    const clear = (from: number, to: number): void =>
      this.#eachStored(from, to - from, (page, fromByte, toByte) => page.clear(fromByte, toByte, this.#dice));
    clear(positionBytes, firstBlock);
    clear(lastBlock, end);
    this.#eachStored(firstBlock, lastBlock - firstBlock, (page, from, to) => {
      this.#giveBack(page.punch(from / BLOCK_BYTES, to / BLOCK_BYTES, this.#dice));
    });
  }

  truncate(sizeBytes: number): void {
    if (sizeBytes < this.sizeBytes) this.#cut(sizeBytes);
    if (sizeBytes !== this.sizeBytes) this.#setSize(sizeBytes);
  }

  beginSync(): SyncPoint {
    return {
      pages: [...this.#unsynced].map((page) => [page, page.unsynced] as const),
      sizes: this.#committedSizes + this.#sizes.length - 1,
    };
  }

  endSync({ pages, sizes }: SyncPoint): void {
    for (const [page, sectors] of pages) {
      page.sync(sectors);
      this.#note(page);
    }
    this.#commitSizes(Math.max(0, sizes - this.#committedSizes));
  }

  /** The power is gone. Returns how many sectors were lost. */
  losePower(): number {
    const chosen = this.#dice.below(this.#sizes.length);
    const sizeBytes = this.#sizes[chosen]!;
    const cutTo = Math.min(...this.#sizes.slice(0, chosen + 1));
    const laterCutTo = Math.min(...this.#sizes);
    const survival = chooseSurvival(this.#dice);
    let lost = 0;
    for (const page of this.#unsynced) {
      const kept = survivors(survival, this.#dice);
      const { lostSectors, restoredBlocks } = page.crash(
        kept,
        byteInPage(page, laterCutTo),
        byteInPage(page, cutTo),
      );
      lost += lostSectors;
      this.#blocks += restoredBlocks;
      this.#space.takeAnyway(restoredBlocks * BLOCK_BYTES);
    }
    this.#committedSizes += this.#sizes.length - 1;
    this.#sizes = [sizeBytes];
    this.#cut(sizeBytes);
    this.endSync(this.beginSync());
    return lost;
  }

  /** Flips a bit of a byte. False: nothing is stored there. */
  rot(positionBytes: number, bit: number): boolean {
    if (positionBytes >= this.sizeBytes) return false;
    const page = this.#pages.get(Math.floor(positionBytes / PAGE_BYTES));
    return page?.flip(positionBytes % PAGE_BYTES, bit) ?? false;
  }

  /** Where bytes are stored: the start of each page that has any. */
  storedPages(): number[] {
    const starts: number[] = [];
    for (const page of this.#pages.values()) {
      if (page.bytes !== undefined) starts.push(page.index * PAGE_BYTES);
    }
    return starts;
  }

  /** Nobody reads the file any more: its memory serves others. */
  forget(): void {
    for (const page of this.#pages.values()) page.forget();
    this.#pages.clear();
    this.#unsynced.clear();
  }

  #account(linked: boolean, handles: number): void {
    const before = this.#linked || this.#handles > 0;
    this.#linked = linked;
    this.#handles = handles;
    const after = linked || handles > 0;
    if (before && !after) this.#space.give(this.#blocks * BLOCK_BYTES);
    else if (after && !before) this.#space.takeAnyway(this.#blocks * BLOCK_BYTES);
  }

  #reserve(positionBytes: number, lengthBytes: number, what: string): void {
    let missing = 0;
    eachPage(positionBytes, lengthBytes, (index, from, to) => {
      const blocks = touchedBlocks(from, to);
      const allocated = this.#pages.get(index)?.allocatedBlocks ?? 0;
      if ((blocks & ~allocated) !== 0) missing += countBlocks(blocks & ~allocated);
    });
    if (missing === 0) return;
    this.#space.take(missing * BLOCK_BYTES, what);
    this.#blocks += missing;
    eachPage(positionBytes, lengthBytes, (index, from, to) => {
      this.#page(index).allocatedBlocks |= touchedBlocks(from, to);
    });
  }

  #giveBack(blocks: number): void {
    this.#blocks -= blocks;
    this.#space.give(blocks * BLOCK_BYTES);
  }

  /** Zeros from there on. */
  #cut(sizeBytes: number): void {
    for (const page of this.#pages.values()) {
      const from = byteInPage(page, sizeBytes);
      if (from === PAGE_BYTES) continue;
      this.#giveBack(page.cut(from, this.#dice));
      this.#note(page);
    }
  }

  #setSize(sizeBytes: number): void {
    this.#sizes.push(sizeBytes);
    if (this.#sizes.length > MAX_PENDING_SIZES) this.#commitSizes(1);
  }

  #commitSizes(count: number): void {
    if (count === 0) return;
    const cutTo = Math.min(...this.#sizes.slice(0, count + 1));
    if (cutTo < this.#sizes[0]!) {
      for (const page of this.#unsynced) page.forgetOld(byteInPage(page, cutTo));
    }
    this.#sizes = this.#sizes.slice(count);
    this.#committedSizes += count;
  }

  #page(index: number): Page {
    let page = this.#pages.get(index);
    if (page === undefined) {
      page = new Page(index);
      this.#pages.set(index, page);
    }
    return page;
  }

  #note(page: Page): void {
    if (page.unsynced !== 0) this.#unsynced.add(page);
    else this.#unsynced.delete(page);
    if (page.blank) this.#pages.delete(page.index);
  }

  #eachStored(
    positionBytes: number,
    lengthBytes: number,
    run: (page: Page, fromByte: number, toByte: number) => void,
  ): void {
    eachPage(positionBytes, lengthBytes, (index, from, to) => {
      const page = this.#pages.get(index);
      if (page === undefined) return;
      run(page, from, to);
      this.#note(page);
    });
  }
}

/** Where a position in the file is, seen from the page: 0 when it is before, the page's length when behind. */
function byteInPage(page: Page, positionBytes: number): number {
  return Math.min(PAGE_BYTES, Math.max(0, positionBytes - page.index * PAGE_BYTES));
}

/** The parts of a range by page; `done` is how many bytes of the range lie before. */
function eachPage(
  positionBytes: number,
  lengthBytes: number,
  run: (index: number, fromByte: number, toByte: number, done: number) => void,
): void {
  let done = 0;
  while (done < lengthBytes) {
    const position = positionBytes + done;
    const from = position % PAGE_BYTES;
    const to = Math.min(PAGE_BYTES, from + lengthBytes - done);
    run(Math.floor(position / PAGE_BYTES), from, to, done);
    done += to - from;
  }
}
