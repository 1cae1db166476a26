import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { fullFragmentBytes } from '../../../src/base/limits.ts';
import { canHold, homeGroup, type NodeGroups } from '../../../src/cluster/node-groups.ts';
import {
  extendSegment,
  type PlacementNode,
  placeSegment,
  replaceNodes,
} from '../../../src/cluster/placement.ts';

const PLENTY_BYTES = 1e12;
const GROUPS: NodeGroups = [
  [1, 3, 5, 7],
  [2, 4, 6, 8],
];

const nodes = (count: number, domainOf = (id: number) => `rack-${id}`): PlacementNode[] =>
  Array.from({ length: count }, (_, index) => ({
    id: index + 1,
    domain: domainOf(index + 1),
    freeBytes: PLENTY_BYTES,
  }));

const place = (live: readonly PlacementNode[], k: number, m: number, rotation = 0, groups = GROUPS) =>
  placeSegment(live, {
    ...{ dataFragments: k, parityFragments: m, rotation, groups },
    fragmentBytes: fullFragmentBytes,
  })?.nodes;

const isWithin = (ids: readonly number[], groups = GROUPS) =>
  groups.some((group) => ids.every((id) => group.includes(id)));

describe('groups of the layout', () => {
  test('hold each new segment within one, and all of them get some', () => {
    const counts = new Map<number, number>();
    for (let rotation = 0; rotation < 400; rotation++) {
      const placed = place(nodes(8), 2, 1, rotation)!;
      expect(isWithin(placed)).toBe(true);
      for (const id of placed) counts.set(id, (counts.get(id) ?? 0) + 1);
    }
    for (const count of counts.values()) expect(count).toBeGreaterThan(130);
    expect(counts.size).toBe(8);
  });

  test('are passed over where they are too small, have no room, or share domains that the volume need not share', () => {
    // Full width goes first.
    expect(place(nodes(8), 4, 1)).toHaveLength(5);
    const full = nodes(8).map((node) =>
      node.id % 2 === 1 && node.id > 1 ? { ...node, freeBytes: 0 } : node,
    );
    for (let rotation = 0; rotation < 20; rotation++) {
      expect(place(full, 2, 1, rotation)!.every((id) => id % 2 === 0)).toBe(true);
    }
    const paired = nodes(8, (id) => (id === 1 || id === 3 || id === 5 ? 'a' : `${id}`));
    for (let rotation = 0; rotation < 20; rotation++) {
      expect(place(paired, 2, 1, rotation)!.every((id) => id % 2 === 0)).toBe(true);
    }
    const few = nodes(5);
    expect(new Set(place(few, 2, 2))).toEqual(new Set([...place(few, 2, 2, 0, [])!]));
  });

  test('change nothing about which segments can be placed, how wide, and over how many domains', () => {
    const arbitraryNodes = fc.array(
      fc.record({
        domain: fc.constantFrom('a', 'b', 'c', 'd', 'e'),
        freeBytes: fc.constantFrom(PLENTY_BYTES, PLENTY_BYTES, 3_000_000, 0),
        group: fc.integer({ min: 0, max: 3 }),
      }),
      { maxLength: 16 },
    );
    const shape = fc.record({ k: fc.integer({ min: 1, max: 6 }), m: fc.integer({ min: 0, max: 3 }) });
    fc.assert(
      fc.property(arbitraryNodes, shape, fc.nat(1000), (list, { k, m }, rotation) => {
        const live = list.map(({ domain, freeBytes }, index) => ({ id: index + 1, domain, freeBytes }));
        const groups = [0, 1, 2, 3].map((group) =>
          live.filter((_, index) => list[index]!.group === group).map(({ id }) => id),
        );
        const placed = place(live, k, m, rotation, groups);
        const without = place(live, k, m, rotation, []);
        expect(placed?.length).toBe(without?.length);
        if (placed === undefined) return;
        const domainOf = (id: number) => live.find((node) => node.id === id)!.domain;
        const usable = live.filter(
          ({ freeBytes }) => freeBytes >= fullFragmentBytes(Math.max(1, placed.length - m)),
        );
        const domains = new Set(placed.map(domainOf)).size;
        if (new Set(usable.map(({ domain }) => domain)).size >= placed.length)
          expect(domains).toBe(placed.length);
        const able = groups.some((group) =>
          canHold(
            usable.filter(({ id }) => group.includes(id)),
            usable,
            placed.length,
          ),
        );
        if (able) expect(isWithin(placed, groups)).toBe(true);
      }),
      { numRuns: 300, seed: 17 },
    );
  });

  test('come before room, and after domains, for who takes the place of a lost node', () => {
    const failed = new Set([3]);
    const live = nodes(8).map((node) => (node.id === 7 ? { ...node, freeBytes: 1e9 } : node));
    expect(replaceNodes([1, 3, 5], failed, live, 4096, GROUPS)).toEqual([1, 7, 5]);
    expect(replaceNodes([1, 3, 5], failed, live, 2e9, GROUPS)).toEqual([1, 2, 5]);
    const sharing = live.map((node) => (node.id === 7 ? { ...node, domain: 'rack-1' } : node));
    expect(replaceNodes([1, 3, 5], failed, sharing, 4096, GROUPS)).toEqual([1, 2, 5]);
  });

  test('are kept to by one fragment more', () => {
    const extend = (held: number[], live = nodes(8)) =>
      extendSegment(live, {
        ...{ nodes: held, width: held.length + 1, fragmentBytes: 4096, groups: GROUPS },
        canTake: () => true,
      });
    expect(extend([2, 4, 6])).toBe(8);
    expect([1, 3]).toContain(extend([5, 7]));
    expect(extend([1, 3, 5, 7])).toBeGreaterThan(1);
    // Mostly there is as good as it gets.
    expect([1, 7]).toContain(extend([3, 5, 2]));
  });
});

test('the home of a segment is the group that has most of it', () => {
  expect(homeGroup([1, 3, 2], GROUPS)).toEqual(GROUPS[0]);
  expect(homeGroup([1, 4, 2], GROUPS)).toEqual(GROUPS[1]);
  expect(homeGroup([1, 2], GROUPS)).toEqual(GROUPS[0]);
  expect(homeGroup([9], GROUPS)).toEqual([]);
  expect(homeGroup([9], [])).toEqual([]);
});
