/**
 * Sets of the 32 sectors of a page, as the bits of a number: bit 0 is the first. A sector is what a disk writes whole or not at all.
 */
import type { Dice } from '../contract.ts';

export const SECTOR_BYTES = 512;
export const BLOCK_BYTES = 4096;
export const SECTORS_A_BLOCK = BLOCK_BYTES / SECTOR_BYTES;
export const PAGE_BYTES = 32 * SECTOR_BYTES;
export const BLOCKS_A_PAGE = PAGE_BYTES / BLOCK_BYTES;

export type Sectors = number;

export const NO_SECTORS: Sectors = 0;
export const ALL_SECTORS: Sectors = 0xffff_ffff;

/** Those from one to before another, both in 0 to 32. */
export function sectorRange(from: number, to: number): Sectors {
  return (below(to) & ~below(from)) >>> 0;
}

/** Those that a range of bytes of the page touches. */
export function touchedSectors(fromByte: number, toByte: number): Sectors {
  return fromByte >= toByte
    ? NO_SECTORS
    : sectorRange(Math.floor(fromByte / SECTOR_BYTES), Math.ceil(toByte / SECTOR_BYTES));
}

export function countSectors(sectors: Sectors): number {
  let count = 0;
  for (let rest = sectors; rest !== 0; rest = (rest & (rest - 1)) >>> 0) count++;
  return count;
}

/** Calls with each stretch of neighbours, in bytes of the page. */
export function eachStretch(sectors: Sectors, run: (fromByte: number, toByte: number) => void): void {
  let sector = 0;
  while (sector < 32) {
    if (((sectors >>> sector) & 1) === 0) {
      sector++;
      continue;
    }
    const from = sector;
    while (sector < 32 && ((sectors >>> sector) & 1) === 1) sector++;
    run(from * SECTOR_BYTES, sector * SECTOR_BYTES);
  }
}

/** How likely each sector is to have got to the disk. Most crashes find it idle or just begun, so all and none are likely. */
export type Survival = 'none' | 'few' | 'half' | 'most' | 'all';
const SURVIVALS: readonly Survival[] = ['none', 'none', 'few', 'half', 'half', 'most', 'all', 'all'];

export function chooseSurvival(dice: Dice): Survival {
  return dice.pick(SURVIVALS);
}

export function survivors(survival: Survival, dice: Dice): Sectors {
  const half = (): Sectors => dice.below(2 ** 32);
  switch (survival) {
    case 'none':
      return NO_SECTORS;
    case 'few':
      return (half() & half() & half()) >>> 0;
    case 'half':
      return half();
    case 'most':
      return (half() | half() | half()) >>> 0;
    case 'all':
      return ALL_SECTORS;
  }
}

function below(sector: number): Sectors {
  return sector >= 32 ? ALL_SECTORS : ((1 << sector) - 1) >>> 0;
}
