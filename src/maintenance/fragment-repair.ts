/**
 * Puts one fragment of a segment where it belongs, rebuilt from the others: on the node that is to hold it, or on another one that holds none of
 * the segment, which the segment's record then names. The one primitive of the check, of rebuilding and of scrubbing.
 *
 * Sources are checked against their headers as they are read; what comes out is stored only if `accept` agrees. The record changes in one transaction,
 * after the new fragment is durable, and only if it still says what it said. A crash before that leaves an orphan. Memory: one
 * fragment, and a strip of each source. The caller holds the segment's claim.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { segmentKey } from '../format/metadata-keys.ts';
import {
  encodeSegmentRecord,
  isConsistentSegmentRecord,
  type SegmentRecord,
} from '../format/segment-record.ts';
import type { FragmentClaims } from '../log/fragment-claims.ts';
import { copiesOf, hasCopy, isHolder, withCopies } from '../log/fragment-holders.ts';
import type { PrimaryManager } from '../metadata/manager.ts';
import type { Platform } from '../platform/platform.ts';
import type { NodeCalls } from './node-calls.ts';
import { type RepairMemory, STRIP_BLOCKS } from './repair-memory.ts';
import { fits, payloadBytes, type SegmentSource, type SegmentSources } from './segment-source.ts';

export interface RepairParts {
  readonly platform: Platform;
  readonly metadata: PrimaryManager;
  readonly calls: NodeCalls;
  readonly sources: SegmentSources;
  readonly memory: RepairMemory;
  readonly claims?: FragmentClaims;
}

export interface BrokenFragment {
  readonly record: SegmentRecord;
  readonly position: number;
  /** Positions that are not to be read. Those that turn out to be unreadable are added. */
  readonly bad: Set<number>;
  /** Nodes to put it on, best first. */
  readonly targets: readonly number[];
  /** Whether blocks with these checksums may be what was there. */
  readonly accept?: (checksums: Uint32Array) => boolean;
}

export type RepairOutcome =
  /** On the node that it was to be on. */
  | 'restored'
  /** On another one, and the record says so. */
  | 'moved'
  /** Too few others can be read now. */
  | 'unreadable'
  /** What comes out is not what was there. */
  | 'wrong'
  /** No target takes it. */
  | 'refused'
  /** The record changed, or nothing in the segment is needed any more. */
  | 'outdated';

export async function repairFragment(parts: RepairParts, broken: BrokenFragment): Promise<RepairOutcome> {
  const { record, position, targets } = broken;
  const payload = await rebuild(parts, broken);
  if (payload === undefined) return 'unreadable';
  const checksums = new Uint32Array(record.fragmentBlocks);
  parts.platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
  if (broken.accept?.(checksums) === false) return 'wrong';
  for (const nodeId of targets) {
    const outcome = await storeFragment(parts, { record, position, nodeId, payload, checksums });
    if (outcome === 'refused') continue;
    if (outcome !== 'outdated') broken.bad.delete(position);
    return outcome;
  }
  return 'refused';
}

async function rebuild(parts: RepairParts, broken: BrokenFragment): Promise<Buffer | undefined> {
  const { record, position, bad } = broken;
  const payload = parts.memory.payload(payloadBytes(record));
  const source = parts.sources.open(record, parts.memory);
  try {
    for (let first = 0; first < record.fragmentBlocks; first += STRIP_BLOCKS) {
      const count = Math.min(STRIP_BLOCKS, record.fragmentBlocks - first);
      const shards = await readStrip(parts, source, { first, count, not: position, bad });
      if (shards === undefined) return undefined;
      const out = payload.subarray(first * BLOCK_BYTES, (first + count) * BLOCK_BYTES);
      const wanted = [{ index: position, out }];
      parts.platform.kernels.reconstruct(shards, record.dataFragments, record.parityFragments, wanted);
    }
    return payload;
  } finally {
    parts.sources.forget(record.segmentId);
  }
}

export interface StripRange {
  readonly first: number;
  readonly count: number;
  /** The fragment that is wanted; undefined: all data fragments are. */
  readonly not: number | undefined;
  readonly bad: Set<number>;
  /** Where a fragment's part goes; what it says nothing of goes into a strip. */
  readonly into?: (position: number) => Uint8Array | undefined;
}

/** The same range of k fragments, each in its place, data before parity. undefined: so many cannot be had. */
export async function readStrip(
  parts: RepairParts,
  source: SegmentSource,
  { first, count, not, bad, into }: StripRange,
): Promise<(Uint8Array | undefined)[] | undefined> {
  const { nodes, dataFragments } = source.record;
  const shards = new Array<Uint8Array | undefined>(nodes.length).fill(undefined);
  for (let have = 0; have < dataFragments; ) {
    const able = nodes.map((_, at) => at).filter((at) => at !== not && !bad.has(at) && !shards[at]);
    const chosen = able.slice(0, dataFragments - have);
    if (have + chosen.length < dataFragments) return undefined;
    const reads = chosen.map((at) => ({ at, bytes: into?.(at) ?? parts.memory.strip(at, count) }));
    const outcomes = await Promise.all(reads.map(({ at, bytes }) => source.read(at, first, bytes)));
    for (const [index, { at, bytes }] of reads.entries()) {
      if (outcomes[index] === 'ok') shards[at] = bytes;
      else bad.add(at);
    }
    if (outcomes.includes('unreachable')) return undefined;
    have = shards.filter((shard) => shard !== undefined).length;
  }
  return shards;
}

/** One fragment in memory, and where it is to go. */
export interface Stored {
  readonly record: SegmentRecord;
  readonly position: number;
  readonly nodeId: number;
  readonly payload: Buffer;
  readonly checksums: Uint32Array;
}

/** 'moved': the record names the new node. The caller frees the old one. */
export async function storeFragment(
  parts: RepairParts,
  stored: Stored,
): Promise<'restored' | 'moved' | 'refused' | 'outdated'> {
  const { position, nodeId, payload, checksums } = stored;
  const { liveBlocks: _, ...shape } = stored.record;
  const { metadata, calls } = parts;
  // As it is by now: another fragment of the segment may have moved in this round.
  const record = metadata.segment(shape.segmentId);
  if (record === undefined || record.generation !== shape.generation) return 'outdated';
  const holder = record.nodes[position]!;
  const nodes = record.nodes.map((old, index) => (index === position ? nodeId : old));
  if (new Set(nodes).size < nodes.length) return 'refused';
  const { term } = metadata;
  if (!(await calls.fence(nodeId, term))) return 'refused';
  const description = { ...shape, nodes, position, term, checksums };
  if ((await calls.put(nodeId, description, payload, parts.memory)) !== 'ok') return 'refused';
  if (nodeId === holder) return (await holds(parts, stored)) ? 'restored' : 'refused';
  // What a node has already it keeps as it is.
  if (hasCopy(record, { position, nodeId }) && !(await holds(parts, stored))) return 'refused';
  if (changeRecord(parts, record, (now) => ({ ...now, nodes }))) return 'moved';
  const name = { segmentId: shape.segmentId, position, generation: shape.generation };
  await calls.free(nodeId, term, [name], parts.claims);
  return 'outdated';
}

/**
 * The record says something else from now on. False: it does not say what it said before, or nothing in the segment is needed any more, or `change` gives
 * nothing. Copies that it names on nodes that have a fragment of their own by then are struck off, and the caller's to free.
 */
export function changeRecord(
  { metadata, platform }: RepairParts,
  before: SegmentRecord,
  change: (record: SegmentRecord) => SegmentRecord | undefined,
): boolean {
  const { segmentId } = before;
  return metadata.repair((redo, state) => {
    const record = state.segments.records.get(segmentId);
    if (record === undefined || record.liveBlocks === 0) return false;
    if (record.generation !== before.generation || !sameNodes(record.nodes, before.nodes)) return false;
    const changed = change(record);
    if (changed === undefined) return false;
    // A copy that is in the way goes: no node is to hold two fragments.
    const made = withCopies(
      changed,
      copiesOf(changed).filter(({ nodeId }) => !changed.nodes.includes(nodeId)),
    );
    assert(isConsistentSegmentRecord(made), 'the numbers of a record fit each other');
    redo.setRecord(segmentKey(segmentId), encodeSegmentRecord(made, platform.kernels.crc32c));
    return true;
  });
}

function sameNodes(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((node, index) => node === b[index]);
}

/** A node that holds a damaged one has to have replaced it. */
async function holds(parts: RepairParts, { record, position, nodeId, checksums }: Stored): Promise<boolean> {
  const { segmentId, generation, fragmentBlocks } = record;
  const found = await parts.calls.describe(nodeId, { segmentId, position });
  if (typeof found === 'string' || found.generation !== generation) return false;
  if (!fits(record, position, found)) return false;
  if (!found.checksums.every((checksum, index) => checksum === checksums[index])) return false;
  for (let first = 0; first < fragmentBlocks; first += STRIP_BLOCKS) {
    const into = parts.memory.strip(0, Math.min(STRIP_BLOCKS, fragmentBlocks - first));
    const name = { segmentId, position, generation };
    if ((await parts.calls.get(nodeId, name, first, into, parts.memory)) !== 'ok') return false;
  }
  return true;
}

/** These fragments, and copies that the record does not name any more; where a node does not answer, its sweep takes them when it does. */
export async function freeOld(
  { calls, metadata, claims }: RepairParts,
  old: SegmentRecord,
  positions: readonly number[],
): Promise<void> {
  const { segmentId, generation } = old;
  await metadata.sync();
  const now = metadata.segment(segmentId);
  const copies = copiesOf(old).filter((copy) => now === undefined || !isHolder(now, copy));
  const left = [...positions.map((position) => ({ position, nodeId: old.nodes[position]! })), ...copies];
  const frees = left.map(async ({ position, nodeId }) => {
    const name = { segmentId, position, generation };
    // One that hangs is not waited for.
    if (calls.isUp(nodeId)) await calls.free(nodeId, metadata.term, [name], claims);
    else claims?.leftBehind(nodeId);
  });
  await Promise.all(frees);
}
