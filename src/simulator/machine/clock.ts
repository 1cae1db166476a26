/**
 * A machine's clocks. Both run faster or slower than virtual time by the machine's drift; the wall clock is off by a skew besides and may
 * jump when that is set. The monotonic one counts from a moment of the machine's own, so that comparing it between machines goes wrong at once.
 */
import { assert } from '../../base/assert.ts';
import type { Clock, FileTime } from '../../platform/platform.ts';
import type { Scheduler } from '../contract.ts';

/** When every run begins. */
const EPOCH_MS = Date.UTC(2026, 0, 1);
const MAX_DRIFT_PPM = 100_000;

export interface ClockOptions {
  readonly epochMs?: number;
  readonly skewMs?: number;
  /** Millionths by which the clocks are too fast. */
  readonly driftPpm?: number;
  /** What the monotonic clock shows at the start of the run. */
  readonly uptimeMs?: number;
}

export class MachineClock implements Clock {
  readonly #scheduler: Scheduler;
  readonly #wallBaseMs: number;
  #skewMs: number;
  #rate = 1;
  /** Local time passed since the start of the run, at #atMs of virtual time. */
  #localMs: number;
  #atMs: number;

  constructor(scheduler: Scheduler, options: ClockOptions) {
    this.#scheduler = scheduler;
    this.#skewMs = options.skewMs ?? 0;
    this.#localMs = options.uptimeMs ?? 0;
    this.#wallBaseMs = (options.epochMs ?? EPOCH_MS) - this.#localMs;
    this.#atMs = scheduler.nowMs;
    this.driftPpm = options.driftPpm ?? 0;
  }

  get skewMs(): number {
    return this.#skewMs;
  }

  /** As when somebody sets the clock. */
  set skewMs(skewMs: number) {
    this.#skewMs = skewMs;
  }

  get driftPpm(): number {
    return (this.#rate - 1) * 1e6;
  }

  set driftPpm(ppm: number) {
    assert(Math.abs(ppm) <= MAX_DRIFT_PPM, `drift ${ppm}`);
    this.#localMs = this.monotonicMs();
    this.#atMs = this.#scheduler.nowMs;
    this.#rate = 1 + ppm / 1e6;
  }

  wallMs(): number {
    return this.#wallBaseMs + this.#skewMs + this.monotonicMs();
  }

  fileTime(): FileTime {
    const wallMs = this.wallMs();
    const seconds = Math.floor(wallMs / 1000);
    return { seconds, nanoseconds: Math.min(999_999_999, Math.floor((wallMs - seconds * 1000) * 1_000_000)) };
  }

  monotonicMs(): number {
    return this.#localMs + (this.#scheduler.nowMs - this.#atMs) * this.#rate;
  }

  /** How long a delay by this clock takes. */
  virtualMs(localDelayMs: number): number {
    return localDelayMs / this.#rate;
  }
}
