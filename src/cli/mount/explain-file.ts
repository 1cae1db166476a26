/** Where the blocks of a file lie, from committed metadata. Bounded: a file of many small pieces is told in part. */
import { MAX_FILE_BYTES } from '../../base/limits.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import { newBlockMap } from '../../metadata/extent-runs.ts';
import type { MetadataManager } from '../../metadata/metadata.ts';
import type { SegmentCopies } from '../../replicator/copies/copy-report.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { ExplainedExtent, ExplainedSegment, Explanation } from '../supervisor/control-messages.ts';

const MAP_BLOCKS = 1024;
const MAX_EXTENTS = 5_000;

/** `useOf`: what is thought of copying a segment. */
export async function explainFile(
  metadata: MetadataManager,
  inodeNumber: number,
  useOf: (segmentId: number) => SegmentCopies | undefined,
): Promise<Explanation> {
  const inode = metadata.inode(inodeNumber);
  if (inode === undefined) {
    throw new CommandFailure(exitCodes.usage, `there is no inode ${inodeNumber} in this volume`);
  }
  const extents: MutableExtent[] = [];
  const endBlock = Math.ceil(Math.min(inode.sizeBytes, MAX_FILE_BYTES) / BLOCK_BYTES);
  const map = newBlockMap(MAP_BLOCKS);
  let fileBlock = 0;
  while (fileBlock < endBlock && extents.length <= MAX_EXTENTS) {
    const mapped = (await metadata.nextMappedBlock(inodeNumber, fileBlock)) ?? endBlock;
    if (mapped > fileBlock) {
      addBlocks(extents, fileBlock, Math.min(mapped, endBlock) - fileBlock, 0, 0);
      fileBlock = mapped;
      continue;
    }
    metadata.mapBlocks(inodeNumber, fileBlock, Math.min(MAP_BLOCKS, endBlock - fileBlock), map);
    for (let index = 0; index < map.count; index++) {
      addBlocks(extents, fileBlock + index, 1, map.segmentIds[index] ?? 0, map.blockIndexes[index] ?? 0);
    }
    fileBlock += map.count;
  }
  const listed = extents.slice(0, MAX_EXTENTS);
  return {
    inode: inodeNumber,
    sizeBytes: inode.sizeBytes,
    extents: listed,
    segments: segmentsOf(metadata, listed, useOf),
    truncated: extents.length > MAX_EXTENTS || fileBlock < endBlock,
  };
}

type MutableExtent = { -readonly [Field in keyof ExplainedExtent]: ExplainedExtent[Field] };

/** Lengthens the last extent if the blocks follow it. */
function addBlocks(
  extents: MutableExtent[],
  fileBlock: number,
  blocks: number,
  segmentId: number,
  blockIndex: number,
): void {
  const last = extents.at(-1);
  if (
    last !== undefined &&
    last.fileBlock + last.blocks === fileBlock &&
    last.segmentId === segmentId &&
    (segmentId === 0 || last.blockIndex + last.blocks === blockIndex)
  ) {
    last.blocks += blocks;
    return;
  }
  extents.push({ fileBlock, blocks, segmentId, blockIndex });
}

function segmentsOf(
  metadata: MetadataManager,
  extents: readonly ExplainedExtent[],
  useOf: (segmentId: number) => SegmentCopies | undefined,
): ExplainedSegment[] {
  const ids = new Set(extents.map((extent) => extent.segmentId));
  ids.delete(0);
  const members = metadata.ensemble.map((member) => member.nodeId);
  return [...ids].map((segmentId) => {
    const record = metadata.segment(segmentId);
    // Without a record the segment is still open: its blocks are in the journal.
    if (record === undefined) {
      return {
        segmentId,
        dataFragments: 0,
        parityFragments: 0,
        fragmentBlocks: 0,
        nodes: [],
        use: null,
        journaledOn: members,
      };
    }
    const { dataFragments, parityFragments, fragmentBlocks, nodes } = record;
    const use = useOf(segmentId) ?? null;
    return { segmentId, dataFragments, parityFragments, fragmentBlocks, nodes, use, journaledOn: null };
  });
}
