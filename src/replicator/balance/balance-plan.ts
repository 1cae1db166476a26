/**
 * Which fragment moves next so that use follows room. Pure: from what the nodes are and hold, and the classes of segments.
 *
 * - Every node is meant to hold the same share of its room. A fragment goes only from a node above that to one below it, and only if both are nearer to
 *   it afterwards: so nothing moves twice, and when a node joins no more moves than its share, new / (old + new).
 * - Evening out begins when a node is off by more than START of its room or, so that little data in much room spreads too, of what it is meant to hold;
 *   and ends when all are within STOP: writes and deletions in between cause nothing.
 * - No node gets two fragments of a segment, and no domain more of them than the one it comes from had.
 * - Where the layout has groups, each is a matter of its own: a fragment stays among the nodes of its group.
 * - Sets of nodes that share segments already are preferred, so that moves make few new ones.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { PlaceClass } from '../heal/segment-places.ts';
import { evenTargets } from '../plan/even-targets.ts';

/** A node that is meant to hold fragments, and answers. */
export interface BalanceNode {
  readonly id: number;
  readonly domain: string;
  readonly freeBytes: number;
  readonly capacityBytes?: number;
}

export interface EvenMove {
  readonly segmentId: number;
  readonly from: number;
  readonly to: number;
}

const START = { ofRoom: 0.05, ofTarget: 0.2 };
const STOP = { ofRoom: 0.01, ofTarget: 0.02 };
/** Less than so many fragments is not worth a move. */
const LEAST_FRAGMENTS = 3;

/** What the nodes hold beside what they are meant to. */
export class Uses {
  readonly #nodes: ReadonlyMap<number, BalanceNode>;
  readonly #held = new Map<number, number>();
  readonly #rooms = new Map<number, number>();
  readonly #targets: ReadonlyMap<number, number>;
  readonly #largestBytes: number;

  constructor(nodes: readonly BalanceNode[], classes: Iterable<PlaceClass>) {
    this.#nodes = new Map(nodes.map((node) => [node.id, node]));
    let mostBytes = 0;
    let largestBytes = 0;
    for (const place of classes) {
      if (!place.nodes.some((id) => this.#nodes.has(id))) continue;
      const bytes = place.blocks * BLOCK_BYTES;
      mostBytes += bytes;
      largestBytes = Math.max(largestBytes, fragmentBytes(place));
      for (const id of place.nodes) this.#held.set(id, this.held(id) + bytes);
    }
    for (const { id, freeBytes } of nodes) this.#rooms.set(id, this.held(id) + freeBytes);
    const totalBytes = nodes.reduce((sum, { id }) => sum + this.held(id), 0);
    this.#targets = evenTargets(this.#rooms, totalBytes, mostBytes);
    this.#largestBytes = largestBytes;
  }

  held(nodeId: number): number {
    return this.#held.get(nodeId) ?? 0;
  }

  /** Above what it is meant to hold; negative: below. */
  excess(nodeId: number): number {
    return this.held(nodeId) - this.#targets.get(nodeId)!;
  }

  /** Some node is off by so much that evening out begins; or, once it has, that it goes on. */
  isUneven(isUnderWay: boolean): boolean {
    const share = isUnderWay ? STOP : START;
    const least = isUnderWay ? this.#largestBytes : LEAST_FRAGMENTS * this.#largestBytes;
    return [...this.#nodes.keys()].some((id) => {
      const most = Math.min(share.ofRoom * this.#rooms.get(id)!, share.ofTarget * this.#targets.get(id)!);
      return Math.abs(this.excess(id)) > Math.max(least, most);
    });
  }

  /** What has to move from nodes that hold too much. */
  excessBytes(): number {
    return [...this.#nodes.keys()].reduce((sum, id) => sum + Math.max(0, this.excess(id)), 0);
  }

  moved(from: number, to: number, bytes: number): void {
    this.#held.set(from, this.held(from) - bytes);
    this.#held.set(to, this.held(to) + bytes);
  }

  /** Pairs between which a fragment may move, the most uneven first. */
  pairs(): [BalanceNode, BalanceNode][] {
    const byShare = [...this.#nodes.values()]
      .map((node) => ({ node, share: this.excess(node.id) / Math.max(1, this.#rooms.get(node.id)!) }))
      .sort((a, b) => b.share - a.share || a.node.id - b.node.id);
    const donors = byShare.filter(({ share }) => share > 0);
    const receivers = byShare.filter(({ share }) => share < 0).reverse();
    return donors.flatMap((donor) =>
      receivers.map((receiver): [BalanceNode, BalanceNode] => [donor.node, receiver.node]),
    );
  }

  domainOf(nodeId: number): string | undefined {
    return this.#nodes.get(nodeId)?.domain;
  }
}

/** At most `limit` moves that do not touch the same segment. `uses` counts them as done. */
export function planEvenMoves(
  uses: Uses,
  classes: readonly PlaceClass[],
  isExcluded: (segmentId: number) => boolean,
  limit: number,
): EvenMove[] {
  const moves: EvenMove[] = [];
  const taken = new Set<number>();
  const known = new Set(classes.map(({ nodes }) => nodes.join(',')));
  while (moves.length < limit) {
    const move = nextMove(uses, classes, known, (id) => taken.has(id) || isExcluded(id));
    if (move === undefined) break;
    taken.add(move.segmentId);
    uses.moved(move.from, move.to, move.bytes);
    moves.push({ segmentId: move.segmentId, from: move.from, to: move.to });
  }
  return moves;
}

function nextMove(
  uses: Uses,
  classes: readonly PlaceClass[],
  known: ReadonlySet<string>,
  isExcluded: (segmentId: number) => boolean,
): (EvenMove & { bytes: number }) | undefined {
  for (const [from, to] of uses.pairs()) {
    const able = classes.filter((place) => {
      const half = fragmentBytes(place) / 2;
      if (uses.excess(from.id) < half || -uses.excess(to.id) < half) return false;
      return mayMove(uses, place, from, to);
    });
    const isKnown = (place: PlaceClass): boolean => known.has(swapped(place.nodes, from.id, to.id).join(','));
    able.sort((a, b) => Number(isKnown(b)) - Number(isKnown(a)) || b.blocks - a.blocks);
    for (const place of able) {
      for (const segmentId of place.segments) {
        if (isExcluded(segmentId)) continue;
        return { segmentId, from: from.id, to: to.id, bytes: fragmentBytes(place) };
      }
    }
  }
  return undefined;
}

function mayMove(uses: Uses, place: PlaceClass, from: BalanceNode, to: BalanceNode): boolean {
  if (!place.nodes.includes(from.id) || place.nodes.includes(to.id)) return false;
  const inDomain = (domain: string): number =>
    place.nodes.filter((id) => id !== from.id && uses.domainOf(id) === domain).length;
  return from.domain === to.domain || inDomain(to.domain) <= inDomain(from.domain);
}

/** The nodes in ascending order when one of them is replaced. */
export function swapped(nodes: readonly number[], from: number, to: number): number[] {
  return nodes.map((id) => (id === from ? to : id)).sort((a, b) => a - b);
}

/** Of a segment of the class, on average. */
const fragmentBytes = ({ blocks, segments }: PlaceClass): number => (blocks / segments.size) * BLOCK_BYTES;
