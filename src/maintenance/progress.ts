/** Rate and time left of work whose steps are told as they are done. The rate is that of the last while. */
import type { Clock } from '../platform/platform.ts';

const HALF_LIFE_MS = 5_000;

export class Progress {
  readonly #clock: Clock;
  #rate = 0;
  #lastMs: number | undefined;
  doneBytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new piece of work begins. */
  restart(): void {
    this.doneBytes = 0;
    this.#rate = 0;
    this.#lastMs = this.#clock.monotonicMs();
  }

  add(lengthBytes: number): void {
    const nowMs = this.#clock.monotonicMs();
    const elapsedMs = nowMs - (this.#lastMs ?? nowMs);
    this.#lastMs = nowMs;
    this.doneBytes += lengthBytes;
    if (elapsedMs <= 0) return;
    const kept = 0.5 ** (elapsedMs / HALF_LIFE_MS);
    const now = (1000 * lengthBytes) / elapsedMs;
    this.#rate = this.#rate === 0 ? now : kept * this.#rate + (1 - kept) * now;
  }

  get bytesPerSecond(): number {
    return this.#rate;
  }

  /** undefined: nobody can tell yet. */
  secondsLeft(leftBytes: number): number | undefined {
    if (leftBytes <= 0) return 0;
    return this.#rate > 0 ? leftBytes / this.#rate : undefined;
  }
}
