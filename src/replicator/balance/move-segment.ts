/**
 * The three things that balancing does to a segment: takes what lies on draining nodes off them, moves one fragment, or lays it out as wide as the volume
 * means it to be. What the segment had before is not touched until the record names the new fragments durably. The caller holds its claim.
 */
import type { NodeGroups } from '../../cluster/node-groups.ts';
import { type PlacementNode, placeSegment, replaceNodes } from '../../cluster/placement.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import { copyHolder } from '../../log/fragment-holders.ts';
import { fragmentBlocksFor } from '../../log/segment-layout.ts';
import { storedFragmentBytes } from '../../log/writable-nodes.ts';
import { promoteCopy } from '../../maintenance/fragment-copies.ts';
import { moveFragment } from '../../maintenance/fragment-move.ts';
import {
  freeOld,
  type RepairOutcome,
  type RepairParts,
  repairFragment,
} from '../../maintenance/fragment-repair.ts';
import { layOutAnew } from '../../maintenance/segment-relayout.ts';
import type { EvenMove } from './balance-plan.ts';

export interface Members {
  /** Nodes that are meant to hold fragments and answer. */
  readonly live: () => PlacementNode[];
  /** How many are meant to hold fragments, whether or not they answer now. */
  readonly count: () => number;
  readonly isUp: (nodeId: number) => boolean;
  readonly isDraining: (nodeId: number) => boolean;
  /** What new segments aim for. */
  readonly dataFragments: number;
  readonly groups: () => NodeGroups;
}

/** 'damaged': what is to be moved is not what it should be. 'full': nobody has room for it. */
export type MoveOutcome = 'moved' | 'postponed' | 'damaged' | 'full';

const ROTATIONS = 2 ** 16;

/** Every fragment on a draining node goes to one that holds none of the segment; where there is none, the segment becomes narrower. */
export async function leaveNodes(
  parts: RepairParts,
  segmentId: number,
  members: Members,
): Promise<MoveOutcome> {
  for (;;) {
    const record = needed(parts, segmentId);
    const position = record?.nodes.findIndex(members.isDraining) ?? -1;
    if (record === undefined || position < 0) return 'moved';
    if (members.count() < record.nodes.length) return relayOut(parts, record, members);
    const copy = copyHolder(record, position);
    if (copy !== undefined && !members.isDraining(copy) && (await promoteCopy(parts, record, position))) {
      await freeOld(parts, record, [position]);
      continue;
    }
    const target = targetFor(record, position, members);
    if (target === undefined) {
      return members.live().every(({ id }) => record.nodes.includes(id)) ? 'postponed' : 'full';
    }
    const outcome = await bring(parts, record, position, target, members);
    // It may remember that it freed this very fragment; under a new generation it takes it.
    if (outcome === 'refused') return relayOut(parts, record, members);
    if (outcome !== 'moved' && outcome !== 'restored') return 'postponed';
    await freeOld(parts, record, [position]);
  }
}

/** From the node itself if it answers and has it; out of the others if not. */
async function bring(
  parts: RepairParts,
  record: SegmentRecord,
  position: number,
  target: number,
  { isUp }: Members,
): Promise<RepairOutcome> {
  const targets = [target];
  if (isUp(record.nodes[position]!)) {
    const outcome = await moveFragment(parts, { record, position, targets });
    if (outcome !== 'wrong' && outcome !== 'unreadable') return outcome;
  }
  const bad = new Set([position, ...away(record, isUp)]);
  return repairFragment(parts, { record, position, bad, targets });
}

function targetFor(record: SegmentRecord, position: number, { live, groups }: Members): number | undefined {
  const needBytes = storedFragmentBytes(record.fragmentBlocks, record.nodes.length);
  const holder = new Set([record.nodes[position]!]);
  return replaceNodes(record.nodes, holder, live(), needBytes, groups())?.[position];
}

/** One fragment goes to the node that was planned. */
export async function moveOne(
  parts: RepairParts,
  { segmentId, from, to }: EvenMove,
  members: Pick<Members, 'live' | 'isUp'>,
): Promise<MoveOutcome> {
  const record = needed(parts, segmentId);
  const position = record?.nodes.indexOf(from) ?? -1;
  if (record === undefined || position < 0 || record.nodes.includes(to)) return 'postponed';
  const { freeBytes = 0 } = members.live().find(({ id }) => id === to) ?? {};
  // Writers come first: a node that is nearly full gets nothing.
  const needBytes = storedFragmentBytes(record.fragmentBlocks, record.nodes.length);
  if (freeBytes < ROOM_FACTOR * needBytes) return 'full';
  const outcome = await moveFragment(parts, { record, position, targets: [to] });
  if (outcome === 'wrong') return 'damaged';
  if (outcome === 'refused') {
    const nodes = record.nodes.map((id) => (id === from ? to : id));
    return layOut(parts, record, nodes, members);
  }
  if (outcome !== 'moved') return 'postponed';
  await freeOld(parts, record, [position]);
  return 'moved';
}

export const ROOM_FACTOR = 4;

/** On the nodes that are left, as wide as they allow, within one of the groups while one of them can take it. */
export async function relayOut(
  parts: RepairParts,
  record: SegmentRecord,
  members: Members,
): Promise<MoveOutcome> {
  const { parityFragments } = record;
  const blocks = record.dataBlocks + record.summaryBlocks;
  const live = members.live();
  const wanted = Math.min(
    Math.max(record.dataFragments, members.dataFragments),
    members.count() - parityFragments,
  );
  // A node that is away for a moment is not to make it narrower.
  if (wanted < 1 || live.length < wanted + parityFragments) return 'postponed';
  const layout = placeSegment(live, {
    ...{ dataFragments: wanted, parityFragments, rotation: record.segmentId % ROTATIONS },
    fragmentBytes: (k) => storedFragmentBytes(fragmentBlocksFor(blocks, k), k + parityFragments),
    groups: members.groups(),
  });
  if (layout === undefined || layout.dataFragments !== wanted) return 'full';
  return layOut(parts, record, layout.nodes, members);
}

async function layOut(
  parts: RepairParts,
  record: SegmentRecord,
  nodes: readonly number[],
  { isUp }: Pick<Members, 'isUp'>,
): Promise<MoveOutcome> {
  const outcome = await layOutAnew(parts, { record, bad: new Set(away(record, isUp)), nodes });
  return outcome === 'moved' ? 'moved' : 'postponed';
}

/** undefined: nothing of it is needed any more. */
export function needed({ metadata }: RepairParts, segmentId: number): SegmentRecord | undefined {
  const record = metadata.segment(segmentId);
  return record === undefined || record.liveBlocks === 0 ? undefined : record;
}

function away(record: SegmentRecord, isUp: (nodeId: number) => boolean): number[] {
  return [...record.nodes.keys()].filter((position) => !isUp(record.nodes[position]!));
}
