/** Volumes for the planner's tests: nodes of 100 GiB with a domain each, and data in one group or several. */
import { GIB, MIB } from '../../../src/base/units.ts';
import type {
  Layout,
  PlanNode,
  PlanPolicy,
  PlanRequest,
  SegmentClass,
} from '../../../src/replicator/plan/contract.ts';
import { DEFAULT_POLICY } from '../../../src/replicator/plan/policy.ts';

export const CAPACITY_BYTES = 100 * GIB;

export const planNode = (id: number, fields: Partial<PlanNode> = {}): PlanNode => ({
  id,
  domain: `domain ${id}`,
  capacityBytes: CAPACITY_BYTES,
  freeBytes: CAPACITY_BYTES,
  unavailability: 0.001,
  role: 'member',
  ...fields,
});

export const planNodes = (count: number, fields: Partial<PlanNode> = {}): PlanNode[] =>
  Array.from({ length: count }, (_, index) => planNode(index + 1, fields));

export const policy = (fields: Partial<PlanPolicy> = {}): PlanPolicy => ({
  ...DEFAULT_POLICY,
  targetUnavailability: 2e-5,
  backgroundBytesPerMs: (100 * MIB) / 1000,
  rebuildBytesPerMs: (500 * MIB) / 1000,
  ...fields,
});

export const segmentClass = (
  nodes: readonly number[],
  dataFragments: number,
  parityFragments: number,
  dataBytes: number,
): SegmentClass => ({
  nodes,
  dataFragments,
  parityFragments,
  segments: Math.ceil(dataBytes / (4 * MIB)),
  dataBytes,
});

/** `count` nodes in one group, `fill` of their room in use. */
export function oneGroup(
  count: number,
  dataFragments: number,
  parityFragments: number,
  fill: number,
  policyFields: Partial<PlanPolicy> = {},
): PlanRequest & { current: Layout } {
  const nodes = planNodes(count, { freeBytes: (1 - fill) * CAPACITY_BYTES });
  const ids = nodes.map(({ id }) => id);
  const dataBytes = (fill * count * CAPACITY_BYTES * dataFragments) / (dataFragments + parityFragments);
  return {
    nodes,
    classes: dataBytes === 0 ? [] : [segmentClass(ids, dataFragments, parityFragments, dataBytes)],
    current: { dataFragments, parityFragments, groups: [ids] },
    policy: policy(policyFields),
  };
}
