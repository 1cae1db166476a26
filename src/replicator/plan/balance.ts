/**
 * Which node gives how many bytes to which, so that use follows room: when nodes join, drain or are replaced, or when use has become uneven.
 * Pure, and in totals: the executor picks the segments.
 *
 * - Data stays in its group: a class belongs to the group that holds most of its nodes, and moves to that group's nodes only.
 * - A node gets at most one fragment of each segment, and none where the domain holds another one already, where that can be told from
 *   the classes.
 * - Newcomers receive and nobody else does: at most their share of the room, new / (old + new), moves. Only a drain or a replacement moves
 *   everything that its node holds. Bytes "from" a node that is gone are rebuilt, not copied.
 */
import { assert } from '../../base/assert.ts';
import type { Layout, PlanNode, SegmentClass } from './contract.ts';
import { evenTargets } from './even-targets.ts';

export type BalancePurpose =
  | { readonly kind: 'even-out' }
  | { readonly kind: 'join' | 'drain'; readonly ids: readonly number[] }
  | { readonly kind: 'replace'; readonly id: number; readonly by: number };

export interface BalanceRequest {
  readonly nodes: readonly PlanNode[];
  readonly classes: readonly SegmentClass[];
  /** The groups to keep to: drained nodes are in none, newcomers are in one. */
  readonly layout: Layout;
  readonly purpose: BalancePurpose;
  /** Share of a node's room by which its use may exceed the even one before evening out moves anything. */
  readonly tolerance: number;
}

export interface Move {
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

export interface BalancePlan {
  /** At most one for each pair of nodes. */
  readonly moves: readonly Move[];
  readonly movedBytes: number;
  /** What should leave a drained or replaced node and finds no place. */
  readonly unplacedBytes: number;
}

/** Less than this is rounding. */
const LEAST_BYTES = 1;

/** A class as its group sees it. */
interface Holding {
  readonly nodes: ReadonlySet<number>;
  readonly domains: ReadonlyMap<string, number>;
  readonly width: number;
  /** Stored bytes on each of its nodes. */
  readonly heldBytes: number;
  /** The same that each node still has, while moves are planned. */
  readonly left: Map<number, number>;
  /** One fragment of each segment: more than that nobody may hold. */
  readonly onePositionBytes: number;
  readonly received: Map<number, number>;
}

interface GroupState {
  readonly members: readonly PlanNode[];
  readonly holdings: readonly Holding[];
  readonly load: Map<number, number>;
  /** Bytes that each member should hold. */
  readonly target: ReadonlyMap<number, number>;
}

export function planBalance(request: BalanceRequest): BalancePlan {
  const nodes = new Map(request.nodes.map((node) => [node.id, node]));
  const moved = new Map<string, { from: number; to: number; bytes: number }>();
  let unplacedBytes = 0;
  for (const group of groupStates(request, nodes)) {
    const note = (from: number, to: number, bytes: number): void => {
      const known = moved.get(`${from} ${to}`);
      if (known === undefined) moved.set(`${from} ${to}`, { from, to, bytes });
      else known.bytes += bytes;
    };
    for (const { donors, receivers, most } of rounds(request, group)) {
      for (const donor of donors) shed(group, nodes, donor, receivers, most, note);
    }
    for (const id of mustEmpty(request.purpose)) unplacedBytes += group.load.get(id) ?? 0;
  }
  const moves = [...moved.values()].sort((a, b) => b.bytes - a.bytes || a.from - b.from || a.to - b.to);
  return {
    moves,
    movedBytes: moves.reduce((sum, { bytes }) => sum + bytes, 0),
    unplacedBytes: unplacedBytes < LEAST_BYTES ? 0 : unplacedBytes,
  };
}

const mustEmpty = (purpose: BalancePurpose): readonly number[] =>
  purpose.kind === 'drain' ? purpose.ids : purpose.kind === 'replace' ? [purpose.id] : [];

interface Round {
  /** Who gives, and down to how many bytes. */
  readonly donors: readonly { readonly id: number; readonly floorBytes: number }[];
  readonly receivers: readonly PlanNode[];
  /** How many bytes a receiver may hold at the end. */
  readonly most: (receiver: PlanNode) => number;
}

function rounds(request: BalanceRequest, group: GroupState): Round[] {
  const { purpose, tolerance } = request;
  const { members, load, target } = group;
  const upToTarget = (receiver: PlanNode): number => target.get(receiver.id) ?? 0;
  const upToRoom = (receiver: PlanNode): number => roomBytes(receiver, load);
  const emptied = mustEmpty(purpose).map((id) => ({ id, floorBytes: 0 }));
  switch (purpose.kind) {
    case 'drain':
      return [
        { donors: emptied, receivers: members, most: upToTarget },
        { donors: emptied, receivers: members, most: upToRoom },
      ];
    case 'replace':
      return [
        { donors: emptied, receivers: members.filter(({ id }) => id === purpose.by), most: upToRoom },
        { donors: emptied, receivers: members, most: upToRoom },
      ];
    case 'join':
    case 'even-out': {
      const receivers =
        purpose.kind === 'join' ? members.filter(({ id }) => purpose.ids.includes(id)) : members;
      const spare = purpose.kind === 'join' ? 0 : tolerance;
      const donors = [...load.keys()]
        .map((id) => ({ id, floorBytes: target.get(id) ?? 0 }))
        .filter(({ id, floorBytes }) => {
          const node = members.find((member) => member.id === id);
          const allowed = node === undefined ? 0 : spare * roomBytes(node, load);
          return load.get(id)! > floorBytes + allowed;
        })
        .sort((a, b) => load.get(b.id)! - b.floorBytes - (load.get(a.id)! - a.floorBytes) || a.id - b.id);
      return [{ donors, receivers, most: upToTarget }];
    }
  }
}

/** What a node of the group holds of it and could hold besides. */
const roomBytes = (node: PlanNode, load: ReadonlyMap<number, number>): number =>
  (load.get(node.id) ?? 0) + node.freeBytes;

function shed(
  group: GroupState,
  nodes: ReadonlyMap<number, PlanNode>,
  donor: { readonly id: number; readonly floorBytes: number },
  receivers: readonly PlanNode[],
  most: (receiver: PlanNode) => number,
  note: (from: number, to: number, bytes: number) => void,
): void {
  const { load } = group;
  // Fixed before anything moves: room is what is held and what is free.
  const limits = new Map(receivers.map((receiver) => [receiver.id, most(receiver)]));
  const wants = (receiver: PlanNode): number => limits.get(receiver.id)! - (load.get(receiver.id) ?? 0);
  for (const holding of group.holdings) {
    if (!holding.left.has(donor.id)) continue;
    const order = receivers
      .filter((receiver) => receiver.id !== donor.id && domainAllows(holding, nodes.get(donor.id), receiver))
      .sort((a, b) => wants(b) - wants(a) || a.id - b.id);
    for (const [index, receiver] of order.entries()) {
      const excess = (load.get(donor.id) ?? 0) - donor.floorBytes;
      const left = holding.left.get(donor.id)!;
      // Even shares of what is left to give, so that no receiver is filled up before the next gets any.
      const share = Math.max(
        (Math.min(excess, left) * wants(receiver)) /
          order.slice(index).reduce((sum, each) => sum + Math.max(0, wants(each)), 0),
        0,
      );
      const bytes = Math.min(share, wants(receiver), left, placeFor(holding, receiver.id));
      if (!(bytes >= LEAST_BYTES)) continue;
      holding.left.set(donor.id, left - bytes);
      holding.received.set(receiver.id, (holding.received.get(receiver.id) ?? 0) + bytes);
      load.set(donor.id, load.get(donor.id)! - bytes);
      load.set(receiver.id, (load.get(receiver.id) ?? 0) + bytes);
      note(donor.id, receiver.id, bytes);
    }
  }
}

/** Bytes of a class that a node can take without holding two fragments of a segment. */
function placeFor(holding: Holding, id: number): number {
  return holding.onePositionBytes - (holding.left.get(id) ?? 0) - (holding.received.get(id) ?? 0);
}

/** Whether the receiver's domain is free of the class, or is the donor's own, or domains are shared anyway. */
function domainAllows(holding: Holding, donor: PlanNode | undefined, receiver: PlanNode): boolean {
  if (holding.nodes.size > holding.width || holding.domains.size < holding.width) return true;
  const there = holding.domains.get(receiver.domain) ?? 0;
  return there === 0 || (there === 1 && donor?.domain === receiver.domain);
}

function groupStates(request: BalanceRequest, nodes: ReadonlyMap<number, PlanNode>): GroupState[] {
  const { layout, classes } = request;
  const groupOf = new Map(
    layout.groups.flatMap((group, index) => group.map((id): [number, number] => [id, index])),
  );
  const byGroup = layout.groups.map((): Holding[] => []);
  for (const each of classes) {
    const home = homeOf(each, groupOf);
    if (home !== undefined) byGroup[home]!.push(holdingOf(each, nodes));
  }
  return layout.groups.map((ids, index) => {
    const holdings = byGroup[index]!;
    const load = new Map<number, number>();
    for (const { left } of holdings) {
      for (const [id, bytes] of left) load.set(id, (load.get(id) ?? 0) + bytes);
    }
    const members = ids.map((id) => {
      const node = nodes.get(id);
      assert(node?.role === 'member', `node ${id} of a group is a member`);
      return node;
    });
    const totalBytes = holdings.reduce((sum, holding) => sum + holding.heldBytes * holding.nodes.size, 0);
    const mostBytes = holdings.reduce((sum, { onePositionBytes }) => sum + onePositionBytes, 0);
    const rooms = new Map(members.map((node) => [node.id, roomBytes(node, load)]));
    return { members, holdings, load, target: evenTargets(rooms, totalBytes, mostBytes) };
  });
}

function homeOf({ nodes }: SegmentClass, groupOf: ReadonlyMap<number, number>): number | undefined {
  const overlap = new Map<number, number>();
  for (const id of nodes) {
    const group = groupOf.get(id);
    if (group !== undefined) overlap.set(group, (overlap.get(group) ?? 0) + 1);
  }
  return [...overlap].sort(([a, x], [b, y]) => y - x || a - b)[0]?.[0];
}

function holdingOf(segmentClass: SegmentClass, nodes: ReadonlyMap<number, PlanNode>): Holding {
  const { dataFragments, parityFragments, dataBytes } = segmentClass;
  const width = dataFragments + parityFragments;
  const heldBytes = (dataBytes * width) / dataFragments / segmentClass.nodes.length;
  const domains = new Map<string, number>();
  for (const id of segmentClass.nodes) {
    const domain = nodes.get(id)?.domain;
    if (domain !== undefined) domains.set(domain, (domains.get(domain) ?? 0) + 1);
  }
  return {
    nodes: new Set(segmentClass.nodes),
    domains,
    width,
    heldBytes,
    left: new Map(segmentClass.nodes.map((id) => [id, heldBytes])),
    onePositionBytes: dataBytes / dataFragments,
    received: new Map(),
  };
}
