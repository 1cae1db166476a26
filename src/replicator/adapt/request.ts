/** What the planner is asked for a volume as it runs: its nodes with their measured p, its segments as they lie, and the rules of placement. Pure. */
import { MAX_NODES, MAX_PARITY } from '../../base/limits.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import type { NodeGroups } from '../../cluster/node-groups.ts';
import type { NodeLink } from '../../cluster/nodes.ts';
import type { Shape } from '../../log/segment-layout.ts';
import type { PlaceClass } from '../heal/segment-places.ts';
import type { DomainUnavailability } from '../model/failures.ts';
import type { PlanNode, PlanPolicy, PlanRequest, SegmentClass } from '../plan/contract.ts';
import { DEFAULT_POLICY } from '../plan/policy.ts';

/** Wider stripes save little room, and reading what a lost node held takes more nodes: new volumes are no wider, either. */
const WIDE_DATA_FRAGMENTS = 8;

export interface AdaptSources {
  readonly nodes: Iterable<NodeLink>;
  /** Of all downtime, with its domain or by itself. */
  readonly unavailability: (nodeId: number) => number;
  readonly domainUnavailability: DomainUnavailability;
  /** That moving and rebuilding may take of all nodes together. */
  readonly bytesPerSecond: number;
  readonly isGone: (nodeId: number) => boolean;
  /** It is to be emptied. */
  readonly isDraining: (nodeId: number) => boolean;
  readonly classes: Iterable<PlaceClass>;
  readonly current: Shape;
  /** In force; none: any nodes share segments. */
  readonly groups: NodeGroups;
  /** As the volume was made: there is never less parity. */
  readonly ownShape: Shape;
  readonly targetUnavailability: number;
  readonly policy?: Partial<PlanPolicy>;
}

/** undefined: so few nodes are left that there is nothing to choose. */
export function adaptRequest(sources: AdaptSources): PlanRequest | undefined {
  const nodes = [...sources.nodes].map(
    ({ id, domain, capacityBytes, freeBytes }): PlanNode => ({
      ...{ id, domain, capacityBytes, freeBytes },
      unavailability: byItself(sources.unavailability(id), sources.domainUnavailability.get(domain) ?? 0),
      role: sources.isGone(id) ? 'gone' : sources.isDraining(id) ? 'leaving' : 'member',
    }),
  );
  const group = nodes.filter(({ role }) => role === 'member').map(({ id }) => id);
  const current = placeableShape(sources.current, group.length);
  if (current === undefined) return undefined;
  const { dataFragments: k, parityFragments: m } = sources.ownShape;
  // What is in force may be brought to its end where nodes were lost meanwhile.
  const maxParity = Math.max(m, current.parityFragments, writableParity(group.length));
  const maxDataFragments = Math.max(k, WIDE_DATA_FRAGMENTS);
  const policy = {
    ...DEFAULT_POLICY,
    minParity: m,
    maxParity,
    maxDataFragments,
    maxWidth: Math.min(MAX_NODES, maxDataFragments + maxParity),
    targetUnavailability: sources.targetUnavailability,
    backgroundBytesPerMs: sources.bytesPerSecond / 1000,
    rebuildBytesPerMs: sources.bytesPerSecond / 1000,
    ...sources.policy,
  };
  return {
    nodes,
    classes: alikeClasses(sources.classes, sources.groups),
    // Where the layout has no groups, any nodes may share a segment: all of them as one group is what no choice of stripes is worse than.
    current: { ...current, groups: sources.groups.length > 0 ? sources.groups : [group] },
    policy,
    domainUnavailability: sources.domainUnavailability,
  };
}

/** What is left of a node's unavailability while its domain is up. */
function byItself(unavailability: number, ofDomain: number): number {
  return ofDomain < unavailability ? (unavailability - ofDomain) / (1 - ofDomain) : 0;
}

/** Writing with full parity takes one node more than there is parity: as many may be lost as the parity bears, and it still goes on. */
function writableParity(nodes: number): number {
  return Math.max(0, Math.min(MAX_PARITY, Math.floor((nodes - 1) / 2)));
}

/** Segments of a shape that lie within the same group, or across groups, are taken to lie on all nodes that any of them lies on. */
export function alikeClasses(places: Iterable<PlaceClass>, groups: NodeGroups): SegmentClass[] {
  const merged = new Map<string, { nodes: Set<number>; segments: number; dataBytes: number } & Shape>();
  for (const place of places) {
    const { nodes, dataFragments, segments, blocks } = place;
    const parityFragments = nodes.length - dataFragments;
    const home = groups.findIndex((group) => nodes.every((id) => group.includes(id)));
    const key = `${dataFragments}+${parityFragments} ${home}`;
    const known = merged.get(key) ?? {
      ...{ dataFragments, parityFragments, nodes: new Set<number>(), segments: 0, dataBytes: 0 },
    };
    for (const id of nodes) known.nodes.add(id);
    known.segments += segments.size;
    known.dataBytes += blocks * dataFragments * BLOCK_BYTES;
    merged.set(key, known);
  }
  return [...merged.values()].map((each) => ({ ...each, nodes: [...each.nodes].sort((a, b) => a - b) }));
}

/** What placement makes of a shape with so many nodes: narrower with full parity. undefined: they are too few for the parity. */
export function placeableShape({ dataFragments, parityFragments }: Shape, nodes: number): Shape | undefined {
  if (nodes <= parityFragments) return undefined;
  return { dataFragments: Math.min(dataFragments, nodes - parityFragments), parityFragments };
}
