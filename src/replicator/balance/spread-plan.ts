/**
 * Which fragments move so that no two of a segment lie where they are likely to be lost together, as far as there are nodes for that. Pure. New segments are
 * placed so; this is for those that were written before a node got its label, or before there were enough nodes.
 *
 * A move takes a fragment from the domain that has most of the segment's to one that has at least two less, within the segment's group where that is as good. Each makes the segment better and none makes it worse, and evening
 * out never undoes one: so they come to an end.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import { homeGroup, type NodeGroups } from '../../cluster/node-groups.ts';
import type { PlaceClass } from '../heal/segment-places.ts';
import type { BalanceNode, EvenMove } from './balance-plan.ts';

/** Writers come first: what is nearly full gets nothing. */
const ROOM_FRAGMENTS = 8;

/** At most `limit` moves that do not touch the same segment. `nodes` are those that are meant to hold fragments, and answer. */
export function planSpreadMoves(
  nodes: readonly BalanceNode[],
  classes: Iterable<PlaceClass>,
  isExcluded: (segmentId: number) => boolean,
  limit: number,
  groups: NodeGroups = [],
): EvenMove[] {
  const rooms = new Map(nodes.map(({ id, freeBytes }) => [id, freeBytes]));
  const moves: EvenMove[] = [];
  for (const place of classes) {
    for (const segmentId of place.segments) {
      if (moves.length === limit) return moves;
      const move = betterPlace(nodes, rooms, place, groups);
      if (move === undefined) break;
      if (isExcluded(segmentId)) continue;
      rooms.set(move.to, rooms.get(move.to)! - fragmentBytes(place));
      moves.push({ segmentId, ...move });
    }
  }
  return moves;
}

/** Of the first move of each segment that is to have one. */
export function spreadBytes(nodes: readonly BalanceNode[], classes: Iterable<PlaceClass>): number {
  const rooms = new Map(nodes.map(({ id, freeBytes }) => [id, freeBytes]));
  let blocks = 0;
  for (const place of classes) if (betterPlace(nodes, rooms, place, []) !== undefined) blocks += place.blocks;
  return blocks * BLOCK_BYTES;
}

function betterPlace(
  nodes: readonly BalanceNode[],
  rooms: ReadonlyMap<number, number>,
  place: PlaceClass,
  groups: NodeGroups,
): { from: number; to: number } | undefined {
  const holders = nodes.filter(({ id }) => place.nodes.includes(id));
  // One that is away, or on its way out, is for others to deal with.
  if (holders.length < place.nodes.length) return undefined;
  const uses = new Map<string, number>();
  for (const { domain } of holders) uses.set(domain, (uses.get(domain) ?? 0) + 1);
  const usesOf = ({ domain }: BalanceNode): number => uses.get(domain) ?? 0;
  const roomOf = ({ id }: BalanceNode): number => rooms.get(id)!;
  if (uses.size === holders.length) return undefined;
  const [from] = holders.sort((a, b) => usesOf(b) - usesOf(a) || roomOf(a) - roomOf(b) || a.id - b.id);
  const least = ROOM_FRAGMENTS * fragmentBytes(place);
  const home = homeGroup(place.nodes, groups);
  const isHome = ({ id }: BalanceNode): number => Number(home.includes(id));
  const [to] = nodes
    .filter((node) => !place.nodes.includes(node.id) && roomOf(node) >= least)
    .sort((a, b) => usesOf(a) - usesOf(b) || isHome(b) - isHome(a) || roomOf(b) - roomOf(a) || a.id - b.id);
  if (from === undefined || to === undefined || usesOf(to) + 2 > usesOf(from)) return undefined;
  return { from: from.id, to: to.id };
}

/** Of a segment of the class, on average. */
const fragmentBytes = ({ blocks, segments }: PlaceClass): number => (blocks / segments.size) * BLOCK_BYTES;
