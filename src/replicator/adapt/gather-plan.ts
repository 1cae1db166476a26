/**
 * Which fragments move for a segment to lie within one group of the layout. Pure.
 *
 * To the group that holds most of it, or to the next one where that has no room: as few as can be. No move puts more of it into one failure domain than the domain
 * it comes from had, so that spreading over domains never has to undo one. A segment one of whose nodes is in no group is for those to deal with who
 * rebuild and empty nodes.
 */
import { ableGroups, type NodeGroups } from '../../cluster/node-groups.ts';
import type { PlacementNode } from '../../cluster/placement.ts';

export interface GatherMove {
  readonly from: number;
  readonly to: number;
}

export function isWithinGroup(nodeIds: readonly number[], groups: NodeGroups): boolean {
  return groups.some((group) => nodeIds.every((id) => group.includes(id)));
}

/** Empty: it lies as it should, or nothing that may move would have it so. `members` are all that are meant to hold fragments. */
export function planGathering(
  nodeIds: readonly number[],
  members: readonly PlacementNode[],
  groups: NodeGroups,
  needBytes: number,
): GatherMove[] {
  if (groups.length === 0 || isWithinGroup(nodeIds, groups)) return [];
  if (!nodeIds.every((nodeId) => members.some(({ id }) => id === nodeId))) return [];
  const able = ableGroups(members, groups, nodeIds.length)
    .map((nodes) => ({
      nodes,
      inside: nodes.filter(({ id }) => nodeIds.includes(id)).length,
      freeBytes: nodes.reduce((sum, node) => sum + node.freeBytes, 0),
    }))
    .sort((a, b) => b.inside - a.inside || b.freeBytes - a.freeBytes);
  for (const { nodes } of able) {
    const moves = movesInto(nodes, nodeIds, members, needBytes);
    if (moves !== undefined) return moves;
  }
  return [];
}

function movesInto(
  home: readonly PlacementNode[],
  nodeIds: readonly number[],
  members: readonly PlacementNode[],
  needBytes: number,
): GatherMove[] | undefined {
  let held = nodeIds.map((nodeId) => members.find(({ id }) => id === nodeId)!);
  const isHeld = (node: PlacementNode): boolean => held.some(({ id }) => id === node.id);
  const moves: GatherMove[] = [];
  for (const from of held.filter(({ id }) => !home.some((node) => node.id === id))) {
    const others = held.filter((node) => node !== from);
    const usesOf = ({ domain }: PlacementNode): number =>
      others.filter((node) => node.domain === domain).length;
    const [to] = home
      .filter((node) => !isHeld(node) && node.freeBytes >= needBytes && usesOf(node) <= usesOf(from))
      .sort((a, b) => usesOf(a) - usesOf(b) || b.freeBytes - a.freeBytes || a.id - b.id);
    if (to === undefined) return undefined;
    held = [...others, to];
    moves.push({ from: from.id, to: to.id });
  }
  return moves;
}
