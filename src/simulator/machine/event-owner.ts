/**
 * What events belong to: a process. Its events are dropped when it is dead by then, and kept back while it is frozen. The process
 * itself (process.ts) decides about its life; the scheduler only asks.
 */
import type { ScheduledEvent } from './event-queue.ts';

export interface EventOwner {
  readonly name: string;
  /** Distinguishes owners in the trace. */
  readonly number: number;
  readonly alive: boolean;
  /** Stopped, or held by a call that waits. */
  readonly frozen: boolean;
  /** Timers that the process set and that neither ran nor were cancelled. */
  liveTimers: number;
  /** Takes an event whose moment came while the process was frozen. */
  park(event: ScheduledEvent): void;
}
