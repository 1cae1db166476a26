import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PlanNode, PlanRequest } from '../../../src/replicator/plan/contract.ts';
import { decide, FRESH_MEMORY } from '../../../src/replicator/plan/hysteresis.ts';
import { planLayouts } from '../../../src/replicator/plan/planner.ts';
import { oneGroup, planNode } from './plan-fixture.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

interface Change {
  readonly atMs: number;
  readonly why: string;
}

/** A volume of six nodes where a seventh comes and goes; plans are asked for at every change and when a wait is over. */
function live(changesAtMs: readonly number[], untilMs: number): Change[] {
  let request: PlanRequest = oneGroup(6, 4, 1, 0.3, { targetUnavailability: 1e-4 });
  const changes: Change[] = [];
  let memory = FRESH_MEMORY;
  let present = false;
  let wakeMs: number | undefined;
  const consider = (nowMs: number): void => {
    const plan = planLayouts(request);
    const decision = decide(memory, plan, nowMs, request.policy);
    memory = decision.memory;
    wakeMs = decision.verdict === 'wait' ? nowMs + decision.waitMs : undefined;
    if (decision.verdict !== 'act') return;
    changes.push({ atMs: nowMs, why: plan.why });
    const { layout } = plan.choice;
    const dataBytes = request.classes.reduce((sum, each) => sum + each.dataBytes, 0);
    request = {
      ...request,
      current: layout,
      classes: [{ ...request.classes[0]!, ...layout, nodes: layout.groups[0]!, dataBytes }],
    };
  };
  for (const atMs of [...changesAtMs, untilMs]) {
    while (wakeMs !== undefined && wakeMs <= atMs) consider(wakeMs);
    if (atMs === untilMs) break;
    present = !present;
    const others = request.nodes.filter(({ id }) => id !== 7);
    const seventh: PlanNode = planNode(7, { role: present ? 'member' : 'gone' });
    request = { ...request, nodes: [...others, seventh] };
    consider(atMs);
  }
  return changes;
}

describe('a node that', () => {
  test('joins and stays is taken in once, after the settling time', () => {
    expect(live([DAY_MS], 10 * DAY_MS)).toEqual([{ atMs: DAY_MS + 10 * MINUTE_MS, why: 'cheaper' }]);
  });

  test('flaps every few minutes for days causes nothing at all', () => {
    const flaps = Array.from({ length: 600 }, (_, index) => index * 5 * MINUTE_MS);
    expect(live(flaps, flaps.at(-1)! + 5 * MINUTE_MS)).toEqual([]);
  });

  test('comes and goes more slowly causes one change a day that nobody needs, and each loss one that is needed', () => {
    const arbitraryGaps = fc.array(fc.integer({ min: 1, max: 2 * 24 * 60 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(arbitraryGaps, (gapsMinutes) => {
        let atMs = 0;
        const times = gapsMinutes.map((gap) => {
          atMs += gap * MINUTE_MS;
          return atMs;
        });
        const changes = live(times, atMs + 3 * DAY_MS);
        const optional = changes.filter(({ why }) => why === 'cheaper');
        const needed = changes.filter(({ why }) => why === 'restores-target');
        expect(optional.length + needed.length).toBe(changes.length);
        for (const [index, change] of optional.entries()) {
          const before = optional[index - 1];
          if (before !== undefined) expect(change.atMs - before.atMs).toBeGreaterThanOrEqual(DAY_MS);
        }
        // A loss matters only after the node was taken in.
        expect(needed.length).toBeLessThanOrEqual(optional.length);
      }),
      { seed: 41, numRuns: 15 },
    );
  });
});

test('a different choice starts the settling time anew', () => {
  const request = oneGroup(6, 4, 1, 0.3, { targetUnavailability: 1e-4 });
  const { policy } = request;
  const one = planLayouts(request, { kind: 'join', nodes: [planNode(7)] });
  const two = planLayouts(request, { kind: 'join', nodes: [planNode(7), planNode(8)] });
  const first = decide(FRESH_MEMORY, one, 0, policy);
  expect(first).toMatchObject({ verdict: 'wait', waitMs: policy.settleMs });
  const second = decide(first.memory, two, policy.settleMs - 1, policy);
  expect(second).toMatchObject({ verdict: 'wait', waitMs: policy.settleMs });
  expect(decide(second.memory, two, 2 * policy.settleMs - 1, policy).verdict).toBe('act');
  expect(decide(second.memory, planLayouts(request), 2 * policy.settleMs, policy).verdict).toBe('stay');
});
