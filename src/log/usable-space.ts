/**
 * How many bytes of file data fit on nodes with given room, after parity, summaries and fragment headers. Pure.
 *
 * Segments take equal parts of as many nodes as their width; when too few nodes have room left, narrower ones go on, as placement does.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import { summaryBlocksFor } from '../format/segment-summary.ts';
import { FULL_SEGMENT_BLOCKS, fragmentBlocksFor, type Shape } from './segment-layout.ts';
import { storedFragmentBytes } from './writable-nodes.ts';

/** `segmentBlocks`: data and summary blocks of a full segment. */
export function usableBytes(
  roomBytes: readonly number[],
  shape: Shape,
  segmentBlocks = FULL_SEGMENT_BLOCKS,
): number {
  const room = roomBytes.filter((bytes) => bytes > 0).sort((a, b) => b - a);
  let usable = 0;
  let dataFragments = shape.dataFragments;
  for (;;) {
    dataFragments = Math.min(dataFragments, room.length - shape.parityFragments);
    if (dataFragments < 1) return Math.floor(usable / BLOCK_BYTES) * BLOCK_BYTES;
    const width = dataFragments + shape.parityFragments;
    const each = evenShare(room, width);
    usable += each * dataFragments * payloadRatio(dataFragments, width, segmentBlocks);
    takeShares(room, each, width);
    dataFragments--;
  }
}

/** The largest share t such that the nodes, each giving at most t, can fill `width` shares: sum(min(room, t)) >= width * t. */
function evenShare(room: readonly number[], width: number): number {
  // Nodes with more than t give t. Try how many those are: the others give all they have.
  let restBytes = room.reduce((sum, bytes) => sum + bytes, 0);
  for (let capped = 0; capped < width; capped++) {
    const share = restBytes / (width - capped);
    if ((room[capped] ?? 0) <= share) return share;
    restBytes -= room[capped]!;
  }
  return room[width - 1] ?? 0;
}

/** Takes the shares away; what is left may still hold narrower segments. */
function takeShares(room: number[], shareBytes: number, width: number): void {
  let wanted = shareBytes * width;
  for (let index = 0; index < room.length; index++) {
    const taken = Math.min(room[index]!, shareBytes, wanted);
    room[index]! -= taken;
    wanted -= taken;
  }
  const rest = room.filter((bytes) => bytes >= 1).sort((a, b) => b - a);
  room.splice(0, room.length, ...rest);
}

/** File data in a stored data fragment of a full segment. */
function payloadRatio(dataFragments: number, width: number, segmentBlocks: number): number {
  const dataBlocks = segmentBlocks - summaryBlocksFor(1);
  const stored = storedFragmentBytes(fragmentBlocksFor(segmentBlocks, dataFragments), width);
  return (dataBlocks * BLOCK_BYTES) / (stored * dataFragments);
}
