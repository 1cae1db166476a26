/**
 * Which nodes a segment's record names, for those who have to know every fragment that is meant to be there: each position's own node, and those that
 * have a copy of it. Pure.
 */
import type { FragmentCopy, SegmentRecord } from '../format/segment-record.ts';

export interface Holding {
  readonly position: number;
  readonly nodeId: number;
}

const NONE: readonly FragmentCopy[] = [];

export function copiesOf(record: SegmentRecord): readonly FragmentCopy[] {
  return record.copies ?? NONE;
}

/** The node's own fragment or its copy is that of the position. */
export function isHolder(record: SegmentRecord, { position, nodeId }: Holding): boolean {
  return record.nodes[position] === nodeId || hasCopy(record, { position, nodeId });
}

export function hasCopy(record: SegmentRecord, { position, nodeId }: Holding): boolean {
  return copiesOf(record).some((copy) => copy.position === position && copy.nodeId === nodeId);
}

/** Of the fragment that the node is to have, its own or a copy. */
export function positionOn(record: SegmentRecord, nodeId: number): number | undefined {
  const own = record.nodes.indexOf(nodeId);
  if (own >= 0) return own;
  return record.copies?.find((copy) => copy.nodeId === nodeId)?.position;
}

/** Who has a copy of the position. */
export function copyHolder(record: SegmentRecord, position: number): number | undefined {
  return record.copies?.find((copy) => copy.position === position)?.nodeId;
}

/** All fragments that are meant to be there. */
export function holdings(record: SegmentRecord): Holding[] {
  return [...record.nodes.map((nodeId, position) => ({ position, nodeId })), ...copiesOf(record)];
}

/** The same segment with other copies. */
export function withCopies(record: SegmentRecord, copies: readonly FragmentCopy[]): SegmentRecord {
  const { copies: _, ...plain } = record;
  return copies.length === 0 ? plain : { ...plain, copies };
}
