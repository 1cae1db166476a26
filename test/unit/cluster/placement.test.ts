import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fullFragmentBytes } from '../../../src/base/limits.ts';
import {
  chooseEnsemble,
  extendSegment,
  type PlacementNode,
  placeSegment,
  replaceNodes,
  type SegmentLayout,
} from '../../../src/cluster/placement.ts';
import { stripeGroups as groupsOf } from '../../../src/cluster/stripe-groups.ts';

const stripeGroups = (live: readonly PlacementNode[], width: number): PlacementNode[][] =>
  groupsOf(live, width).map((group) => group.map((at) => live[at]!));

const PLENTY_BYTES = 1e12;

const nodes = (count: number, domainOf = (id: number) => `rack-${id}`): PlacementNode[] =>
  Array.from({ length: count }, (_, index) => ({
    id: index + 1,
    domain: domainOf(index + 1),
    freeBytes: PLENTY_BYTES,
  }));

const place = (live: readonly PlacementNode[], k: number, m: number, rotation = 0) =>
  placeSegment(live, { dataFragments: k, parityFragments: m, rotation, fragmentBytes: fullFragmentBytes });

const arbitraryNodes = fc
  .array(
    fc.record({
      id: fc.integer({ min: 1, max: 65535 }),
      domain: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'),
      freeBytes: fc.oneof(fc.constant(PLENTY_BYTES), fc.integer({ min: 0, max: 8_000_000 })),
    }),
    { maxLength: 32 },
  )
  .map((list) => [...new Map(list.map((node) => [node.id, node])).values()]);
const arbitraryShape = fc.record({
  k: fc.integer({ min: 1, max: 12 }),
  m: fc.integer({ min: 0, max: 3 }),
  rotation: fc.nat(1_000_000),
});

function checkLayout(layout: SegmentLayout, live: readonly PlacementNode[], k: number, m: number): void {
  expect(layout.parityFragments).toBe(m);
  expect(layout.dataFragments).toBeGreaterThanOrEqual(1);
  expect(layout.dataFragments).toBeLessThanOrEqual(k);
  const width = layout.dataFragments + m;
  expect(layout.nodes.length).toBe(width);
  expect(new Set(layout.nodes).size).toBe(width);
  const needBytes = fullFragmentBytes(layout.dataFragments);
  const usable = live.filter((node) => node.freeBytes >= needBytes);
  const chosen = layout.nodes.map((id) => usable.find((node) => node.id === id));
  expect(chosen).not.toContain(undefined);
  // As even over the domains as these nodes allow.
  const inDomain = (list: readonly (PlacementNode | undefined)[], domain: string): number =>
    list.filter((node) => node?.domain === domain).length;
  const domains = [...new Set(usable.map((node) => node.domain))];
  const most = Math.max(...domains.map((domain) => inDomain(chosen, domain)));
  for (const domain of domains) {
    const used = inDomain(chosen, domain);
    if (used < most - 1) expect(used).toBe(inDomain(usable, domain));
  }
  if (domains.length >= width) expect(most).toBe(1);
}

describe('placing a segment', () => {
  test('gives every fragment its own node with room, and its own domain while there are enough', () => {
    fc.assert(
      fc.property(arbitraryNodes, arbitraryShape, (live, { k, m, rotation }) => {
        const layout = place(live, k, m, rotation);
        if (layout !== undefined) checkLayout(layout, live, k, m);
      }),
      { numRuns: 500 },
    );
  });

  test('is full width while enough nodes have room, narrower with full parity below, and nothing under m+1', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 32 }), arbitraryShape, (count, { k, m, rotation }) => {
        const layout = place(nodes(count), k, m, rotation);
        if (count < m + 1) expect(layout).toBeUndefined();
        else expect(layout!.dataFragments).toBe(Math.min(k, count - m));
      }),
    );
  });

  test('passes over a node without room, and counts the longer fragments of narrow segments', () => {
    const live = nodes(5);
    live[2] = { ...live[2]!, freeBytes: fullFragmentBytes(4) - 1 };
    const layout = place(live, 4, 1)!;
    expect(layout.dataFragments).toBe(3);
    expect(layout.nodes).not.toContain(3);
    // The other four have room for a quarter of a segment, not for a third.
    const tight = live.map((node) => ({
      ...node,
      freeBytes: Math.min(node.freeBytes, fullFragmentBytes(4)),
    }));
    expect(place(tight, 4, 1)).toBeUndefined();
  });

  test('puts the parity on every node of the group in turn', () => {
    const parity = Array.from({ length: 10 }, (_, rotation) => place(nodes(5), 4, 1, rotation)!.nodes[4]);
    expect(parity.slice(0, 5).sort()).toEqual([1, 2, 3, 4, 5]);
    expect(parity.slice(5)).toEqual(parity.slice(0, 5));
  });

  test('spreads segments over groups by the room of each', () => {
    const live = nodes(10).map((node) => ({ ...node, freeBytes: node.id <= 5 ? 3e9 : 1e9 }));
    const uses = new Map<number, number>();
    for (let rotation = 0; rotation < 4000; rotation++) {
      for (const id of place(live, 4, 1, rotation)!.nodes) uses.set(id, (uses.get(id) ?? 0) + 1);
    }
    expect(Math.abs(uses.get(1)! - 3000)).toBeLessThan(40);
    expect(Math.abs(uses.get(10)! - 1000)).toBeLessThan(40);
  });

  test('uses every node, and rotates within each group', () => {
    for (const count of [7, 11, 32]) {
      const firsts = new Set<number>();
      for (let rotation = 0; rotation < 500; rotation++)
        firsts.add(place(nodes(count), 4, 1, rotation)!.nodes[0]!);
      expect(firsts.size).toBe(count);
    }
  });
});

describe('stripe groups', () => {
  test('are few, and cover all nodes', () => {
    for (let count = 5; count <= 32; count++) {
      const groups = stripeGroups(nodes(count), 5);
      expect(groups.length).toBeLessThanOrEqual(count);
      const uses = new Map<number, number>();
      for (const group of groups) for (const { id } of group) uses.set(id, (uses.get(id) ?? 0) + 1);
      expect(uses.size).toBe(count);
      // The few that all nodes need are enough where they come out even.
      if (count % 5 === 0) expect(groups.length).toBe(count / 5);
      if (count > 20) expect(groups.length).toBeLessThanOrEqual(20);
    }
  });

  test('let at least 90% of what the nodes could hold be used, however many and however unlike they are', () => {
    const sizes = fc.oneof(
      fc.constant([200]),
      fc.constant([100, 200]),
      fc.array(fc.integer({ min: 60, max: 300 }), { minLength: 1, maxLength: 32 }),
    );
    const shape = fc.record({
      n: fc.integer({ min: 2, max: 32 }),
      w: fc.integer({ min: 2, max: 12 }),
      sizes,
    });
    fc.assert(
      fc.property(shape, ({ n, w, sizes: of }) => {
        const width = Math.min(n, w);
        const capacities = Array.from({ length: n }, (_, index) => of[index % of.length]!);
        const left = [...capacities];
        let segments = 0;
        for (; ; segments++) {
          const live = capacities.map((capacityBytes, index) => ({
            ...{ id: index + 1, domain: `${index}`, capacityBytes, freeBytes: left[index]! },
          }));
          const layout = placeSegment(live, {
            ...{ dataFragments: width - 1, parityFragments: 1, rotation: segments },
            fragmentBytes: () => 1,
          });
          if (layout === undefined || layout.nodes.length < width) break;
          for (const id of layout.nodes) left[id - 1]!--;
        }
        expect(segments).toBeGreaterThanOrEqual(0.9 * mostSegments(capacities, width));
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test('do not depend on the order in which nodes are listed', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(nodes(12), { minLength: 12 }), (shuffled) => {
        expect(stripeGroups(shuffled, 5)).toEqual(stripeGroups(nodes(12), 5));
      }),
    );
  });

  test('cover every node also when several share a domain', () => {
    const groups = stripeGroups(
      nodes(12, (id) => `rack-${id % 6}`),
      5,
    );
    expect(new Set(groups.flat().map(({ id }) => id)).size).toBe(12);
    for (const group of groups) expect(new Set(group.map(({ domain }) => domain)).size).toBe(5);
  });

  test('use all nodes of a domain that has more of them than the others', () => {
    const groups = stripeGroups(
      nodes(14, (id) => (id <= 10 ? 'large' : `rack-${id}`)),
      5,
    );
    expect(new Set(groups.flat().map(({ id }) => id)).size).toBe(14);
    for (const group of groups) expect(new Set(group.map(({ domain }) => domain)).size).toBe(5);
  });
});

describe('replacing failed nodes of a segment in flight', () => {
  test('changes only the failed positions, and keeps nodes and domains apart', () => {
    fc.assert(
      fc.property(
        arbitraryNodes,
        arbitraryShape,
        fc.array(fc.nat(14), { maxLength: 3 }),
        (live, { k, m, rotation }, positions) => {
          const layout = place(live, k, m, rotation);
          fc.pre(layout !== undefined);
          const failed = new Set(
            positions.map((position) => layout!.nodes[position % layout!.nodes.length]!),
          );
          const rest = live.filter((node) => !failed.has(node.id));
          const needBytes = fullFragmentBytes(layout!.dataFragments);
          const replaced = replaceNodes(layout!.nodes, failed, rest, needBytes);
          const spare = rest.filter(
            (node) => node.freeBytes >= needBytes && !layout!.nodes.includes(node.id),
          );
          if (spare.length < failed.size) {
            expect(replaced).toBeUndefined();
            return;
          }
          for (const [position, id] of layout!.nodes.entries()) {
            if (!failed.has(id)) expect(replaced![position]).toBe(id);
            else expect(spare.map((node) => node.id)).toContain(replaced![position]);
          }
          expect(new Set(replaced).size).toBe(layout!.nodes.length);
        },
      ),
      { numRuns: 500 },
    );
  });

  test('takes a node of a domain that the segment does not use yet', () => {
    const live = nodes(7, (id) => (id === 6 ? 'rack-1' : `rack-${id}`));
    live[5] = { ...live[5]!, freeBytes: 2 * PLENTY_BYTES };
    expect(replaceNodes([1, 2, 3, 4, 5], new Set([3]), live, 1)).toEqual([1, 2, 7, 4, 5]);
  });
});

describe('a node for one fragment more', () => {
  const extend = (
    live: readonly PlacementNode[],
    held: number[],
    width = held.length + 1,
    not: number[] = [],
  ) =>
    extendSegment(live, {
      ...{ nodes: held, width, fragmentBytes: 4096 },
      canTake: (id) => !not.includes(id),
    });

  test('is one that holds nothing of the segment, with room, and may take it', () => {
    const live = nodes(6);
    expect(extend(live, [1, 2, 3, 4, 5])).toBe(6);
    expect(extend(live, [1, 2, 3, 4, 5], 6, [6])).toBe(undefined);
    const full = live.map((node) => (node.id === 6 ? { ...node, freeBytes: 100 } : node));
    expect(extend(full, [1, 2, 3, 4, 5])).toBe(undefined);
    expect(extend(live, [1, 2, 3, 4, 5, 6])).toBe(undefined);
    // One that holds some of it is not here: nobody knows its domain.
    expect(extend(live.slice(1), [1, 2, 3, 4])).toBe(undefined);
  });

  test('is of another domain while there are as many as fragments', () => {
    const live = nodes(7, (id) => (id === 6 ? 'rack-1' : `rack-${id}`));
    expect(extend(live, [1, 2, 3, 4, 5])).toBe(7);
    expect(extend(live, [1, 2, 3, 4, 5], 6, [7])).toBe(undefined);
    // Two of a domain already: placed anew it would be better off.
    expect(extend(live, [1, 6, 3, 4, 5])).toBe(undefined);
    const two = nodes(6, (id) => `rack-${id % 2}`);
    expect(extend(two, [1, 2, 3, 5])).toBe(4);
  });

  test('keeps to a stripe group that holds the others', () => {
    const live = nodes(12);
    for (const group of stripeGroups(live, 6)) {
      const ids = group.map(({ id }) => id);
      const held = ids.slice(0, 5);
      const within = stripeGroups(live, 6)
        .map((each) => each.map(({ id }) => id))
        .filter((each) => held.every((id) => each.includes(id)))
        .flat();
      expect(within).toContain(extend(live, held));
    }
  });
});

describe('choosing the members of the journal', () => {
  test('keeps living members in order and fills up with others, never more than asked', () => {
    fc.assert(
      fc.property(
        arbitraryNodes,
        fc.array(fc.integer({ min: 1, max: 65535 }), { maxLength: 4 }),
        fc.integer({ min: 1, max: 5 }),
        (live, extra, size) => {
          const current = [...new Set([...live.slice(0, 2).map(({ id }) => id), ...extra])];
          const chosen = chooseEnsemble(live, current, size);
          const ids = live.map(({ id }) => id);
          expect(chosen.length).toBe(Math.min(size, live.length));
          expect(new Set(chosen).size).toBe(chosen.length);
          for (const id of chosen) expect(ids).toContain(id);
          const kept = current.filter((id) => ids.includes(id)).slice(0, size);
          expect(chosen.slice(0, kept.length)).toEqual(kept);
        },
      ),
    );
  });

  test('prefers other domains, then room', () => {
    const live: PlacementNode[] = [
      { id: 1, domain: 'a', freeBytes: 10 },
      { id: 2, domain: 'a', freeBytes: 90 },
      { id: 3, domain: 'b', freeBytes: 20 },
      { id: 4, domain: 'b', freeBytes: 30 },
    ];
    expect(chooseEnsemble(live, [1], 2)).toEqual([1, 4]);
    expect(chooseEnsemble(live, [], 3)).toEqual([2, 4, 3]);
  });
});

/** Each node takes at most one fragment of each segment. */
function mostSegments(capacities: readonly number[], width: number): number {
  let most = 0;
  for (let segments = 1; ; segments++) {
    const fragments = capacities.reduce((sum, capacity) => sum + Math.min(capacity, segments), 0);
    if (fragments < width * segments) return most;
    most = segments;
  }
}
