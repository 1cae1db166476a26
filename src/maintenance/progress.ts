/** Rate and time left of work whose steps are told as they are done. The rate is that of the last few seconds, or since the work began. */
import type { Clock } from '../platform/platform.ts';

const BUCKET_MS = 500;
const BUCKETS = 10;

export class Progress {
  readonly #clock: Clock;
  /** Bytes of the last while, by when they were told; the one of now is the last. */
  #buckets: number[] = [];
  #bucketEndMs = 0;
  #startMs: number | undefined;
  doneBytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A new piece of work begins. */
  restart(): void {
    this.doneBytes = 0;
    this.#begin(this.#clock.monotonicMs());
  }

  add(lengthBytes: number): void {
    this.#turn();
    this.doneBytes += lengthBytes;
    this.#buckets[this.#buckets.length - 1]! += lengthBytes;
  }

  get bytesPerSecond(): number {
    const nowMs = this.#turn();
    const sinceMs = Math.max(this.#startMs!, this.#bucketEndMs - BUCKETS * BUCKET_MS);
    const bytes = this.#buckets.reduce((sum, each) => sum + each, 0);
    return bytes === 0 ? 0 : (1000 * bytes) / Math.max(1, nowMs - sinceMs);
  }

  /** undefined: nobody can tell yet. */
  secondsLeft(leftBytes: number): number | undefined {
    if (leftBytes <= 0) return 0;
    const rate = this.bytesPerSecond;
    return rate > 0 ? leftBytes / rate : undefined;
  }

  #begin(nowMs: number): void {
    this.#startMs = nowMs;
    this.#bucketEndMs = nowMs + BUCKET_MS;
    this.#buckets = [0];
  }

  /** Old buckets go. */
  #turn(): number {
    const nowMs = this.#clock.monotonicMs();
    if (this.#startMs === undefined) this.#begin(nowMs);
    const behind = Math.ceil((nowMs - this.#bucketEndMs) / BUCKET_MS);
    if (behind <= 0) return nowMs;
    this.#bucketEndMs += behind * BUCKET_MS;
    for (let at = 0; at < Math.min(behind, BUCKETS); at++) this.#buckets.push(0);
    this.#buckets = this.#buckets.slice(-BUCKETS);
    return nowMs;
  }
}
