/** Attributes as stat(2) shows them: the committed inode, overlaid with what is written but not committed. */
import { hasBlock, NO_RANGES } from '../base/block-ranges.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { newBlockMap } from '../metadata/extent-runs.ts';
import type { Inode, MetadataManager, Timestamp } from '../metadata/metadata.ts';
import type { Attributes } from './file-system.ts';
import type { InodeState } from './inode-state.ts';
import { isDirectory, isRegular } from './mode.ts';

const SECTORS_PER_BLOCK = BLOCK_BYTES / 512;
/**
 * Above this many lines of pending blocks st_blocks is estimated: a stat stays quick while much is being written. For files
 * without holes, or with all of them reserved, the estimate is exact.
 */
const MAX_COUNTED_LINES = 16;

const lineMap = newBlockMap(64);

export function attributesOf(
  inode: Inode,
  state: InodeState | undefined,
  metadata: MetadataManager,
): Attributes {
  const dirty = state?.dirtyTime;
  const changed = laterChange(inode, dirty);
  let sizeBytes = state?.sizeBytes ?? inode.sizeBytes;
  if (isDirectory(inode.mode)) sizeBytes = BLOCK_BYTES;
  let blocks = isRegular(inode.mode) ? inode.mappedBlocks + inode.reservedBlocks : 0;
  if (state !== undefined && state.pending.blockCount > 0) blocks += newBlocks(inode, state, metadata);
  return {
    inode: inode.inode,
    mode: inode.mode,
    linkCount: inode.linkCount,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    sizeBytes,
    blocks512: blocks * SECTORS_PER_BLOCK,
    atimeSeconds: inode.atimeSeconds,
    atimeNanoseconds: inode.atimeNanoseconds,
    mtimeSeconds: dirty?.seconds ?? inode.mtimeSeconds,
    mtimeNanoseconds: dirty?.nanoseconds ?? inode.mtimeNanoseconds,
    ctimeSeconds: changed.seconds,
    ctimeNanoseconds: changed.nanoseconds,
  };
}

/** The time of change: of the last write, or of something else (a new name) that came after it. */
function laterChange(inode: Inode, dirty: Timestamp | undefined): Timestamp {
  const { ctimeSeconds: seconds, ctimeNanoseconds: nanoseconds } = inode;
  const isLater =
    dirty !== undefined &&
    (dirty.seconds > seconds || (dirty.seconds === seconds && dirty.nanoseconds > nanoseconds));
  return isLater ? dirty : { seconds, nanoseconds };
}

/** Pending blocks that no committed extent and no reservation has a place for yet. */
function newBlocks(inode: Inode, state: InodeState, metadata: MetadataManager): number {
  if (inode.mappedBlocks === 0 && inode.reservedBlocks === 0) return state.pending.blockCount;
  if (state.pending.lineCount > MAX_COUNTED_LINES) {
    const most = Math.ceil(state.sizeBytes / BLOCK_BYTES) - inode.mappedBlocks - inode.reservedBlocks;
    return Math.max(0, Math.min(state.pending.blockCount, most));
  }
  const committedBlocks = Math.ceil(inode.sizeBytes / BLOCK_BYTES);
  const reservation = inode.reservedBlocks > 0 ? metadata.reservation(inode.inode) : NO_RANGES;
  let count = 0;
  state.pending.forEachLine((firstBlock, lengthBlocks, pendingBlocks) => {
    if (firstBlock >= committedBlocks && reservation.length === 0) {
      count += pendingBlocks;
      return;
    }
    metadata.mapBlocks(inode.inode, firstBlock, lengthBlocks, lineMap);
    for (let at = 0; at < lengthBlocks; at++) {
      const block = firstBlock + at;
      if (lineMap.segmentIds[at] === 0 && state.pending.has(block) && !hasBlock(reservation, block))
        count += 1;
    }
  });
  return count;
}
