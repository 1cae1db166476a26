/**
 * Puts a fragment that is missing or damaged back, rebuilt from the others: on the node that is to hold it, or on another one that holds none of the
 * segment, which the segment's record then names.
 *
 * Sources are read through their nodes, which check them. What comes out has to fit the extents, as far as the other data fragments' headers
 * allow to tell; what does not is not stored. Memory: one fragment, and a strip of each source.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import { segmentKey } from '../format/metadata-keys.ts';
import { encodeSegmentRecord, type SegmentRecord } from '../format/segment-record.ts';
import type { CheckContext } from './check-context.ts';
import { type FragmentState, fits, payloadBytes } from './check-fragments.ts';
import type { NodeCalls } from './node-calls.ts';
import { checksumTerm } from './segment-index.ts';

const STRIP_BLOCKS = 128;

export interface BrokenFragment {
  readonly record: SegmentRecord;
  readonly position: number;
  readonly states: readonly FragmentState[];
  /** Positions that are not to be read. */
  readonly bad: Set<number>;
}

/** False: too few others can be read, or no node takes it. */
export async function rebuildFragment(
  context: CheckContext,
  calls: NodeCalls,
  broken: BrokenFragment,
): Promise<boolean> {
  const { record, position, bad } = broken;
  const payload = await reconstruct(context, calls, broken);
  if (payload === undefined) return false;
  const checksums = new Uint32Array(record.fragmentBlocks);
  context.volume.platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
  if (!fitsExtents(context, broken, checksums)) return false;
  for (const nodeId of candidates(calls, record, position)) {
    if (await store(context, calls, { record, position, nodeId, payload, checksums })) {
      bad.delete(position);
      return true;
    }
  }
  return false;
}

/** The node that is to hold it, then others with room, those with the most first. */
function candidates(calls: NodeCalls, record: SegmentRecord, position: number): number[] {
  const holder = record.nodes[position]!;
  const others = calls.up
    .filter((nodeId) => !record.nodes.includes(nodeId) && calls.freeBytes(nodeId) > payloadBytes(record))
    .sort((a, b) => calls.freeBytes(b) - calls.freeBytes(a) || a - b);
  return calls.isUp(holder) ? [holder, ...others] : others;
}

async function reconstruct(
  context: CheckContext,
  calls: NodeCalls,
  { record, position, bad }: BrokenFragment,
): Promise<Buffer | undefined> {
  const { dataFragments, parityFragments, fragmentBlocks } = record;
  const { memory, kernels } = context.volume.platform;
  const payload = memory.allocate(payloadBytes(record));
  const strips = Array.from({ length: dataFragments }, () => memory.allocate(STRIP_BLOCKS * BLOCK_BYTES));
  for (let first = 0; first < fragmentBlocks; first += STRIP_BLOCKS) {
    const count = Math.min(STRIP_BLOCKS, fragmentBlocks - first);
    const shards = new Array<Uint8Array | undefined>(record.nodes.length).fill(undefined);
    let have = 0;
    for (let source = 0; source < record.nodes.length && have < dataFragments; source++) {
      if (source === position || bad.has(source)) continue;
      const into = strips[have]!.subarray(0, count * BLOCK_BYTES);
      const name = { segmentId: record.segmentId, position: source, generation: record.generation };
      const outcome = await calls.get(record.nodes[source]!, name, first, into);
      if (outcome === 'unreachable') return undefined; // its memory may still be written to
      if (outcome !== 'ok') bad.add(source);
      else {
        shards[source] = into;
        have++;
      }
    }
    if (have < dataFragments) return undefined;
    const out = payload.subarray(first * BLOCK_BYTES, (first + count) * BLOCK_BYTES);
    kernels.reconstruct(shards, dataFragments, parityFragments, [{ index: position, out }]);
  }
  return payload;
}

function fitsExtents(
  context: CheckContext,
  { record, position, states }: BrokenFragment,
  rebuilt: Uint32Array,
): boolean {
  if (position >= record.dataFragments) return true;
  const { segments } = context;
  const rank = segments.rank(record.segmentId);
  let sum = 0;
  for (let index = 0; index < record.dataBlocks; index++) {
    if (!segments.isLive(rank, index)) continue;
    const at = Math.floor(index / record.fragmentBlocks);
    const state = states[at]!;
    if (at !== position && typeof state === 'string') return true; // nobody can tell
    const checksums = at === position || typeof state === 'string' ? rebuilt : state.checksums;
    sum = (sum + checksumTerm(index, checksums[index % record.fragmentBlocks]!)) >>> 0;
  }
  return sum === segments.checksumSum(rank);
}

interface Stored {
  readonly record: SegmentRecord;
  readonly position: number;
  readonly nodeId: number;
  readonly payload: Buffer;
  readonly checksums: Uint32Array;
}

async function store(context: CheckContext, calls: NodeCalls, stored: Stored): Promise<boolean> {
  const { position, nodeId, payload, checksums } = stored;
  const { liveBlocks: _, ...shape } = stored.record;
  // As it is by now: another fragment of the segment may have moved in this round.
  const record = context.volume.metadata.segment(shape.segmentId);
  if (record === undefined || record.generation !== shape.generation) return false;
  const nodes = record.nodes.map((old, index) => (index === position ? nodeId : old));
  if (new Set(nodes).size < nodes.length) return false;
  const { term } = context.volume.metadata;
  if ((await calls.put(nodeId, { ...shape, nodes, position, term, checksums }, payload)) !== 'ok')
    return false;
  if (nodeId !== record.nodes[position] && !moved(context, record, position, nodeId)) return false;
  return holds(calls, stored);
}

/** The record names another node. Only if it says what it said before. */
function moved(context: CheckContext, before: SegmentRecord, position: number, nodeId: number): boolean {
  const { segmentId } = before;
  return context.volume.metadata.repair((redo, state) => {
    const record = state.segments.records.get(segmentId);
    if (record === undefined || record.nodes.includes(nodeId)) return false;
    const nodes = record.nodes.map((old, index) => (index === position ? nodeId : old));
    redo.setRecord(segmentKey(segmentId), encodeSegmentRecord({ ...record, nodes }, context.crc32c));
    return true;
  });
}

/** A node that holds a damaged one may have taken the new one for the same. */
async function holds(calls: NodeCalls, { record, position, nodeId, checksums }: Stored): Promise<boolean> {
  const { segmentId, generation } = record;
  const found = await calls.describe(nodeId, { segmentId, position });
  if (typeof found === 'string' || found.generation !== generation) return false;
  if (!fits(record, position, found)) return false;
  if (!found.checksums.every((checksum, index) => checksum === checksums[index])) return false;
  const into = Buffer.alloc(payloadBytes(record));
  return (await calls.get(nodeId, { segmentId, position, generation }, 0, into)) === 'ok';
}
