/**
 * Which blocks of a file lie in segments that are not committed yet, and where: fileBlock -> location, the newest only.
 *
 * A location is one integer: the segment's slot (a small number that the committer gives out) and the block index in it. Blocks
 * are kept in lines of 16 neighbours, so that a stream costs one map entry for 16 blocks, and scattered blocks one each.
 * Lines come from one pool; the number of blocks is bounded by the memory of the log's open and in-flight segments.
 */
import { assert } from '../base/assert.ts';

const LINE_BITS = 4;
const LINE_BLOCKS = 1 << LINE_BITS;
const LINE_MASK = LINE_BLOCKS - 1;
const INDEX_BITS = 16;
const INDEX_MASK = (1 << INDEX_BITS) - 1;
const FIRST_LINES = 256;

/** No location. */
export const NONE = -1;
export const MAX_SEGMENT_SLOTS = 1 << 14;

export function locationOf(slot: number, blockIndex: number): number {
  return (slot << INDEX_BITS) | blockIndex;
}
export function slotOf(location: number): number {
  return location >> INDEX_BITS;
}
export function indexOf(location: number): number {
  return location & INDEX_MASK;
}

/** Storage of lines for all files. It grows to what was needed at most and stays. */
export class LinePool {
  /** LINE_BLOCKS locations a line. */
  locations = new Int32Array(FIRST_LINES * LINE_BLOCKS).fill(NONE);
  /** Blocks present in each line. */
  counts = new Uint8Array(FIRST_LINES);
  #free: number[] = [];
  #used = 0;

  take(): number {
    const line = this.#free.pop();
    if (line !== undefined) return line;
    if (this.#used === this.counts.length) this.#grow();
    return this.#used++;
  }

  /** The line must be empty (all NONE). */
  give(line: number): void {
    this.#free.push(line);
  }

  get linesInUse(): number {
    return this.#used - this.#free.length;
  }

  #grow(): void {
    const lines = this.counts.length * 2;
    const locations = new Int32Array(lines * LINE_BLOCKS).fill(NONE);
    locations.set(this.locations);
    this.locations = locations;
    const counts = new Uint8Array(lines);
    counts.set(this.counts);
    this.counts = counts;
  }
}

export class PendingBlocks {
  readonly #pool: LinePool;
  readonly #lines = new Map<number, number>();
  #blockCount = 0;

  constructor(pool: LinePool) {
    this.#pool = pool;
  }

  get blockCount(): number {
    return this.#blockCount;
  }

  get lineCount(): number {
    return this.#lines.size;
  }

  get(fileBlock: number): number {
    const line = this.#lines.get(Math.floor(fileBlock / LINE_BLOCKS));
    return line === undefined ? NONE : this.#pool.locations[line * LINE_BLOCKS + (fileBlock & LINE_MASK)]!;
  }

  has(fileBlock: number): boolean {
    return this.get(fileBlock) !== NONE;
  }

  /**
   * Locations of [fileBlock, fileBlock + count) into out[0...]; count at most out.length.
   */
  read(fileBlock: number, count: number, out: Int32Array): void {
    let at = 0;
    while (at < count) {
      const block = fileBlock + at;
      const inLine = block & LINE_MASK;
      const length = Math.min(LINE_BLOCKS - inLine, count - at);
      const line = this.#lines.get(Math.floor(block / LINE_BLOCKS));
      if (line === undefined) out.fill(NONE, at, at + length);
      else {
        const from = line * LINE_BLOCKS + inLine;
        const { locations } = this.#pool;
        for (let i = 0; i < length; i++) out[at + i] = locations[from + i]!;
      }
      at += length;
    }
  }

  /**
   * Blocks fileBlock... now lie at location, location + 1, ... Calls `replaced` with each former location.
   */
  set(fileBlock: number, count: number, location: number, replaced: (location: number) => void): void {
    let at = 0;
    while (at < count) {
      const block = fileBlock + at;
      const inLine = block & LINE_MASK;
      const length = Math.min(LINE_BLOCKS - inLine, count - at);
      const line = this.#line(Math.floor(block / LINE_BLOCKS));
      const { locations, counts } = this.#pool;
      const from = line * LINE_BLOCKS + inLine;
      const known = counts[line]! > 0;
      let added = 0;
      for (let i = 0; i < length; i++) {
        const former = known ? locations[from + i]! : NONE;
        locations[from + i] = location + at + i;
        if (former === NONE) added += 1;
        else replaced(former);
      }
      counts[line]! += added;
      this.#blockCount += added;
      at += length;
    }
  }

  /** Removes the block if it is still at `location`. */
  removeAt(fileBlock: number, location: number): boolean {
    const key = Math.floor(fileBlock / LINE_BLOCKS);
    const line = this.#lines.get(key);
    if (line === undefined) return false;
    const index = line * LINE_BLOCKS + (fileBlock & LINE_MASK);
    if (this.#pool.locations[index] !== location) return false;
    this.#clear(key, line, index);
    return true;
  }

  /** Removes the blocks of [firstBlock, endBlock), telling each one's location. */
  removeRange(
    firstBlock: number,
    endBlock: number,
    removed: (location: number, fileBlock: number) => void,
  ): void {
    for (const [key, line] of this.#linesWithin(firstBlock, endBlock)) {
      const begin = Math.max(firstBlock, key * LINE_BLOCKS);
      const end = Math.min(endBlock, (key + 1) * LINE_BLOCKS);
      for (let block = begin; block < end; block++) {
        const index = line * LINE_BLOCKS + (block & LINE_MASK);
        const location = this.#pool.locations[index]!;
        if (location === NONE) continue;
        this.#clear(key, line, index);
        removed(location, block);
      }
    }
  }

  /** The smallest pending block that is not below `fromBlock`. */
  next(fromBlock: number): number | undefined {
    let best: number | undefined;
    for (const [key, line] of this.#lines) {
      if ((key + 1) * LINE_BLOCKS <= fromBlock || (best !== undefined && key * LINE_BLOCKS > best)) continue;
      for (let block = Math.max(fromBlock, key * LINE_BLOCKS); block < (key + 1) * LINE_BLOCKS; block++) {
        if (this.#pool.locations[line * LINE_BLOCKS + (block & LINE_MASK)] === NONE) continue;
        if (best === undefined || block < best) best = block;
        break;
      }
    }
    return best;
  }

  /** Calls `visit` with each line's first block and how many of its LINE_BLOCKS blocks are pending. */
  forEachLine(visit: (firstBlock: number, lengthBlocks: number, pendingBlocks: number) => void): void {
    for (const [key, line] of this.#lines) visit(key * LINE_BLOCKS, LINE_BLOCKS, this.#pool.counts[line]!);
  }

  #line(key: number): number {
    let line = this.#lines.get(key);
    if (line === undefined) {
      line = this.#pool.take();
      this.#lines.set(key, line);
    }
    return line;
  }

  #clear(key: number, line: number, index: number): void {
    const { locations, counts } = this.#pool;
    locations[index] = NONE;
    this.#blockCount -= 1;
    counts[line]! -= 1;
    if (counts[line]! > 0) return;
    this.#lines.delete(key);
    this.#pool.give(line);
    assert(this.#blockCount > 0 || this.#lines.size === 0, 'lines without blocks');
  }

  /** A copy of the lines that overlap the range: by key where the range is short, by walking all otherwise. */
  #linesWithin(firstBlock: number, endBlock: number): [number, number][] {
    const found: [number, number][] = [];
    const firstKey = Math.floor(firstBlock / LINE_BLOCKS);
    const lastKey = Math.ceil(endBlock / LINE_BLOCKS) - 1;
    if (lastKey - firstKey < this.#lines.size) {
      for (let key = firstKey; key <= lastKey; key++) {
        const line = this.#lines.get(key);
        if (line !== undefined) found.push([key, line]);
      }
    } else {
      for (const [key, line] of this.#lines) if (key >= firstKey && key <= lastKey) found.push([key, line]);
    }
    return found;
  }
}
