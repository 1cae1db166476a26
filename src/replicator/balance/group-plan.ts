/**
 * Which segments move whole from one group of the layout to another, so that none is much fuller than the others. Pure.
 *
 * New segments go where there is room and even out what is left, so only what a group holds above SLACK times its share moves, as the planner foretells: when a group
 * of new nodes is formed, or one gives nodes to another. A segment goes to the group that holds least for its share. No move makes a group the fullest, so they come to an end.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import { ableGroups, type NodeGroups } from '../../cluster/node-groups.ts';
import { isWithinGroup } from '../adapt/gather-plan.ts';
import type { PlaceClass } from '../heal/segment-places.ts';
import { SLACK } from '../plan/transition.ts';
import type { BalanceNode } from './balance-plan.ts';

export interface GroupMove {
  readonly segmentId: number;
  /** The group that takes it. */
  readonly group: readonly number[];
}

interface GroupUse {
  readonly nodes: readonly BalanceNode[];
  readonly ids: readonly number[];
  /** Bytes that it is to hold, and does. */
  readonly shareBytes: number;
  heldBytes: number;
}

/** At most `limit` moves of different segments. `nodes` are those that are meant to hold fragments, and answer. */
export function planGroupMoves(
  nodes: readonly BalanceNode[],
  groups: NodeGroups,
  classes: readonly PlaceClass[],
  isExcluded: (segmentId: number) => boolean,
  limit: number,
): GroupMove[] {
  const uses = usesOf(nodes, groups, classes);
  const moves: GroupMove[] = [];
  for (const donor of uses) {
    for (const place of classes) {
      if (!isWithinGroup(place.nodes, [donor.ids])) continue;
      const bytes = segmentBytes(place);
      for (const segmentId of place.segments) {
        if (moves.length === limit || excess(donor) < bytes) break;
        if (isExcluded(segmentId)) continue;
        const taker = takerOf(uses, nodes, place.nodes.length, bytes);
        if (taker === undefined) break;
        donor.heldBytes -= bytes;
        taker.heldBytes += bytes;
        moves.push({ segmentId, group: taker.ids });
      }
    }
  }
  return moves;
}

/** What is to move in all. */
export function groupExcessBytes(
  nodes: readonly BalanceNode[],
  groups: NodeGroups,
  classes: readonly PlaceClass[],
): number {
  const largest = Math.max(0, ...classes.map(segmentBytes));
  return usesOf(nodes, groups, classes)
    .map(excess)
    .filter((bytes) => bytes >= largest)
    .reduce((sum, bytes) => sum + bytes, 0);
}

function usesOf(
  nodes: readonly BalanceNode[],
  groups: NodeGroups,
  classes: readonly PlaceClass[],
): GroupUse[] {
  const held = new Map<number, number>();
  for (const place of classes) {
    for (const id of place.nodes) held.set(id, (held.get(id) ?? 0) + place.blocks * BLOCK_BYTES);
  }
  const found = groups.map((ids) => {
    const members = nodes.filter(({ id }) => ids.includes(id));
    const heldBytes = members.reduce((sum, { id }) => sum + (held.get(id) ?? 0), 0);
    const roomBytes = heldBytes + members.reduce((sum, { freeBytes }) => sum + freeBytes, 0);
    return { nodes: members, ids, heldBytes, roomBytes };
  });
  const totalHeld = found.reduce((sum, { heldBytes }) => sum + heldBytes, 0);
  const totalRoom = found.reduce((sum, { roomBytes }) => sum + roomBytes, 0);
  return found.map(({ roomBytes, ...use }) => ({
    ...use,
    shareBytes: (totalHeld * roomBytes) / Math.max(1, totalRoom),
  }));
}

const excess = ({ heldBytes, shareBytes }: GroupUse): number => heldBytes - SLACK * shareBytes;

function takerOf(
  uses: readonly GroupUse[],
  nodes: readonly BalanceNode[],
  width: number,
  bytes: number,
): GroupUse | undefined {
  return uses
    .filter((use) => use.heldBytes + bytes <= use.shareBytes)
    .filter(({ ids }) => ableGroups(nodes, [ids], width).length > 0)
    .sort((a, b) => a.heldBytes / a.shareBytes - b.heldBytes / b.shareBytes)[0];
}

/** All fragments of a segment of the class, on average. */
function segmentBytes({ blocks, segments, nodes }: PlaceClass): number {
  return (blocks / segments.size) * BLOCK_BYTES * nodes.length;
}
