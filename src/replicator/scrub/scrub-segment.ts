/**
 * Reads every fragment of one segment, and every copy, and says which are bad: missing, damaged, or parity that does not fit the data. A strip of each fragment in memory.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import { copiesOf, type Holding } from '../../log/fragment-holders.ts';
import { type RepairMemory, STRIP_BLOCKS } from '../../maintenance/repair-memory.ts';
import type { SegmentSource, SegmentSources } from '../../maintenance/segment-source.ts';
import type { Kernels } from '../../platform/platform.ts';

export interface ScrubParts {
  readonly kernels: Kernels;
  readonly sources: SegmentSources;
  readonly memory: RepairMemory;
}

export interface Scrubbed {
  readonly bytesRead: number;
  /** Positions. */
  readonly bad: ReadonlySet<number>;
  /** Fragments that nobody answered for: not looked at. */
  readonly unread: ReadonlySet<number>;
  /** Copies that are not what they should be. */
  readonly badCopies: readonly Holding[];
}

export async function scrubSegment(parts: ScrubParts, record: SegmentRecord): Promise<Scrubbed> {
  const bad = new Set<number>();
  const unread = new Set<number>();
  const badCopies: Holding[] = [];
  const source = parts.sources.open(record, parts.memory);
  let bytesRead = 0;
  try {
    for (let first = 0; first < record.fragmentBlocks; first += STRIP_BLOCKS) {
      const count = Math.min(STRIP_BLOCKS, record.fragmentBlocks - first);
      bytesRead += await readStrip(parts, source, { first, count, bad, unread });
      if (bad.size === 0 && unread.size === 0) {
        for (const position of wrongParity(parts, record, count)) bad.add(position);
      }
    }
    for (const copy of copiesOf(record)) {
      const read = await readCopy(parts, source, copy);
      bytesRead += read.bytesRead;
      if (read.isBad) badCopies.push(copy);
    }
  } finally {
    parts.sources.forget(record.segmentId);
  }
  return { bytesRead, bad, unread, badCopies };
}

async function readCopy(
  { memory }: ScrubParts,
  source: SegmentSource,
  { position, nodeId }: Holding,
): Promise<{ bytesRead: number; isBad: boolean }> {
  const { fragmentBlocks } = source.record;
  let bytesRead = 0;
  for (let first = 0; first < fragmentBlocks; first += STRIP_BLOCKS) {
    const strip = memory.strip(position, Math.min(STRIP_BLOCKS, fragmentBlocks - first));
    const outcome = await source.read(position, first, strip, nodeId);
    if (outcome !== 'ok') return { bytesRead, isBad: outcome !== 'unreachable' && outcome !== 'refused' };
    bytesRead += strip.length;
  }
  return { bytesRead, isBad: false };
}

async function readStrip(
  { memory }: ScrubParts,
  source: SegmentSource,
  range: { first: number; count: number; bad: Set<number>; unread: Set<number> },
): Promise<number> {
  const { first, count, bad, unread } = range;
  let bytesRead = 0;
  await Promise.all(
    source.record.nodes.map(async (_, position) => {
      if (bad.has(position) || unread.has(position)) return;
      const outcome = await source.read(position, first, memory.strip(position, count));
      if (outcome === 'ok') bytesRead += count * BLOCK_BYTES;
      else if (outcome === 'unreachable' || outcome === 'refused') unread.add(position);
      else bad.add(position);
    }),
  );
  return bytesRead;
}

/** Of strips that are all there. */
function wrongParity({ kernels, memory }: ScrubParts, record: SegmentRecord, count: number): number[] {
  const { dataFragments: k, parityFragments: m } = record;
  if (m === 0) return [];
  const data = Array.from({ length: k }, (_, position) => memory.strip(position, count));
  const parity = Array.from({ length: m }, (_, row) => memory.strip(k + m + row, count));
  kernels.encodeParity(parity, data);
  return parity.flatMap((strip, row) => (strip.equals(memory.strip(k + row, count)) ? [] : [k + row]));
}
