import { expect, test } from 'vitest';
import { joining, planRequest } from '../../../src/cli/plan/plan-request.ts';
import { formatAvailability, planText } from '../../../src/cli/plan/plan-text.ts';
import type { StatusReport } from '../../../src/cli/status/status-report.ts';
import { planLayouts } from '../../../src/replicator/plan/planner.ts';

const GIB = 2 ** 30;

function request(target: number, nodes = 5, redundancy = { data: 4, parity: 1 }) {
  const report = {
    nodes: Array.from({ length: nodes }, (_, index) => ({
      id: index + 1,
      usedBytes: GIB,
      capacityBytes: 100 * GIB,
    })),
    redundancy,
    capacity: { usedBytes: 4 * GIB },
  } as unknown as StatusReport;
  return planRequest(report, {
    targetUnavailability: 1 - target,
    nodeUnavailability: 0.001,
    bytesPerSecond: 100e6,
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
  expect(planText(planLayouts(request(0.999999, 5, { data: 4, parity: 2 })))).toContain('3+2 over 5 nodes');
  expect(request(0.9999, 5, { data: 4, parity: 2 }).current).toMatchObject({
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
