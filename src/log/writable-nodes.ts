/**
 * Which nodes new fragments may go to, and how much they can take: the links' states and free bytes, less what is on its way to
 * them and less the nodes that do not answer, refused lately, or are to be emptied.
 *
 * It keeps counts only; the flights tell it what they send and what comes back. Time is counted in the writer's ticks.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { DrainingNodes } from '../cluster/draining-nodes.ts';
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import {
  canPlace,
  type PlacementNode,
  type PlacementRequest,
  placeSegment,
  type SegmentLayout,
} from '../cluster/placement.ts';
import { fragmentHeaderBytes } from '../format/storage-log-file.ts';
import { fragmentBlocksFor, type Shape } from './segment-layout.ts';

/** A node that refused a fragment is asked again after so many ticks. */
const AVOID_TICKS = 10;

/** What a fragment takes on its node, header included. */
export function storedFragmentBytes(fragmentBlocks: number, fragments: number): number {
  return fragmentHeaderBytes(fragmentBlocks, fragments) + fragmentBlocks * BLOCK_BYTES;
}

export class WritableNodes {
  readonly #links: NodeLinks;
  readonly #shape: Shape;
  readonly #draining: DrainingNodes;
  readonly #reservedBytes = new Map<number, number>();
  readonly #overdueCalls = new Map<number, number>();
  readonly #avoidUntilTick = new Map<number, number>();
  #tick = 0;

  constructor(links: NodeLinks, shape: Shape, draining = new DrainingNodes()) {
    this.#links = links;
    this.#shape = shape;
    this.#draining = draining;
  }

  /** A tick of a writer. Two writers that share this count faster, and a node that refused is asked again the sooner. */
  advance(): void {
    this.#tick++;
  }

  /** Nodes that a fragment may be sent to now, with the room they have beside what is on its way. */
  live(): PlacementNode[] {
    return this.#withRoom((link) => this.isLive(link));
  }

  /** All nodes, with the room they had when they last answered. */
  known(): PlacementNode[] {
    return this.#withRoom(() => true);
  }

  #withRoom(isMeant: (link: NodeLink) => boolean): PlacementNode[] {
    const nodes: PlacementNode[] = [];
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
    const links = [...this.#links.links.values()];
    return this.#draining.placeable(links, this.#shape.parityFragments).map((link) => link.capacityBytes);
  }

  isLive(link: NodeLink): boolean {
    return (
      link.state === 'up' &&
      link.client !== undefined &&
      (this.#overdueCalls.get(link.id) ?? 0) === 0 &&
      (this.#avoidUntilTick.get(link.id) ?? 0) <= this.#tick
    );
  }

  /** None is away that is meant to hold fragments. */
  get allAnswer(): boolean {
    return this.live().length === this.known().length;
  }

  /** Enough nodes answer for a segment with full parity, whether or not they have room. */
  get enoughAnswer(): boolean {
    return this.live().length > this.#shape.parityFragments;
  }

  place(blocks: number, rotation: number): SegmentLayout | undefined {
    return placeSegment(this.live(), { ...this.#widths(blocks), rotation });
  }

  /** Whether one more full segment can be placed beside `unplaced` ones that have no nodes yet. */
  admits(blocks: number, unplaced: number): boolean {
    const { dataFragments: k, parityFragments: m } = this.#shape;
    const each = storedFragmentBytes(fragmentBlocksFor(blocks, k), k + m) * unplaced;
    const nodes = this.live().map((node) => ({ ...node, freeBytes: Math.max(0, node.freeBytes - each) }));
    return canPlace(nodes, this.#widths(blocks));
  }

  /** How many more full segments are admitted one beside the other. */
  roomSegments(blocks: number): number {
    const { dataFragments: k, parityFragments: m } = this.#shape;
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

  #widths(blocks: number): Omit<PlacementRequest, 'rotation'> {
    const { dataFragments, parityFragments } = this.#shape;
    const fragmentBytes = (k: number) =>
      storedFragmentBytes(fragmentBlocksFor(blocks, k), k + parityFragments);
    return { dataFragments, parityFragments, fragmentBytes };
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
