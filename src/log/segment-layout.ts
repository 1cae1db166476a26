/**
 * The arithmetic of segments: how many blocks fit, how blocks fall into fragments, and where a segment's parts lie in its slot
 * of memory. Pure; everything is counted in blocks.
 *
 * A segment's data and summary are one linear run of blocks from the start of its slot. Cut into k pieces of equal length (the last
 * one filled up with zeros) they are its data fragments, whatever k is: laying a segment out anew for fewer nodes moves no
 * data. Parity lies behind, at a place that does not depend on k either.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES, MAX_PARITY, MAX_SEGMENT_BLOCKS, SEGMENT_DATA_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';

/** Data and summary blocks of a full segment. */
export const FULL_SEGMENT_BLOCKS = SEGMENT_DATA_BYTES / BLOCK_BYTES;

assert(FULL_SEGMENT_BLOCKS + MAX_NODES <= MAX_SEGMENT_BLOCKS, 'zero filling fits in a segment');

/** Redundancy that a volume's new segments aim for. */
export interface Shape {
  readonly dataFragments: number;
  readonly parityFragments: number;
}

/**
 * What can be written with too few nodes for full parity: all there is of it, for one data fragment. undefined: none answers, or more of those that are meant to hold
 * fragments are away than the parity bears.
 */
export function degradedShape(meant: number, answering: number, parityFragments: number): Shape | undefined {
  if (answering === 0 || meant - answering > parityFragments) return undefined;
  return { dataFragments: 1, parityFragments: answering - 1 };
}

/** What a slot has to hold so that no layout is too large for it: the most data fragments and the most parity, though no segment has both. */
export const WIDEST_SHAPE: Shape = { dataFragments: MAX_NODES, parityFragments: MAX_PARITY };

/** Where the parts of a segment lie in its slot. */
export interface SlotGeometry {
  /** Data and summary blocks at most. */
  readonly segmentBlocks: number;
  readonly parityFragments: number;
  /** First parity block: behind the longest zero-filled data. */
  readonly parityOffset: number;
  readonly slotBlocks: number;
}

/**
 * A slot holds every layout a segment may get, down to one data fragment. With k = 1 all fragments are equal and share the
 * data's memory, so the longest parity is that of k = 2.
 */
export function slotGeometry(shape: Shape, segmentBlocks: number): SlotGeometry {
  const { dataFragments: k, parityFragments: m } = shape;
  assert(k >= 1 && k <= MAX_NODES, `${k} data fragments`);
  assert(m >= 0 && m <= MAX_PARITY, `${m} parity fragments`);
  assert(segmentBlocks >= 2 && segmentBlocks <= FULL_SEGMENT_BLOCKS, `segment of ${segmentBlocks} blocks`);
  const parityOffset = segmentBlocks + k - 1;
  const longestParity = k === 1 ? 0 : fragmentBlocksFor(segmentBlocks, 2);
  return { segmentBlocks, parityFragments: m, parityOffset, slotBlocks: parityOffset + m * longestParity };
}

/** Length of each fragment when `blocks` are cut into `dataFragments`. */
export function fragmentBlocksFor(blocks: number, dataFragments: number): number {
  return Math.ceil(blocks / dataFragments);
}

/** Of a layout, what says which block is where. */
export interface FragmentSplit {
  readonly fragmentBlocks: number;
}

export function fragmentOf(split: FragmentSplit, blockIndex: number): number {
  return Math.floor(blockIndex / split.fragmentBlocks);
}
