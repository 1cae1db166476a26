/**
 * Which data fragments of a segment get a copy, and where. Pure.
 *
 * Fragments on nodes that are read from much more than others get one, the busiest first, each on the idlest node that holds nothing of the segment and
 * is not busier itself. No domain gets more of the segment than the one that the fragment is in has, since a copy may take its place one day.
 */
import type { FragmentCopy, SegmentRecord } from '../../format/segment-record.ts';

export interface CopyNode {
  readonly id: number;
  readonly domain: string;
  readonly readBytesPerMs: number;
  /** It may take a copy: it answers, is to hold fragments, and has room. */
  readonly isAble: boolean;
}

/** `least`: bytes per millisecond that are read from a node whose fragment is worth a copy. In order of positions. */
export function placeCopies(
  record: SegmentRecord,
  nodes: readonly CopyNode[],
  least: number,
): FragmentCopy[] {
  const { copies = [] } = record;
  const known = new Map(nodes.map((node) => [node.id, node]));
  const taken = new Set([...record.nodes, ...copies.map(({ nodeId }) => nodeId)]);
  const idlest = nodes
    .filter(({ id, isAble }) => isAble && !taken.has(id))
    .sort((a, b) => a.readBytesPerMs - b.readBytesPerMs || a.id - b.id);
  const busiest = record.nodes
    .slice(0, record.dataFragments)
    .map((nodeId, position) => ({ position, nodeId, readBytesPerMs: known.get(nodeId)?.readBytesPerMs ?? 0 }))
    .filter(({ position, readBytesPerMs }) => {
      return readBytesPerMs >= least && !copies.some((copy) => copy.position === position);
    })
    .sort((a, b) => b.readBytesPerMs - a.readBytesPerMs || a.position - b.position);
  const placed: FragmentCopy[] = [];
  for (const { position, nodeId, readBytesPerMs } of busiest) {
    const inDomain = (domain: string | undefined): number =>
      record.nodes.filter((id) => id !== nodeId && known.get(id)?.domain === domain).length;
    const most = inDomain(known.get(nodeId)?.domain);
    const at = idlest.findIndex(
      (node) => node.readBytesPerMs < readBytesPerMs && inDomain(node.domain) <= most,
    );
    if (at < 0) continue;
    placed.push({ position, nodeId: idlest[at]!.id });
    idlest.splice(at, 1);
  }
  return placed.sort((a, b) => a.position - b.position);
}
