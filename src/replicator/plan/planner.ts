/**
 * Chooses a volume's layout. Pure: the same request always gives the same plan.
 *
 * The rule: of the layouts that meet the target and hold the data, the one with the lowest cost; one that rebuilds a lost node in time may cost some
 * more. Leaving alone stays the choice as long as it meets the target and nothing else is worth
 * moving for; protection is given up only for a layout that stays clearly below the target. If nothing meets the target, the most
 * available layout is chosen and the plan says what would meet it.
 */
import { assert } from '../../base/assert.ts';
import { changeCandidates, keepCandidate } from './candidates.ts';
import type { Candidate, Plan, PlanEvent, PlanNode, PlanRequest, SegmentClass } from './contract.ts';
import { findRemedies } from './remedies.ts';

/** A best-effort change has to lower the unavailability below this share of the present one. */
const BEST_EFFORT_GAIN = 0.5;

/** Lists the layouts and chooses one. With `event`, as the volume would be after it. */
export function planLayouts(request: PlanRequest, event?: PlanEvent): Plan {
  const nodes = event === undefined ? request.nodes : applyEvent(request.nodes, event);
  const after = { ...request, nodes, classes: mergeClasses(request.classes) };
  checkPolicy(after);
  const keep = keepCandidate(after);
  const changes = changeCandidates(after).sort(
    (a, b) => a.cost - b.cost || a.unavailability - b.unavailability,
  );
  const candidates = [keep, ...changes];
  const { choice, why } = choose(after, keep, changes);
  const remedies = choice.meetsTarget ? [] : findRemedies(after);
  return { candidates, choice, why, remedies };
}

/** The nodes after something changed. What it names has to be there, and newcomers must not. */
export function applyEvent(nodes: readonly PlanNode[], event: PlanEvent): PlanNode[] {
  const change = (id: number, fields: Partial<PlanNode>): PlanNode[] => {
    assert(
      nodes.some((node) => node.id === id),
      `node ${id} is known`,
    );
    return nodes.map((node) => (node.id === id ? { ...node, ...fields } : node));
  };
  switch (event.kind) {
    case 'join':
      assert(
        event.nodes.every((node) => !nodes.some(({ id }) => id === node.id)),
        'newcomers are new',
      );
      return [...nodes, ...event.nodes];
    case 'leave':
    case 'lost': {
      const role = event.kind === 'leave' ? 'leaving' : 'gone';
      return nodes.map((node) => (event.ids.includes(node.id) ? { ...node, role } : node));
    }
    case 'label':
      return change(event.id, { domain: event.domain });
    case 'drift':
      return change(event.id, { unavailability: event.unavailability });
  }
}

/** Classes of the same nodes and shape as one: the time to plan grows with their number, not with that of segments. */
function mergeClasses(classes: readonly SegmentClass[]): SegmentClass[] {
  const merged = new Map<string, SegmentClass>();
  for (const each of classes) {
    const nodes = [...each.nodes].sort((a, b) => a - b);
    const key = `${each.dataFragments}+${each.parityFragments} ${nodes.join(',')}`;
    const known = merged.get(key) ?? { ...each, nodes, segments: 0, dataBytes: 0 };
    merged.set(key, {
      ...known,
      segments: known.segments + each.segments,
      dataBytes: known.dataBytes + each.dataBytes,
    });
  }
  return [...merged.values()].filter(({ dataBytes }) => dataBytes > 0);
}

function choose(
  { policy, current }: PlanRequest,
  keep: Candidate,
  changes: readonly Candidate[],
): { choice: Candidate; why: Plan['why'] } {
  const possible = changes.filter((candidate) => candidate.fits);
  const good = possible.filter((candidate) => {
    const less = candidate.layout.parityFragments < current.parityFragments;
    const limit = policy.targetUnavailability * (less ? policy.relaxMargin : 1);
    return candidate.unavailability <= limit;
  });
  const inTime = good.find((candidate) => candidate.rebuildsInTime);
  const isWorthIt = inTime !== undefined && inTime.cost <= policy.rebuildWorth * good[0]!.cost;
  const cheapest = isWorthIt ? inTime : good[0];
  if (keep.fits && keep.meetsTarget) {
    const better = cheapest !== undefined && cheapest.cost < policy.worthwhileCost * keep.cost;
    const loses = keep.rebuildsInTime && cheapest?.rebuildsInTime === false;
    return better && !loses ? { choice: cheapest, why: 'cheaper' } : { choice: keep, why: 'content' };
  }
  if (cheapest !== undefined) return { choice: cheapest, why: 'restores-target' };
  const safest = possible.reduce<Candidate | undefined>(
    (best, candidate) =>
      best === undefined || candidate.unavailability < best.unavailability ? candidate : best,
    undefined,
  );
  const gains =
    safest !== undefined && (!keep.fits || safest.unavailability < BEST_EFFORT_GAIN * keep.unavailability);
  return { choice: gains ? safest : keep, why: 'best-effort' };
}

function checkPolicy({ policy, nodes }: PlanRequest): void {
  assert(
    policy.targetUnavailability > 0 && policy.targetUnavailability < 1,
    'the target lies between 0 and 1',
  );
  assert(policy.minParity >= 0 && policy.minParity <= policy.maxParity, 'parity from least to most');
  assert(policy.backgroundBytesPerMs > 0 && policy.rebuildBytesPerMs > 0, 'rates are positive');
  assert(new Set(nodes.map(({ id }) => id)).size === nodes.length, 'node ids are unique');
}
