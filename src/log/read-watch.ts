/**
 * Notices reads that take too long, without a timer for each: one tick for all that are under way. A slow read is not ended; whoever
 * waits for it is told, and may get the bytes from elsewhere meanwhile.
 */
import type { Timer, Timers } from '../platform/platform.ts';

const TICK_MS = 100;
/** So many ticks have begun and ended while the read was under way: 300 to 400 ms. */
const SLOW_TICKS = 4;

/** A link of the list of what is under way, in order of start. */
export interface Watched {
  startTick: number;
  tell: () => void;
  previous: Watched | undefined;
  next: Watched | undefined;
}

export class ReadWatch {
  readonly #timers: Timers;
  #oldest: Watched | undefined;
  #newest: Watched | undefined;
  #timer: Timer | undefined;
  #tick = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** What `read` resolves to (it never rejects), or 'slow' if that takes too long. */
  watch<T>(read: Promise<T>): Promise<T | 'slow'> {
    return new Promise((resolve, reject) => {
      const watched = this.begin(() => resolve('slow'));
      read.then(
        (outcome) => {
          this.end(watched);
          resolve(outcome);
        },
        (bug) => {
          this.end(watched);
          reject(bug);
        },
      );
    });
  }

  /** `tell` is called once if `end` is not called in time. */
  begin(tell: () => void): Watched {
    const watched: Watched = { startTick: this.#tick, tell, previous: this.#newest, next: undefined };
    if (this.#newest === undefined) this.#oldest = watched;
    else this.#newest.next = watched;
    this.#newest = watched;
    this.#timer ??= this.#timers.after(TICK_MS, () => this.#onTick());
    return watched;
  }

  /** Harmless after `tell`. */
  end(watched: Watched): void {
    const { previous, next } = watched;
    if (previous === undefined && this.#oldest !== watched) return; // not in the list any more
    if (previous === undefined) this.#oldest = next;
    else previous.next = next;
    if (next === undefined) this.#newest = previous;
    else next.previous = previous;
    watched.previous = undefined;
    watched.next = undefined;
  }

  #onTick(): void {
    this.#tick++;
    let watched = this.#oldest;
    while (watched !== undefined && this.#tick - watched.startTick >= SLOW_TICKS) {
      this.end(watched);
      watched.tell();
      watched = this.#oldest;
    }
    const idle = this.#oldest === undefined;
    this.#timer = idle ? undefined : this.#timers.after(TICK_MS, () => this.#onTick());
  }

  close(): void {
    this.#timer?.cancel();
  }
}
