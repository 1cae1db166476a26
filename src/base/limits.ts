import { assert } from './assert.ts';
import { BLOCK_BYTES, KIB, MIB, TIB } from './units.ts';

/** Bounds of formats and buffers. Relations between them are asserted at load. */
export const MAX_PARITY = 3;
export const MAX_NODES = 32;
/** Data bytes that a segment aims for, whatever its width: fragments get narrower as stripes get wider. */
export const SEGMENT_DATA_BYTES = 4 * MIB;
export const MAX_FRAGMENT_BYTES = SEGMENT_DATA_BYTES;
/** Blocks in the largest segment. Wide stripes round a fragment up, so a little above the target. */
export const MAX_SEGMENT_BLOCKS = SEGMENT_DATA_BYTES / BLOCK_BYTES + MAX_NODES;
export const MAX_NAME_BYTES = 255;
export const MAX_SYMLINK_BYTES = 4095;
export const MAX_XATTR_BYTES = 64 * KIB;
export const MAX_FILE_BYTES = 8 * TIB;
/** Pieces that a file's reservation is in at most, so that its record stays small. */
export const MAX_RESERVED_RANGES = 4096;
/** Largest FUSE request: 256 pages. */
export const MAX_REQUEST_BYTES = MIB;
/** Data of an fsync up to this many bytes goes into the journal instead of sealing a segment. */
export const MAX_INLINE_BYTES = 128 * KIB;

assert(MAX_INLINE_BYTES < SEGMENT_DATA_BYTES, 'inline data fits in one segment');
assert(MAX_REQUEST_BYTES <= SEGMENT_DATA_BYTES, 'a request fits in one segment');

/** Data fragment length of a full segment with `dataFragments` data fragments, a multiple of a block. */
export function fullFragmentBytes(dataFragments: number): number {
  assert(dataFragments >= 1 && dataFragments <= MAX_NODES, `data fragments ${dataFragments}`);
  return Math.ceil(SEGMENT_DATA_BYTES / dataFragments / BLOCK_BYTES) * BLOCK_BYTES;
}
