/**
 * Where the fragments of a new segment go. Pure: the same nodes and rotation always give the same answer.
 *
 * - Full width (k+m) while that many nodes can take a fragment; narrower (fewer data fragments, full parity) otherwise; nothing below
 *   m+1 nodes.
 * - No node holds two fragments of a segment, and no failure domain does while there are as many domains as fragments.
 * - More nodes than the width form several stripe groups, as few as use their room well (stripe-groups.ts). So each node shares segments with few
 *   others, and a given set of failures rarely hits one group more often than its parity bears (copysets). Where the layout has groups of its own,
 *   all stripe groups lie within those as long as one of them can take the segment.
 * - Groups are chosen so that use follows the room that is left, and fragments rotate within a group.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES, MAX_PARITY } from '../base/limits.ts';
import { ableGroups, homeGroup, type NodeGroups } from './node-groups.ts';
import { type GroupNode, groupUses, stripeGroups } from './stripe-groups.ts';

/** A node that can be written to now. */
export interface PlacementNode extends GroupNode {
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
  /** Of the layout in force. */
  readonly groups?: NodeGroups;
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
  const { parityFragments, rotation, groups = [] } = request;
  assert(Number.isSafeInteger(rotation) && rotation >= 0, `rotation ${rotation}`);
  const fit = widest(nodes, request);
  if (fit === undefined) return undefined;
  const { dataFragments, usable } = fit;
  const stripes = stripesOf(usable, dataFragments + parityFragments, groups);
  const group = chooseGroup(usable, stripes, rotation);
  return { dataFragments, parityFragments, nodes: rotated(group, rotation) };
}

type Width = Omit<PlacementRequest, 'rotation'>;

export function canPlace(nodes: readonly PlacementNode[], request: Width): boolean {
  return widest(nodes, request) !== undefined;
}

/** How many data fragments can be placed, and the nodes that can take one of them. */
function widest(
  nodes: readonly PlacementNode[],
  request: Width,
): { dataFragments: number; usable: PlacementNode[] } | undefined {
  const { parityFragments } = request;
  let { dataFragments } = request;
  assert(dataFragments >= 1 && parityFragments >= 0 && parityFragments <= MAX_PARITY, 'shape');
  assert(dataFragments + parityFragments <= MAX_NODES, 'a segment is no wider than a volume has nodes');
  for (;;) {
    const needBytes = request.fragmentBytes(dataFragments);
    const usable = nodes.filter((node) => node.freeBytes >= needBytes);
    const width = Math.min(dataFragments + parityFragments, usable.length);
    if (width < parityFragments + 1) return undefined;
    if (width === dataFragments + parityFragments) return { dataFragments, usable };
    // Narrower segments have longer fragments, which fewer nodes may be able to take: look again.
    dataFragments = width - parityFragments;
  }
}

const GOLDEN_RATIO_FRACTION = (Math.sqrt(5) - 1) / 2;

/** The stripe groups, as indices into `nodes`. */
function stripesOf(
  nodes: readonly PlacementNode[],
  width: number,
  groups: NodeGroups,
): (readonly number[])[] {
  const indexOf = new Map(nodes.map(({ id }, index) => [id, index]));
  const able = ableGroups(nodes, groups, width);
  return (able.length > 0 ? able : [nodes]).flatMap((members) =>
    stripeGroups(members, width).map((stripe) => stripe.map((at) => indexOf.get(members[at]!.id)!)),
  );
}

/** In proportion to how often each is to be used. The golden ratio's multiples spread evenly: no random numbers, no streaks. */
function chooseGroup(
  nodes: readonly PlacementNode[],
  groups: readonly (readonly number[])[],
  rotation: number,
): PlacementNode[] {
  const uses = groupUses(
    groups,
    nodes.map((node) => node.freeBytes),
  );
  const total = uses.reduce((sum, use) => sum + use, 0);
  let point = ((rotation * GOLDEN_RATIO_FRACTION) % 1) * total;
  let chosen = groups[groups.length - 1]!;
  for (const [index, use] of uses.entries()) {
    point -= use;
    if (point >= 0) continue;
    chosen = groups[index]!;
    break;
  }
  return chosen.map((at) => nodes[at]!);
}

function rotated(group: readonly PlacementNode[], rotation: number): number[] {
  return group.map((_, index) => group[(index + rotation) % group.length]!.id);
}

/**
 * A layout that differs from `nodes` only where a failed node stood: for a segment in flight. Among nodes that are as good a place otherwise, those of the
 * group that holds most of the segment come first. undefined when too few other nodes can take a fragment.
 */
export function replaceNodes(
  nodes: readonly number[],
  failed: ReadonlySet<number>,
  live: readonly PlacementNode[],
  fragmentBytes: number,
  groups: NodeGroups = [],
): number[] | undefined {
  const kept = live.filter((node) => nodes.includes(node.id) && !failed.has(node.id));
  const missing = nodes.filter((id) => failed.has(id)).length;
  const candidates = live.filter(
    (node) => node.freeBytes >= fragmentBytes && !nodes.includes(node.id) && !failed.has(node.id),
  );
  const home = homeGroup(
    nodes.filter((id) => !failed.has(id)),
    groups,
  );
  const chosen = takeSpread(candidates, kept, missing, home);
  if (chosen.length < missing) return undefined;
  return nodes.map((id) => (failed.has(id) ? chosen.shift()!.id : id));
}

/** A segment that is to have one fragment more. */
export interface Extension {
  /** Those that hold it. */
  readonly nodes: readonly number[];
  /** How many it will have in the end. */
  readonly width: number;
  readonly fragmentBytes: number;
  readonly canTake: (nodeId: number) => boolean;
  /** Of the layout in force. */
  readonly groups?: NodeGroups;
}

/**
 * The node for one fragment more of a segment that stays as it is: of a stripe group that holds the others, if there is one. undefined: none can take it, or
 * a failure domain would hold two fragments of the segment though there are as many domains as fragments.
 */
export function extendSegment(live: readonly PlacementNode[], extension: Extension): number | undefined {
  const { nodes, width, fragmentBytes, canTake, groups = [] } = extension;
  const usable = live.filter(({ id, freeBytes }) => nodes.includes(id) || freeBytes >= fragmentBytes);
  const kept = usable.filter(({ id }) => nodes.includes(id));
  if (kept.length < nodes.length || usable.length < width) return undefined;
  const taken = new Set(kept.map(({ domain }) => domain));
  const isSpread = new Set(usable.map(({ domain }) => domain)).size >= width;
  if (isSpread && taken.size < kept.length) return undefined;
  const candidates = usable.filter(
    ({ id, domain }) => !nodes.includes(id) && canTake(id) && !(isSpread && taken.has(domain)),
  );
  const stripes = stripesOf(usable, width, groups).map((stripe) => stripe.map((at) => usable[at]!));
  const own = stripes.filter((stripe) => kept.every((node) => stripe.includes(node))).flat();
  const within = candidates.filter((node) => own.includes(node));
  return takeSpread(within.length > 0 ? within : candidates, kept, 1, homeGroup(nodes, groups))[0]?.id;
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

/** Up to `count` candidates: least used domain first, then those of `home`, then most free space, then lowest id. */
function takeSpread(
  candidates: readonly PlacementNode[],
  kept: readonly PlacementNode[],
  count: number,
  home: readonly number[] = [],
): PlacementNode[] {
  const perDomain = new Map<string, number>();
  const use = (node: PlacementNode) => perDomain.set(node.domain, (perDomain.get(node.domain) ?? 0) + 1);
  kept.forEach(use);
  const isHome = ({ id }: PlacementNode): number => Number(home.includes(id));
  const rest = [...candidates].sort(
    (a, b) => isHome(b) - isHome(a) || b.freeBytes - a.freeBytes || a.id - b.id,
  );
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
