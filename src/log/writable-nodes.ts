/**
 * Which nodes new fragments may go to, and how much they can take: the links' states and free bytes, less what is on its way to
 * them and less the nodes that do not answer, refused lately, or are to be emptied.
 *
 * Where so many nodes are away that full parity cannot be had, though no more of them than the parity bears, new segments get what the others can give: one
 * data fragment, and as many parity fragments as there are other nodes (docs/decisions/degraded-writing.md). Healing adds the rest.
 *
 * It keeps counts only; the flights tell it what they send and what comes back. Time is counted in the writer's ticks.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { DrainingNodes } from '../cluster/draining-nodes.ts';
import type { NodeGroups } from '../cluster/node-groups.ts';
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import {
  canPlace,
  type PlacementNode,
  type PlacementRequest,
  placeSegment,
  type SegmentLayout,
} from '../cluster/placement.ts';
import { fragmentHeaderBytes } from '../format/storage-log-file.ts';
import { degradedShape, fragmentBlocksFor, type Shape } from './segment-layout.ts';

/** A node that refused a fragment is asked again after so many ticks. */
const AVOID_TICKS = 10;
/** So long too few nodes have to be there until less than full parity is written: most of those that vanish are back at once. */
const DEGRADED_TICKS = 5;

/** What a fragment takes on its node, header included. */
export function storedFragmentBytes(fragmentBlocks: number, fragments: number): number {
  return fragmentHeaderBytes(fragmentBlocks, fragments) + fragmentBlocks * BLOCK_BYTES;
}

/** The least that a writer is content with: full parity, or what can be had while nodes are away. */
export type Protection = 'full' | 'degraded';

type SizedNode = PlacementNode & { readonly capacityBytes: number };

/** Without groups any nodes share segments. */
type WrittenLayout = Shape & { readonly groups?: NodeGroups };

export class WritableNodes {
  readonly #links: NodeLinks;
  readonly #shape: WrittenLayout;
  readonly #draining: DrainingNodes;
  readonly #reservedBytes = new Map<number, number>();
  readonly #overdueCalls = new Map<number, number>();
  readonly #avoidUntilTick = new Map<number, number>();
  #tick = 0;
  /** Ticks since when there are too few nodes for full parity. */
  #fewTicks = 0;

  constructor(links: NodeLinks, shape: WrittenLayout, draining = new DrainingNodes()) {
    this.#links = links;
    this.#shape = shape;
    this.#draining = draining;
  }

  /** A tick of a writer. Two writers that share this count faster, and a node that refused is asked again the sooner. */
  advance(): void {
    this.#tick++;
    this.#fewTicks = this.enoughAnswer('full') ? 0 : this.#fewTicks + 1;
  }

  /** Nodes that a fragment may be sent to now, with the room they have beside what is on its way. */
  live(): SizedNode[] {
    return this.#withRoom((link) => this.isLive(link));
  }

  /** All nodes, with the room they had when they last answered. One that never has is taken for as large and as free as the smallest. */
  known(): SizedNode[] {
    const nodes = this.#withRoom(() => true);
    const met = nodes.filter(hasAnswered);
    const capacityBytes = least(met.map((node) => node.capacityBytes));
    const freeBytes = least(met.map((node) => node.freeBytes));
    return nodes.map((node) => (hasAnswered(node) ? node : { ...node, capacityBytes, freeBytes }));
  }

  #withRoom(isMeant: (link: NodeLink) => boolean): SizedNode[] {
    const nodes: SizedNode[] = [];
    for (const link of this.#links.links.values()) {
      if (!isMeant(link)) continue;
      const reserved = this.#reservedBytes.get(link.id) ?? 0;
      const { id, domain, capacityBytes } = link;
      nodes.push({ id, domain, capacityBytes, freeBytes: Math.max(0, link.freeBytes - reserved) });
    }
    return this.#draining.placeable(nodes, this.#shape.parityFragments);
  }

  /** How large the nodes are that are meant to hold fragments. */
  capacities(): number[] {
    return this.known().map((node) => node.capacityBytes);
  }

  isLive(link: NodeLink): boolean {
    return this.#answers(link) && (this.#avoidUntilTick.get(link.id) ?? 0) <= this.#tick;
  }

  #answers(link: NodeLink): boolean {
    return link.state === 'up' && link.client !== undefined && (this.#overdueCalls.get(link.id) ?? 0) === 0;
  }

  /** None is away that is meant to hold fragments. */
  get allAnswer(): boolean {
    return this.live().length === this.known().length;
  }

  /** Enough nodes answer for a segment, whether or not they have room. */
  enoughAnswer(least: Protection): boolean {
    return this.#shapeNow(least) !== undefined;
  }

  /** That a segment's nodes are kept within, while they can be. */
  get groups(): NodeGroups {
    return this.#shape.groups ?? [];
  }

  place(blocks: number, rotation: number, least: Protection): SegmentLayout | undefined {
    const shape = this.#shapeNow(least);
    return shape && placeSegment(this.live(), { ...widths(shape, blocks), rotation, groups: this.groups });
  }

  /** undefined: more nodes are away than the parity bears, or it is not certain yet that they are. */
  #shapeNow(least: Protection): Shape | undefined {
    const { dataFragments, parityFragments } = this.#shape;
    if (this.live().length > parityFragments) return { dataFragments, parityFragments };
    if (least === 'full' || this.#fewTicks < DEGRADED_TICKS) return undefined;
    const answering = this.#withRoom((link) => this.#answers(link)).length;
    // One that refuses is there: what is written waits for it.
    if (this.live().length < answering) return undefined;
    return degradedShape(this.known().length, answering, parityFragments);
  }

  /** Whether one more full segment can be placed beside `unplaced` ones that have no nodes yet. */
  admits(blocks: number, unplaced: number, least: Protection): boolean {
    const shape = this.#shapeNow(least);
    if (shape === undefined) return false;
    const { dataFragments: k, parityFragments: m } = shape;
    const each = storedFragmentBytes(fragmentBlocksFor(blocks, k), k + m) * unplaced;
    const nodes = this.live().map((node) => ({ ...node, freeBytes: Math.max(0, node.freeBytes - each) }));
    return canPlace(nodes, widths(shape, blocks));
  }

  /** How many more full segments are admitted one beside the other. */
  roomSegments(blocks: number, least: Protection): number {
    const shape = this.#shapeNow(least);
    if (shape === undefined) return 0;
    const { dataFragments: k, parityFragments: m } = shape;
    const each = storedFragmentBytes(fragmentBlocksFor(blocks, k), k + m);
    const free = this.live()
      .map((node) => node.freeBytes)
      .sort((a, b) => b - a);
    let most = 0;
    for (let width = Math.min(k + m, free.length); width > m; width--) {
      const last = storedFragmentBytes(fragmentBlocksFor(blocks, width - m), width);
      const beside = Math.floor((free[width - 1]! - last) / each);
      most = Math.max(most, beside + 1);
    }
    return most;
  }

  sent(nodeId: number, bytes: number): void {
    this.#reservedBytes.set(nodeId, (this.#reservedBytes.get(nodeId) ?? 0) + bytes);
  }

  /** The call that `sent` announced has ended, one way or another. */
  ended(nodeId: number, bytes: number): void {
    const reserved = (this.#reservedBytes.get(nodeId) ?? 0) - bytes;
    assert(reserved >= 0, `reservation of node ${nodeId}`);
    if (reserved === 0) this.#reservedBytes.delete(nodeId);
    else this.#reservedBytes.set(nodeId, reserved);
  }

  /** A call is unanswered for too long: nothing new goes there until it ends. */
  overdue(nodeId: number): void {
    this.#overdueCalls.set(nodeId, (this.#overdueCalls.get(nodeId) ?? 0) + 1);
  }

  overdueEnded(nodeId: number): void {
    const calls = (this.#overdueCalls.get(nodeId) ?? 0) - 1;
    assert(calls >= 0, `overdue calls of node ${nodeId}`);
    if (calls === 0) this.#overdueCalls.delete(nodeId);
    else this.#overdueCalls.set(nodeId, calls);
  }

  /** The node answered that it cannot store a fragment. */
  refused(nodeId: number): void {
    this.#avoidUntilTick.set(nodeId, this.#tick + AVOID_TICKS);
  }
}

function hasAnswered({ capacityBytes }: SizedNode): boolean {
  return capacityBytes > 0;
}

function least(values: readonly number[]): number {
  return values.length === 0 ? 0 : Math.min(...values);
}

function widths(
  { dataFragments, parityFragments }: Shape,
  blocks: number,
): Omit<PlacementRequest, 'rotation'> {
  const fragmentBytes = (k: number) => storedFragmentBytes(fragmentBlocksFor(blocks, k), k + parityFragments);
  return { dataFragments, parityFragments, fragmentBytes };
}
