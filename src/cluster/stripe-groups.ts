/**
 * The sets of nodes that segments are striped over, and how often each is used so that use follows room. Pure.
 *
 * - No node is twice in a group, and no domain is while there are as many domains as fragments.
 * - A node is in so many groups as follows from its size, at least one. There are as few groups as use the nodes' room nearly as well as any number could,
 *   since each one more is a set of nodes that must not fail together.
 * - Which groups there are follows from ids, domains and sizes; how often each is used from the room that is left.
 */
import { assert } from '../base/assert.ts';

export interface GroupNode {
  readonly id: number;
  readonly domain: string;
  /** Absent for one of the nodes: all count as equally large. */
  readonly capacityBytes?: number;
}

/** Groups that let so much of the best be used are enough. */
const ENOUGH = 0.94;
/** Sizes count in such parts of the largest, so that a disk shared with others does not change the groups. */
const SIZE_STEPS = 16;
const MOST_GROUPS = 64;
/** A layout's groups have stripe groups each. */
const REMEMBERED = 64;

/** By what they follow from: placement asks for every segment. */
const remembered = new Map<string, readonly (readonly number[])[]>();

/** Each group as indices into `nodes`. */
export function stripeGroups(nodes: readonly GroupNode[], width: number): readonly (readonly number[])[] {
  assert(width >= 1 && width <= nodes.length, `groups of ${width} from ${nodes.length} nodes`);
  const ring = interleaveDomains(nodes);
  const sizes = sizesOf(ring);
  const key = `${width} ${ring.map(({ id, domain }, at) => `${id}:${sizes[at]}:${domain}`).join(' ')}`;
  let groups = remembered.get(key);
  if (groups === undefined) {
    groups = fewestGroups(ring, sizes, width);
    if (remembered.size >= REMEMBERED) remembered.delete(remembered.keys().next().value!);
    remembered.set(key, groups);
  }
  const indexOf = new Map(nodes.map((node, index) => [node.id, index]));
  return groups.map((group) => group.map((at) => indexOf.get(ring[at]!.id)!));
}

function fewestGroups(
  ring: readonly GroupNode[],
  sizes: readonly number[],
  width: number,
): readonly (readonly number[])[] {
  const shares = sharesOf(ring, sizes, width);
  const most = Math.min(MOST_GROUPS, Math.max(2 * ring.length, 8));
  let best: number[][] = [];
  let bestUse = -1;
  for (let count = Math.ceil(ring.length / width); count <= most; count++) {
    const groups = drawGroups(ring, shares, width, count);
    const covered = new Set(groups.flat()).size;
    // A node that is in no group is worse than room that is left over.
    const use = covered < ring.length ? covered / ring.length - 1 : useOf(groups, shares);
    if (use <= bestUse) continue;
    best = groups;
    bestUse = use;
    if (use >= ENOUGH) break;
  }
  return best;
}

/** In which share of the segments each node is when use follows size: at most in all of them, and the nodes of a domain together no more. */
function sharesOf(ring: readonly GroupNode[], sizes: readonly number[], width: number): number[] {
  const domains = new Set(ring.map(({ domain }) => domain));
  const keyOf = (at: number): string => (domains.size >= width ? ring[at]!.domain : String(ring[at]!.id));
  const totals = new Map<string, number>();
  sizes.forEach((size, at) => {
    totals.set(keyOf(at), (totals.get(keyOf(at)) ?? 0) + size);
  });
  const whole = evenLevel([...totals.values()], width);
  return sizes.map((size, at) => {
    const total = totals.get(keyOf(at))!;
    return (Math.min(1, total / whole) * size) / total;
  });
}

/** The t at which the sum of min(size, t) is width * t. */
function evenLevel(sizes: readonly number[], width: number): number {
  const sorted = [...sizes].sort((a, b) => b - a);
  let rest = sorted.reduce((sum, size) => sum + size, 0);
  for (let capped = 0; capped < width - 1; capped++) {
    const level = rest / (width - capped);
    if (sorted[capped]! <= level) return level;
    rest -= sorted[capped]!;
  }
  return rest;
}

/** Every node earns its share with each group, and pays one for being in it; who has earned most is next. */
function drawGroups(
  ring: readonly GroupNode[],
  shares: readonly number[],
  width: number,
  count: number,
): number[][] {
  const earned = shares.map(() => 0);
  const groups: number[][] = [];
  for (let group = 0; group < count; group++) {
    shares.forEach((share, at) => {
      earned[at]! += share;
    });
    const start = Math.floor((group * ring.length) / count);
    const order = ring.map((_, at) => (start + at) % ring.length);
    // The sort is stable: among nodes that have earned as much, the ring's order counts.
    order.sort((a, b) => Math.round(1e6 * earned[b]!) - Math.round(1e6 * earned[a]!));
    const members = takeDistinct(ring, order, width);
    for (const at of members) earned[at]! -= 1;
    groups.push(members);
  }
  return groups;
}

/** How much of what the nodes could hold at best can be used with these groups. */
function useOf(groups: readonly (readonly number[])[], shares: readonly number[]): number {
  const uses = groupUses(groups, shares);
  const total = uses.reduce((sum, use) => sum + use, 0);
  const loads = shares.map(() => 0);
  groups.forEach((group, index) => {
    for (const at of group) loads[at]! += uses[index]! / total;
  });
  return 1 / Math.max(...loads.map((load, at) => load / shares[at]!));
}

const STEPS_A_GROUP = 8;
const MOST_STEPS = 256;

/**
 * How often to use each group for nodes with so much room: as if segments were placed one by one, each where the fullest node is least
 * full afterwards.
 */
export function groupUses(groups: readonly (readonly number[])[], rooms: readonly number[]): number[] {
  const uses = groups.map(() => 0);
  const largest = Math.max(...rooms);
  const loads = rooms.map(() => 0);
  const costs = rooms.map((room) => costOf(1, room / largest));
  const steps = Math.min(MOST_STEPS, STEPS_A_GROUP * groups.length);
  for (let step = 0; step < steps; step++) {
    let best = 0;
    let bestCost = Number.POSITIVE_INFINITY;
    for (let index = 0; index < groups.length; index++) {
      let cost = 0;
      for (const at of groups[index]!) cost += costs[at]!;
      if (cost >= bestCost) continue;
      best = index;
      bestCost = cost;
    }
    uses[best]!++;
    for (const at of groups[best]!) {
      loads[at]!++;
      costs[at] = costOf(loads[at]! + 1, rooms[at]! / largest);
    }
  }
  return uses;
}

/** The fullest counts for nearly all. */
function costOf(load: number, room: number): number {
  const square = (load / room) ** 2;
  return square ** 4;
}

function sizesOf(nodes: readonly GroupNode[]): number[] {
  const largest = Math.max(...nodes.map(({ capacityBytes = 0 }) => capacityBytes));
  if (nodes.some(({ capacityBytes = 0 }) => capacityBytes <= 0)) return nodes.map(() => SIZE_STEPS);
  return nodes.map(({ capacityBytes = 0 }) =>
    Math.max(1, Math.round((SIZE_STEPS * capacityBytes) / largest)),
  );
}

/** Sorted by id, with the nodes of one domain kept as far apart as possible: round-robin over the domains. */
function interleaveDomains<Node extends GroupNode>(nodes: readonly Node[]): Node[] {
  const byDomain = new Map<string, Node[]>();
  for (const node of [...nodes].sort((a, b) => a.id - b.id)) {
    const members = byDomain.get(node.domain);
    if (members === undefined) byDomain.set(node.domain, [node]);
    else members.push(node);
  }
  const ring: Node[] = [];
  for (let round = 0; ring.length < nodes.length; round++) {
    for (const members of byDomain.values()) {
      const node = members[round];
      if (node !== undefined) ring.push(node);
    }
  }
  return ring;
}

/**
 * The first `width` nodes whose domain is not taken yet; where domains are fewer than the width, further rounds that put at
 * most one more fragment on each domain.
 */
function takeDistinct(ring: readonly GroupNode[], order: readonly number[], width: number): number[] {
  const taken = new Set<number>();
  const perDomain = new Map<string, number>();
  for (let allowed = 1; taken.size < width; allowed++) {
    for (const at of order) {
      const { domain } = ring[at]!;
      const used = perDomain.get(domain) ?? 0;
      if (taken.size === width || taken.has(at) || used >= allowed) continue;
      taken.add(at);
      perDomain.set(domain, used + 1);
    }
  }
  return [...taken];
}
