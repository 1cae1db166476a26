import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { storableBytes } from '../../../src/replicator/plan/capacity.ts';
import { formGroups, type GroupSizes } from '../../../src/replicator/plan/groups.ts';
import { planNode, planNodes } from './plan-fixture.ts';

const sizesOf = (groups: readonly (readonly number[])[]): number[] => groups.map((group) => group.length);

describe('groups', () => {
  test('hold every node once, are within their sizes, and differ from each other by one node at most when made anew', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 0, max: 200 }), (least, more) => {
        const nodes = planNodes(least + more);
        const groups = formGroups(nodes, [], { least, most: 2 * least - 1, newcomers: 'join' });
        expect(groups.flat().sort((a, b) => a - b)).toEqual(nodes.map(({ id }) => id));
        const sizes = sizesOf(groups);
        expect(Math.min(...sizes)).toBeGreaterThanOrEqual(least);
        expect(Math.max(...sizes)).toBeLessThanOrEqual(2 * least - 1);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        // As many groups as their least size allows: no node shares segments with more others than it has to.
        expect(groups.length).toBe(Math.floor(nodes.length / least));
      }),
      { seed: 21 },
    );
  });

  test('stay within their sizes through any joining and leaving, and change little', () => {
    const steps = fc.array(fc.record({ join: fc.boolean(), pick: fc.nat() }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 8 }), steps, (least, changes) => {
        let nodes = planNodes(3 * least);
        const sizes: GroupSizes = { least, most: 2 * least - 1, newcomers: 'join' };
        let groups = formGroups(nodes, [], sizes);
        let nextId = 1000;
        for (const { join, pick } of changes) {
          if (!join && nodes.length <= least) continue;
          nodes = join ? [...nodes, planNode(nextId++)] : nodes.toSpliced(pick % nodes.length, 1);
          const next = formGroups(nodes, groups, sizes);
          expect(next.flat().sort((a, b) => a - b)).toEqual(nodes.map(({ id }) => id).sort((a, b) => a - b));
          for (const size of sizesOf(next)) {
            expect(size).toBeGreaterThanOrEqual(least);
            expect(size).toBeLessThanOrEqual(2 * least - 1);
          }
          // One change touches at most two groups that were there and two that came of them.
          const before = new Set(groups.map(String));
          expect(next.filter((group) => !before.has(String(group))).length).toBeLessThanOrEqual(2);
          groups = next;
        }
      }),
      { seed: 22, numRuns: 60 },
    );
  });

  test('spread the nodes of each domain evenly', () => {
    // Ten racks of twelve nodes, groups of ten: every group gets one node of each rack.
    const nodes = planNodes(120).map((node) => ({ ...node, domain: `rack ${node.id % 10}` }));
    const groups = formGroups(nodes, [], { least: 10, most: 19, newcomers: 'join' });
    expect(sizesOf(groups)).toEqual(Array(12).fill(10));
    for (const group of groups) expect(new Set(group.map((id) => id % 10)).size).toBe(10);
  });

  test('take a newcomer where its domain is rarest', () => {
    const nodes = planNodes(8).map((node) => ({
      ...node,
      domain: node.id <= 4 ? `a${node.id}` : `b${node.id}`,
    }));
    const current = [
      [1, 2, 3, 4],
      [5, 6, 7, 8],
    ];
    const newcomer = planNode(9, { domain: 'a1' });
    expect(formGroups([...nodes, newcomer], current, { least: 4, most: 7, newcomers: 'join' })).toEqual([
      [1, 2, 3, 4],
      [5, 6, 7, 8, 9],
    ]);
  });

  test('of newcomers alone leave the others as they are, and borrow only what those can spare', () => {
    const sizes: GroupSizes = { least: 4, most: 7, newcomers: 'apart' };
    const current = [
      [1, 2, 3, 4, 5],
      [6, 7, 8, 9],
    ];
    expect(formGroups(planNodes(13), current, sizes)).toContainEqual([10, 11, 12, 13]);
    const borrowed = formGroups(planNodes(12), current, sizes);
    expect(borrowed).toContainEqual([6, 7, 8, 9]);
    expect(borrowed.map((group) => group.length)).toEqual([4, 4, 4]);
    // Two newcomers and one to spare make no group of four: they join.
    expect(
      formGroups(planNodes(11), current, sizes)
        .map((group) => group.length)
        .sort(),
    ).toEqual([5, 6]);
  });
});

describe('what stripes can store', () => {
  test('is everything on equal nodes, and less where one node is larger than all others can match', () => {
    expect(storableBytes([10, 10, 10, 10, 10], 5)).toBe(50);
    expect(storableBytes([10, 10, 10, 10, 10, 10], 5)).toBe(60);
    expect(storableBytes([100, 10, 10], 3)).toBe(30);
    expect(storableBytes([100, 10, 10], 2)).toBe(40);
    expect(storableBytes([100, 10], 3)).toBe(0);
  });

  test('is what filling them stripe by stripe, on the emptiest nodes, arrives at', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 2, maxLength: 8 }),
        fc.integer({ min: 1, max: 6 }),
        (capacities, width) => {
          const free = [...capacities];
          let stored = 0;
          for (;;) {
            free.sort((a, b) => b - a);
            if ((free[width - 1] ?? 0) < 1) break;
            for (let index = 0; index < width; index++) free[index]!--;
            stored += width;
          }
          const storable = storableBytes(capacities, width);
          expect(storable).toBeGreaterThanOrEqual(stored);
          expect(storable - stored).toBeLessThan(width);
        },
      ),
      { seed: 23 },
    );
  });
});
