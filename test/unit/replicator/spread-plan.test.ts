import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BLOCK_BYTES, GIB } from '../../../src/base/units.ts';
import type { BalanceNode } from '../../../src/replicator/balance/balance-plan.ts';
import { planSpreadMoves, spreadBytes } from '../../../src/replicator/balance/spread-plan.ts';
import type { PlaceClass } from '../../../src/replicator/heal/segment-places.ts';

const node = (id: number, domain = String(id), freeBytes = GIB): BalanceNode => ({ id, domain, freeBytes });

function place(nodes: readonly number[], segments: readonly number[], blocks = 10): PlaceClass {
  return {
    ...{ nodes, dataFragments: nodes.length - 1, segments: new Set(segments) },
    blocks: blocks * segments.length,
  };
}

const never = () => false;

test('two fragments in one domain move apart, to the domain with the fewest', () => {
  const nodes = [node(1, 'a'), node(2, 'a'), node(3, 'b'), node(4, 'c')];
  const classes = [place([1, 2, 3], [10, 11]), place([1, 3, 4], [12])];
  const moves = planSpreadMoves(nodes, classes, never, 16);
  expect(moves).toEqual([
    { segmentId: 10, from: 1, to: 4 },
    { segmentId: 11, from: 1, to: 4 },
  ]);
  expect(spreadBytes(nodes, classes)).toBe(20 * BLOCK_BYTES);
  expect(planSpreadMoves(nodes, classes, (id) => id === 10, 16)).toHaveLength(1);
  expect(planSpreadMoves(nodes, classes, never, 1)).toHaveLength(1);
});

test('nothing moves where it would be no better, where there is no room, and where a node is away', () => {
  const crowded = [place([1, 2, 3], [10])];
  expect(planSpreadMoves([node(1), node(2), node(3), node(4)], crowded, never, 16)).toEqual([]);
  const pairs = [node(1, 'a'), node(2, 'a'), node(3, 'b'), node(4, 'b')];
  expect(planSpreadMoves(pairs, crowded, never, 16)).toEqual([]);
  const full = [node(1, 'a'), node(2, 'a'), node(3, 'b'), node(4, 'c', 20 * BLOCK_BYTES)];
  expect(planSpreadMoves(full, crowded, never, 16)).toEqual([]);
  expect(spreadBytes(full, crowded)).toBe(0);
  const away = [node(1, 'a'), node(2, 'a'), node(4, 'c')];
  expect(planSpreadMoves(away, crowded, never, 16)).toEqual([]);
});

test('whatever the labels, moves come to an end with every segment spread as evenly as nodes and domains allow', () => {
  const labels = fc.array(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 3, maxLength: 9 });
  fc.assert(
    fc.property(labels, fc.nat(), (domains, seed) => {
      const nodes = domains.map((domain, at) => node(at + 1, domain));
      const width = 2 + (seed % (nodes.length - 1));
      let held = nodes.slice(0, width).map(({ id }) => id);
      for (let moved = 0; ; moved++) {
        const [move] = planSpreadMoves(nodes, [place(held, [7])], never, 16);
        if (move === undefined) break;
        expect(moved).toBeLessThan(width);
        held = held.map((id) => (id === move.from ? move.to : id));
        expect(new Set(held).size).toBe(width);
      }
      const uses = new Map<string, number>();
      for (const id of held) uses.set(domains[id - 1]!, (uses.get(domains[id - 1]!) ?? 0) + 1);
      const most = Math.max(...uses.values());
      for (const { id, domain } of nodes) {
        if (!held.includes(id)) expect((uses.get(domain) ?? 0) + 1).toBeGreaterThanOrEqual(most);
      }
    }),
  );
});
