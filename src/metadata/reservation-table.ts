/**
 * Which blocks are set aside for a file, as ranges, whether or not they were written since: fallocate adds to them, punching, truncation and deletion
 * take from them, writing leaves them alone. What a file has reserved is the part of its ranges that is not mapped; the count is kept in its inode and in
 * the totals, changes with every mapping inside the ranges, and is counted here and nowhere else. A file with nothing reserved has no record.
 */
import { type BlockRanges, blockCount, NO_RANGES, outside, within } from '../base/block-ranges.ts';
import { keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import { type Checksum, decodeReservation, encodeReservation } from '../format/metadata-records.ts';
import type { ExtentTable } from './extent-table.ts';
import { OverlayTable } from './overlay-table.ts';
import type { StateReader } from './state-reader.ts';

const CLEAN_BYTES = 4 * 1024 * 1024;
const OVERHEAD_BYTES = 100;
const BYTES_A_RANGE = 16;

interface Reservation {
  readonly ranges: BlockRanges;
}

function sizeOf({ ranges }: Reservation): number {
  return OVERHEAD_BYTES + (ranges.length / 2) * BYTES_A_RANGE;
}

export class ReservationTable {
  readonly records: OverlayTable<number, Reservation>;
  readonly #extents: ExtentTable;

  constructor(reader: StateReader, crc32c: Checksum, extents: ExtentTable) {
    this.#extents = extents;
    this.records = new OverlayTable<number, Reservation>({
      keyOf: (inode) => perInodeKey(keyLetters.reservation, inode),
      encode: ({ ranges }) => encodeReservation(ranges, crc32c),
      decode: (bytes) => ({ ranges: decodeReservation(bytes, crc32c) }),
      read: reader.get,
      sizeOf,
      cleanBytes: CLEAN_BYTES,
      weightOf: sizeOf,
    });
  }

  ranges(inode: number): BlockRanges {
    return this.records.get(inode)?.ranges ?? NO_RANGES;
  }

  /** No ranges: the record goes. Nothing is counted. */
  set(inode: number, ranges: BlockRanges): void {
    if (ranges.length === 0) {
      this.records.delete(inode);
      return;
    }
    const record = { ranges };
    this.records.set(inode, record);
    this.records.addWeight(sizeOf(record)); // one that is replaced may grow
  }

  /** Blocks of [firstBlock, endBlock) that are in the ranges and not mapped. */
  reservedWithin(inode: number, firstBlock: number, endBlock: number): number {
    return this.#holes(inode, within(this.ranges(inode), firstBlock, endBlock));
  }

  /** Blocks of [firstBlock, endBlock) that are in the ranges and mapped. */
  mappedWithin(inode: number, firstBlock: number, endBlock: number): number {
    return this.#mapped(inode, within(this.ranges(inode), firstBlock, endBlock));
  }

  /** Blocks of [firstBlock, endBlock) that are neither in the ranges nor mapped: what setting them aside would add. */
  unreservedWithin(inode: number, firstBlock: number, endBlock: number): number {
    return this.#holes(inode, outside(this.ranges(inode), firstBlock, endBlock));
  }

  #holes(inode: number, ranges: BlockRanges): number {
    return blockCount(ranges) - this.#mapped(inode, ranges);
  }

  #mapped(inode: number, ranges: BlockRanges): number {
    let mapped = 0;
    for (let i = 0; i < ranges.length; i += 2) {
      mapped += this.#extents.countMapped(inode, ranges[i]!, ranges[i + 1]!);
    }
    return mapped;
  }
}
