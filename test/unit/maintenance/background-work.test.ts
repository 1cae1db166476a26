import { afterEach, expect, test } from 'vitest';
import { FragmentClaims } from '../../../src/log/fragment-claims.ts';
import { BackgroundWork, type BackgroundWorkParts } from '../../../src/maintenance/background-work.ts';
import { IoBudget, RateLimit } from '../../../src/maintenance/budget.ts';
import { SharedPieces } from '../../../src/maintenance/shared-pieces.ts';
import { MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import type { Platform, Timer } from '../../../src/platform/platform.ts';
import { ManualClock, testPlatform } from '../filesystem/harness.ts';

/** Timers that only a test lets fire. */
class Timers {
  readonly waiting: { readonly delayMs: number; readonly run: () => void }[] = [];

  after(delayMs: number, run: () => void): Timer {
    const timer = { delayMs, run };
    this.waiting.push(timer);
    return { cancel: () => void this.#remove(timer) };
  }

  #remove(timer: (typeof this.waiting)[number]): void {
    const at = this.waiting.indexOf(timer);
    if (at >= 0) this.waiting.splice(at, 1);
  }

  fire(): void {
    for (const { run } of this.waiting.splice(0)) run();
  }
}

const timers = new Timers();
const usual = testPlatform(new ManualClock());
const platform: Platform = {
  ...usual,
  timers: { ...usual.timers, after: (delayMs, run) => timers.after(delayMs, run) },
};

let work: BackgroundWork<number>;
let ended: number[];
let interruptions: string[];

function make(parts: Partial<BackgroundWorkParts<number>>): BackgroundWork<number> {
  ended = [];
  interruptions = [];
  work = new BackgroundWork<number>(platform, {
    ...{ workers: 2, claims: new FragmentClaims(), limit: new RateLimit(platform) },
    budget: new IoBudget(platform, () => 0),
    pieces: new SharedPieces([]),
    isNeeded: () => true,
    isHeldUp: () => false,
    batch: () => [],
    carryOut: async () => true,
    segmentOf: (segmentId) => segmentId,
    retryInMs: () => 5_000,
    onEnd: (tasks) => ended.push(tasks),
    onInterrupted: ({ message }) => interruptions.push(message),
    ...parts,
  });
  return work;
}

/** Tasks that are done once each. */
function doing(segmentIds: number[], carryOut: (segmentId: number) => Promise<boolean>) {
  const left = new Set(segmentIds);
  return {
    isNeeded: () => left.size > 0,
    batch: () => [...left].filter((segmentId) => !work.isPostponed(segmentId)).slice(0, 3),
    carryOut: async (segmentId: number) => {
      const isDone = await carryOut(segmentId);
      if (isDone) left.delete(segmentId);
      return isDone;
    },
  };
}

const idle = async () => {
  while (work.isRunning) await new Promise((resolve) => setImmediate(resolve));
};

afterEach(async () => {
  await work.close();
  timers.waiting.length = 0;
});

test('batches are carried out until there is nothing left, by no more workers than there are', async () => {
  let atOnce = 0;
  let most = 0;
  const done: number[] = [];
  const tasks = doing([1, 2, 3, 4, 5, 6, 7], async (segmentId) => {
    most = Math.max(most, ++atOnce);
    await new Promise((resolve) => setImmediate(resolve));
    atOnce--;
    done.push(segmentId);
    return true;
  });
  make({ ...tasks, retryInMs: () => undefined }).wake();
  expect(work.isRunning).toBe(true);
  await idle();
  expect(done.sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
  expect(most).toBe(2);
  expect(ended).toEqual([7]);
  expect(timers.waiting).toEqual([]);
});

test('what cannot be done now is put off until the next retry, which waking does not put off', async () => {
  const tried: number[] = [];
  let isAble = false;
  make(
    doing([1, 2], async (segmentId) => {
      tried.push(segmentId);
      return isAble || segmentId === 2;
    }),
  ).wake();
  await idle();
  expect(tried).toEqual([1, 2]);
  expect(work.postponedCount).toBe(1);
  const [timer] = timers.waiting;
  work.wake();
  await idle();
  expect(tried).toEqual([1, 2]);
  expect(timers.waiting).toEqual([timer]);
  isAble = true;
  timers.fire();
  await idle();
  expect(tried).toEqual([1, 2, 1]);
  expect(work.postponedCount).toBe(0);
});

test('being woken while at work makes it look once more', async () => {
  let looks = 0;
  make({
    batch: () => {
      looks++;
      return [];
    },
  });
  work.wake();
  work.wake();
  work.wake();
  await idle();
  expect(looks).toBe(2);
});

test('what is held up begins nothing more, and goes on when it is woken', async () => {
  let isPaused = false;
  const done: number[] = [];
  const tasks = doing([1, 2, 3, 4], async (segmentId) => {
    done.push(segmentId);
    isPaused = done.length === 2;
    return true;
  });
  make({ ...tasks, workers: 1, isHeldUp: () => isPaused }).wake();
  await idle();
  expect(done).toEqual([1, 2]);
  isPaused = false;
  work.wake();
  await idle();
  expect(done).toEqual([1, 2, 3, 4]);
});

test('metadata that cannot be used ends a run once every worker has ended', async () => {
  let finish: () => void = () => undefined;
  const slow = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const tasks = doing([1, 2, 3], async (segmentId) => {
    if (segmentId === 1) throw new MetadataUnavailable('no majority');
    await slow;
    return true;
  });
  make(tasks).wake();
  await new Promise((resolve) => setImmediate(resolve));
  expect(work.isRunning).toBe(true);
  finish();
  await idle();
  expect(interruptions).toEqual(['no majority']);
  expect(ended).toEqual([]);
  expect(timers.waiting).toHaveLength(1);
});

test('a bug in a task is not swallowed', async () => {
  let fail: (bug: Error) => void = () => undefined;
  const failing = new Promise<boolean>((_, reject) => {
    fail = reject;
  });
  make({ ...doing([1], () => failing), workers: 1 }).wake();
  await new Promise((resolve) => setImmediate(resolve));
  const closed = work.close();
  fail(new Error('a bug'));
  await expect(closed).rejects.toThrow('a bug');
});

test('nothing waits for its turn once it is closed', async () => {
  const limit = new RateLimit(platform);
  limit.bytesPerSecond = 1;
  const outcomes: boolean[] = [];
  const tasks = doing([1, 2], async () => {
    outcomes.push((await work.turn(1_000_000)) !== undefined);
    return false;
  });
  make({ ...tasks, limit, workers: 1 }).wake();
  await new Promise((resolve) => setImmediate(resolve));
  expect(outcomes).toEqual([true]);
  await work.close();
  expect(outcomes).toEqual([true, false]);
  work.wake();
  expect(work.isRunning).toBe(false);
});

test('a segment that somebody else has in hand is left alone', async () => {
  const claims = new FragmentClaims();
  make({ claims });
  claims.hold(1);
  let acted = 0;
  const act = async () => {
    acted++;
    expect(claims.isHeld(2)).toBe(true);
    return true;
  };
  expect(await work.claimed(1, act)).toBe(false);
  expect(await work.claimed(2, act)).toBe(true);
  expect(claims.isHeld(2)).toBe(false);
  expect(acted).toBe(1);
});
