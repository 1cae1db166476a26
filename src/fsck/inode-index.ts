/**
 * All inodes of the view in memory, as small as they go: 22 bytes each (number 8, type and flags 2, links recorded 4, names found 4, directory
 * of the first name 4), while it is filled up to twice that. A million inodes take 22 MB.
 */
import { assert } from '../base/assert.ts';

export const inodeFlags = { orphan: 1, reached: 2, climbing: 4, astray: 8 } as const;

const FIRST_CAPACITY = 1024;

export class InodeIndex {
  #numbers = new Float64Array(FIRST_CAPACITY);
  #types = new Uint8Array(FIRST_CAPACITY);
  #flags = new Uint8Array(FIRST_CAPACITY);
  #links = new Uint32Array(FIRST_CAPACITY);
  #names = new Uint32Array(FIRST_CAPACITY);
  /** Rank of the directory, plus 1. */
  #parents = new Uint32Array(FIRST_CAPACITY);
  count = 0;

  /** In ascending order. */
  add(inode: number, mode: number, linkCount: number): void {
    assert(this.count === 0 || inode > this.#numbers[this.count - 1]!, 'inodes come in order');
    if (this.count === this.#numbers.length) this.#grow();
    this.#numbers[this.count] = inode;
    this.#types[this.count] = (mode >>> 12) & 15;
    this.#links[this.count] = linkCount;
    this.count++;
  }

  #grow(): void {
    const capacity = 2 * this.#numbers.length;
    const grown = <T extends Float64Array | Uint8Array | Uint32Array>(array: T, made: T): T => {
      made.set(array);
      return made;
    };
    this.#numbers = grown(this.#numbers, new Float64Array(capacity));
    this.#types = grown(this.#types, new Uint8Array(capacity));
    this.#flags = grown(this.#flags, new Uint8Array(capacity));
    this.#links = grown(this.#links, new Uint32Array(capacity));
    this.#names = grown(this.#names, new Uint32Array(capacity));
    this.#parents = grown(this.#parents, new Uint32Array(capacity));
  }

  /** -1: there is none. */
  rank(inode: number): number {
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.#numbers[middle]!;
      if (found === inode) return middle;
      if (found < inode) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  number(rank: number): number {
    return this.#numbers[rank]!;
  }

  /** mode & S_IFMT */
  type(rank: number): number {
    return this.#types[rank]! << 12;
  }

  linkCount(rank: number): number {
    return this.#links[rank]!;
  }

  names(rank: number): number {
    return this.#names[rank]!;
  }

  /** Rank of the directory that the first name was found in; -1: none was. */
  parent(rank: number): number {
    return this.#parents[rank]! - 1;
  }

  has(rank: number, flag: number): boolean {
    return (this.#flags[rank]! & flag) !== 0;
  }

  set(rank: number, flag: number): void {
    this.#flags[rank]! |= flag;
  }

  clear(rank: number, flag: number): void {
    this.#flags[rank]! &= ~flag;
  }

  addName(rank: number, parentRank: number): void {
    this.#names[rank]!++;
    if (this.#parents[rank] === 0) this.#parents[rank] = parentRank + 1;
  }
}
