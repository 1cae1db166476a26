/**
 * The groups of nodes that a volume's layout keeps each segment within, as all who choose nodes for fragments see them. Pure.
 *
 * They are a preference: a group that cannot hold a segment as well as all nodes together could is passed over, and where none can, or none has room,
 * there are no groups. So they never cost protection, nor room.
 */

/** Disjoint sets of node ids. None at all: any nodes may share segments. */
export type NodeGroups = readonly (readonly number[])[];

export interface GroupedNode {
  readonly id: number;
  readonly domain: string;
}

/** Whether `members` are enough for so many fragments, and share failure domains no more than `all` would have to. */
export function canHold(
  members: readonly GroupedNode[],
  all: readonly GroupedNode[],
  width: number,
): boolean {
  if (members.length < width) return false;
  const domainsOf = (nodes: readonly GroupedNode[]): number =>
    new Set(nodes.map(({ domain }) => domain)).size;
  return domainsOf(members) >= width || domainsOf(all) < width;
}

/** Those of `nodes` that are of each group which can hold a segment of so many fragments. */
export function ableGroups<Node extends GroupedNode>(
  nodes: readonly Node[],
  groups: NodeGroups,
  width: number,
): Node[][] {
  return groups
    .map((group) => nodes.filter(({ id }) => group.includes(id)))
    .filter((members) => canHold(members, nodes, width));
}

/** The group that most of these nodes are of; among equals the first. Empty: none of them is of any. */
export function homeGroup(nodeIds: readonly number[], groups: NodeGroups): readonly number[] {
  let home: readonly number[] = [];
  let most = 0;
  for (const group of groups) {
    const inside = nodeIds.filter((id) => group.includes(id)).length;
    if (inside <= most) continue;
    home = group;
    most = inside;
  }
  return home;
}
