/**
 * Heals one segment: every fragment of it that lies on a gone node, or is missing or damaged on one that answers, is rebuilt. By naming a good copy of it
 * where there is one; in its place where the node answers; on a node that holds none of the segment otherwise; and where there is no such node, the segment is laid out anew on those that
 * are left, narrower and with full parity.
 *
 * What the segment had before is not touched until the record names the new fragments durably. The caller holds the segment's claim.
 */
import type { NodeGroups } from '../../cluster/node-groups.ts';
import {
  type PlacementNode,
  placeSegment,
  replaceNodes,
  type SegmentLayout,
} from '../../cluster/placement.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import { copyHolder } from '../../log/fragment-holders.ts';
import { fragmentBlocksFor } from '../../log/segment-layout.ts';
import { storedFragmentBytes } from '../../log/writable-nodes.ts';
import { promoteCopy } from '../../maintenance/fragment-copies.ts';
import { freeOld, type RepairParts, repairFragment } from '../../maintenance/fragment-repair.ts';
import { addParity } from '../../maintenance/parity-change.ts';
import { nextParityHolder } from '../../maintenance/parity-holder.ts';
import { layOutAnew } from '../../maintenance/segment-relayout.ts';

export interface HealOptions {
  /** What new segments of the volume aim for. */
  readonly dataFragments: number;
  /** As many as it is to have at least; the nodes that answer can give them. */
  readonly parityFragments: number;
  /** Fragments that have to go: on a gone node, or bad where they are. */
  readonly isBad: (nodeId: number) => boolean;
  /** The node is away: whatever it has cannot be read now. */
  readonly isUp: (nodeId: number) => boolean;
  /** Nodes that take fragments. */
  readonly live: () => PlacementNode[];
  /** Nodes that answer. */
  readonly up: () => PlacementNode[];
  /** A fragment that was read is not what it should be. */
  readonly onDamage: (record: SegmentRecord, nodeId: number) => void;
  readonly groups: () => NodeGroups;
}

/** 'postponed': not now. */
export type HealOutcome = 'healed' | 'unreadable' | 'postponed';

export async function healSegment(
  parts: RepairParts,
  before: SegmentRecord,
  options: HealOptions,
): Promise<HealOutcome> {
  const { segmentId } = before;
  const bad = new Set<number>();
  const broken: number[] = [];
  for (const [position, nodeId] of before.nodes.entries()) {
    if (options.isBad(nodeId)) broken.push(position);
    if (options.isBad(nodeId) || !options.isUp(nodeId)) bad.add(position);
  }
  for (const position of broken) {
    const record = parts.metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0) return 'healed';
    if (await promoted(parts, record, position, options)) {
      bad.delete(position);
      continue;
    }
    const targets = targetsFor(record, position, options);
    const outcome =
      targets.length === 0 ? 'refused' : await repairFragment(parts, { record, position, bad, targets });
    if (outcome === 'unreadable') return 'unreadable';
    if (outcome === 'outdated' || outcome === 'wrong') return 'postponed';
    if (outcome === 'refused') return relayOut(parts, segmentId, bad, options);
    if (outcome === 'moved') await freeOld(parts, record, [position]);
  }
  return withParity(parts, segmentId, bad, options);
}

/** Where it has less parity than it is to have, it gets it. */
async function withParity(
  parts: RepairParts,
  segmentId: number,
  bad: Set<number>,
  options: HealOptions,
): Promise<HealOutcome> {
  const record = parts.metadata.segment(segmentId);
  const { parityFragments } = options;
  if (record === undefined || record.liveBlocks === 0) return 'healed';
  if (record.parityFragments >= parityFragments) return 'healed';
  const layout = placement(record, parityFragments, options);
  if (layout === undefined) return 'postponed';
  if (layout.dataFragments !== record.dataFragments) return relayOut(parts, segmentId, bad, options);
  const damaged = new Set<number>();
  const { up, live: takers, groups } = options;
  const nextNode = nextParityHolder({ record, parityFragments, up, takers, groups });
  const outcome = await addParity(parts, { record, parityFragments, damaged, nextNode });
  const now = parts.metadata.segment(segmentId);
  if (now !== undefined) for (const position of damaged) options.onDamage(now, record.nodes[position]!);
  if (outcome === 'refused') return relayOut(parts, segmentId, bad, options);
  if (outcome === 'unreadable') return 'unreadable';
  return outcome === 'changed' ? 'healed' : 'postponed';
}

/** A good copy takes its place. */
async function promoted(
  parts: RepairParts,
  record: SegmentRecord,
  position: number,
  { isBad }: HealOptions,
): Promise<boolean> {
  const nodeId = copyHolder(record, position);
  if (nodeId === undefined || isBad(nodeId)) return false;
  if (!(await promoteCopy(parts, record, position))) return false;
  await freeOld(parts, record, [position]);
  return true;
}

/** The node itself if it answers, then the best of those that hold nothing of the segment. */
function targetsFor(record: SegmentRecord, position: number, options: HealOptions): number[] {
  const holder = record.nodes[position]!;
  const needBytes = storedFragmentBytes(record.fragmentBlocks, record.nodes.length);
  // Others that are bad or away are not to be replaced here, but they count for nothing either.
  const moved = replaceNodes(record.nodes, new Set([holder]), options.live(), needBytes, options.groups());
  const other = moved?.[position];
  const targets = other === undefined ? [] : [other];
  return options.isUp(holder) ? [holder, ...targets] : targets;
}

async function relayOut(
  parts: RepairParts,
  segmentId: number,
  bad: Set<number>,
  options: HealOptions,
): Promise<HealOutcome> {
  const record = parts.metadata.segment(segmentId);
  if (record === undefined || record.liveBlocks === 0) return 'healed';
  const parityFragments = Math.max(record.parityFragments, options.parityFragments);
  const layout = placement(record, parityFragments, options);
  if (layout === undefined) return 'postponed';
  const outcome = await layOutAnew(parts, { record, bad, nodes: layout.nodes, parityFragments });
  if (outcome === 'unreadable') return 'unreadable';
  return outcome === 'moved' ? 'healed' : 'postponed';
}

function placement(
  record: SegmentRecord,
  parityFragments: number,
  options: HealOptions,
): SegmentLayout | undefined {
  const blocks = record.dataBlocks + record.summaryBlocks;
  return placeSegment(options.live(), {
    dataFragments: Math.max(record.dataFragments, options.dataFragments),
    parityFragments,
    rotation: record.segmentId % ROTATIONS,
    groups: options.groups(),
    fragmentBytes: (k) => storedFragmentBytes(fragmentBlocksFor(blocks, k), k + parityFragments),
  });
}

const ROTATIONS = 2 ** 16;
