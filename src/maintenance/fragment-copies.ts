/**
 * Makes, drops and promotes copies of fragments: the same fragment once more, under the same header, on a node that holds nothing else of the segment.
 *
 * A copy is named by the record after it is durable, and freed after the record has ceased to name it; each is one transaction, made only if the record
 * says what it said. A crash in between leaves an orphan. Promoted, a copy takes the place of the fragment, which is then the caller's to free:
 * nothing is written but the record. Memory: one fragment. The caller holds the segment's claim.
 */
import { isConsistentSegmentRecord, type SegmentRecord } from '../format/segment-record.ts';
import { copiesOf, copyHolder, type Holding, hasCopy, withCopies } from '../log/fragment-holders.ts';
import { readWhole } from './fragment-move.ts';
import { changeRecord, freeOld, type RepairParts } from './fragment-repair.ts';

/**
 * 'wrong': the fragment is not what its header says. 'unreadable': its node does not answer. 'refused': the node does not take it; it may remember
 * that it freed this very copy. 'outdated': the record changed.
 */
export type CopyOutcome = 'made' | 'wrong' | 'unreadable' | 'refused' | 'outdated';

export async function makeCopy(
  parts: RepairParts,
  record: SegmentRecord,
  copy: Holding,
): Promise<CopyOutcome> {
  const { calls, metadata } = parts;
  const { segmentId, generation } = record;
  const { position, nodeId } = copy;
  const read = await readWhole(parts, record, { position, nodeId: record.nodes[position]! });
  if (typeof read === 'string') return read;
  const { term } = metadata;
  if (!(await calls.fence(nodeId, term))) return 'refused';
  const description = { ...read.description, term };
  if ((await calls.put(nodeId, description, read.payload, parts.memory)) !== 'ok') return 'refused';
  const isNamed = changeRecord(parts, record, (now) => {
    const copies = [...copiesOf(now), copy].sort((a, b) => a.position - b.position);
    const made = withCopies(now, copies);
    return isConsistentSegmentRecord(made) ? made : undefined;
  });
  if (isNamed) return 'made';
  await calls.free(nodeId, term, [{ segmentId, position, generation }], parts.claims);
  return 'outdated';
}

/** Those that `isDropped` says so of. False: there was none any more. */
export async function dropCopies(
  parts: RepairParts,
  record: SegmentRecord,
  isDropped: (copy: Holding) => boolean,
): Promise<boolean> {
  const isDone = changeRecord(parts, record, (now) => {
    const kept = copiesOf(now).filter((copy) => !isDropped(copy));
    return kept.length === copiesOf(now).length ? undefined : withCopies(now, kept);
  });
  if (isDone) await freeOld(parts, record, []);
  return isDone;
}

/** Puts the copy of a position in the place of its fragment, if it is what it should be. */
export async function promoteCopy(
  parts: RepairParts,
  record: SegmentRecord,
  position: number,
): Promise<boolean> {
  const nodeId = copyHolder(record, position);
  if (nodeId === undefined || !parts.calls.isUp(nodeId)) return false;
  if (typeof (await readWhole(parts, record, { position, nodeId })) === 'string') return false;
  return changeRecord(parts, record, (now) => {
    if (!hasCopy(now, { position, nodeId })) return undefined;
    const nodes = now.nodes.map((old, index) => (index === position ? nodeId : old));
    const copies = copiesOf(now).filter((copy) => copy.nodeId !== nodeId);
    return withCopies({ ...now, nodes }, copies);
  });
}
