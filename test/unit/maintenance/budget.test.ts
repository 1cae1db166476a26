import { expect, test } from 'vitest';
import { IoBudget } from '../../../src/maintenance/budget.ts';
import type { Platform } from '../../../src/platform/platform.ts';

const MB = 1e6;

/** Time that passes when somebody waits for it, or says so. */
class World {
  nowMs = 0;
  foregroundBytes = 0;
  readonly budget: IoBudget;

  constructor() {
    const sleep = (delayMs: number): Promise<void> => {
      this.pass(delayMs);
      return Promise.resolve();
    };
    const platform = { clock: { monotonicMs: () => this.nowMs }, timers: { sleep } };
    this.budget = new IoBudget(platform as unknown as Platform, () => this.foregroundBytes);
  }

  /** Users move 100 MB a second while they are at work. */
  usersWork = true;

  pass(durationMs: number): void {
    this.nowMs += durationMs;
    if (this.usersWork) this.foregroundBytes += (durationMs / 1000) * 100 * MB;
  }

  /** Steps of a megabyte that take so long, one after the other. Returns the share of the time that they took. */
  async work(stepMs: number, steps: number): Promise<number> {
    const startMs = this.nowMs;
    for (let step = 0; step < steps; step++) {
      const done = await this.budget.take(MB);
      this.pass(stepMs);
      done();
    }
    return (steps * stepMs) / (this.nowMs - startMs);
  }
}

test('while users do nothing, work waits for nothing', async () => {
  const world = new World();
  world.usersWork = false;
  expect(await world.work(50, 100)).toBe(1);
});

test('beside users, slow steps take a small part of the time, and a larger one while data is at risk', async () => {
  const world = new World();
  await world.work(20, 100);
  expect(await world.work(20, 500)).toBeLessThan(0.17);
  world.budget.atRisk = true;
  const atRisk = await world.work(20, 500);
  expect(atRisk).toBeGreaterThan(0.2);
  expect(atRisk).toBeLessThan(0.27);
});

test('steps that mostly wait behind users go on all the same', async () => {
  const world = new World();
  await world.work(2_000, 10);
  // Half of 5 % of 200 MB a second would be ten such steps at a time.
  expect(await world.work(2_000, 20)).toBe(1);
});

test('fast steps move no more than a share of what the nodes were seen to carry', async () => {
  const world = new World();
  // That users are at work shows after a while.
  world.pass(600);
  await world.work(1, 10);
  const startMs = world.nowMs;
  await world.work(1, 500);
  const rate = (500 * MB) / (world.nowMs - startMs);
  // 5 % of 200 MB a second, which is what is believed at first.
  expect(rate * 1000).toBeLessThan(11 * MB);
  expect(rate * 1000).toBeGreaterThan(6 * MB);
});
