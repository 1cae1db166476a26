/**
 * Lays a segment out anew in its place: the same blocks in the same order under the same number, cut into as many fragments as the nodes at hand allow,
 * with full parity (or as much as is asked for), under the next generation. Extents do not change: they count blocks of the segment, whatever it is cut into.
 *
 * No node gets the position that it holds, so the old layout stays whole until the record names the new one: one transaction, when all new
 * fragments are durable; it names no copies. A crash before it leaves the new ones as orphans, after it the old ones. What is read is read to where
 * the new fragments are put from. Memory: the segment with its parity. The caller holds the segment's claim.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { withCopies } from '../log/fragment-holders.ts';
import { fragmentBlocksFor } from '../log/segment-layout.ts';
import { changeRecord, freeOld, type RepairOutcome, type RepairParts, readStrip } from './fragment-repair.ts';
import { payloadBytes } from './segment-source.ts';

/** The format's bound on generations. */
const MAX_GENERATION = 255;
/** A node may remember that it freed a fragment of the next generation, which an earlier attempt left. */
const GENERATIONS_TRIED = 4;
/** Fragments are read in parts of so many blocks. */
const READ_BLOCKS = 256;

export interface Relayout {
  readonly record: SegmentRecord;
  /** Positions that are not to be read. Those that turn out to be unreadable are added. */
  readonly bad: Set<number>;
  /** Nodes of the new layout, each once; their number and the parity say how many data fragments it has. */
  readonly nodes: readonly number[];
  /** As many as it had, unless another number is asked for. */
  readonly parityFragments?: number;
}

/** 'moved': the record names the new layout, and the nodes that answer were told to free the old one. */
export async function layOutAnew(
  parts: RepairParts,
  relayout: Relayout,
): Promise<Exclude<RepairOutcome, 'restored' | 'wrong'>> {
  const { record } = relayout;
  const { parityFragments = record.parityFragments } = relayout;
  const dataFragments = relayout.nodes.length - parityFragments;
  assert(dataFragments >= 1, 'a layout has data');
  const nodes = deranged(relayout.nodes, record.nodes);
  if (nodes === undefined) return 'refused';
  const blocks = record.dataBlocks + record.summaryBlocks;
  const fragmentBlocks = fragmentBlocksFor(blocks, dataFragments);
  const made = { ...withCopies(record, []), dataFragments, parityFragments, fragmentBlocks, nodes };
  const pieces = await readInto(parts, relayout, made);
  if (pieces === undefined) return 'unreadable';
  for (let step = 1; step <= GENERATIONS_TRIED; step++) {
    const generation = record.generation + step;
    if (generation > MAX_GENERATION) return 'refused';
    const outcome = await put(parts, { ...made, generation }, pieces);
    if (outcome === 'ok') {
      if (changeRecord(parts, record, ({ liveBlocks }) => ({ ...made, generation, liveBlocks }))) {
        await freeOld(parts, record, [...record.nodes.keys()]);
        return 'moved';
      }
    }
    await freeLayout(parts, { ...made, generation });
    if (outcome === 'ok') return 'outdated';
    if (outcome === 'unreachable') return 'refused';
  }
  return 'refused';
}

/** The same nodes in an order in which none has the place that it has in `old`; undefined if there is none. */
export function deranged(nodes: readonly number[], old: readonly number[]): number[] | undefined {
  const order = [...nodes];
  for (let at = 0; at < order.length; at++) {
    if (order[at] !== old[at]) continue;
    const other = order.findIndex(
      (node, index) => index !== at && node !== old[at] && order[at] !== old[index],
    );
    if (other < 0) return undefined;
    [order[at], order[other]] = [order[other]!, order[at]!];
  }
  return order;
}

/** All fragments of the new layout, one behind the other. Old parity lies where the new one does, which is made when that is not needed any more. */
async function readInto(
  parts: RepairParts,
  { record, bad }: Relayout,
  made: SegmentRecord,
): Promise<Buffer[] | undefined> {
  const lengthBytes = Math.max(
    record.dataFragments * payloadBytes(record),
    made.dataFragments * payloadBytes(made),
  );
  const parityBytes = Math.max(
    record.parityFragments * payloadBytes(record),
    made.parityFragments * payloadBytes(made),
  );
  const memory = parts.memory.payload(lengthBytes + parityBytes);
  const linear = memory.subarray(0, lengthBytes);
  const behind = memory.subarray(lengthBytes);
  if (!(await readData(parts, { record, bad }, linear, behind))) return undefined;
  const usedBytes = (record.dataBlocks + record.summaryBlocks) * BLOCK_BYTES;
  linear.fill(0, usedBytes);
  const fragment = (from: Buffer, index: number) =>
    from.subarray(index * payloadBytes(made), (index + 1) * payloadBytes(made));
  const data = Array.from({ length: made.dataFragments }, (_, index) => fragment(linear, index));
  const parity = Array.from({ length: made.parityFragments }, (_, row) => fragment(behind, row));
  if (parity.length > 0) parts.platform.kernels.encodeParity(parity, data);
  return [...data, ...parity];
}

/** The data, one fragment behind the other; parity as far as it was needed for that. */
async function readData(
  parts: RepairParts,
  { record, bad }: Pick<Relayout, 'record' | 'bad'>,
  linear: Buffer,
  parity: Buffer,
): Promise<boolean> {
  const { dataFragments, parityFragments, fragmentBlocks } = record;
  const source = parts.sources.open(record, parts.memory);
  try {
    for (let first = 0; first < fragmentBlocks; first += READ_BLOCKS) {
      const count = Math.min(READ_BLOCKS, fragmentBlocks - first);
      const into = (position: number) => {
        const isData = position < dataFragments;
        const index = isData ? position : position - dataFragments;
        const from = (index * fragmentBlocks + first) * BLOCK_BYTES;
        return (isData ? linear : parity).subarray(from, from + count * BLOCK_BYTES);
      };
      const shards = await readStrip(parts, source, { first, count, not: undefined, bad, into });
      if (shards === undefined) return false;
      const wanted: { index: number; out: Uint8Array }[] = [];
      for (let index = 0; index < dataFragments; index++) {
        if (shards[index] === undefined) wanted.push({ index, out: into(index) });
      }
      if (wanted.length > 0) {
        parts.platform.kernels.reconstruct(shards, dataFragments, parityFragments, wanted);
      }
    }
    return true;
  } finally {
    parts.sources.forget(record.segmentId);
  }
}

/** Puts all fragments. 'refused': a node does not want one under this generation. */
async function put(
  parts: RepairParts,
  made: SegmentRecord,
  pieces: readonly Buffer[],
): Promise<'ok' | 'refused' | 'unreachable'> {
  const { liveBlocks: _, ...shape } = made;
  const { calls, metadata, platform, memory } = parts;
  const { term } = metadata;
  const outcomes = await Promise.all(
    made.nodes.map(async (nodeId, position) => {
      if (!(await calls.fence(nodeId, term))) return 'unreachable';
      const payload = pieces[position]!;
      const checksums = new Uint32Array(made.fragmentBlocks);
      platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
      return calls.put(nodeId, { ...shape, position, term, checksums }, payload, memory);
    }),
  );
  if (outcomes.every((outcome) => outcome === 'ok')) return 'ok';
  return outcomes.includes('refused') ? 'refused' : 'unreachable';
}

/** What is not told now is found as orphans. */
async function freeLayout({ calls, metadata, claims }: RepairParts, made: SegmentRecord): Promise<void> {
  const { segmentId, generation } = made;
  await Promise.all(
    made.nodes.map((nodeId, position) =>
      calls.free(nodeId, metadata.term, [{ segmentId, position, generation }], claims),
    ),
  );
}
