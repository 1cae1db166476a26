import { expect, test } from 'vitest';
import { joining, supposing } from '../../../src/cli/plan/plan-request.ts';
import { formatAvailability, planText } from '../../../src/cli/plan/plan-text.ts';
import type { NodeLink } from '../../../src/cluster/nodes.ts';
import { adaptRequest } from '../../../src/replicator/adapt/request.ts';
import { planLayouts } from '../../../src/replicator/plan/planner.ts';

const GIB = 2 ** 30;

function request(
  target: number,
  nodes = 5,
  current = { dataFragments: 4, parityFragments: 1 },
  ownShape = current,
) {
  const links = Array.from({ length: nodes }, (_, index) => {
    const id = index + 1;
    return { id, domain: `${id}`, capacityBytes: 100 * GIB, freeBytes: 99 * GIB } as NodeLink;
  });
  const { dataFragments, parityFragments } = current;
  const width = Math.min(dataFragments + parityFragments, nodes);
  const asked = adaptRequest({
    ...{ nodes: links, current, groups: [], ownShape, targetUnavailability: 0.5 },
    unavailability: () => 0.1,
    domainUnavailability: new Map([['rack', 0.01]]),
    bytesPerSecond: 1e6,
    isGone: () => false,
    isDraining: () => false,
    classes: [
      {
        nodes: links.slice(0, width).map(({ id }) => id),
        dataFragments: width - parityFragments,
        ...{ segments: new Set([1, 2]), blocks: GIB / 4096 },
      },
    ],
  })!;
  return supposing(asked, {
    ...{ targetUnavailability: 1 - target, nodeUnavailability: 0.001, bytesPerSecond: 100e6 },
  });
}

test('the volume of the first five minutes is left as it is', () => {
  const plan = planLayouts(request(0.9999));
  expect(plan.choice.actions).toEqual(['keep']);
  // Two or more of five nodes away at once: 10 p^2 (1 - p)^3 + ...
  expect(plan.choice.unavailability).toBeCloseTo(9.98e-6, 8);
  expect(planText(plan)).toMatch(/^\* {2}keep +4\+1 over 5 nodes +99\.9990+% +yes/m);
});

test('a layout wider than there are nodes, as after one was removed, is planned as what is written under it', () => {
  expect(planText(planLayouts(request(0.999999, 5, { dataFragments: 4, parityFragments: 2 })))).toContain(
    '3+2 over 5 nodes',
  );
  expect(request(0.9999, 5, { dataFragments: 4, parityFragments: 2 }).current).toMatchObject({
    dataFragments: 3,
    parityFragments: 2,
  });
});

test('a target that one parity fragment cannot meet asks for two', () => {
  const plan = planLayouts(request(0.999999));
  expect(plan.choice.layout.parityFragments).toBeGreaterThan(1);
  expect(planText(plan)).toContain('cheapest that meets the target');
});

test('more nodes under the same stripes are less available, and the table says so', () => {
  const before = request(0.99999);
  const plan = planLayouts(before, joining(before, 1));
  const migrated = plan.candidates.find(
    ({ actions, layout }) =>
      actions.includes('migrate') && layout.parityFragments === 1 && layout.groups.length === 1,
  );
  expect(migrated?.meetsTarget).toBe(false);
  expect(plan.candidates[0]?.meetsTarget).toBe(true);
});

test('nodes that join are like those that stay, not like those that are gone', () => {
  const before = request(0.99);
  const nodes = before.nodes.map((node) =>
    node.id === 3 ? { ...node, role: 'gone' as const, capacityBytes: 0, freeBytes: 0 } : node,
  );
  expect(joining({ ...before, nodes }, 2)).toMatchObject({
    kind: 'join',
    nodes: [
      { id: 6, capacityBytes: 100 * GIB, role: 'member' },
      { id: 7, capacityBytes: 100 * GIB },
    ],
  });
});

test('a target that no layout meets comes with what would', () => {
  const plan = planLayouts(request(0.9999999999999));
  expect(plan.why).toBe('best-effort');
  expect(planText(plan)).toContain('No layout meets the target.');
});

test.each([
  [0.5, '50.0%'],
  [1e-3, '99.90%'],
  [1e-5, '99.9990%'],
  [0, '100%'],
])('an unavailability of %d reads as %s', (unavailability, text) => {
  expect(formatAvailability(unavailability)).toBe(text);
});

test('a layout of several groups says which nodes they are', () => {
  const plan = planLayouts(request(0.999987, 8, { dataFragments: 2, parityFragments: 1 }));
  const choice = plan.candidates.find(({ layout }) => layout.groups.length === 2)!;
  const text = planText({ ...plan, choice });
  const [, groups] = /groups of nodes: (.*)$/m.exec(text) ?? [];
  expect(groups?.split(' | ').map((group) => group.split(' ').length)).toEqual([4, 4]);
  expect(text).toContain('over 8 nodes in 2 groups');
});
