/**
 * When a plan's choice is carried out: the rule that keeps a flapping node from causing a storm of moves. Pure: the caller keeps the
 * memory, and tells the time.
 *
 * A node that is only down stays a member: that is what p is for. Roles change when somebody says so or its grace period is over.
 *
 * 1. A choice has to be made again and again for `settleMs`; a different one in between starts anew. A node that comes and goes faster
 *    than that makes the choices alternate, so nothing is moved at all.
 * 2. After a change, one that the target does not demand waits for `quietMs`. A node that comes and goes more slowly causes at most one
 *    such change in that time, and each time at most one that the target demands.
 * 3. (In the planner.) Leaving alone wins unless the change is clearly cheaper, and parity is dropped only well within the target: so
 *    what was done for the target is not undone by the next drift of p.
 */
import type { Layout, Plan, PlanPolicy } from './contract.ts';

export interface PlannerMemory {
  /** The choice that waits to be carried out, and since when it has been the same. */
  readonly pending: { readonly key: string; readonly sinceMs: number } | undefined;
  /** When a change was last carried out. */
  readonly changedMs: number | undefined;
}

export const FRESH_MEMORY: PlannerMemory = { pending: undefined, changedMs: undefined };

export interface Decision {
  readonly memory: PlannerMemory;
  /** 'stay': leaving alone is the choice; 'wait': until `waitMs` from now, if the choice stays the same; 'act': carry it out now. */
  readonly verdict: 'stay' | 'wait' | 'act';
  readonly waitMs: number;
}

/** Call at every change, and again after `waitMs`. */
export function decide(
  memory: PlannerMemory,
  plan: Plan,
  nowMs: number,
  policy: Pick<PlanPolicy, 'settleMs' | 'quietMs'>,
): Decision {
  if (plan.choice.actions.includes('keep')) {
    return { memory: { ...memory, pending: undefined }, verdict: 'stay', waitMs: 0 };
  }
  const key = shapeKey(plan.choice.layout);
  const sinceMs = memory.pending?.key === key ? memory.pending.sinceMs : nowMs;
  const settledMs = sinceMs + policy.settleMs;
  const optional = plan.why === 'cheaper';
  const quietUntilMs =
    optional && memory.changedMs !== undefined ? memory.changedMs + policy.quietMs : settledMs;
  const waitMs = Math.max(settledMs, quietUntilMs) - nowMs;
  if (waitMs > 0) return { memory: { ...memory, pending: { key, sinceMs } }, verdict: 'wait', waitMs };
  return { memory: { pending: undefined, changedMs: nowMs }, verdict: 'act', waitMs: 0 };
}

/** The shape and the nodes. Which node is in which group may follow small changes of p and does not make another choice. */
function shapeKey({ dataFragments, parityFragments, groups }: Layout): string {
  const ids = groups.flat().sort((a, b) => a - b);
  return `${dataFragments}+${parityFragments} ${groups.length}: ${ids.join(',')}`;
}
