import { expect, test } from 'vitest';
import { Progress } from '../../../src/maintenance/progress.ts';
import type { Clock } from '../../../src/platform/platform.ts';

let nowMs = 1_000;
const clock = { monotonicMs: () => nowMs } as Clock;

/** Steps of so many bytes, one every so many milliseconds. */
function work(progress: Progress, stepBytes: number, everyMs: number, durationMs: number): void {
  for (let ms = everyMs; ms <= durationMs; ms += everyMs) {
    nowMs += everyMs;
    progress.add(stepBytes);
  }
}

test('a rate is that of the last few seconds, soon after the beginning as later', () => {
  const progress = new Progress(clock);
  progress.restart();
  expect(progress.bytesPerSecond).toBe(0);
  expect(progress.secondsLeft(10)).toBeUndefined();
  work(progress, 1_000, 10, 500);
  expect(progress.bytesPerSecond).toBeCloseTo(100_000, -4);
  work(progress, 1_000, 10, 20_000);
  expect(progress.bytesPerSecond).toBeCloseTo(100_000, -4);
  work(progress, 5_000, 10, 6_000);
  expect(progress.bytesPerSecond).toBeCloseTo(500_000, -4);
  expect(progress.secondsLeft(1_000_000)).toBeCloseTo(2, 0);
  expect(progress.secondsLeft(0)).toBe(0);
  expect(progress.doneBytes).toBe(50_000 + 2_000_000 + 3_000_000);
});

test('steps that end in one moment count all, and work that stands still has no rate', () => {
  const progress = new Progress(clock);
  progress.restart();
  nowMs += 1_000;
  for (let worker = 0; worker < 3; worker++) progress.add(1_000);
  expect(progress.bytesPerSecond).toBe(3_000);
  nowMs += 60_000;
  expect(progress.bytesPerSecond).toBe(0);
  progress.restart();
  nowMs += 100;
  progress.add(1_000);
  expect(progress.bytesPerSecond).toBe(10_000);
});
