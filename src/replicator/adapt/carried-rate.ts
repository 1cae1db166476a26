/**
 * How many bytes a second the nodes carry together: what rebuilding and changes of the layout are foretold by. Long-lived, unlike the budget's figure, which fades while
 * nobody moves anything; remembered over restarts by its owner.
 *
 * It rises towards what is seen to be carried, and sinks towards that only where nodes were busy with nothing but background work the whole time: what users ask
 * for says what nodes carry at least. What is known fades in months, towards what is believed of nodes that were never busy.
 */
import type { CarriedWindow } from '../../maintenance/budget.ts';
import type { Platform, Timer } from '../../platform/platform.ts';

const BELIEVED_BYTES_PER_SECOND = 100e6;
const HALF_LIFE_MS = 30 * 24 * 3_600_000;
/** Of the difference, for each window of the budget: one burst says little. */
const RISE = 0.3;
const FALL = 0.05;
const LOOK_MS = 5_000;
const SAVE_EVERY_MS = 60_000;
/** A change by less is not worth remembering. */
const SAVE_FACTOR = 1.2;

export interface CarriedRateParts {
  /** Has the windows looked at that are over. */
  readonly look: () => void;
  /** False: not now. */
  readonly save: (bytesPerSecond: number) => boolean;
}

export class CarriedRate {
  readonly #platform: Platform;
  readonly #parts: CarriedRateParts;
  #bytesPerSecond: number;
  #savedBytesPerSecond: number;
  #savedAtMs: number;
  #timer: Timer;

  constructor(platform: Platform, parts: CarriedRateParts, remembered: number | undefined) {
    this.#platform = platform;
    this.#parts = parts;
    this.#bytesPerSecond = remembered ?? BELIEVED_BYTES_PER_SECOND;
    this.#savedBytesPerSecond = this.#bytesPerSecond;
    this.#savedAtMs = platform.clock.monotonicMs();
    this.#timer = platform.timers.after(LOOK_MS, () => this.#look());
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  note({ bytesPerSecond, elapsedMs, isBusy }: CarriedWindow): void {
    const kept = 2 ** (-elapsedMs / HALF_LIFE_MS);
    const known = BELIEVED_BYTES_PER_SECOND + (this.#bytesPerSecond - BELIEVED_BYTES_PER_SECOND) * kept;
    const weight = bytesPerSecond > known ? RISE : isBusy ? FALL : 0;
    this.#bytesPerSecond = Math.max(1, known + weight * (bytesPerSecond - known));
  }

  #look(): void {
    this.#parts.look();
    this.#saveIfChanged();
    this.#timer = this.#platform.timers.after(LOOK_MS, () => this.#look());
  }

  #saveIfChanged(): void {
    const nowMs = this.#platform.clock.monotonicMs();
    const change = this.#bytesPerSecond / this.#savedBytesPerSecond;
    if (Math.max(change, 1 / change) < SAVE_FACTOR || nowMs - this.#savedAtMs < SAVE_EVERY_MS) return;
    if (!this.#parts.save(this.#bytesPerSecond)) return;
    this.#savedBytesPerSecond = this.#bytesPerSecond;
    this.#savedAtMs = nowMs;
  }

  close(): void {
    this.#timer.cancel();
  }
}
