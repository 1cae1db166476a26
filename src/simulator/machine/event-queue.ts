/**
 * The events of a run that are still to come, in the order of their moment and, within one moment, in which they were
 * scheduled. A binary heap, and beside it a plain queue for what is due at once, which is about half of everything.
 *
 * Cancelled events stay until their turn, but never more of them than of the others: time-outs that are nearly always cancelled
 * would fill the memory.
 */
import type { Timer } from '../../platform/platform.ts';
import type { EventOwner } from './event-owner.ts';

const MIN_SWEEP_EVENTS = 1_024;

export class ScheduledEvent implements Timer {
  readonly dueMs: number;
  readonly sequence: number;
  readonly owner: EventOwner | undefined;
  /** Whether it counts as a timer of its owner. */
  readonly counted: boolean;
  /** Gone when it ran or was cancelled. */
  run: (() => void) | undefined;
  /** Whether it is in the heap, where a cancelled one leaves a hole. */
  queue: EventQueue | undefined;

  constructor(
    dueMs: number,
    sequence: number,
    run: () => void,
    owner: EventOwner | undefined,
    counted: boolean,
  ) {
    this.dueMs = dueMs;
    this.sequence = sequence;
    this.run = run;
    this.owner = owner;
    this.counted = counted;
    this.queue = undefined;
  }

  cancel(): void {
    if (this.run === undefined) return;
    this.run = undefined;
    if (this.counted && this.owner !== undefined) this.owner.liveTimers--;
    this.queue?.noteCancelled();
  }
}

const before = (one: ScheduledEvent, other: ScheduledEvent): boolean =>
  one.dueMs < other.dueMs || (one.dueMs === other.dueMs && one.sequence < other.sequence);

export class EventQueue {
  #heap: ScheduledEvent[] = [];
  #cancelledInHeap = 0;
  /** In order by itself: all are due at the moment they were scheduled. */
  #atOnce: ScheduledEvent[] = [];
  #atOnceHead = 0;

  /** Events in memory, cancelled ones included. */
  get size(): number {
    return this.#heap.length + this.#atOnce.length - this.#atOnceHead;
  }

  push(event: ScheduledEvent): void {
    event.queue = this;
    this.#heap.push(event);
    this.#siftUp(this.#heap.length - 1);
  }

  /** For an event that is due now: it must be later than all that were pushed so before. */
  pushAtOnce(event: ScheduledEvent): void {
    this.#atOnce.push(event);
  }

  /** The next event, cancelled or not. */
  peek(): ScheduledEvent | undefined {
    const atOnce = this.#atOnce[this.#atOnceHead];
    const top = this.#heap[0];
    if (atOnce === undefined) return top;
    return top === undefined || before(atOnce, top) ? atOnce : top;
  }

  /** Takes away what `peek` gave. */
  take(event: ScheduledEvent): void {
    if (event !== this.#heap[0]) {
      this.#atOnceHead++;
      if (this.#atOnceHead === this.#atOnce.length) {
        this.#atOnce.length = 0;
        this.#atOnceHead = 0;
      } else if (this.#atOnceHead >= MIN_SWEEP_EVENTS) {
        this.#atOnce.splice(0, this.#atOnceHead);
        this.#atOnceHead = 0;
      }
      return;
    }
    event.queue = undefined;
    if (event.run === undefined) this.#cancelledInHeap--;
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#siftDown(0);
  }

  noteCancelled(): void {
    this.#cancelledInHeap++;
    if (this.#cancelledInHeap < MIN_SWEEP_EVENTS || this.#cancelledInHeap * 2 < this.#heap.length) return;
    this.#heap = this.#heap.filter((event) => {
      if (event.run === undefined) event.queue = undefined;
      return event.run !== undefined;
    });
    this.#cancelledInHeap = 0;
    for (let index = (this.#heap.length >> 1) - 1; index >= 0; index--) this.#siftDown(index);
  }

  #siftUp(from: number): void {
    const heap = this.#heap;
    const event = heap[from]!;
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[index] = heap[parent]!;
      index = parent;
    }
    heap[index] = event;
  }

  #siftDown(from: number): void {
    const heap = this.#heap;
    const event = heap[from]!;
    const { length } = heap;
    let index = from;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= length) break;
      if (child + 1 < length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, event)) break;
      heap[index] = heap[child]!;
      index = child;
    }
    heap[index] = event;
  }
}
