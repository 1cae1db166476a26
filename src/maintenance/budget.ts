/**
 * How fast background work may go: its share of what the nodes were seen to carry while users are at work, more of it while data is at risk, and
 * all there is while users do nothing; never more than a limit that somebody set.
 *
 * What the nodes carry is measured, not configured: the most bytes of users and background work together within a short while, forgotten slowly. That says little where
 * the processor is what lacks, or users read at random. So background work may also be under way for no more than a part of the time, which follows from how long its steps
 * take while users are at work: where everything is slow, it slows down by itself.
 * All background work that shares a budget takes turns in it.
 */
import type { Platform } from '../platform/platform.ts';

const WINDOW_MS = 500;
/** Users that move less than this are not held up by anything. */
const QUIET_BYTES_PER_SECOND = 64 * 1024;
/** Users count as active for so long after their last bytes. */
const LULL_MS = 1_500;
const FIRST_GUESS_BYTES_PER_SECOND = 200e6;
const FORGOTTEN_A_WINDOW = 0.002;
const USUAL_SHARE = 0.05;
const SHARE_AT_RISK = 0.3;
/** Of the time, beside users. */
const USUAL_TIME = 0.15;
const TIME_AT_RISK = 0.25;
/** Of its share of bytes, whatever its steps take: behind a writer that fills every queue they mostly wait. */
const LEAST_OF_USUAL_SHARE = 0.5;
const LEAST_OF_SHARE_AT_RISK = 0.1;
/** A step that takes longer waits for something else than the machine. */
const LONGEST_STEP_MS = 2_000;
/** How much of what is known of steps a new one changes. */
const NEW_STEP = 0.2;

/** What was moved in one window, by users and background work together. */
export interface CarriedWindow {
  readonly bytesPerSecond: number;
  readonly elapsedMs: number;
  /** Background work was under way all the time, beside no users and without limits. */
  readonly isBusy: boolean;
}

export class IoBudget {
  readonly #platform: Platform;
  readonly #foregroundBytes: () => number;
  readonly #usualShare: number;
  #atRisk = false;
  #measuredRate = FIRST_GUESS_BYTES_PER_SECOND;
  #windowStartMs: number;
  #windowForeground: number;
  #windowBackground = 0;
  /** Of steps that ended, one after the other or beside each other. */
  #windowStepMs = 0;
  /** Told of each window. */
  onWindow: ((window: CarriedWindow) => void) | undefined;
  #activeUntilMs = Number.NEGATIVE_INFINITY;
  /** When the bytes that were granted so far are used up. */
  #spentUntilMs = 0;
  /** How long background work takes; undefined: none has been done yet. */
  #msPerByte: number | undefined;

  /** `foregroundBytes`: what users have read and written so far. */
  constructor(platform: Platform, foregroundBytes: () => number, usualShare = USUAL_SHARE) {
    this.#platform = platform;
    this.#foregroundBytes = foregroundBytes;
    this.#usualShare = usualShare;
    this.#windowStartMs = platform.clock.monotonicMs();
    this.#windowForeground = foregroundBytes();
  }

  /** Some data would be lost with one more node. */
  set atRisk(atRisk: boolean) {
    this.#atRisk = atRisk;
  }

  /** Bytes per second that background work may move now; infinite while users are quiet. */
  get rate(): number {
    this.#look();
    if (this.#platform.clock.monotonicMs() >= this.#activeUntilMs) return Number.POSITIVE_INFINITY;
    const ofBytes = this.#measuredRate * (this.#atRisk ? SHARE_AT_RISK : this.#usualShare);
    if (this.#msPerByte === undefined) return ofBytes;
    const ofTime = ((this.#atRisk ? TIME_AT_RISK : USUAL_TIME) * 1000) / this.#msPerByte;
    return Math.max(
      Math.min(ofBytes, ofTime),
      (this.#atRisk ? LEAST_OF_SHARE_AT_RISK : LEAST_OF_USUAL_SHARE) * ofBytes,
    );
  }

  /** Waits until so many bytes may be moved. What it returns is to be called when they have been. */
  async take(lengthBytes: number): Promise<() => void> {
    this.#look();
    this.#windowBackground += lengthBytes;
    const nowMs = this.#platform.clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#spentUntilMs);
    const { rate } = this;
    this.#spentUntilMs = Number.isFinite(rate) ? startMs + (1000 * lengthBytes) / rate : nowMs;
    if (startMs > nowMs && Number.isFinite(rate)) await this.#platform.timers.sleep(startMs - nowMs);
    const beganMs = this.#platform.clock.monotonicMs();
    return () => this.#noteStep(lengthBytes, this.#platform.clock.monotonicMs() - beganMs);
  }

  #noteStep(lengthBytes: number, durationMs: number): void {
    this.#windowStepMs += durationMs;
    if (lengthBytes === 0) return;
    const msPerByte = Math.min(durationMs, LONGEST_STEP_MS) / lengthBytes;
    const known = this.#msPerByte ?? msPerByte;
    this.#msPerByte = known + NEW_STEP * (msPerByte - known);
  }

  #look(): void {
    const nowMs = this.#platform.clock.monotonicMs();
    const elapsedMs = nowMs - this.#windowStartMs;
    if (elapsedMs < WINDOW_MS) return;
    const foreground = this.#foregroundBytes();
    const moved = Math.max(0, foreground - this.#windowForeground);
    if ((1000 * moved) / elapsedMs >= QUIET_BYTES_PER_SECOND) this.#activeUntilMs = nowMs + LULL_MS;
    const rate = (1000 * (moved + this.#windowBackground)) / elapsedMs;
    this.#measuredRate = Math.max(rate, this.#measuredRate * (1 - FORGOTTEN_A_WINDOW));
    const isQuiet = nowMs >= this.#activeUntilMs;
    this.#windowStartMs = nowMs;
    this.#windowForeground = foreground;
    const isBusy = isQuiet && this.#windowBackground > 0 && this.#windowStepMs >= elapsedMs;
    this.#windowBackground = 0;
    this.#windowStepMs = 0;
    this.onWindow?.({ bytesPerSecond: rate, elapsedMs, isBusy });
  }
}

/** A limit that somebody set for one kind of work. */
export class RateLimit {
  readonly #platform: Platform;
  /** undefined: none. */
  bytesPerSecond: number | undefined;
  #spentUntilMs = 0;

  constructor(platform: Platform) {
    this.#platform = platform;
  }

  async take(lengthBytes: number): Promise<void> {
    if (this.bytesPerSecond === undefined) return;
    const nowMs = this.#platform.clock.monotonicMs();
    const startMs = Math.max(nowMs, this.#spentUntilMs);
    this.#spentUntilMs = startMs + (1000 * lengthBytes) / this.bytesPerSecond;
    if (startMs > nowMs) await this.#platform.timers.sleep(startMs - nowMs);
  }
}
