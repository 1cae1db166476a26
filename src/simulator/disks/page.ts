/**
 * One page of a file: what a reader sees, and, for the sectors that were changed since they were last synced, what the disk has.
 * Positions are within the page; what space costs is the file's affair.
 *
 * The disk may have taken an earlier change of a sector before a later one was made: the dice say so when the later one is made,
 * because afterwards only two versions are kept.
 */
import type { Dice } from '../contract.ts';
import { giveBackPage, isZero, zeroPage } from './page-memory.ts';
import {
  BLOCK_BYTES,
  BLOCKS_A_PAGE,
  countSectors,
  eachStretch,
  NO_SECTORS,
  PAGE_BYTES,
  SECTORS_A_BLOCK,
  type Sectors,
  sectorRange,
  touchedSectors,
} from './sectors.ts';

export class Page {
  readonly index: number;
  /** Undefined: all zeros. */
  bytes: Buffer | undefined;
  /** Space is reserved for these. A block of a page is a bit, as a sector is. */
  allocatedBlocks = 0;
  /** Changed since they were last synced. */
  unsynced: Sectors = NO_SECTORS;
  /** Blocks whose last change was a hole: it is there whole or not at all. */
  #punchedBlocks = 0;
  /** Given back since they were last synced. */
  #freedBlocks = 0;
  /** What the disk has of the unsynced sectors. Undefined: zeros. */
  #old: Buffer | undefined;

  constructor(index: number) {
    this.index = index;
  }

  /** Nothing is stored here that a page which is not there would not say as well. */
  get blank(): boolean {
    return this.bytes === undefined && this.allocatedBlocks === 0 && this.unsynced === NO_SECTORS;
  }

  write(source: Uint8Array, fromByte: number, durable: boolean, dice: Dice): void {
    const toByte = fromByte + source.length;
    const sectors = touchedSectors(fromByte, toByte);
    if (durable) this.sync(sectors);
    else this.#change(sectors, dice);
    this.#punchedBlocks &= ~touchedBlocks(fromByte, toByte);
    if (this.bytes === undefined) {
      if (isZero(source)) return;
      this.bytes = zeroPage();
    }
    this.bytes.set(source, fromByte);
  }

  /** Zeros that may get to the disk in part. */
  clear(fromByte: number, toByte: number, dice: Dice): void {
    if (fromByte >= toByte) return;
    this.#change(touchedSectors(fromByte, toByte), dice);
    this.#punchedBlocks &= ~touchedBlocks(fromByte, toByte);
    this.#zero(fromByte, toByte);
  }

  /** Whole blocks become a hole. Returns how many of them had been allocated. */
  punch(fromBlock: number, toBlock: number, dice: Dice): number {
    const sectors = sectorRange(fromBlock * SECTORS_A_BLOCK, toBlock * SECTORS_A_BLOCK);
    this.#change(sectors, dice);
    this.#zero(fromBlock * BLOCK_BYTES, toBlock * BLOCK_BYTES);
    this.#punchedBlocks |= blockRange(fromBlock, toBlock);
    return this.#free(blockRange(fromBlock, toBlock));
  }

  /** The file ends here. Returns how many blocks were given back. */
  cut(fromByte: number, dice: Dice): number {
    this.clear(fromByte, PAGE_BYTES, dice);
    return this.#free(~touchedBlocks(0, fromByte));
  }

  #free(blocks: number): number {
    const freed = this.allocatedBlocks & blocks;
    this.allocatedBlocks &= ~blocks;
    this.#freedBlocks |= freed;
    return countBlocks(freed);
  }

  /** These sectors are on the disk as they are now. */
  sync(sectors: Sectors): void {
    this.unsynced = (this.unsynced & ~sectors) >>> 0;
    if (this.unsynced !== NO_SECTORS) return;
    giveBackPage(this.#old);
    this.#old = undefined;
    this.#punchedBlocks = 0;
    this.#freedBlocks = 0;
  }

  /** False: there is nothing to decay here. */
  flip(byte: number, bit: number): boolean {
    if (this.bytes === undefined) return false;
    this.bytes[byte]! ^= 1 << bit;
    if (this.#old !== undefined) this.#old[byte]! ^= 1 << bit;
    return true;
  }

  /** What the disk had from here on is gone: a smaller size has been committed. */
  forgetOld(fromByte: number): void {
    this.#old?.fill(0, fromByte);
  }

  /**
   * The power is gone. Of the unsynced sectors, `kept` are on the disk, before `forcedOldFrom`; those from there on to `zeroOldFrom`
   * have not been changed at all; behind that, what the disk had is gone.
   */
  crash(
    kept: Sectors,
    forcedOldFrom: number,
    zeroOldFrom: number,
  ): { lostSectors: number; restoredBlocks: number } {
    let survive = kept;
    for (let block = 0; block < BLOCKS_A_PAGE; block++) {
      const sectors = sectorRange(block * SECTORS_A_BLOCK, (block + 1) * SECTORS_A_BLOCK);
      const first = (kept >>> (block * SECTORS_A_BLOCK)) & 1;
      if (((this.#punchedBlocks >>> block) & 1) === 1)
        survive = (first === 1 ? survive | sectors : survive & ~sectors) >>> 0;
    }
    if (forcedOldFrom < zeroOldFrom) survive = (survive & ~touchedSectors(forcedOldFrom, zeroOldFrom)) >>> 0;
    this.forgetOld(zeroOldFrom);
    const lost = (this.unsynced & ~survive) >>> 0;
    let lostBlocks = 0;
    eachStretch(lost, (from, to) => {
      lostBlocks |= touchedBlocks(from, to);
      this.#revert(from, to);
    });
    const restored = lostBlocks & this.#freedBlocks & ~this.allocatedBlocks;
    this.allocatedBlocks |= restored;
    this.sync(this.unsynced);
    return { lostSectors: countSectors(lost), restoredBlocks: countBlocks(restored) };
  }

  #revert(fromByte: number, toByte: number): void {
    const old = this.#old;
    if (old === undefined) {
      this.bytes?.fill(0, fromByte, toByte);
      return;
    }
    this.bytes ??= zeroPage();
    old.copy(this.bytes, fromByte, fromByte, toByte);
  }

  /** The page is gone. */
  forget(): void {
    giveBackPage(this.bytes);
    giveBackPage(this.#old);
    this.bytes = undefined;
    this.#old = undefined;
  }

  #change(sectors: Sectors, dice: Dice): void {
    const again = (sectors & this.unsynced) >>> 0;
    if (again !== NO_SECTORS) this.#keep((again & dice.below(2 ** 32)) >>> 0);
    this.#keep((sectors & ~this.unsynced) >>> 0);
    this.unsynced = (this.unsynced | sectors) >>> 0;
  }

  #keep(sectors: Sectors): void {
    if (sectors === NO_SECTORS || (this.bytes === undefined && this.#old === undefined)) return;
    this.#old ??= zeroPage();
    const old = this.#old;
    eachStretch(sectors, (from, to) => {
      if (this.bytes === undefined) old.fill(0, from, to);
      else this.bytes.copy(old, from, from, to);
    });
  }

  #zero(fromByte: number, toByte: number): void {
    if (fromByte === 0 && toByte === PAGE_BYTES) {
      giveBackPage(this.bytes);
      this.bytes = undefined;
    } else this.bytes?.fill(0, fromByte, toByte);
  }
}

/** Bits of the blocks from one to before another. */
export function blockRange(from: number, to: number): number {
  return (1 << to) - (1 << from);
}

export function touchedBlocks(fromByte: number, toByte: number): number {
  return fromByte >= toByte
    ? 0
    : blockRange(Math.floor(fromByte / BLOCK_BYTES), Math.ceil(toByte / BLOCK_BYTES));
}

export function countBlocks(blocks: number): number {
  let count = 0;
  for (let block = 0; block < BLOCKS_A_PAGE; block++) count += (blocks >>> block) & 1;
  return count;
}
