import { expect, test } from 'vitest';
import type { Platform } from '../../../src/platform/platform.ts';
import { CarriedRate } from '../../../src/replicator/adapt/carried-rate.ts';

const BELIEVED = 100e6;
const WINDOW_MS = 500;

class Scene {
  nowMs = 0;
  saved: number | undefined;
  looks = 0;
  #timer: { atMs: number; run: () => void } | undefined;
  readonly rate: CarriedRate;

  constructor(remembered?: number) {
    const platform = {
      clock: { monotonicMs: () => this.nowMs },
      timers: {
        after: (delayMs: number, run: () => void) => {
          this.#timer = { atMs: this.nowMs + delayMs, run };
          return { cancel: () => undefined };
        },
      },
    } as unknown as Platform;
    const look = () => void this.looks++;
    const save = (bytesPerSecond: number) => {
      this.saved = bytesPerSecond;
      return true;
    };
    this.rate = new CarriedRate(platform, { look, save }, remembered);
  }

  note(bytesPerSecond: number, isBusy: boolean, windows = 1): void {
    for (let window = 0; window < windows; window++) {
      this.rate.note({ bytesPerSecond, isBusy, elapsedMs: WINDOW_MS });
      this.nowMs += WINDOW_MS;
    }
  }

  pass(ms: number): void {
    const endMs = this.nowMs + ms;
    while (this.#timer !== undefined && this.#timer.atMs <= endMs) {
      this.nowMs = this.#timer.atMs;
      this.#timer.run();
    }
    this.nowMs = endMs;
  }
}

test('what nodes carry is found out while they are busy, and not while nobody asks for more', () => {
  const scene = new Scene();
  expect(scene.rate.bytesPerSecond).toBe(BELIEVED);
  scene.note(1e6, false, 1000);
  expect(scene.rate.bytesPerSecond).toBeCloseTo(BELIEVED, -4);
  scene.note(20e6, true, 200);
  expect(scene.rate.bytesPerSecond / 20e6).toBeCloseTo(1, 1);
  scene.note(800e6, false);
  expect(scene.rate.bytesPerSecond).toBeLessThan(300e6);
  scene.note(800e6, false, 30);
  expect(scene.rate.bytesPerSecond / 800e6).toBeCloseTo(1, 1);
});

test('it lasts while nothing happens, over restarts, and fades in months', () => {
  const scene = new Scene();
  scene.note(800e6, false, 50);
  scene.pass(120_000);
  expect(scene.looks).toBeGreaterThan(10);
  expect(scene.saved! / 800e6).toBeCloseTo(1, 1);
  const again = new Scene(scene.saved);
  expect(again.rate.bytesPerSecond).toBe(scene.saved);
  const day = 24 * 3_600_000;
  again.rate.note({ bytesPerSecond: 0, isBusy: false, elapsedMs: day });
  expect(again.rate.bytesPerSecond / 800e6).toBeGreaterThan(0.95);
  again.rate.note({ bytesPerSecond: 0, isBusy: false, elapsedMs: 360 * day });
  expect(again.rate.bytesPerSecond / BELIEVED).toBeCloseTo(1, 1);
});
