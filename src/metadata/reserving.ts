/** Setting blocks aside for a file: what is checked first, and the operations. Taking them back is part of block-removal.ts. */
import { added, rangeCount } from '../base/block-ranges.ts';
import { posixOutcome } from '../base/errno.ts';
import { MAX_RESERVED_RANGES } from '../base/limits.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { existing } from './namespace.ts';
import type { MetadataState } from './state.ts';

export function reserve(
  state: MetadataState,
  redo: RedoSink,
  inode: number,
  firstBlock: number,
  endBlock: number,
): void {
  existing(state, inode);
  mustFitRecord(state, inode, firstBlock, endBlock);
  redo.reserveBlocks(inode, firstBlock, endBlock);
}

/** The blocks become holes that are reserved. */
export function zero(
  state: MetadataState,
  redo: RedoSink,
  inode: number,
  firstBlock: number,
  endBlock: number,
): void {
  const found = existing(state, inode);
  mustFitRecord(state, inode, firstBlock, endBlock);
  if (found.mappedBlocks > 0) redo.unmapBlocks(inode, firstBlock, endBlock);
  redo.reserveBlocks(inode, firstBlock, endBlock);
}

function mustFitRecord(state: MetadataState, inode: number, firstBlock: number, endBlock: number): void {
  const ranges = added(state.reservations.ranges(inode), firstBlock, endBlock);
  if (rangeCount(ranges) > MAX_RESERVED_RANGES) throw posixOutcome('ENOSPC');
}
