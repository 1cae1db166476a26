import { expect, test } from 'vitest';
import type { NodeLink } from '../../../src/cluster/nodes.ts';
import { adaptRequest, alikeClasses, placeableShape } from '../../../src/replicator/adapt/request.ts';
import { planLayouts } from '../../../src/replicator/plan/planner.ts';

const TB = 1e12;
const MEASURED = {
  unavailability: () => 0.001,
  domainUnavailability: new Map<string, number>(),
  bytesPerSecond: 100e6,
};

function volume(nodes: number, targetUnavailability: number, gone: readonly number[] = []) {
  const links = Array.from({ length: nodes }, (_, index) => {
    const id = index + 1;
    return { id, domain: String(id), capacityBytes: 2 * TB, freeBytes: TB } as NodeLink;
  });
  const ownShape = { dataFragments: Math.min(8, nodes - 1), parityFragments: 1 };
  const places = [
    {
      nodes: links.slice(0, ownShape.dataFragments + 1).map(({ id }) => id),
      ...{ dataFragments: ownShape.dataFragments, segments: new Set([1, 2]), blocks: 50_000 },
    },
  ];
  return adaptRequest({
    ...{ nodes: links, classes: places, current: ownShape, groups: [], ownShape, targetUnavailability },
    ...MEASURED,
    isDraining: () => false,
    isGone: (nodeId) => gone.includes(nodeId),
  });
}

test.each([
  [5, 1e-4, 1],
  [5, 1e-6, 2],
  [5, 1e-12, 2],
  [7, 1e-9, 3],
  [12, 1e-6, 2],
])('%i nodes with %f wanted get a parity of %i, and writing bears its loss', (nodes, target, parity) => {
  const { layout } = planLayouts(volume(nodes, target)!).choice;
  expect(layout.parityFragments).toBe(parity);
  expect(nodes - parity).toBeGreaterThan(parity);
  expect(layout.dataFragments).toBeLessThanOrEqual(8);
  expect(layout.groups).toHaveLength(1);
});

test('what is as wide as it may be gets its parity in place: all data read once, one fragment for each eight written', () => {
  const request = volume(12, 1e-6)!;
  const { dataBytes } = request.classes[0]!;
  const { choice } = planLayouts(request);
  expect(choice.layout).toMatchObject({ dataFragments: 8, parityFragments: 2 });
  const [, step] = choice.steps;
  expect(step).toMatchObject({ kind: 'add-parity', readBytes: dataBytes, writeBytes: dataBytes / 8 });
});

test.each([
  [0.4, '4+2', ['use-for-new-segments', 'add-parity']],
  [0.001, '6+2', ['use-for-new-segments', 'rewrite']],
])(
  'eight nodes with segments of 4+1, %f of them used, get %s: moving is weighed against room',
  (used, shape, kinds) => {
    const capacityBytes = 1e9;
    const ids = [1, 2, 3, 4, 5, 6, 7, 8];
    const blocks = (used * capacityBytes * ids.length) / 5 / 4096 / ids.length;
    const { choice } = planLayouts(
      adaptRequest({
        nodes: ids.map(
          (id) => ({ id, domain: `${id}`, capacityBytes, freeBytes: (1 - used) * capacityBytes }) as NodeLink,
        ),
        classes: ids.map((_, first) => ({
          nodes: ids.filter((_, at) => (at - first + 8) % 8 < 5),
          ...{ dataFragments: 4, segments: new Set([first]), blocks },
        })),
        ...{ current: { dataFragments: 4, parityFragments: 1 }, groups: [], targetUnavailability: 1e-6 },
        ownShape: { dataFragments: 4, parityFragments: 1 },
        ...MEASURED,
        isDraining: () => false,
        isGone: () => false,
      })!,
    );
    expect(`${choice.layout.dataFragments}+${choice.layout.parityFragments}`).toBe(shape);
    expect(choice.steps.map(({ kind }) => kind).slice(0, 2)).toEqual(kinds);
  },
);

test('nodes that are gone are no part of what is planned, and too few are no plan', () => {
  const { layout } = planLayouts(volume(5, 1e-4, [2])!).choice;
  expect(layout.groups).toEqual([[1, 3, 4, 5]]);
  expect(volume(5, 1e-4, [1, 2, 3, 4])).toBe(undefined);
});

test('a shape becomes narrower with full parity where nodes are few', () => {
  const shape = { dataFragments: 4, parityFragments: 2 };
  expect(placeableShape(shape, 8)).toEqual(shape);
  expect(placeableShape(shape, 4)).toEqual({ dataFragments: 2, parityFragments: 2 });
  expect(placeableShape(shape, 2)).toBe(undefined);
});

test('segments of one shape are taken together', () => {
  const place = (nodes: number[], dataFragments: number, blocks: number) => ({
    ...{ nodes, dataFragments, blocks },
    segments: new Set([blocks]),
  });
  expect(
    alikeClasses([place([1, 2, 3], 2, 10), place([2, 3, 4], 2, 20), place([1, 2, 3], 1, 5)], []),
  ).toEqual([
    {
      nodes: [1, 2, 3, 4],
      dataFragments: 2,
      parityFragments: 1,
      segments: 2,
      dataBytes: 2 * 30 * 4096,
    },
    { nodes: [1, 2, 3], dataFragments: 1, parityFragments: 2, segments: 1, dataBytes: 5 * 4096 },
  ]);
});

test('segments within a group are told from those across groups', () => {
  const groups = [
    [1, 2, 3, 4],
    [5, 6, 7, 8],
  ];
  const place = (nodes: number[], first: number) => ({
    ...{ nodes, dataFragments: 2, blocks: 10 },
    segments: new Set([first]),
  });
  const places = [place([1, 2, 3], 1), place([2, 3, 4], 2), place([5, 6, 7], 3), place([1, 2, 5], 4)];
  expect(alikeClasses(places, groups).map(({ nodes, segments }) => [nodes, segments])).toEqual([
    [[1, 2, 3, 4], 2],
    [[5, 6, 7], 1],
    [[1, 2, 5], 1],
  ]);
});

/** Twelve nodes in six racks of two, a twentieth of their room used. */
function racked(
  rackUnavailability: number,
  targetUnavailability: number,
  shape = { dataFragments: 8, parityFragments: 1 },
) {
  const ids = Array.from({ length: 12 }, (_, index) => index + 1);
  const domain = (id: number): string => `rack-${id % 6}`;
  const blocks = (0.05 * 12 * TB) / (shape.dataFragments + shape.parityFragments) / 4096;
  return adaptRequest({
    nodes: ids.map((id) => {
      return {
        id,
        domain: rackUnavailability > 0 ? domain(id) : `${id}`,
        capacityBytes: TB,
        freeBytes: 0.95 * TB,
      } as NodeLink;
    }),
    classes: [
      {
        nodes: ids.slice(0, shape.dataFragments + shape.parityFragments),
        ...{ dataFragments: shape.dataFragments, segments: new Set([1]), blocks },
      },
    ],
    ...{ current: shape, groups: [], ownShape: shape, targetUnavailability },
    ...MEASURED,
    domainUnavailability: new Map(ids.map((id) => [domain(id), rackUnavailability])),
    isDraining: () => false,
    isGone: () => false,
  })!;
}

test('the cheapest layout that meets the target does not cost twice the room so that rebuilding is quick', () => {
  const { choice, candidates } = planLayouts(racked(0, 1e-6));
  expect(choice.meetsTarget).toBe(true);
  expect(choice.spaceOverhead).toBeLessThanOrEqual(0.5);
  const cheapest = candidates.filter(({ meetsTarget, fits }) => meetsTarget && fits);
  expect(choice.cost).toBeLessThanOrEqual(1.25 * Math.min(...cheapest.map(({ cost }) => cost)));
});

test('racks that fail as one count where a stripe has several fragments in one', () => {
  const wide = planLayouts(racked(1e-4, 0.9)).candidates[0]!;
  const apart = planLayouts(racked(0, 0.9)).candidates[0]!;
  // Nine fragments over six racks: any rack takes two of them.
  expect(wide.unavailability).toBeGreaterThan(5e-4);
  expect(apart.unavailability).toBeLessThan(1e-4);
  // With one fragment a rack it takes two racks, or nodes of two.
  const narrow = planLayouts(racked(1e-4, 0.9, { dataFragments: 4, parityFragments: 1 })).candidates[0]!;
  expect(narrow.unavailability).toBeLessThan(1e-4);
  // What a node is away with its rack is not counted twice.
  expect(racked(1e-4, 0.9).nodes[0]!.unavailability).toBeCloseTo(0.0009, 6);
});
