/**
 * Making segments part of the metadata: a durable segment with its extents and the sizes that they allow, or blocks of one whose bytes travel in the journal
 * ahead of it; and which of the latter a start finds. Counting what lives in segments is the segment table's.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { newBlockMap } from './extent-runs.ts';
import type { ExtentRuns, RecoveredInline, SizeUpdate } from './metadata.ts';
import type { MetadataState } from './state.ts';

export function commitSegment(
  state: MetadataState,
  redo: RedoSink,
  record: Omit<SegmentRecord, 'liveBlocks'>,
  extents: ExtentRuns,
  sizes: readonly SizeUpdate[],
): void {
  redo.commitSegment({ ...record, liveBlocks: 0 }, extents);
  commitSizes(state, redo, sizes);
}

/** `bytes` begin with the segment's block `firstIndex`. */
export function commitInline(
  state: MetadataState,
  redo: RedoSink,
  segmentId: number,
  firstIndex: number,
  bytes: Uint8Array,
  extents: ExtentRuns,
  sizes: readonly SizeUpdate[],
): void {
  redo.commitInline(segmentId, bytesOfRuns(firstIndex, bytes, extents), extents);
  commitSizes(state, redo, sizes);
}

function commitSizes(state: MetadataState, redo: RedoSink, sizes: readonly SizeUpdate[]): void {
  for (const { inode, sizeBytes, mtime } of sizes) {
    const old = state.inodes.get(inode);
    if (old === undefined) continue;
    if (mtime === undefined) {
      if (sizeBytes !== old.sizeBytes) redo.changeInode(inode, { sizeBytes });
      continue;
    }
    // Writing changes both times; a later change of the inode alone keeps its ctime.
    const { seconds, nanoseconds } = mtime;
    const newer =
      seconds > old.ctimeSeconds || (seconds === old.ctimeSeconds && nanoseconds > old.ctimeNanoseconds);
    const times = { mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds };
    redo.changeInode(
      inode,
      newer
        ? { sizeBytes, ...times, ctimeSeconds: seconds, ctimeNanoseconds: nanoseconds }
        : { sizeBytes, ...times },
    );
  }
}

/** Blocks that were committed inline and are part of their files now, while their segments never came. */
export function recoveredInline(state: MetadataState): RecoveredInline[] {
  return state.segments.inlineBlocks().filter((block) => isMapped(state, block));
}

function isMapped(
  state: MetadataState,
  { inode, fileBlock, segmentId, blockIndex }: RecoveredInline,
): boolean {
  const map = newBlockMap(1);
  state.extents.look(inode, fileBlock, 1, map);
  return map.segmentIds[0] === segmentId && map.blockIndexes[0] === blockIndex;
}

/** The blocks of the runs, in their order; no copy if that is how they lie. */
function bytesOfRuns(firstIndex: number, bytes: Uint8Array, runs: ExtentRuns): Uint8Array {
  let blocks = 0;
  let contiguous = true;
  for (let i = 0; i < runs.runCount; i++) {
    if (runs.blockIndexes[i] !== runs.blockIndexes[0]! + blocks) contiguous = false;
    blocks += runs.counts[i]!;
  }
  const offsetOf = (index: number) => (index - firstIndex) * BLOCK_BYTES;
  if (contiguous && blocks > 0) {
    const start = offsetOf(runs.blockIndexes[0]!);
    return bytes.subarray(start, start + blocks * BLOCK_BYTES);
  }
  const gathered = Buffer.allocUnsafe(blocks * BLOCK_BYTES);
  let at = 0;
  for (let i = 0; i < runs.runCount; i++) {
    const start = offsetOf(runs.blockIndexes[i]!);
    const lengthBytes = runs.counts[i]! * BLOCK_BYTES;
    gathered.set(bytes.subarray(start, start + lengthBytes), at);
    at += lengthBytes;
  }
  return gathered;
}
