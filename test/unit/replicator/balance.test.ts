import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { GIB } from '../../../src/base/units.ts';
import { type BalancePlan, type BalanceRequest, planBalance } from '../../../src/replicator/plan/balance.ts';
import type { PlanNode, SegmentClass } from '../../../src/replicator/plan/contract.ts';
import { CAPACITY_BYTES, planNode, segmentClass } from './plan-fixture.ts';

/** Bytes that the segments take on each node. */
function loads(classes: readonly SegmentClass[]): Map<number, number> {
  const result = new Map<number, number>();
  for (const { nodes, dataBytes, dataFragments, parityFragments } of classes) {
    const each = (dataBytes * (dataFragments + parityFragments)) / dataFragments / nodes.length;
    for (const id of nodes) result.set(id, (result.get(id) ?? 0) + each);
  }
  return result;
}

/** Nodes of 100 GiB with what the segments leave free. */
function withLoads(ids: readonly number[], classes: readonly SegmentClass[], fields: Partial<PlanNode> = {}) {
  const used = loads(classes);
  return ids.map((id) => planNode(id, { freeBytes: CAPACITY_BYTES - (used.get(id) ?? 0), ...fields }));
}

function after(classes: readonly SegmentClass[], plan: BalancePlan): Map<number, number> {
  const result = loads(classes);
  for (const { from, to, bytes } of plan.moves) {
    result.set(from, (result.get(from) ?? 0) - bytes);
    result.set(to, (result.get(to) ?? 0) + bytes);
  }
  return result;
}

const balance = (fields: Omit<BalanceRequest, 'layout' | 'tolerance'> & { groups: number[][] }) =>
  planBalance({
    nodes: fields.nodes,
    classes: fields.classes,
    layout: { dataFragments: 4, parityFragments: 1, groups: fields.groups },
    purpose: fields.purpose,
    tolerance: 0.02,
  });

const five = [segmentClass([1, 2, 3, 4, 5], 4, 1, 160 * GIB)];

describe('a node that joins', () => {
  test('gets the share of the data that its room is of all room, evenly from all others', () => {
    const nodes = withLoads([1, 2, 3, 4, 5, 6], five);
    const purpose = { kind: 'join' as const, ids: [6] };
    const plan = balance({ nodes, classes: five, groups: [[1, 2, 3, 4, 5, 6]], purpose });
    expect(plan.movedBytes / (200 * GIB)).toBeCloseTo(1 / 6, 8);
    expect(plan.moves.map(({ to }) => to)).toEqual([6, 6, 6, 6, 6]);
    for (const { bytes } of plan.moves) expect(bytes / plan.movedBytes).toBeCloseTo(1 / 5, 8);
  });

  test('of another size gets its share by room', () => {
    const nodes = withLoads([1, 2, 3, 4, 5], five).concat(planNode(6, { freeBytes: CAPACITY_BYTES / 2 }));
    const purpose = { kind: 'join' as const, ids: [6] };
    const plan = balance({ nodes, classes: five, groups: [[1, 2, 3, 4, 5, 6]], purpose });
    expect(plan.movedBytes / (200 * GIB)).toBeCloseTo(0.5 / 5.5, 8);
  });

  test('never gets more than one fragment of a segment, however large it is', () => {
    const nodes = withLoads([1, 2, 3, 4, 5], five).concat(planNode(6, { freeBytes: 100 * CAPACITY_BYTES }));
    const purpose = { kind: 'join' as const, ids: [6] };
    const plan = balance({ nodes, classes: five, groups: [[1, 2, 3, 4, 5, 6]], purpose });
    expect(plan.movedBytes).toBeCloseTo(40 * GIB, 0);
  });

  test('gets data of its own group only', () => {
    const classes = [...five, segmentClass([11, 12, 13, 14, 15], 4, 1, 160 * GIB)];
    const nodes = withLoads([1, 2, 3, 4, 5, 6, 11, 12, 13, 14, 15], classes);
    const groups = [
      [1, 2, 3, 4, 5, 6],
      [11, 12, 13, 14, 15],
    ];
    const plan = balance({ nodes, classes, groups, purpose: { kind: 'join', ids: [6] } });
    expect(plan.moves.every(({ from }) => from <= 5)).toBe(true);
    // Less than its share of the volume, 1 / 11, and never more.
    expect(plan.movedBytes / (400 * GIB)).toBeCloseTo(1 / 12, 8);
  });

  test('moves at most new / (old + new) of the data, whatever was there', () => {
    const shapes = fc.array(
      fc.record({
        members: fc.subarray([1, 2, 3, 4, 5, 6, 7, 8], { minLength: 3 }),
        gib: fc.integer({ min: 1, max: 60 }),
      }),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(shapes, fc.integer({ min: 1, max: 3 }), (list, joining) => {
        const classes = list.map(({ members, gib }) => segmentClass(members, 2, 1, gib * GIB));
        const total = [...loads(classes).values()].reduce((sum, bytes) => sum + bytes, 0);
        const old = [1, 2, 3, 4, 5, 6, 7, 8];
        const fresh = Array.from({ length: joining }, (_, index) => 9 + index);
        // Some nodes may hold more than 100 GiB: all have 400.
        const used = loads(classes);
        const nodes = [...old, ...fresh].map((id) =>
          planNode(id, { freeBytes: 400 * GIB - (used.get(id) ?? 0) }),
        );
        const plan = balance({
          nodes,
          classes,
          groups: [[...old, ...fresh]],
          purpose: { kind: 'join', ids: fresh },
        });
        expect(plan.movedBytes / total).toBeLessThanOrEqual(joining / (old.length + joining) + 1e-9);
        expect(plan.moves.every(({ from, to }) => from <= 8 && to > 8)).toBe(true);
      }),
      { seed: 51, numRuns: 60 },
    );
  });
});

describe('a node that is drained', () => {
  test('gives everything away, most to those with the most room', () => {
    const classes = [
      segmentClass([1, 2, 3, 4, 5, 6, 7], 4, 1, 140 * GIB),
      segmentClass([1, 2, 3, 4, 5], 4, 1, 40 * GIB),
    ];
    const nodes = withLoads([1, 2, 3, 4, 5, 6, 7], classes).map((node) =>
      node.id === 1 ? { ...node, role: 'leaving' as const } : node,
    );
    const plan = balance({
      nodes,
      classes,
      groups: [[2, 3, 4, 5, 6, 7]],
      purpose: { kind: 'drain', ids: [1] },
    });
    const result = after(classes, plan);
    expect(result.get(1)).toBeCloseTo(0, 3);
    expect(plan.unplacedBytes).toBe(0);
    expect(plan.movedBytes).toBeCloseTo(35 * GIB, 0);
    const toOf = (id: number): number =>
      plan.moves.filter(({ to }) => to === id).reduce((sum, { bytes }) => sum + bytes, 0);
    expect(toOf(7)).toBeGreaterThan(2 * toOf(2));
  });

  test('keeps what nobody can take: every other node holds a fragment already', () => {
    const nodes = withLoads([1, 2, 3, 4, 5], five).map((node) =>
      node.id === 1 ? { ...node, role: 'leaving' as const } : node,
    );
    const plan = balance({
      nodes,
      classes: five,
      groups: [[2, 3, 4, 5]],
      purpose: { kind: 'drain', ids: [1] },
    });
    expect(plan.moves).toEqual([]);
    expect(plan.unplacedBytes).toBeCloseTo(40 * GIB, 0);
  });

  test('keeps what would put two fragments on one domain', () => {
    const nodes = withLoads([1, 2, 3, 4, 5, 6, 7], five).map((node) => ({
      ...node,
      role: node.id === 1 ? ('leaving' as const) : ('member' as const),
      domain: node.id === 6 ? 'domain 2' : node.domain,
    }));
    const plan = balance({
      nodes,
      classes: five,
      groups: [[2, 3, 4, 5, 6, 7]],
      purpose: { kind: 'drain', ids: [1] },
    });
    expect(plan.moves.map(({ to }) => to)).toEqual([7]);
    expect(plan.unplacedBytes).toBe(0);
  });
});

test('a node that is replaced gives everything to the one that replaces it', () => {
  const nodes = withLoads([1, 2, 3, 4, 5, 6, 7], five).map((node) =>
    node.id === 1 ? { ...node, role: 'gone' as const } : node,
  );
  const groups = [[2, 3, 4, 5, 6, 7]];
  const plan = balance({ nodes, classes: five, groups, purpose: { kind: 'replace', id: 1, by: 6 } });
  expect(plan.moves.map(({ from, to }) => [from, to])).toEqual([[1, 6]]);
  expect(plan.movedBytes).toBeCloseTo(40 * GIB, 0);
});

describe('evening out', () => {
  test('leaves small differences alone', () => {
    const classes = [...five, segmentClass([1, 2, 3, 4, 6], 4, 1, 158 * GIB)];
    const nodes = withLoads([1, 2, 3, 4], classes);
    const groups = [[1, 2, 3, 4]];
    expect(balance({ nodes, classes: [], groups, purpose: { kind: 'even-out' } }).moves).toEqual([]);
    const six = withLoads(
      [1, 2, 3, 4, 5, 6],
      [segmentClass([1, 2, 3, 4, 5, 6], 4, 1, 100 * GIB), segmentClass([1, 2, 3], 2, 1, 4 * GIB)],
    );
    const almost = [
      segmentClass([1, 2, 3, 4, 5, 6], 4, 1, 100 * GIB),
      segmentClass([1, 2, 3], 2, 1, 3 * GIB),
    ];
    expect(
      balance({ nodes: six, classes: almost, groups: [[1, 2, 3, 4, 5, 6]], purpose: { kind: 'even-out' } })
        .moves,
    ).toEqual([]);
  });

  test('relieves the full node and ends with the same share of room in use', () => {
    const classes = [segmentClass([1, 2, 3], 2, 1, 120 * GIB), segmentClass([4, 5, 6], 2, 1, 20 * GIB)];
    const nodes = withLoads([1, 2, 3, 4, 5, 6], classes);
    const plan = balance({ nodes, classes, groups: [[1, 2, 3, 4, 5, 6]], purpose: { kind: 'even-out' } });
    for (const bytes of after(classes, plan).values()) expect(bytes).toBeCloseTo(35 * GIB, -3);
    expect(plan.movedBytes).toBeCloseTo(75 * GIB, -3);
  });
});
