/**
 * The content of one file as a map of 4 KiB blocks: the obvious implementation of sparse bytes. Holes may be reserved: they count as
 * blocks until they are given back.
 *
 * A block that was never written, or was cut or punched whole, is a hole and reads as zeros. Invariants: no block
 * lies wholly behind the end, and the bytes behind the end inside the last block are zero.
 */
import { BLOCK_BYTES, roundUp } from '../../base/units.ts';
import { newBlock } from './blocks.ts';

export class SparseBytes {
  readonly #blocks = new Map<number, Uint8Array>();
  /** Holes, inside the length or behind it. */
  readonly #reserved = new Set<number>();
  #lengthBytes = 0;

  get lengthBytes(): number {
    return this.#lengthBytes;
  }

  get blockCount(): number {
    return this.#blocks.size + this.#reserved.size;
  }

  hasBlock(block: number): boolean {
    return this.#blocks.has(block);
  }

  read(offsetBytes: number, lengthBytes: number): Uint8Array {
    const end = Math.min(offsetBytes + lengthBytes, this.#lengthBytes);
    const out = new Uint8Array(Math.max(0, end - offsetBytes));
    this.#eachBlock(offsetBytes, end, (block, from, to, at) => {
      const bytes = this.#blocks.get(block);
      if (bytes !== undefined) out.set(bytes.subarray(from, to), at);
    });
    return out;
  }

  write(offsetBytes: number, data: Uint8Array): void {
    const end = offsetBytes + data.length;
    this.#eachBlock(offsetBytes, end, (block, from, to, at) => {
      this.#materialize(block).set(data.subarray(at, at + to - from), from);
    });
    if (data.length > 0) this.#lengthBytes = Math.max(this.#lengthBytes, end);
  }

  resize(lengthBytes: number): void {
    if (lengthBytes < this.#lengthBytes) this.zero(lengthBytes, this.#lengthBytes - lengthBytes);
    // The last block stays when a part of it stays; zero() freed only blocks that are whole within the file.
    const firstCut = Math.ceil(lengthBytes / BLOCK_BYTES);
    if (lengthBytes <= this.#lengthBytes)
      for (const block of this.#reserved) if (block >= firstCut) this.#reserved.delete(block);
    for (const block of this.#blocks.keys()) if (block >= firstCut) this.#blocks.delete(block);
    this.#lengthBytes = lengthBytes;
  }

  /** Blocks that lie in the range whole become holes, others get zeros in their part. The length stays. */
  zero(offsetBytes: number, lengthBytes: number): void {
    const end = Math.min(offsetBytes + lengthBytes, roundUp(this.#lengthBytes, BLOCK_BYTES));
    for (const [block, bytes] of this.#blocks) {
      const from = Math.max(0, offsetBytes - block * BLOCK_BYTES);
      const to = Math.min(BLOCK_BYTES, end - block * BLOCK_BYTES);
      if (from === 0 && to === BLOCK_BYTES) this.#blocks.delete(block);
      else if (from < to) bytes.fill(0, from, to);
    }
  }

  /** Every hole that the range touches. */
  reserve(offsetBytes: number, lengthBytes: number): void {
    const endBlock = Math.ceil((offsetBytes + lengthBytes) / BLOCK_BYTES);
    for (let block = Math.floor(offsetBytes / BLOCK_BYTES); block < endBlock; block++)
      if (!this.#blocks.has(block)) this.#reserved.add(block);
  }

  /** Holes that lie in the range whole are reserved no more. */
  release(offsetBytes: number, lengthBytes: number): void {
    const firstBlock = Math.ceil(offsetBytes / BLOCK_BYTES);
    const endBlock = Math.floor((offsetBytes + lengthBytes) / BLOCK_BYTES);
    for (const block of this.#reserved)
      if (block >= firstBlock && block < endBlock) this.#reserved.delete(block);
  }

  /** The first offset at or behind the given one that is data; undefined: none before the end. */
  seekData(offsetBytes: number): number | undefined {
    const first = Math.floor(offsetBytes / BLOCK_BYTES);
    if (this.#blocks.has(first)) return offsetBytes;
    let found: number | undefined;
    for (const block of this.#blocks.keys())
      if (block > first && (found === undefined || block < found)) found = block;
    return found === undefined ? undefined : found * BLOCK_BYTES;
  }

  /** The first offset at or behind the given one that is a hole; there is a virtual one at the end. */
  seekHole(offsetBytes: number): number {
    let block = Math.floor(offsetBytes / BLOCK_BYTES);
    if (!this.#blocks.has(block)) return offsetBytes;
    while (this.#blocks.has(block)) block += 1;
    return Math.min(block * BLOCK_BYTES, this.#lengthBytes);
  }

  #materialize(block: number): Uint8Array {
    let bytes = this.#blocks.get(block);
    if (bytes === undefined) {
      bytes = newBlock();
      this.#blocks.set(block, bytes);
      this.#reserved.delete(block);
    }
    return bytes;
  }

  /** Calls back for each block of [begin, end): the part inside the block, and where it lies in the whole. */
  #eachBlock(
    begin: number,
    end: number,
    visit: (block: number, from: number, to: number, at: number) => void,
  ): void {
    for (let offset = begin; offset < end; ) {
      const block = Math.floor(offset / BLOCK_BYTES);
      const from = offset - block * BLOCK_BYTES;
      const to = Math.min(BLOCK_BYTES, from + end - offset);
      visit(block, from, to, offset - begin);
      offset += to - from;
    }
  }
}
