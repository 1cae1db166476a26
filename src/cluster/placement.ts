/**
 * Where the fragments of a new segment go. Pure: the same nodes and rotation always give the same answer.
 *
 * - Full width (k+m) while that many nodes can take a fragment; narrower (fewer data fragments, full parity) otherwise; nothing below
 *   m+1 nodes.
 * - No node holds two fragments of a segment, and no failure domain does while there are as many domains as fragments.
 * - More nodes than the width form several stripe groups: about nodes / width runs of a ring of the sorted nodes. So each node
 *   shares segments with few others, and a given set of failures rarely hits one group more often than its parity bears (copysets).
 * - Groups are chosen in proportion to the space of their fullest node, and fragments rotate within a group.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES, MAX_PARITY } from '../base/limits.ts';

/** A node that can be written to now. */
export interface PlacementNode {
  readonly id: number;
  readonly domain: string;
  /** Bytes that it may still take. */
  readonly freeBytes: number;
}

export interface PlacementRequest {
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Any counter that grows by one a segment: the group and the place of the parity follow from it. */
  readonly rotation: number;
  /** Bytes that a node needs to take a full fragment of a segment with so many data fragments. */
  readonly fragmentBytes: (dataFragments: number) => number;
}

export interface SegmentLayout {
  /** At most the number asked for. */
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Node of fragment i: data first, then parity. */
  readonly nodes: readonly number[];
}

/** undefined: fewer than parityFragments + 1 nodes can take a fragment. */
export function placeSegment(
  nodes: readonly PlacementNode[],
  request: PlacementRequest,
): SegmentLayout | undefined {
  const { parityFragments, rotation } = request;
  assert(request.dataFragments >= 1 && parityFragments >= 0 && parityFragments <= MAX_PARITY, 'shape');
  assert(
    request.dataFragments + parityFragments <= MAX_NODES,
    'a segment is no wider than a volume has nodes',
  );
  assert(Number.isSafeInteger(rotation) && rotation >= 0, `rotation ${rotation}`);
  let dataFragments = request.dataFragments;
  for (;;) {
    const needBytes = request.fragmentBytes(dataFragments);
    const usable = nodes.filter((node) => node.freeBytes >= needBytes);
    const width = Math.min(dataFragments + parityFragments, usable.length);
    if (width < parityFragments + 1) return undefined;
    if (width === dataFragments + parityFragments) {
      const group = chooseGroup(stripeGroups(usable, width), rotation);
      return { dataFragments, parityFragments, nodes: rotated(group, rotation) };
    }
    // Narrower segments have longer fragments, which fewer nodes may be able to take: look again.
    dataFragments = width - parityFragments;
  }
}

/**
 * The groups of `width` nodes that segments are striped over, each in ring order. A function of the nodes' ids and domains only.
 */
export function stripeGroups(nodes: readonly PlacementNode[], width: number): PlacementNode[][] {
  assert(width >= 1 && width <= nodes.length, `groups of ${width} from ${nodes.length} nodes`);
  const ring = interleaveDomains(nodes);
  const groupCount = Math.max(Math.ceil(ring.length / width), groupsForLargestDomain(nodes, width));
  const uses = new Map<PlacementNode, number>(ring.map((node) => [node, 0]));
  const groups: PlacementNode[][] = [];
  for (let group = 0; group < groupCount; group++) {
    const start = Math.floor((group * ring.length) / groupCount);
    const order = [...ring.slice(start), ...ring.slice(0, start)];
    // The sort is stable: among nodes that are in as many groups already, the ring's order counts.
    const members = takeDistinct(
      order.sort((a, b) => uses.get(a)! - uses.get(b)!),
      width,
    );
    for (const node of members) uses.set(node, uses.get(node)! + 1);
    groups.push(members);
  }
  return groups;
}

/** Where no group holds two nodes of a domain, a domain of many nodes needs as many groups to use them all. */
function groupsForLargestDomain(nodes: readonly PlacementNode[], width: number): number {
  const sizes = new Map<string, number>();
  for (const { domain } of nodes) sizes.set(domain, (sizes.get(domain) ?? 0) + 1);
  return sizes.size >= width ? Math.max(...sizes.values()) : 0;
}

/** Sorted by id, with the nodes of one domain kept as far apart as possible: round-robin over the domains. */
function interleaveDomains(nodes: readonly PlacementNode[]): PlacementNode[] {
  const byDomain = new Map<string, PlacementNode[]>();
  for (const node of [...nodes].sort((a, b) => a.id - b.id)) {
    const members = byDomain.get(node.domain);
    if (members === undefined) byDomain.set(node.domain, [node]);
    else members.push(node);
  }
  const ring: PlacementNode[] = [];
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
function takeDistinct(order: readonly PlacementNode[], width: number): PlacementNode[] {
  const taken = new Set<PlacementNode>();
  const perDomain = new Map<string, number>();
  for (let allowed = 1; taken.size < width; allowed++) {
    for (const node of order) {
      const used = perDomain.get(node.domain) ?? 0;
      if (taken.size === width || taken.has(node) || used >= allowed) continue;
      taken.add(node);
      perDomain.set(node.domain, used + 1);
    }
  }
  return [...taken];
}

const GOLDEN_RATIO_FRACTION = (Math.sqrt(5) - 1) / 2;

/** In proportion to the space of each group's fullest node. The golden ratio's multiples spread evenly: no random numbers, no streaks. */
function chooseGroup(groups: readonly PlacementNode[][], rotation: number): readonly PlacementNode[] {
  const weights = groups.map((group) => Math.min(...group.map((node) => node.freeBytes)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let point = ((rotation * GOLDEN_RATIO_FRACTION) % 1) * total;
  for (const [index, weight] of weights.entries()) {
    point -= weight;
    if (point < 0) return groups[index]!;
  }
  return groups[groups.length - 1]!;
}

function rotated(group: readonly PlacementNode[], rotation: number): number[] {
  return group.map((_, index) => group[(index + rotation) % group.length]!.id);
}

/**
 * A layout that differs from `nodes` only where a failed node stood: for a segment in flight. undefined when too few other nodes can take a
 * fragment.
 */
export function replaceNodes(
  nodes: readonly number[],
  failed: ReadonlySet<number>,
  live: readonly PlacementNode[],
  fragmentBytes: number,
): number[] | undefined {
  const kept = live.filter((node) => nodes.includes(node.id) && !failed.has(node.id));
  const missing = nodes.filter((id) => failed.has(id)).length;
  const candidates = live.filter(
    (node) => node.freeBytes >= fragmentBytes && !nodes.includes(node.id) && !failed.has(node.id),
  );
  const chosen = takeSpread(candidates, kept, missing);
  if (chosen.length < missing) return undefined;
  return nodes.map((id) => (failed.has(id) ? chosen.shift()!.id : id));
}

/**
 * The journal's members: those of `current` that live stay, in order; others fill up to `size`. Fewer than `size` when fewer live.
 */
export function chooseEnsemble(
  live: readonly PlacementNode[],
  current: readonly number[],
  size: number,
): number[] {
  const byId = new Map(live.map((node) => [node.id, node]));
  const kept = current.flatMap((id) => byId.get(id) ?? []).slice(0, size);
  const others = live.filter((node) => !kept.includes(node));
  return [...kept, ...takeSpread(others, kept, size - kept.length)].map((node) => node.id);
}

/** Up to `count` candidates: least used domain first, then most free space, then lowest id. */
function takeSpread(
  candidates: readonly PlacementNode[],
  kept: readonly PlacementNode[],
  count: number,
): PlacementNode[] {
  const perDomain = new Map<string, number>();
  const use = (node: PlacementNode) => perDomain.set(node.domain, (perDomain.get(node.domain) ?? 0) + 1);
  kept.forEach(use);
  const rest = [...candidates].sort((a, b) => b.freeBytes - a.freeBytes || a.id - b.id);
  const chosen: PlacementNode[] = [];
  while (chosen.length < count && rest.length > 0) {
    let best = 0;
    for (let index = 1; index < rest.length; index++) {
      const used = perDomain.get(rest[index]!.domain) ?? 0;
      if (used < (perDomain.get(rest[best]!.domain) ?? 0)) best = index;
    }
    const node = rest.splice(best, 1)[0]!;
    use(node);
    chosen.push(node);
  }
  return chosen;
}
