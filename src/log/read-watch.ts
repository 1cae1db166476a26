/**
 * Notices reads that take too long, without a timer for each: one tick for all that are under way. A slow read is not ended; whoever
 * waits for it is told, and may get the bytes from elsewhere meanwhile.
 */
import type { Timer, Timers } from '../platform/platform.ts';

const TICK_MS = 100;
/** So many ticks have begun and ended while the read was under way: 300 to 400 ms. */
const SLOW_TICKS = 4;

interface Watched {
  readonly startTick: number;
  readonly tell: () => void;
}

export class ReadWatch {
  readonly #timers: Timers;
  /** In order of start. */
  readonly #watched = new Set<Watched>();
  #timer: Timer | undefined;
  #tick = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  /** What `read` resolves to (it never rejects), or 'slow' if that takes too long. */
  watch<T>(read: Promise<T>): Promise<T | 'slow'> {
    return new Promise((resolve, reject) => {
      const watched = { startTick: this.#tick, tell: () => resolve('slow') };
      this.#watched.add(watched);
      this.#timer ??= this.#timers.after(TICK_MS, () => this.#onTick());
      read.then(
        (outcome) => {
          this.#watched.delete(watched);
          resolve(outcome);
        },
        (bug) => {
          this.#watched.delete(watched);
          reject(bug);
        },
      );
    });
  }

  #onTick(): void {
    this.#tick++;
    for (const watched of this.#watched) {
      if (this.#tick - watched.startTick < SLOW_TICKS) break;
      this.#watched.delete(watched);
      watched.tell();
    }
    const idle = this.#watched.size === 0;
    this.#timer = idle ? undefined : this.#timers.after(TICK_MS, () => this.#onTick());
  }

  close(): void {
    this.#timer?.cancel();
  }
}
