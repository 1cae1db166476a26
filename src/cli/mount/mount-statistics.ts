/** What the mount process tells about the volume: metadata, log and space. */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import type { FileSystem } from '../../filesystem/file-system.ts';
import type { SegmentReader, SegmentWriter } from '../../log/log.ts';
import type { PrimaryManager } from '../../metadata/manager.ts';
import type { MountStatistics } from '../supervisor/control-messages.ts';

export interface MountParts {
  readonly metadata: PrimaryManager;
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  readonly fileSystem: FileSystem;
  readonly links: NodeLinks;
}

interface RedundancyCount {
  readonly degradedSegments: number;
  readonly unreadableSegments: number;
  readonly bytesToRepair: number;
}

const SEGMENTS_PER_PAGE = 1_000;
const FULLY_REDUNDANT: RedundancyCount = { degradedSegments: 0, unreadableSegments: 0, bytesToRepair: 0 };

export async function mountStatistics(parts: MountParts): Promise<MountStatistics> {
  const { metadata, writer, reader, fileSystem } = parts;
  const space = await fileSystem.statistics();
  const totals = metadata.totals();
  const read = reader.statistics();
  return {
    journal: metadata.journalReport(),
    metadataTrouble: metadata.trouble?.message ?? null,
    logTrouble: writer.trouble?.message ?? null,
    files: totals.inodes,
    totalBytes: space.totalBlocks * BLOCK_BYTES,
    usedBytes: totals.segmentBlocks * BLOCK_BYTES,
    availableBytes: space.availableBlocks * BLOCK_BYTES,
    segments: totals.segments,
    ...(await countRedundancy(parts)),
    blocksRebuilt: read.blocksRebuilt,
    corruptBlocks: read.corruptBlocks,
  };
}

/** Looks at every segment, but only while a node is away. */
async function countRedundancy({ metadata, links }: MountParts): Promise<RedundancyCount> {
  const up = new Set<number>();
  let away = 0;
  for (const link of links.links.values()) {
    if (link.state === 'up') up.add(link.id);
    else away += 1;
  }
  if (away === 0) return FULLY_REDUNDANT;
  let degradedSegments = 0;
  let unreadableSegments = 0;
  let bytesToRepair = 0;
  let after = 0;
  for (;;) {
    const page = await metadata.segments(after, SEGMENTS_PER_PAGE);
    for (const record of page) {
      const missing = record.nodes.filter((id) => !up.has(id)).length;
      if (missing === 0) continue;
      degradedSegments += 1;
      bytesToRepair += missing * record.fragmentBlocks * BLOCK_BYTES;
      if (missing > record.parityFragments) unreadableSegments += 1;
    }
    const last = page.at(-1);
    if (last === undefined || page.length < SEGMENTS_PER_PAGE) break;
    after = last.segmentId;
  }
  return { degradedSegments, unreadableSegments, bytesToRepair };
}
