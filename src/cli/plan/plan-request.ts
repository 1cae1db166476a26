/**
 * What the planner is asked, from a volume's status: pure. How often nodes are away is what the volume measured, unless the caller states it.
 */

import { BLOCK_BYTES } from '../../base/units.ts';
import { FULL_SEGMENT_BLOCKS } from '../../log/segment-layout.ts';
import { placeableShape } from '../../replicator/adapt/request.ts';
import type { PlanEvent, PlanNode, PlanRequest } from '../../replicator/plan/contract.ts';
import { DEFAULT_POLICY } from '../../replicator/plan/policy.ts';
import type { StatusReport } from '../status/status-report.ts';

const MS_PER_SECOND = 1000;
/** Of a node that nobody has seen. */
const DEFAULT_UNAVAILABILITY = 0.001;

export interface PlanAssumptions {
  /** Share of time that the volume's data may be unavailable, 0..1. */
  readonly targetUnavailability: number;
  /** Share of time that each node is away, 0..1; undefined: as measured. */
  readonly nodeUnavailability?: number;
  readonly bytesPerSecond: number;
}

/** What the volume would look like without the event. */
export function planRequest(report: StatusReport, assumed: PlanAssumptions): PlanRequest {
  const nodes = report.nodes.map(
    ({ id, domain, usedBytes, capacityBytes, unavailability }): PlanNode => ({
      id,
      domain: domain ?? String(id),
      capacityBytes,
      freeBytes: Math.max(0, capacityBytes - usedBytes),
      unavailability: assumed.nodeUnavailability ?? unavailability ?? DEFAULT_UNAVAILABILITY,
      role: 'member',
    }),
  );
  const { data, parity } = report.redundancy;
  const chosen = { dataFragments: data, parityFragments: parity };
  // Segments are narrower than they are meant to be where nodes are lacking; with fewer than that nothing is written at all.
  const { dataFragments, parityFragments } = placeableShape(chosen, nodes.length) ?? {
    dataFragments: nodes.length,
    parityFragments: 0,
  };
  const ids = nodes.map(({ id }) => id);
  const dataBytes = report.capacity.usedBytes;
  const segments = Math.ceil(dataBytes / (FULL_SEGMENT_BLOCKS * BLOCK_BYTES));
  const bytesPerMs = assumed.bytesPerSecond / MS_PER_SECOND;
  return {
    nodes,
    classes: [{ nodes: ids, dataFragments, parityFragments, segments, dataBytes }],
    current: { dataFragments, parityFragments, groups: [ids] },
    policy: {
      ...DEFAULT_POLICY,
      minParity: Math.min(DEFAULT_POLICY.minParity, parityFragments),
      targetUnavailability: assumed.targetUnavailability,
      backgroundBytesPerMs: bytesPerMs,
      rebuildBytesPerMs: bytesPerMs,
    },
  };
}

/** `count` nodes more, like the mean of those that are there and empty. */
export function joining(request: PlanRequest, count: number): PlanEvent {
  const { nodes } = request;
  const last = Math.max(...nodes.map(({ id }) => id));
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
