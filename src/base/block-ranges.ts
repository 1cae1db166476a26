/**
 * Sets of block numbers as sorted ranges, flat: [from, end, from, end, ...], apart from each other, none empty. Values are immutable: each change
 * makes new ones, so that whoever holds one keeps what it saw.
 */
import { assert } from './assert.ts';

export type BlockRanges = readonly number[];

export const NO_RANGES: BlockRanges = [];

export function rangeCount(ranges: BlockRanges): number {
  return ranges.length / 2;
}

export function blockCount(ranges: BlockRanges): number {
  let blocks = 0;
  for (let i = 0; i < ranges.length; i += 2) blocks += ranges[i + 1]! - ranges[i]!;
  return blocks;
}

export function hasBlock(ranges: BlockRanges, block: number): boolean {
  const i = firstEndingBehind(ranges, block);
  return i < ranges.length && ranges[i]! <= block;
}

/** The parts of the ranges inside [from, end), in order. */
export function within(ranges: BlockRanges, from: number, end: number): BlockRanges {
  const parts: number[] = [];
  for (let i = firstEndingBehind(ranges, from); i < ranges.length && ranges[i]! < end; i += 2) {
    parts.push(Math.max(ranges[i]!, from), Math.min(ranges[i + 1]!, end));
  }
  return parts;
}

/** What of [from, end) is in none of the ranges, in order. */
export function outside(ranges: BlockRanges, from: number, end: number): BlockRanges {
  const parts: number[] = [];
  let at = from;
  for (let i = firstEndingBehind(ranges, from); i < ranges.length && ranges[i]! < end; i += 2) {
    if (ranges[i]! > at) parts.push(at, ranges[i]!);
    at = ranges[i + 1]!;
  }
  if (at < end) parts.push(at, end);
  return parts;
}

export function added(ranges: BlockRanges, from: number, end: number): BlockRanges {
  assert(from < end, 'a range that is added is not empty');
  // Neighbours that touch it become one with it.
  const first = firstEndingBehind(ranges, from - 1);
  let behind = first;
  while (behind < ranges.length && ranges[behind]! <= end) behind += 2;
  if (behind === first) return [...ranges.slice(0, first), from, end, ...ranges.slice(first)];
  const joined = [Math.min(from, ranges[first]!), Math.max(end, ranges[behind - 1]!)];
  return [...ranges.slice(0, first), ...joined, ...ranges.slice(behind)];
}

export function removed(ranges: BlockRanges, from: number, end: number): BlockRanges {
  const first = firstEndingBehind(ranges, from);
  let behind = first;
  while (behind < ranges.length && ranges[behind]! < end) behind += 2;
  if (behind === first) return ranges;
  const left: number[] = [];
  if (ranges[first]! < from) left.push(ranges[first]!, from);
  if (ranges[behind - 1]! > end) left.push(end, ranges[behind - 1]!);
  return [...ranges.slice(0, first), ...left, ...ranges.slice(behind)];
}

/** Index of the first range that ends behind `block`; the length if there is none. */
function firstEndingBehind(ranges: BlockRanges, block: number): number {
  let low = 0;
  let high = ranges.length / 2;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (ranges[2 * middle + 1]! > block) high = middle;
    else low = middle + 1;
  }
  return 2 * low;
}
