/**
 * The layouts that a volume could move to, each with what it would be and what it would take. Pure.
 *
 * Every number of data fragments up to 8 and some above, every parity that the policy allows, and some ways to form groups: small ones that
 * newcomers join, the same with newcomers in groups of their own, all made anew, wide enough to rebuild a lost node in time, and the present
 * ones with newcomers added however large they get.
 */
import { ableGroups, type NodeGroups } from '../../cluster/node-groups.ts';
import type { Candidate, Layout, LayoutAction, PlanNode, PlanRequest, SegmentClass } from './contract.ts';
import { formGroups, type GroupSizes } from './groups.ts';
import {
  groupStorableBytes,
  layoutDurabilityMs,
  type NodesById,
  predictClasses,
  predictLayout,
} from './prediction.ts';
import { planTransition, type Transition } from './transition.ts';

const EVERY_WIDTH_UP_TO = 8;
const SOME_WIDTHS = [10, 12, 16, 20, 24, 28];

/** Leaving everything as it is: the new nodes unused, what is gone not rebuilt. */
export function keepCandidate(request: PlanRequest): Candidate {
  const { classes, current, domainUnavailability } = request;
  const nodes = nodesById(request.nodes);
  const lying: SegmentClass[] = [
    ...classes,
    ...current.groups.map((group) => ({ ...current, nodes: group, segments: 0, dataBytes: 0 })),
  ];
  const storedBytes = classes.reduce(
    (sum, { dataBytes, dataFragments, parityFragments }) =>
      sum + (dataBytes * (dataFragments + parityFragments)) / dataFragments,
    0,
  );
  const prediction = predictClasses(lying, nodes, domainUnavailability);
  const transition = { storedBytes, readBytes: 0, writeBytes: 0, steps: [] };
  // To stay is no choice while data lies, or would go, where it cannot remain.
  const fits = lying.every((each) => each.nodes.every((id) => nodes.get(id)?.role === 'member'));
  return assess(request, current, prediction, { ...transition, fits }, ['keep']);
}

/** All others; what would change nothing is left out. */
export function changeCandidates(request: PlanRequest): Candidate[] {
  const members = request.nodes.filter(({ role }) => role === 'member');
  const nodes = nodesById(request.nodes);
  const unchanged = layoutKey(request.current);
  const candidates: Candidate[] = [];
  for (const { dataFragments, parityFragments } of shapes(request, members.length)) {
    const seen = new Set<string>();
    for (const { from, ...sizes } of groupings(request, members.length, dataFragments, parityFragments)) {
      const groups = formGroups(members, from, sizes);
      if (!areAsSpread(groups, members, dataFragments + parityFragments)) continue;
      const layout = { dataFragments, parityFragments, groups };
      const key = layoutKey(layout);
      if (seen.has(key)) continue;
      seen.add(key);
      const { classes, current, policy } = request;
      const transition = planTransition({
        classes,
        nodes,
        current,
        target: layout,
        fillLimit: policy.fillLimit,
      });
      if (key === unchanged && transition.steps.every(({ writeBytes }) => writeBytes === 0)) continue;
      const prediction = predictLayout(layout, nodes, request.domainUnavailability);
      candidates.push(assess(request, layout, prediction, transition, actionsOf(current, layout)));
    }
  }
  return candidates;
}

/** Whether no group has its segments share domains that all nodes together would not have them share. */
function areAsSpread(groups: NodeGroups, members: readonly PlanNode[], width: number): boolean {
  return ableGroups(members, groups, width).length === groups.length;
}

/** Equal for layouts that are the same, whatever the order of their groups. */
export function layoutKey({ dataFragments, parityFragments, groups }: Layout): string {
  const sets = groups.map((group) => [...group].sort((a, b) => a - b).join(','));
  return `${dataFragments}+${parityFragments} ${sets.sort().join(' ')}`;
}

export function nodesById(nodes: readonly PlanNode[]): NodesById {
  return new Map(nodes.map((node) => [node.id, node]));
}

function shapes(
  { current, policy }: PlanRequest,
  members: number,
): { dataFragments: number; parityFragments: number }[] {
  const widest = Math.min(policy.maxWidth, members);
  const widths = new Set([
    ...SOME_WIDTHS,
    current.dataFragments - 1,
    current.dataFragments,
    current.dataFragments + 1,
  ]);
  for (let dataFragments = 1; dataFragments <= EVERY_WIDTH_UP_TO; dataFragments++) widths.add(dataFragments);
  const result: { dataFragments: number; parityFragments: number }[] = [];
  for (let parityFragments = policy.minParity; parityFragments <= policy.maxParity; parityFragments++) {
    const most = Math.min(widest - parityFragments, policy.maxDataFragments);
    for (const dataFragments of new Set([...widths, most])) {
      if (dataFragments < 1 || dataFragments > policy.maxDataFragments) continue;
      if (dataFragments + parityFragments <= widest) {
        result.push({ dataFragments, parityFragments });
      }
    }
  }
  return result;
}

type Grouping = GroupSizes & { readonly from: Layout['groups'] };

function groupings(
  request: PlanRequest,
  members: number,
  dataFragments: number,
  parityFragments: number,
): Grouping[] {
  const from = request.current.groups;
  const width = dataFragments + parityFragments;
  const small = { least: width, most: 2 * width - 1 };
  const result: Grouping[] = [
    { ...small, newcomers: 'join', from },
    { ...small, newcomers: 'apart', from },
    { ...small, newcomers: 'join', from: [] },
  ];
  const enough = sizeToRebuildInTime(request, members, dataFragments, parityFragments);
  if (enough > width && enough <= members) {
    result.push({ least: enough, most: 2 * enough - 1, newcomers: 'join', from });
  }
  const largest = Math.max(0, ...from.map((group) => group.length));
  const grown = Math.min(members, largest + Math.max(0, members - from.flat().length));
  if (grown > small.most) result.push({ least: width, most: grown, newcomers: 'join', from });
  return result;
}

/** The scatter that rebuilding asks for (Cidon et al., ATC 2013): every other node of a group gives its share of the rate. */
function sizeToRebuildInTime(
  { classes, policy }: PlanRequest,
  members: number,
  dataFragments: number,
  parityFragments: number,
): number {
  const dataBytes = classes.reduce((sum, each) => sum + each.dataBytes, 0);
  const perNodeBytes = (dataBytes * (dataFragments + parityFragments)) / dataFragments / members;
  const timeMs = Math.max(1, policy.rebuildWithinMs - policy.rebuildGraceMs);
  const perNodeRate = policy.rebuildBytesPerMs / members;
  return 1 + Math.ceil((perNodeBytes * (dataFragments + 1)) / (perNodeRate * timeMs));
}

function rebuildTimeMs({ policy }: PlanRequest, layout: Layout, storedBytes: number): number {
  const nodes = layout.groups.reduce((sum, group) => sum + group.length, 0);
  if (nodes === 0) return policy.rebuildGraceMs;
  const helpers = Math.min(...layout.groups.map((group) => group.length)) - 1;
  if (helpers < 1) return Number.POSITIVE_INFINITY;
  const trafficBytes = (storedBytes / nodes) * (layout.dataFragments + 1);
  return policy.rebuildGraceMs + trafficBytes / ((policy.rebuildBytesPerMs / nodes) * helpers);
}

function assess(
  request: PlanRequest,
  layout: Layout,
  prediction: { unavailability: number; unavailableFraction: number },
  transition: Transition,
  actions: readonly LayoutAction[],
): Candidate {
  const { policy } = request;
  const nodes = nodesById(request.nodes);
  const { dataFragments, parityFragments, groups } = layout;
  const width = dataFragments + parityFragments;
  const capacityBytes = request.nodes.reduce(
    (sum, node) => sum + (node.role === 'member' ? node.capacityBytes : 0),
    0,
  );
  const storableBytes = groups.reduce((sum, group) => {
    const remaining = group.filter((id) => nodes.get(id)?.role === 'member');
    return sum + groupStorableBytes(remaining, width, nodes);
  }, 0);
  const usableBytes = (storableBytes * dataFragments) / width;
  const dataBytes = request.classes.reduce((sum, each) => sum + each.dataBytes, 0);
  const rebuildMs = rebuildTimeMs(request, layout, transition.storedBytes);
  const trafficBytes = transition.readBytes + transition.writeBytes;
  return {
    actions,
    layout,
    ...prediction,
    ...transition,
    meanTimeToDataLossMs: layoutDurabilityMs(layout, rebuildMs, policy),
    rebuildMs,
    spaceOverhead: dataBytes === 0 ? parityFragments / dataFragments : transition.storedBytes / dataBytes - 1,
    usableBytes,
    durationMs: trafficBytes / policy.backgroundBytesPerMs,
    cost: trafficBytes + policy.spaceWeight * (capacityBytes - usableBytes),
    meetsTarget: prediction.unavailability <= policy.targetUnavailability,
    rebuildsInTime: rebuildMs <= policy.rebuildWithinMs,
  };
}

function actionsOf(current: Layout, layout: Layout): LayoutAction[] {
  const actions: LayoutAction[] = [];
  if (layout.dataFragments > current.dataFragments) actions.push('widen');
  if (layout.dataFragments < current.dataFragments) actions.push('narrow');
  if (layout.parityFragments > current.parityFragments) actions.push('add-parity');
  if (layout.parityFragments < current.parityFragments) actions.push('drop-parity');
  const regrouped = layoutKey({ ...layout, dataFragments: 0, parityFragments: 0 });
  if (actions.length === 0 || regrouped !== layoutKey({ ...current, dataFragments: 0, parityFragments: 0 })) {
    actions.push('migrate');
  }
  return actions;
}
