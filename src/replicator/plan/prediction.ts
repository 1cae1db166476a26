/**
 * Availability and durability of layouts and of segments as they lie. Pure.
 *
 * Groups of a layout are disjoint, so their product is exact but for domains that they share. Segments as they lie may overlap in any way:
 * classes that share nodes are counted twice, as if independent and as one group of all their nodes that bears what the weakest bears. Both
 * are upper bounds of the unavailability; the lower one holds.
 */
import { anyUnavailable, type GroupAvailability, groupAvailability } from '../model/availability.ts';
import { meanTimeToDataLossMs } from '../model/durability.ts';
import type { DomainUnavailability, GroupMember } from '../model/failures.ts';
import { storableBytes } from './capacity.ts';
import type { Layout, PlanNode, PlanPolicy, SegmentClass } from './contract.ts';

export interface Prediction {
  readonly unavailability: number;
  readonly unavailableFraction: number;
}

export type NodesById = ReadonlyMap<number, PlanNode>;

/** What a set of nodes with segments of one shape is, whether a group of a layout or a class of segments. */
interface Spread {
  readonly nodes: readonly number[];
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Of the volume's data, in any unit. */
  readonly weight: number;
}

/** A layout that holds data in proportion to what its groups can store. */
export function predictLayout(layout: Layout, nodes: NodesById, domains?: DomainUnavailability): Prediction {
  const { dataFragments, parityFragments } = layout;
  const spreads = layout.groups.map((group) => ({
    nodes: group,
    dataFragments,
    parityFragments,
    weight: groupStorableBytes(group, dataFragments + parityFragments, nodes),
  }));
  const each = spreads.map((spread) => available(spread, nodes, domains));
  return {
    unavailability: anyUnavailable(each.map((group) => group.unavailability)),
    unavailableFraction: weighted(spreads, each),
  };
}

/** Segments where they lie now. */
export function predictClasses(
  classes: readonly SegmentClass[],
  nodes: NodesById,
  domains?: DomainUnavailability,
): Prediction {
  const spreads = classes.map(({ dataBytes, ...rest }) => ({ ...rest, weight: dataBytes }));
  const each = spreads.map((spread) => available(spread, nodes, domains));
  const components = connected(spreads).map((indices) => {
    const apart = anyUnavailable(indices.map((index) => each[index]!.unavailability));
    return Math.min(
      apart,
      available(asOne(indices.map((index) => spreads[index]!)), nodes, domains).unavailability,
    );
  });
  return { unavailability: anyUnavailable(components), unavailableFraction: weighted(spreads, each) };
}

export function groupStorableBytes(group: readonly number[], width: number, nodes: NodesById): number {
  return storableBytes(
    group.map((id) => nodes.get(id)?.capacityBytes ?? 0),
    width,
  );
}

/** Mean time to the first loss in any group, in milliseconds; groups lose data independently. */
export function layoutDurabilityMs(layout: Layout, rebuildMs: number, policy: PlanPolicy): number {
  const countBySize = new Map<number, number>();
  for (const { length } of layout.groups) countBySize.set(length, (countBySize.get(length) ?? 0) + 1);
  let lossesPerMs = 0;
  for (const [nodes, groups] of countBySize) {
    const { parityFragments } = layout;
    const { nodeLifetimeMs } = policy;
    lossesPerMs += 1 / meanTimeToDataLossMs({ nodes, parityFragments, groups, nodeLifetimeMs, rebuildMs });
  }
  return lossesPerMs === 0 ? Number.POSITIVE_INFINITY : 1 / lossesPerMs;
}

/** A node that is gone, or not known at all, is down for good. */
function available(spread: Spread, nodes: NodesById, domains?: DomainUnavailability): GroupAvailability {
  const members = spread.nodes.map((id): GroupMember => {
    const node = nodes.get(id);
    if (node === undefined) return { domain: `node ${id}`, unavailability: 1 };
    return { domain: node.domain, unavailability: node.role === 'gone' ? 1 : node.unavailability };
  });
  const { dataFragments, parityFragments } = spread;
  return groupAvailability({ members, width: dataFragments + parityFragments, parityFragments }, domains);
}

function weighted(spreads: readonly Spread[], each: readonly GroupAvailability[]): number {
  const total = spreads.reduce((sum, spread) => sum + spread.weight, 0);
  if (total === 0) return 0;
  return spreads.reduce(
    (sum, spread, index) => sum + (spread.weight / total) * each[index]!.unavailableFraction,
    0,
  );
}

/** One group that is down whenever any of the spreads is: all their nodes, the least parity, the narrowest stripe that bears it. */
function asOne(spreads: readonly Spread[]): Spread {
  const parityFragments = Math.min(...spreads.map((spread) => spread.parityFragments));
  // The widest stripe decides whether domains suffice for one fragment on each.
  const width = Math.max(...spreads.map((spread) => spread.dataFragments + spread.parityFragments));
  return {
    nodes: [...new Set(spreads.flatMap((spread) => spread.nodes))],
    dataFragments: width - parityFragments,
    parityFragments,
    weight: 0,
  };
}

/** Indices of spreads that are linked by common nodes, by union-find. */
function connected(spreads: readonly Spread[]): number[][] {
  const parents = spreads.map((_, index) => index);
  const root = (index: number): number => {
    while (parents[index] !== index) {
      parents[index] = parents[parents[index]!]!;
      index = parents[index]!;
    }
    return index;
  };
  const firstWith = new Map<number, number>();
  spreads.forEach((spread, index) => {
    for (const id of spread.nodes) {
      const known = firstWith.get(id);
      if (known === undefined) firstWith.set(id, index);
      else parents[root(index)] = root(known);
    }
  });
  const components = new Map<number, number[]>();
  spreads.forEach((_, index) => {
    const key = root(index);
    const members = components.get(key);
    if (members === undefined) components.set(key, [index]);
    else members.push(index);
  });
  return [...components.values()];
}
