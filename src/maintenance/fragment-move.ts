/**
 * Puts one fragment of a segment on another node, as it is: read from the node that holds it, checked against its header, stored, and named by the record
 * in one transaction. The old one stays whole until then, and is the caller's to free.
 *
 * Copies are made by the same reading (fragment-copies.ts). Unlike repairFragment it needs one node only, and reads no others. A crash before the transaction leaves an orphan on the new node, after
 * it one on the old. Memory: one fragment. The caller holds the segment's claim.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { Holding } from '../log/fragment-holders.ts';
import { type RepairOutcome, type RepairParts, storeFragment } from './fragment-repair.ts';
import { STRIP_BLOCKS } from './repair-memory.ts';
import { payloadBytes } from './segment-source.ts';

export interface MovingFragment {
  readonly record: SegmentRecord;
  readonly position: number;
  /** Nodes to put it on, best first. */
  readonly targets: readonly number[];
}

/** 'wrong': it is not there, or is not what its header says. 'unreadable': its node does not answer. */
export async function moveFragment(
  parts: RepairParts,
  { record, position, targets }: MovingFragment,
): Promise<Exclude<RepairOutcome, 'restored'>> {
  const read = await readWhole(parts, record, { position, nodeId: record.nodes[position]! });
  if (typeof read === 'string') return read;
  for (const nodeId of targets) {
    const { payload, checksums } = read;
    const outcome = await storeFragment(parts, { record, position, nodeId, payload, checksums });
    if (outcome === 'moved' || outcome === 'outdated') return outcome;
  }
  return 'refused';
}

export interface WholeFragment {
  /** As its node has it. */
  readonly description: FragmentDescription;
  readonly payload: Buffer;
  readonly checksums: Uint32Array;
}

/** The fragment, or a copy of it, as it is on one node; checked. */
export async function readWhole(
  parts: RepairParts,
  record: SegmentRecord,
  { position, nodeId }: Holding,
): Promise<WholeFragment | 'unreadable' | 'wrong'> {
  const payload = parts.memory.payload(payloadBytes(record));
  const source = parts.sources.open(record, parts.memory);
  try {
    const described = await source.describe(position, nodeId);
    if (typeof described === 'string') return isAway(described) ? 'unreadable' : 'wrong';
    for (let first = 0; first < record.fragmentBlocks; first += STRIP_BLOCKS) {
      const end = Math.min(first + STRIP_BLOCKS, record.fragmentBlocks);
      const into = payload.subarray(first * BLOCK_BYTES, end * BLOCK_BYTES);
      const outcome = await source.read(position, first, into, nodeId);
      if (outcome !== 'ok') return isAway(outcome) ? 'unreadable' : 'wrong';
    }
    const checksums = new Uint32Array(record.fragmentBlocks);
    parts.platform.kernels.crc32cBlocks(payload, BLOCK_BYTES, checksums, 0);
    const isSame = checksums.every((checksum, index) => checksum === described.checksums[index]);
    return isSame ? { description: described, payload, checksums } : 'wrong';
  } finally {
    parts.sources.forget(record.segmentId);
  }
}

const isAway = (outcome: string): boolean => outcome === 'unreachable' || outcome === 'refused';
