/**
 * Divides nodes into disjoint groups. Pure; the same input always gives the same groups.
 *
 * Few groups, each of few nodes, make few sets of nodes whose loss is fatal (Cidon et al., "Copysets", ATC 2013): every node is in one group
 * only, so it shares segments with (group size - 1) others, its scatter width. Larger groups rebuild faster and lose more
 * often; the planner chooses the sizes, this file keeps to them.
 *
 * Existing groups are kept as far as sizes allow, since each node that changes its group costs a move. Nodes of one domain are spread
 * over the groups as evenly as their number allows.
 */
import { assert } from '../../base/assert.ts';
import type { GroupedNode, NodeGroups } from '../../cluster/node-groups.ts';
import type { PlanNode } from './contract.ts';

/** A node as groups see it. */
type Groupable = Pick<PlanNode, 'id' | 'domain' | 'unavailability'>;

export interface GroupSizes {
  /** A smaller group takes a node from another or is merged. At least a stripe's width. */
  readonly least: number;
  /** A larger group is divided into as many of at least `least` as it gives. At least 2 least - 1. */
  readonly most: number;
  /** Whether nodes that are in no group join the present ones or form groups of their own, with nodes that others can spare. */
  readonly newcomers: 'join' | 'apart';
}

/** Groups of all `nodes`, each of `least` to `most`, that differ from `current` as little as that takes. Ids ascend in each group. */
export function formGroups(
  nodes: readonly Groupable[],
  current: readonly (readonly number[])[],
  sizes: GroupSizes,
): number[][] {
  assert(sizes.least >= 1 && sizes.most >= 2 * sizes.least - 1, `groups of ${sizes.least} to ${sizes.most}`);
  assert(nodes.length >= sizes.least, `groups of ${sizes.least} from ${nodes.length} nodes`);
  const rest = new Map(nodes.map((node) => [node.id, node]));
  const groups: Groupable[][] = [];
  for (const ids of current) {
    const members = ids.flatMap((id) => rest.get(id) ?? []);
    for (const { id } of members) rest.delete(id);
    if (members.length > 0) groups.push(members);
  }
  const newcomers = [...rest.values()].sort(byDomainAndId);
  if (groups.length === 0) groups.push(newcomers);
  else if (sizes.newcomers === 'join' || !standApart(groups, newcomers, sizes.least)) {
    for (const node of newcomers) joinSmallest(groups, node);
  }
  fillSmall(groups, sizes.least);
  return groups
    .flatMap((group) => (group.length > sizes.most ? divide(group, sizes.least) : [group]))
    .map((group) => group.map(({ id }) => id).sort((a, b) => a - b));
}

/**
 * The groups that a layout has with the nodes that the volume has now: those that were `chosen`, with the nodes in them that nobody had thought of then, and
 * without those that are no `members` any more; made larger or merged where they would be smaller than `width`. None where there would be one only.
 *
 * Where a node belongs follows from the chosen groups and from who is `listed`, not from who is a member at the moment: one that comes and goes
 * leaves the others where they are, and finds its own again.
 */
export function groupsInForce(
  chosen: NodeGroups,
  listed: readonly GroupedNode[],
  members: readonly GroupedNode[],
  width: number,
): NodeGroups {
  if (chosen.length < 2 || members.length < width) return [];
  const equally = (nodes: readonly GroupedNode[]): Groupable[] =>
    nodes.map(({ id, domain }) => ({ id, domain, unavailability: 0 }));
  const isChosen = ({ id }: GroupedNode): boolean => chosen.some((group) => group.includes(id));
  const known = equally(listed.filter(isChosen));
  let homes = chosen;
  // One by one, as they came: whoever comes later changes nothing for those before.
  for (const newcomer of equally(listed.filter((node) => !isChosen(node))).sort((a, b) => a.id - b.id)) {
    known.push(newcomer);
    homes = formGroups(known, homes, { ...ANY_SIZE, least: 1 });
  }
  const groups = formGroups(equally(members), homes, { ...ANY_SIZE, least: width });
  return groups.length < 2 ? [] : groups.sort((a, b) => a[0]! - b[0]!);
}

const ANY_SIZE = { most: 2 ** 16, newcomers: 'join' } as const;

const byDomainAndId = (a: Groupable, b: Groupable): number =>
  a.domain < b.domain ? -1 : a.domain > b.domain ? 1 : a.id - b.id;

const inDomain = (group: readonly Groupable[], domain: string): number =>
  group.reduce((count, node) => count + (node.domain === domain ? 1 : 0), 0);

/** The smallest group, of those where the node's domain is rarest. */
function joinSmallest(groups: Groupable[][], node: Groupable): void {
  let best = groups[0]!;
  for (const group of groups) {
    const rarer = inDomain(group, node.domain) - inDomain(best, node.domain);
    if (rarer < 0 || (rarer === 0 && group.length < best.length)) best = group;
  }
  best.push(node);
}

/** A group of the newcomers and of what the largest groups can spare; false, with nothing changed, if that is not enough. */
function standApart(groups: Groupable[][], newcomers: readonly Groupable[], least: number): boolean {
  if (newcomers.length === 0) return false;
  const spare = groups.reduce((sum, group) => sum + Math.max(0, group.length - least), 0);
  if (newcomers.length + spare < least) return false;
  const apart = [...newcomers];
  while (apart.length < least) {
    const largest = groups.reduce((best, group) => (group.length > best.length ? group : best));
    apart.push(...largest.splice(easiestToGive(largest, apart), 1));
  }
  groups.push(apart);
  return true;
}

function fillSmall(groups: Groupable[][], least: number): void {
  for (;;) {
    groups.sort((a, b) => a.length - b.length);
    const smallest = groups[0]!;
    const largest = groups.at(-1)!;
    if (smallest.length >= least || groups.length === 1) return;
    if (largest.length > least) {
      smallest.push(...largest.splice(easiestToGive(largest, smallest), 1));
    } else {
      groups[1]!.push(...smallest);
      groups.shift();
    }
  }
}

/** The node whose domain is commonest where it leaves and rarest where it goes; of several the last, which came last and holds least. */
function easiestToGive(from: readonly Groupable[], to: readonly Groupable[]): number {
  let best = 0;
  let bestGain = Number.NEGATIVE_INFINITY;
  for (const [index, { domain }] of from.entries()) {
    const gain = inDomain(from, domain) - inDomain(to, domain);
    if (gain >= bestGain) {
      best = index;
      bestGain = gain;
    }
  }
  return best;
}

/** Dealt like cards, large domains first: parts differ by at most one node in size and in the nodes of each domain. */
function divide(group: readonly Groupable[], least: number): Groupable[][] {
  const sizes = new Map<string, number>();
  for (const { domain } of group) sizes.set(domain, (sizes.get(domain) ?? 0) + 1);
  const deck = [...group].sort((a, b) => {
    const larger = sizes.get(b.domain)! - sizes.get(a.domain)!;
    if (larger !== 0) return larger;
    // Nodes with a domain of their own: by their availability, so that every part gets good and bad ones.
    if (sizes.get(a.domain) === 1) return b.unavailability - a.unavailability || a.id - b.id;
    return byDomainAndId(a, b);
  });
  const count = Math.floor(group.length / least);
  const parts = Array.from({ length: count }, (): Groupable[] => []);
  for (const [index, node] of deck.entries()) parts[index % count]!.push(node);
  return parts;
}
