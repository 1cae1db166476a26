/**
 * Virtual time. It stands still while an event runs and moves on to the next one's moment after it.
 *
 * A step runs one event; who calls it lets every promise reaction that the event caused run before the next step (turns.ts).
 */
import { assert } from '../../base/assert.ts';
import type { Timer } from '../../platform/platform.ts';
import type { Scheduler } from '../contract.ts';
import type { EventOwner } from './event-owner.ts';
import { EventQueue, ScheduledEvent } from './event-queue.ts';
import type { RollingTrace } from './trace.ts';

export type StepResult = 'ran' | 'later' | 'idle';

export class EventScheduler implements Scheduler {
  readonly #events = new EventQueue();
  readonly #trace: RollingTrace;
  #nowMs = 0;
  #sequence = 0;

  constructor(trace: RollingTrace) {
    this.#trace = trace;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Events in memory, cancelled ones included. */
  get pendingEvents(): number {
    return this.#events.size;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.schedule(delayMs, run, undefined, false);
  }

  /** For the owner, who must be alive. */
  schedule(
    delayMs: number,
    run: () => void,
    owner: EventOwner | undefined,
    counted: boolean,
  ): ScheduledEvent {
    assert(delayMs >= 0 && delayMs < Infinity, 'a delay from 0 that ends');
    const event = new ScheduledEvent(this.#nowMs + delayMs, this.#sequence++, run, owner, counted);
    if (counted && owner !== undefined) owner.liveTimers++;
    if (event.dueMs === this.#nowMs) this.#events.pushAtOnce(event);
    else this.#events.push(event);
    return event;
  }

  /** Puts back events that were parked, at their own place in the order, which is before everything that is still to come. */
  putBack(events: readonly ScheduledEvent[]): void {
    for (const event of events) if (event.run !== undefined) this.#events.push(event);
  }

  /** Runs the next event that is due at `limitMs` at the latest. */
  step(limitMs: number): StepResult {
    for (;;) {
      const event = this.#events.peek();
      if (event === undefined) return 'idle';
      if (event.dueMs > limitMs) return 'later';
      this.#events.take(event);
      const { run, owner } = event;
      if (run === undefined) continue;
      if (owner !== undefined) {
        if (!owner.alive) continue;
        if (owner.frozen) {
          owner.park(event);
          continue;
        }
        if (event.counted) owner.liveTimers--;
      }
      // An event that was parked is late.
      if (event.dueMs > this.#nowMs) this.#nowMs = event.dueMs;
      event.run = undefined;
      this.#trace.step(this.#nowMs, owner === undefined ? 0 : owner.number);
      run();
      return 'ran';
    }
  }

  /** Nothing happens until then. */
  advanceTo(timeMs: number): void {
    this.#nowMs = Math.max(this.#nowMs, timeMs);
  }
}
