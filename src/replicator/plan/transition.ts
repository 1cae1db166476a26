/**
 * What it takes to bring existing segments into a layout: bytes read and written, in steps that never lower protection on the way. Pure.
 *
 * Segments with the layout's number of data fragments stay what they are: fragments that are on nodes of the new group already stay there,
 * parity is added or dropped in place. Others are rewritten. A class goes to the groups that hold most of it already; only what
 * exceeds a group's share by more than SLACK goes elsewhere, since new segments even out what is left without moving anything.
 */
import type { Layout, PlanStep, SegmentClass } from './contract.ts';
import { groupStorableBytes, type NodesById } from './prediction.ts';

/** A group may hold so many times its share of the data before segments are moved to another for balance. */
export const SLACK = 1.25;
const ROUNDING = 1e-9;

interface Traffic {
  /** Segments that it touches. */
  readonly segments: number;
  readonly readBytes: number;
  readonly writeBytes: number;
}

export interface Transition {
  /** Bytes stored afterwards, parity included. */
  readonly storedBytes: number;
  /** Whether every group holds its part within `fillLimit`. */
  readonly fits: boolean;
  readonly readBytes: number;
  readonly writeBytes: number;
  readonly steps: readonly PlanStep[];
}

export interface TransitionRequest {
  readonly classes: readonly SegmentClass[];
  readonly nodes: NodesById;
  readonly current: Layout;
  readonly target: Layout;
  readonly fillLimit: number;
}

/** The part of a class that one group takes over. */
interface Part {
  readonly segmentClass: SegmentClass;
  readonly group: number;
  /** Share of the class, 0..1. */
  readonly share: number;
}

export function planTransition(request: TransitionRequest): Transition {
  const { classes, current, target } = request;
  const width = target.dataFragments + target.parityFragments;
  const storedBytes = classes.reduce(
    (sum, { dataBytes }) => sum + (dataBytes * width) / target.dataFragments,
    0,
  );
  const { parts, fits } = assign(request, storedBytes);
  const parity = { segments: 0, readBytes: 0, writeBytes: 0 };
  const moves = { segments: 0, readBytes: 0, writeBytes: 0 };
  const rewrites = { segments: 0, readBytes: 0, writeBytes: 0 };
  for (const part of parts) {
    if (part.segmentClass.dataFragments === target.dataFragments) {
      const cost = costInPlace(part, request);
      add(parity, cost.parity);
      add(moves, cost.moves);
    } else {
      add(rewrites, costOfRewriting(part, target));
    }
  }
  const all = [parity, moves, rewrites];
  return {
    storedBytes,
    fits,
    readBytes: all.reduce((sum, { readBytes }) => sum + readBytes, 0),
    writeBytes: all.reduce((sum, { writeBytes }) => sum + writeBytes, 0),
    steps: orderSteps(classes, current, target, { parity, moves, rewrites }),
  };
}

function add(sum: { segments: number; readBytes: number; writeBytes: number }, more: Traffic): void {
  sum.segments += more.segments;
  sum.readBytes += more.readBytes;
  sum.writeBytes += more.writeBytes;
}

function assign(request: TransitionRequest, storedBytes: number): { parts: Part[]; fits: boolean } {
  const { classes, nodes, target, fillLimit } = request;
  const { dataFragments, parityFragments, groups } = target;
  const width = dataFragments + parityFragments;
  const storable = groups.map((group) => fillLimit * groupStorableBytes(group, width, nodes));
  const totalStorable = storable.reduce((sum, bytes) => sum + bytes, 0);
  const slack = totalStorable > 0 ? Math.min(1, (SLACK * storedBytes) / totalStorable) : 0;
  const room = storable.map((bytes) => bytes * slack);
  const groupOf = new Map(groups.flatMap((group, index) => group.map((id): [number, number] => [id, index])));
  const parts: Part[] = [];
  for (const segmentClass of classes) {
    const neededBytes = (segmentClass.dataBytes * width) / dataFragments;
    let left = neededBytes;
    const take = (group: number, bytes: number): void => {
      if (bytes <= 0) return;
      room[group]! -= bytes;
      left -= bytes;
      parts.push({ segmentClass, group, share: bytes / neededBytes });
    };
    for (const group of byOverlap(segmentClass.nodes, groupOf)) take(group, Math.min(left, room[group]!));
    while (left > 1e-9 * neededBytes) {
      const roomiest = room.reduce((best, bytes, index) => (bytes > room[best]! ? index : best), 0);
      // With no room anywhere the layout does not fit; what it would take is told all the same.
      take(roomiest, room[roomiest]! > 0 ? Math.min(left, room[roomiest]!) : left);
    }
  }
  return { parts, fits: storedBytes <= totalStorable };
}

/** Groups that hold nodes of the class, those with most of them first. */
function byOverlap(ids: readonly number[], groupOf: ReadonlyMap<number, number>): number[] {
  const overlap = new Map<number, number>();
  for (const id of ids) {
    const group = groupOf.get(id);
    if (group !== undefined) overlap.set(group, (overlap.get(group) ?? 0) + 1);
  }
  return [...overlap].sort(([a, x], [b, y]) => y - x || a - b).map(([group]) => group);
}

function costInPlace(part: Part, request: TransitionRequest): { parity: Traffic; moves: Traffic } {
  const { segmentClass, share } = part;
  const { dataFragments, parityFragments } = segmentClass;
  const group = request.target.groups[part.group]!;
  const newWidth = dataFragments + request.target.parityFragments;
  /** What one position of all these segments takes. */
  const fragmentBytes = (share * segmentClass.dataBytes) / dataFragments;
  const heldBytes = (fragmentBytes * (dataFragments + parityFragments)) / segmentClass.nodes.length;
  const wantedBytes = (fragmentBytes * newWidth) / group.length;
  const present = new Set(segmentClass.nodes.filter((id) => isThere(id, request.nodes)));
  const staying = group.filter((id) => present.has(id)).length;
  const arriving = (group.length - staying) * wantedBytes + staying * Math.max(0, wantedBytes - heldBytes);
  const morePositions = Math.max(0, request.target.parityFragments - parityFragments);
  const segments = share * segmentClass.segments;
  const parity = {
    segments: morePositions > 0 ? segments : 0,
    readBytes: morePositions > 0 ? fragmentBytes * dataFragments : 0,
    writeBytes: fragmentBytes * morePositions,
  };
  const excess = arriving - parity.writeBytes;
  // Sums of shares of a fragment: what rounding leaves is no move.
  const movedBytes = excess > ROUNDING * fragmentBytes ? excess : 0;
  // What no node has any more is computed from k other fragments; the rest is copied.
  const rebuilt = Math.min(movedBytes, (segmentClass.nodes.length - present.size) * heldBytes);
  return {
    parity,
    moves: {
      // Each moves one fragment, until all do.
      segments: fragmentBytes > 0 ? segments * Math.min(1, movedBytes / fragmentBytes) : 0,
      readBytes: rebuilt * dataFragments + (movedBytes - rebuilt),
      writeBytes: movedBytes,
    },
  };
}

function costOfRewriting({ segmentClass, share }: Part, target: Layout): Traffic {
  const dataBytes = share * segmentClass.dataBytes;
  const width = target.dataFragments + target.parityFragments;
  return {
    segments: share * segmentClass.segments,
    readBytes: dataBytes,
    writeBytes: (dataBytes * width) / target.dataFragments,
  };
}

function isThere(id: number, nodes: NodesById): boolean {
  const node = nodes.get(id);
  return node !== undefined && node.role !== 'gone';
}

/**
 * More protection comes first and less comes last: parity is added before anything moves, dropped after everything has, and new segments
 * take the layout at once if it protects them at least as well as the old one.
 */
function orderSteps(
  classes: readonly SegmentClass[],
  current: Layout,
  target: Layout,
  traffic: { parity: Traffic; moves: Traffic; rewrites: Traffic },
): PlanStep[] {
  const inPlace = classes.filter(({ dataFragments }) => dataFragments === target.dataFragments);
  const least = (list: readonly SegmentClass[], parityAlready: number): number =>
    list.reduce((lowest, { parityFragments }) => Math.min(lowest, parityFragments), parityAlready);
  const before = least(classes, current.parityFragments);
  const rewritten = classes.filter(({ dataFragments }) => dataFragments !== target.dataFragments);
  // Once parity was added in place, only segments that are still to be rewritten may have less.
  const between = least(rewritten, target.parityFragments);
  const lowers = target.parityFragments < current.parityFragments;
  const use: PlanStep = {
    kind: 'use-for-new-segments',
    segments: 0,
    readBytes: 0,
    writeBytes: 0,
    lowestParity: Math.min(before, target.parityFragments),
  };
  const steps: PlanStep[] = lowers ? [] : [use];
  if (traffic.parity.writeBytes > 0) {
    steps.push({
      kind: 'add-parity',
      ...traffic.parity,
      lowestParity: Math.min(before, target.parityFragments),
    });
  }
  if (traffic.moves.writeBytes > 0) {
    steps.push({ kind: 'move-fragments', ...traffic.moves, lowestParity: lowers ? before : between });
  }
  if (rewritten.length > 0) steps.push({ kind: 'rewrite', ...traffic.rewrites, lowestParity: between });
  const dropping = inPlace.filter(({ parityFragments }) => parityFragments > target.parityFragments);
  if (dropping.length > 0) {
    const segments = dropping.reduce((sum, each) => sum + each.segments, 0);
    const lowestParity = target.parityFragments;
    steps.push({ kind: 'drop-parity', segments, readBytes: 0, writeBytes: 0, lowestParity });
  }
  if (lowers) steps.push(use);
  return steps;
}
