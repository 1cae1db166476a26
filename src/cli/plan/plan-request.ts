/** What the planner is asked by people: what the mount asks it itself, with what they suppose instead of what is. Pure. */
import { NO_DOMAIN_FAILS } from '../../replicator/model/failures.ts';
import type { PlanEvent, PlanRequest } from '../../replicator/plan/contract.ts';

const MS_PER_SECOND = 1000;

export interface PlanAssumptions {
  /** Share of time that the volume's data may be unavailable, 0..1. */
  readonly targetUnavailability: number;
  /** Share of time that each node is away, 0..1; undefined: as measured. */
  readonly nodeUnavailability?: number;
  /** That moving data may take; undefined: as measured. */
  readonly bytesPerSecond?: number;
}

/** What the volume would look like without the event. */
export function supposing(request: PlanRequest, assumed: PlanAssumptions): PlanRequest {
  const { targetUnavailability, nodeUnavailability, bytesPerSecond } = assumed;
  const rate = bytesPerSecond === undefined ? undefined : bytesPerSecond / MS_PER_SECOND;
  return {
    ...request,
    ...(nodeUnavailability === undefined
      ? {}
      : {
          nodes: request.nodes.map((node) => ({ ...node, unavailability: nodeUnavailability })),
          domainUnavailability: NO_DOMAIN_FAILS,
        }),
    policy: {
      ...request.policy,
      targetUnavailability,
      ...(rate === undefined ? {} : { backgroundBytesPerMs: rate, rebuildBytesPerMs: rate }),
    },
  };
}

/** `count` nodes more, like the mean of those that are to stay, and empty. */
export function joining(request: PlanRequest, count: number): PlanEvent {
  const last = Math.max(...request.nodes.map(({ id }) => id));
  const nodes = request.nodes.filter(({ role }) => role === 'member');
  const capacityBytes = nodes.reduce((sum, node) => sum + node.capacityBytes, 0) / nodes.length;
  const unavailability = nodes.reduce((sum, node) => sum + node.unavailability, 0) / nodes.length;
  return {
    kind: 'join',
    nodes: Array.from({ length: count }, (_, index) => ({
      id: last + 1 + index,
      domain: String(last + 1 + index),
      capacityBytes,
      freeBytes: capacityBytes,
      unavailability,
      role: 'member',
    })),
  };
}
