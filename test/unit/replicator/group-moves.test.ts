import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GIB } from '../../../src/base/units.ts';
import { isWithinGroup, planGathering } from '../../../src/replicator/adapt/gather-plan.ts';
import type { BalanceNode } from '../../../src/replicator/balance/balance-plan.ts';
import { groupExcessBytes, planGroupMoves } from '../../../src/replicator/balance/group-plan.ts';
import type { PlaceClass } from '../../../src/replicator/heal/segment-places.ts';
import { groupsInForce } from '../../../src/replicator/plan/groups.ts';

const GROUPS = [
  [1, 2, 3, 4],
  [5, 6, 7, 8],
];
const node = (id: number, domain = String(id), freeBytes = GIB): BalanceNode => ({ id, domain, freeBytes });
const eight = (domainOf: (id: number) => string = String): BalanceNode[] =>
  [1, 2, 3, 4, 5, 6, 7, 8].map((id) => node(id, domainOf(id)));

describe('groups in force', () => {
  const listed = (...ids: number[]) => ids.map((id) => ({ id, domain: String(id) }));
  const all = listed(1, 2, 3, 4, 5, 6, 7, 8);
  const without = (...gone: number[]) => all.filter(({ id }) => !gone.includes(id));

  test('are those that were chosen while nothing happens', () => {
    expect(groupsInForce(GROUPS, all, all, 3)).toEqual(GROUPS);
    expect(groupsInForce([], all, all, 3)).toEqual([]);
    expect(groupsInForce([[1, 2, 3, 4]], all, all, 3)).toEqual([]);
  });

  test('lose nodes that are gone, take from each other, or are none any more', () => {
    expect(groupsInForce(GROUPS, all, without(2), 3)).toEqual([[1, 3, 4], GROUPS[1]]);
    const [first, second] = groupsInForce(GROUPS, all, without(2, 3), 3);
    expect([first!.length, second!.length]).toEqual([3, 3]);
    expect(groupsInForce(GROUPS, all, without(2, 3, 6), 3)).toEqual([]);
    expect(groupsInForce(GROUPS, all, all, 5)).toEqual([]);
    expect(groupsInForce(GROUPS, all, without(1, 2, 3, 4, 5, 6), 3)).toEqual([]);
  });

  test('get newcomers, each where it stays whatever the others do', () => {
    const more = listed(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    const homeOf = (id: number, members: typeof more): number =>
      groupsInForce(GROUPS, more, members, 3).findIndex((group) => group.includes(id));
    const homes = [9, 10, 11].map((id) => homeOf(id, more));
    expect(new Set(homes.slice(0, 2)).size).toBe(2);
    for (const gone of [1, 2, 5, 6, 9, 10, 11]) {
      const members = more.filter(({ id }) => id !== gone);
      for (const [index, id] of [9, 10, 11].entries()) {
        if (id !== gone) expect(homeOf(id, members)).toBe(homes[index]);
      }
    }
    const later = listed(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    const then = groupsInForce(GROUPS, later, later, 3);
    expect([9, 10, 11].map((id) => then.findIndex((group) => group.includes(id)))).toEqual(homes);
  });
});

describe('gathering a segment into one group', () => {
  test('moves as few fragments as can be, and none that need not be', () => {
    expect(planGathering([1, 2, 3], eight(), GROUPS, 0)).toEqual([]);
    expect(planGathering([1, 5, 2], eight(), GROUPS, 0)).toEqual([{ from: 5, to: 3 }]);
    expect(planGathering([1, 5, 6], eight(), GROUPS, 0)).toEqual([{ from: 1, to: 7 }]);
    expect(planGathering([1, 5, 6], eight(), [], 0)).toEqual([]);
    expect(planGathering([1, 2, 3, 4, 5], eight(), GROUPS, 0)).toEqual([]);
    // Node 9 is gone, or to be emptied.
    expect(planGathering([1, 2, 9], eight(), GROUPS, 0)).toEqual([]);
  });

  test('goes to the next group where the first has no room', () => {
    const full = eight().map((each) => (each.id <= 4 ? { ...each, freeBytes: 10 } : each));
    expect(planGathering([1, 5, 2], full, GROUPS, 100)).toHaveLength(2);
    const all = full.map((each) => ({ ...each, freeBytes: 10 }));
    expect(planGathering([1, 5, 2], all, GROUPS, 100)).toEqual([]);
  });

  test('ends within a group, and shares no domain more than before', () => {
    const arbitrary = fc.record({
      domains: fc.array(fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'), { minLength: 8, maxLength: 8 }),
      held: fc.shuffledSubarray([1, 2, 3, 4, 5, 6, 7, 8], { minLength: 2, maxLength: 4 }),
    });
    fc.assert(
      fc.property(arbitrary, ({ domains, held }) => {
        const nodes = eight((id) => domains[id - 1]!);
        const moves = planGathering(held, nodes, GROUPS, 0);
        if (moves.length === 0) return;
        const shared = (ids: readonly number[]): number =>
          [...new Set(domains)]
            .map((domain) => ids.filter((id) => domains[id - 1] === domain).length ** 2)
            .reduce((sum, square) => sum + square, 0);
        let ids = held;
        for (const { from, to } of moves) {
          expect(ids).not.toContain(to);
          const next = ids.map((id) => (id === from ? to : id));
          expect(shared(next)).toBeLessThanOrEqual(shared(ids));
          ids = next;
        }
        expect(isWithinGroup(ids, GROUPS)).toBe(true);
      }),
      { numRuns: 300, seed: 3 },
    );
  });
});

describe('evening out between groups', () => {
  const never = () => false;
  const place = (nodes: readonly number[], first: number, segments: number, blocks = 100): PlaceClass => ({
    ...{ nodes, dataFragments: 2, blocks: blocks * segments },
    segments: new Set(Array.from({ length: segments }, (_, index) => first + index)),
  });

  test('moves what is above a quarter more than the share, and nothing below', () => {
    const classes = [place([1, 2, 3], 0, 40), place([5, 6, 7], 100, 24)];
    expect(planGroupMoves(eight(), GROUPS, classes, never, 16)).toEqual([]);
    expect(groupExcessBytes(eight(), GROUPS, classes)).toBe(0);
    const lopsided = [place([1, 2, 3], 0, 60), place([5, 6, 7], 100, 4)];
    const moves = planGroupMoves(eight(), GROUPS, lopsided, never, 100);
    // The room of a group is what it holds and what is free.
    expect(moves.length).toBeGreaterThanOrEqual(17);
    expect(moves.length).toBeLessThanOrEqual(20);
    for (const { segmentId, group } of moves) {
      expect(segmentId).toBeLessThan(60);
      expect(group).toEqual(GROUPS[1]);
    }
    expect(groupExcessBytes(eight(), GROUPS, lopsided)).toBeGreaterThan(0);
    expect(planGroupMoves(eight(), GROUPS, lopsided, never, 5)).toHaveLength(5);
    expect(planGroupMoves(eight(), GROUPS, lopsided, (id) => id < 58, 16).length).toBe(2);
  });

  test('counts the room that groups have', () => {
    const small = eight().map((each) => (each.id > 4 ? { ...each, freeBytes: GIB / 100 } : each));
    const classes = [place([1, 2, 3], 0, 60), place([5, 6, 7], 100, 4)];
    // Lopsided as they are, it is the small one that holds more than its share.
    for (const { group } of planGroupMoves(small, GROUPS, classes, never, 16))
      expect(group).toEqual(GROUPS[0]);
  });
});
