/**
 * Gives a segment more or fewer parity fragments in its place. A parity fragment is a function of the data and of its own position, not of how many there
 * are: those that are there stay, and keep their generation. Missing ones are computed from k fragments, checked against their headers,
 * and put on nodes that hold nothing of the segment; one transaction names them. Superfluous ones, the last, are dropped by one transaction and
 * freed after it is durable.
 *
 * Protection never falls below the lower of the two. A crash before the transaction leaves the added fragments as orphans, after it the dropped ones.
 * Memory: the added fragments, and a strip of each source. The caller holds the segment's claim.
 */
import { assert } from '../base/assert.ts';
import { MAX_PARITY } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { changeRecord, freeOld, type RepairParts, readStrip } from './fragment-repair.ts';
import { STRIP_BLOCKS } from './repair-memory.ts';
import { payloadBytes } from './segment-source.ts';

export interface ParityAddition {
  readonly record: SegmentRecord;
  /** As many as it is to have. */
  readonly parityFragments: number;
  /** Positions of fragments that are not what they should be: those that are met are added. */
  readonly damaged: Set<number>;
  /** Who gets one fragment more of a segment that lies on `nodes`; undefined: nobody can take it. */
  readonly nextNode: (nodes: readonly number[], refused: ReadonlySet<number>) => number | undefined;
}

export type ParityOutcome =
  /** The record says so. */
  | 'changed'
  /** Too few fragments can be read now. */
  | 'unreadable'
  /** No node takes a fragment of this generation: one that freed it does not take it again. */
  | 'refused'
  /** A node does not answer. */
  | 'unreachable'
  /** The record changed, or nothing in the segment is needed any more. */
  | 'outdated';

export async function addParity(parts: RepairParts, addition: ParityAddition): Promise<ParityOutcome> {
  const { record, parityFragments } = addition;
  assert(parityFragments > record.parityFragments && parityFragments <= MAX_PARITY, 'parity is added');
  const pieces = await compute(parts, addition);
  if (pieces === undefined) return 'unreadable';
  const nodes = [...record.nodes];
  const outcome = await putAll(parts, addition, pieces, nodes);
  if (outcome === 'ok') {
    if (changeRecord(parts, record, (now) => ({ ...now, parityFragments, nodes }))) {
      // Copies that were in the way.
      if (record.copies !== undefined) await freeOld(parts, record, []);
      return 'changed';
    }
  }
  await freeAdded(parts, record, nodes);
  return outcome === 'ok' ? 'outdated' : outcome;
}

/** The fragments that are missing, one behind the other. */
async function compute(
  parts: RepairParts,
  { record, parityFragments, damaged }: ParityAddition,
): Promise<Buffer[] | undefined> {
  const { dataFragments, fragmentBlocks } = record;
  const lengthBytes = payloadBytes(record);
  const count = parityFragments - record.parityFragments;
  const memory = parts.memory.payload(count * lengthBytes);
  const pieces = Array.from({ length: count }, (_, index) =>
    memory.subarray(index * lengthBytes, (index + 1) * lengthBytes),
  );
  const bad = new Set<number>();
  const source = parts.sources.open(record, parts.memory);
  try {
    for (let first = 0; first < fragmentBlocks; first += STRIP_BLOCKS) {
      const blocks = Math.min(STRIP_BLOCKS, fragmentBlocks - first);
      const shards = await readStrip(parts, source, { first, count: blocks, not: undefined, bad });
      if (shards === undefined) return undefined;
      const range = [first * BLOCK_BYTES, (first + blocks) * BLOCK_BYTES] as const;
      const wanted = pieces.map((piece, index) => {
        return { index: record.nodes.length + index, out: piece.subarray(...range) };
      });
      const all = [...shards, ...wanted.map(() => undefined)];
      parts.platform.kernels.reconstruct(all, dataFragments, parityFragments, wanted);
    }
    for (const position of bad) damaged.add(position);
    return pieces;
  } finally {
    parts.sources.forget(record.segmentId);
  }
}

/** Adds each node that was given a fragment, or may have been, to `nodes`. */
async function putAll(
  parts: RepairParts,
  { record, nextNode }: ParityAddition,
  pieces: readonly Buffer[],
  nodes: number[],
): Promise<'ok' | 'refused' | 'unreachable'> {
  const refused = new Set<number>();
  for (const payload of pieces) {
    for (let isPut = false; !isPut; ) {
      const nodeId = nextNode(nodes, refused);
      if (nodeId === undefined) return 'refused';
      assert(!nodes.includes(nodeId), 'no node holds two fragments of a segment');
      const outcome = await putOne(parts, record, [...nodes, nodeId], payload);
      if (outcome === 'refused') refused.add(nodeId);
      else nodes.push(nodeId);
      if (outcome === 'unreachable') return 'unreachable';
      isPut = outcome === 'ok';
    }
  }
  return 'ok';
}

/** On the last of `nodes`. Its header says what the segment is up to this fragment. */
async function putOne(
  { calls, metadata, platform, memory }: RepairParts,
  record: SegmentRecord,
  nodes: readonly number[],
  payload: Buffer,
): Promise<'ok' | 'refused' | 'unreachable'> {
  const { term } = metadata;
  const nodeId = nodes.at(-1)!;
  if (!(await calls.fence(nodeId, term))) return 'unreachable';
  const { liveBlocks: _, ...shape } = record;
  const checksums = new Uint32Array(record.fragmentBlocks);
  platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
  const parityFragments = nodes.length - record.dataFragments;
  const position = nodes.length - 1;
  const description = { ...shape, parityFragments, nodes, position, term, checksums };
  const outcome = await calls.put(nodeId, description, payload, memory);
  return outcome === 'ok' || outcome === 'refused' ? outcome : 'unreachable';
}

/** What is not told now is found as orphans. */
async function freeAdded(
  { calls, metadata, claims }: RepairParts,
  { segmentId, generation, nodes: old }: SegmentRecord,
  nodes: readonly number[],
): Promise<void> {
  await Promise.all(
    nodes.slice(old.length).map((nodeId, index) => {
      const name = { segmentId, generation, position: old.length + index };
      return calls.free(nodeId, metadata.term, [name], claims);
    }),
  );
}

/** 'unreadable': one of those that are to stay is not what it should be, and is added to `damaged`; or its node does not answer. */
export async function dropParity(
  parts: RepairParts,
  record: SegmentRecord,
  parityFragments: number,
  damaged: Set<number>,
): Promise<Exclude<ParityOutcome, 'refused' | 'unreachable'>> {
  assert(parityFragments >= 0 && parityFragments < record.parityFragments, 'parity is dropped');
  const nodes = record.nodes.slice(0, record.dataFragments + parityFragments);
  const source = parts.sources.open(record, parts.memory);
  const headers = await Promise.all(nodes.map((_, position) => source.describe(position)));
  for (const [position, header] of headers.entries()) {
    if (header === 'missing' || header === 'corrupt') damaged.add(position);
  }
  if (headers.some((header) => typeof header === 'string')) return 'unreadable';
  if (!changeRecord(parts, record, (now) => ({ ...now, parityFragments, nodes }))) return 'outdated';
  const dropped = [...record.nodes.keys()].slice(nodes.length);
  await freeOld(parts, record, dropped);
  return 'changed';
}
