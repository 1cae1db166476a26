/**
 * All committed segments of the view in memory: 29 bytes each, and one bit a data block for which blocks an extent was found. A TiB of full
 * segments takes 7.6 MB and 33 MB.
 *
 * Beside the bits there are two sums over the live blocks of a segment: of (block index, checksum) and of (block index, inode, file block). The
 * same sums over what the fragments' headers and the segment's summary say tell whether the extents agree with them, without keeping either.
 */
import { assert } from '../base/assert.ts';
import type { SegmentRecord } from '../format/segment-record.ts';

const FIRST_CAPACITY = 256;
const FIRST_BITMAP_BYTES = 64 * 1024;

export class SegmentIndex {
  #ids = new Float64Array(FIRST_CAPACITY);
  #dataBlocks = new Uint32Array(FIRST_CAPACITY);
  #recordedLive = new Uint32Array(FIRST_CAPACITY);
  #foundLive = new Uint32Array(FIRST_CAPACITY);
  #dead = new Uint8Array(FIRST_CAPACITY);
  #checksumSums = new Uint32Array(FIRST_CAPACITY);
  #ownerSums = new Uint32Array(FIRST_CAPACITY);
  /** In bytes / 8, so that 32 GiB of bits fit. */
  #bitmapAt = new Float64Array(FIRST_CAPACITY);
  #bitmap = new Uint8Array(FIRST_BITMAP_BYTES);
  #bitmapBytes = 0;
  #lastRank = 0;
  count = 0;
  blocks = 0;

  /** In ascending order of ids. */
  add(record: SegmentRecord): void {
    assert(this.count === 0 || record.segmentId > this.#ids[this.count - 1]!, 'segments come in order');
    if (this.count === this.#ids.length) this.#grow();
    const at = this.count++;
    this.#ids[at] = record.segmentId;
    this.#dataBlocks[at] = record.dataBlocks;
    this.#recordedLive[at] = record.liveBlocks;
    this.#bitmapAt[at] = this.#bitmapBytes;
    this.#bitmapBytes += (record.dataBlocks + 7) >>> 3;
    this.blocks += record.dataBlocks + record.summaryBlocks;
    while (this.#bitmapBytes > this.#bitmap.length) {
      const grown = new Uint8Array(2 * this.#bitmap.length);
      grown.set(this.#bitmap);
      this.#bitmap = grown;
    }
  }

  #grow(): void {
    const capacity = 2 * this.#ids.length;
    const grown = <T extends Float64Array | Uint8Array | Uint32Array>(array: T, made: T): T => {
      made.set(array);
      return made;
    };
    this.#ids = grown(this.#ids, new Float64Array(capacity));
    this.#dataBlocks = grown(this.#dataBlocks, new Uint32Array(capacity));
    this.#recordedLive = grown(this.#recordedLive, new Uint32Array(capacity));
    this.#foundLive = grown(this.#foundLive, new Uint32Array(capacity));
    this.#dead = grown(this.#dead, new Uint8Array(capacity));
    this.#checksumSums = grown(this.#checksumSums, new Uint32Array(capacity));
    this.#ownerSums = grown(this.#ownerSums, new Uint32Array(capacity));
    this.#bitmapAt = grown(this.#bitmapAt, new Float64Array(capacity));
  }

  /** -1: there is none. Quick for the one that was asked for last. */
  rank(segmentId: number): number {
    if (this.#lastRank < this.count && this.#ids[this.#lastRank] === segmentId) return this.#lastRank;
    let low = 0;
    let high = this.count - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const found = this.#ids[middle]!;
      if (found === segmentId) {
        this.#lastRank = middle;
        return middle;
      }
      if (found < segmentId) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** Notes that an extent points to the block. 'shared': another one does, too. */
  note(
    rank: number,
    blockIndex: number,
    inode: number,
    fileBlock: number,
    checksum: number,
  ): 'ok' | 'outside' | 'shared' {
    if (blockIndex >= this.#dataBlocks[rank]!) return 'outside';
    this.#foundLive[rank]!++;
    const byte = this.#bitmapAt[rank]! + (blockIndex >>> 3);
    const bit = 1 << (blockIndex & 7);
    const shared = (this.#bitmap[byte]! & bit) !== 0;
    this.#bitmap[byte]! |= bit;
    this.#checksumSums[rank]! += checksumTerm(blockIndex, checksum);
    this.#ownerSums[rank]! += ownerTerm(blockIndex, inode, fileBlock);
    return shared ? 'shared' : 'ok';
  }

  id(rank: number): number {
    return this.#ids[rank]!;
  }

  isLive(rank: number, blockIndex: number): boolean {
    return (this.#bitmap[this.#bitmapAt[rank]! + (blockIndex >>> 3)]! & (1 << (blockIndex & 7))) !== 0;
  }

  recordedLive(rank: number): number {
    return this.#recordedLive[rank]!;
  }

  foundLive(rank: number): number {
    return this.#foundLive[rank]!;
  }

  isDead(rank: number): boolean {
    return this.#dead[rank] === 1;
  }

  setDead(rank: number): void {
    this.#dead[rank] = 1;
  }

  checksumSum(rank: number): number {
    return this.#checksumSums[rank]!;
  }

  ownerSum(rank: number): number {
    return this.#ownerSums[rank]!;
  }
}

/** Sums of terms do not depend on their order; added up modulo 2^32. */
export function checksumTerm(blockIndex: number, checksum: number): number {
  return mix(Math.imul(blockIndex + 1, 0x9e3779b1) ^ checksum);
}

export function ownerTerm(blockIndex: number, inode: number, fileBlock: number): number {
  const low = mix(Math.imul(blockIndex + 1, 0x9e3779b1) ^ (inode >>> 0));
  return mix(low ^ Math.imul(Math.floor(inode / 2 ** 32) + 1, 0x85ebca6b) ^ Math.imul(fileBlock, 0xc2b2ae35));
}

function mix(value: number): number {
  let mixed = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
