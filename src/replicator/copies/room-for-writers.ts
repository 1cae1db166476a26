/**
 * The room that copies take is the writers': while they are short of it there are to be no copies. Knows when that is, which room is being won, and
 * how long it is worth a writer's while to wait for it.
 */
import type { Clock } from '../../platform/platform.ts';
import type { SegmentPlaces } from '../heal/segment-places.ts';

export interface RoomForWritersParts {
  readonly clock: Clock;
  readonly places: SegmentPlaces;
  /** More room than others count on. */
  readonly hasRoom: () => boolean;
  /** A writer found none, and there are copies to give up. */
  readonly onShort: () => void;
}

/** After a writer found no room none are made for so long. */
const SHORT_MS = 60_000;
/** Writers wait for room of copies while some was won within this time. */
const PATIENCE_MS = 10_000;
/** Room that was won shows in what the nodes say after their answer. */
const ANSWER_MS = 1_000;
/** Writers that asked within this time are still waiting. */
const EPISODE_MS = 1_000;

export class RoomForWriters {
  readonly #parts: RoomForWritersParts;
  /** Bytes that nodes are being told to free. */
  readonly #freeing = new Map<number, number>();
  #shortUntilMs = Number.NEGATIVE_INFINITY;
  #progressMs = Number.NEGATIVE_INFINITY;
  #waitingSinceMs = Number.NEGATIVE_INFINITY;
  #askedMs = Number.NEGATIVE_INFINITY;

  constructor(parts: RoomForWritersParts) {
    this.#parts = parts;
  }

  get #nowMs(): number {
    return this.#parts.clock.monotonicMs();
  }

  /** A writer found no room a while ago. */
  get wasMissed(): boolean {
    return this.#nowMs < this.#shortUntilMs;
  }

  get isShort(): boolean {
    return this.wasMissed || !this.#parts.hasRoom();
  }

  /** On a node: what writers may count on, since it is given up when they need it. */
  yieldingBytes(nodeId: number): number {
    return this.#parts.places.copyBytes(nodeId) + (this.#freeing.get(nodeId) ?? 0);
  }

  /** A writer finds no room: whether to wait for what giving up all copies wins; to be asked again and again while it waits. */
  isWorthWaiting(): boolean {
    const nowMs = this.#nowMs;
    if (nowMs - this.#askedMs > EPISODE_MS) this.#waitingSinceMs = nowMs;
    this.#askedMs = nowMs;
    if (nowMs - this.#progressMs < ANSWER_MS) return true;
    if (this.#parts.places.copiedCount === 0 && this.#freeing.size === 0) return false;
    this.#shortUntilMs = nowMs + SHORT_MS;
    this.#parts.onShort();
    return nowMs - Math.max(this.#waitingSinceMs, this.#progressMs) < PATIENCE_MS;
  }

  /** `free` has so many bytes freed on each of the nodes: true if it did. */
  async whileFreeing(
    nodeIds: readonly number[],
    bytes: number,
    free: () => Promise<boolean>,
  ): Promise<boolean> {
    for (const nodeId of nodeIds) this.#noteFreeing(nodeId, bytes);
    try {
      if (!(await free())) return false;
    } finally {
      for (const nodeId of nodeIds) this.#noteFreeing(nodeId, -bytes);
    }
    this.#progressMs = this.#nowMs;
    return true;
  }

  #noteFreeing(nodeId: number, bytes: number): void {
    const left = (this.#freeing.get(nodeId) ?? 0) + bytes;
    if (left === 0) this.#freeing.delete(nodeId);
    else this.#freeing.set(nodeId, left);
  }
}
