/**
 * What the cleaner knows of every segment, in memory: how many blocks it takes, how many live, and when its data was written. Kept by the metadata's
 * observer, so that choosing a victim reads nothing.
 *
 * Rows lie in the order of segment ids, in typed arrays: 24 bytes a segment (6 MiB for 1 TiB of full segments), and up to twice that after a
 * growth. New segments have the highest ids, or nearly so; forgotten ones leave a hole until a quarter of the rows are holes.
 */
import { assert } from '../base/assert.ts';
import type { Candidate, VictimPolicy } from './victims.ts';

export interface Victim {
  readonly segmentId: number;
  readonly liveBlocks: number;
  /** What the segment takes (see log/segment-size.ts). */
  readonly blocks: number;
}

export interface Choice {
  readonly policy: VictimPolicy;
  /** In blocks that users wrote. */
  readonly now: number;
  readonly limit: number;
  /** Segments that yield less than this part of what they take are left alone. */
  readonly leastYield: number;
  readonly excluded: (segmentId: number) => boolean;
}

const FIRST_ROWS = 1024;

export class VictimIndex {
  #ids = new Float64Array(FIRST_ROWS);
  #live = new Uint32Array(FIRST_ROWS);
  /** 0: a hole. */
  #blocks = new Uint32Array(FIRST_ROWS);
  #writtenAt = new Float64Array(FIRST_ROWS);
  #rows = 0;
  #holes = 0;
  /** Blocks that live, and that all segments take. */
  liveBlocks = 0;
  blocks = 0;

  get segments(): number {
    return this.#rows - this.#holes;
  }

  /** Blocks that take room and do not live. */
  get reclaimableBlocks(): number {
    return this.blocks - this.liveBlocks;
  }

  /** A segment that is known already is replaced. */
  put(segmentId: number, liveBlocks: number, blocks: number, writtenAt: number): void {
    assert(blocks > 0, 'a segment takes room');
    let row = this.#rowFrom(segmentId);
    const isThere = row < this.#rows && this.#ids[row] === segmentId;
    if (!isThere) row = this.#insert(row, segmentId);
    else if (this.#blocks[row] === 0) this.#holes--;
    this.liveBlocks += liveBlocks - (isThere ? this.#live[row]! : 0);
    this.blocks += blocks - (isThere ? this.#blocks[row]! : 0);
    this.#live[row] = liveBlocks;
    this.#blocks[row] = blocks;
    this.#writtenAt[row] = writtenAt;
  }

  setLive(segmentId: number, liveBlocks: number): void {
    const row = this.#find(segmentId);
    if (row < 0) return;
    this.liveBlocks += liveBlocks - this.#live[row]!;
    this.#live[row] = liveBlocks;
  }

  /** When the data of the segment was written; undefined if it is not known. */
  writtenAt(segmentId: number): number | undefined {
    const row = this.#find(segmentId);
    return row < 0 ? undefined : this.#writtenAt[row];
  }

  remove(segmentId: number): void {
    const row = this.#find(segmentId);
    if (row < 0) return;
    this.liveBlocks -= this.#live[row]!;
    this.blocks -= this.#blocks[row]!;
    this.#live[row] = 0;
    this.#blocks[row] = 0;
    this.#holes++;
    if (this.#holes > this.#rows / 4 && this.#holes > FIRST_ROWS / 4) this.#close();
  }

  /** What each segment takes, anew; undefined: as it was. */
  recount(blocksOf: (segmentId: number) => number | undefined): void {
    for (let row = 0; row < this.#rows; row++) {
      if (this.#blocks[row] === 0) continue;
      const blocks = blocksOf(this.#ids[row]!);
      if (blocks === undefined) continue;
      assert(blocks > 0, 'a segment takes room');
      this.blocks += blocks - this.#blocks[row]!;
      this.#blocks[row] = blocks;
    }
  }

  /** Moves the times of what was written before `before`. */
  shiftTimes(by: number, before: number): void {
    for (let row = 0; row < this.#rows; row++) {
      if (this.#writtenAt[row]! < before) this.#writtenAt[row]! += by;
    }
  }

  /** The best victims, best first. One pass over all rows. */
  choose(choice: Choice): Victim[] {
    const { policy, now, limit, leastYield, excluded } = choice;
    const best: { row: number; score: number }[] = [];
    const candidate = { liveBlocks: 0, blocks: 1, ageBlocks: 0 } satisfies Candidate;
    for (let row = 0; row < this.#rows; row++) {
      const blocks = this.#blocks[row]!;
      const liveBlocks = this.#live[row]!;
      // What is dead as a whole goes by itself.
      if (liveBlocks === 0 || blocks - liveBlocks < leastYield * blocks) continue;
      candidate.liveBlocks = liveBlocks;
      candidate.blocks = blocks;
      candidate.ageBlocks = now - this.#writtenAt[row]!;
      const score = policy.score(candidate);
      if (score <= 0 || (best.length === limit && score <= best[limit - 1]!.score)) continue;
      if (excluded(this.#ids[row]!)) continue;
      let place = Math.min(best.length, limit - 1);
      while (place > 0 && best[place - 1]!.score < score) {
        best[place] = best[place - 1]!;
        place--;
      }
      best[place] = { row, score };
    }
    return best.map(({ row }) => ({
      segmentId: this.#ids[row]!,
      liveBlocks: this.#live[row]!,
      blocks: this.#blocks[row]!,
    }));
  }

  #find(segmentId: number): number {
    const row = this.#rowFrom(segmentId);
    return row < this.#rows && this.#ids[row] === segmentId && this.#blocks[row] !== 0 ? row : -1;
  }

  /** The first row whose id is not below. */
  #rowFrom(segmentId: number): number {
    let low = 0;
    let high = this.#rows;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#ids[middle]! < segmentId) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #insert(row: number, segmentId: number): number {
    if (this.#rows === this.#ids.length) this.#grow();
    for (const column of [this.#ids, this.#live, this.#blocks, this.#writtenAt]) {
      column.copyWithin(row + 1, row, this.#rows);
      column[row] = 0;
    }
    this.#rows++;
    this.#ids[row] = segmentId;
    return row;
  }

  #grow(): void {
    const rows = this.#ids.length * 2;
    const grown = <C extends Float64Array | Uint32Array>(column: C, made: C): C => {
      made.set(column);
      return made;
    };
    this.#ids = grown(this.#ids, new Float64Array(rows));
    this.#live = grown(this.#live, new Uint32Array(rows));
    this.#blocks = grown(this.#blocks, new Uint32Array(rows));
    this.#writtenAt = grown(this.#writtenAt, new Float64Array(rows));
  }

  #close(): void {
    let to = 0;
    for (let row = 0; row < this.#rows; row++) {
      if (this.#blocks[row] === 0) continue;
      this.#ids[to] = this.#ids[row]!;
      this.#live[to] = this.#live[row]!;
      this.#blocks[to] = this.#blocks[row]!;
      this.#writtenAt[to] = this.#writtenAt[row]!;
      to++;
    }
    this.#rows = to;
    this.#holes = 0;
  }
}
