/**
 * Whether the nodes have room for the segments that a writer is about to begin, beside those that it has under way and beside what it leaves to others.
 * Asked when a segment begins and not for every block: what was found for the landing holds until the next one begins.
 *
 * Which nodes there are and what each can take is writable-nodes.ts. Room in memory is none of its business: that is free-slots.ts.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import { LogUnwritable } from './log.ts';
import { usableBytes } from './usable-space.ts';
import type { Protection, WritableNodes } from './writable-nodes.ts';
import type { WriteSlab } from './write-slab.ts';

/** For a writer that leaves room to others, who may win some for it. */
export interface RoomRule {
  /** Full segments that must still fit when this writer begins one. */
  reserveSegments(): number;
  /**
   * There is no room for a segment: whether to wait. If not, appends are refused. `isMoreComing`: nodes are being told to free something, or segments of
   * this writer are about to be committed, and what they overwrite will be dead then.
   */
  mayWait(isMoreComing: boolean): boolean;
}

/** What a writer has begun. */
export interface UnderWay {
  /** Segments without nodes yet, the open one included. */
  readonly unplacedSegments: number;
  /** Nodes are freeing something, or segments are about to be committed. */
  readonly isMoreComing: boolean;
}

export interface SegmentRoomOptions {
  readonly nodes: WritableNodes;
  readonly slab: WriteSlab;
  readonly leastProtection: Protection;
  readonly underWay: UnderWay;
  readonly rule: RoomRule | undefined;
  /** On a node: what is given up as soon as the room is needed, and counts as room therefore. */
  readonly yieldingBytes: (nodeId: number) => number;
}

export class SegmentRoom {
  readonly #options: SegmentRoomOptions;
  readonly #nodes: WritableNodes;
  readonly #least: Protection;
  readonly #segmentBlocks: number;
  readonly #underWay: UnderWay;
  readonly #rule: RoomRule | undefined;
  /** There was room for the next segments when it was last looked at, for this open one. */
  #nextFits = false;

  constructor(options: SegmentRoomOptions) {
    this.#options = options;
    this.#nodes = options.nodes;
    this.#least = options.leastProtection;
    this.#segmentBlocks = options.slab.geometry.segmentBlocks;
    this.#underWay = options.underWay;
    this.#rule = options.rule;
  }

  /** The nodes have no room for the segments that a landing of so many blocks would begin, and some is being won. */
  mustWait(landingBlocks: number): boolean {
    if (this.#rule === undefined || this.#nextFits) return false;
    if (!this.#nodes.enoughAnswer(this.#least)) return false;
    this.#nextFits = this.#fits(this.#segmentsOf(landingBlocks));
    return !this.#nextFits && this.mayWait;
  }

  get mayWait(): boolean {
    return this.#rule?.mayWait(this.#underWay.isMoreComing) === true;
  }

  /** Throws unless the segments that `blockCount` more blocks begin can be written beside those under way. */
  admit(blockCount: number): void {
    // Kept in memory until nodes return; trouble comes if they do not.
    if (!this.#nodes.enoughAnswer(this.#least)) return;
    // What landed while there was room is taken; the reserve bears it.
    if (this.#fits(this.#segmentsOf(blockCount)) || this.mayWait) return;
    throw new LogUnwritable('full', 'the storage nodes have no room for another segment');
  }

  /** One is begun: what was found holds for it, and no longer. */
  begun(): void {
    this.#nextFits = false;
  }

  /** A summary takes one block at least. */
  #segmentsOf(blocks: number): number {
    return Math.ceil(blocks / (this.#segmentBlocks - 1));
  }

  /** Whether so many more segments can be written beside those under way and the reserve. */
  #fits(beginning: number): boolean {
    const reserve = this.#rule?.reserveSegments() ?? 0;
    const beside = this.#underWay.unplacedSegments + beginning - 1 + reserve;
    return this.#nodes.admits(this.#segmentBlocks, beside, this.#least);
  }

  /** See log.ts. */
  availableBytes(): number {
    const { slab, yieldingBytes } = this.#options;
    // Away is not full: while too few nodes answer for full parity, what is written waits for them, or will once have it.
    const nodes = this.#nodes.enoughAnswer('full') ? this.#nodes.live() : this.#nodes.known();
    const roomBytes = nodes.map((node) => node.freeBytes + yieldingBytes(node.id));
    const accepted = this.#underWay.unplacedSegments * this.#segmentBlocks;
    return Math.max(0, usableBytes(roomBytes, slab.shape, this.#segmentBlocks) - accepted * BLOCK_BYTES);
  }

  /** See log.ts. */
  roomSegments(): number {
    const room = this.#nodes.roomSegments(this.#segmentBlocks, this.#least);
    return Math.max(0, room - this.#underWay.unplacedSegments);
  }

  /** See log.ts. */
  totalBytes(): number {
    return usableBytes(this.#nodes.capacities(), this.#options.slab.shape, this.#segmentBlocks);
  }
}
