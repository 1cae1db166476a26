import { expect, test } from 'vitest';
import { createWorld } from '../../../src/simulator/machine/world.ts';

test('events run by their moment, and within one moment as they were scheduled', async () => {
  const world = createWorld(1);
  const { scheduler } = world;
  const order: string[] = [];
  const at = (delayMs: number, what: string) => scheduler.after(delayMs, () => order.push(what));
  at(5, 'five');
  at(1, 'one');
  at(0, 'at once');
  scheduler.after(1, () => {
    order.push('one again');
    at(0, 'from within');
    at(4, 'five at last');
  });
  at(1, 'one thirdly');
  at(5, 'five again');
  expect(await world.run()).toBe('idle');
  expect(order.join(', ')).toBe(
    'at once, one, one again, one thirdly, from within, five, five again, five at last',
  );
  expect(scheduler.nowMs).toBe(5);
});

test('a thousand events in any order come out sorted', async () => {
  const world = createWorld(2);
  const dice = world.dice.fork('delays');
  const seen: number[] = [];
  for (let i = 0; i < 1_000; i++)
    world.scheduler.after(dice.below(200), () => {
      seen.push(world.scheduler.nowMs);
      if (dice.chance(0.5)) world.scheduler.after(dice.below(20), () => seen.push(world.scheduler.nowMs));
    });
  await world.run();
  expect(seen.length).toBeGreaterThan(1_300);
  expect(seen).toEqual([...seen].sort((a, b) => a - b));
});

test('everything that an event causes happens before the next event', async () => {
  const world = createWorld(1);
  const order: string[] = [];
  for (const name of ['first', 'second', 'third']) {
    world.scheduler.after(1, () => {
      process.nextTick(() => order.push(`${name} tick`));
      void (async () => {
        for (let i = 0; i < 50; i++) await undefined;
        process.nextTick(() => queueMicrotask(() => order.push(`${name} end`)));
      })();
    });
  }
  await world.run();
  const names = ['first', 'second', 'third'];
  expect(order).toEqual(names.flatMap((name) => [`${name} tick`, `${name} end`]));
});

test('a cancelled event does not run, and many of them do not fill the memory', async () => {
  const world = createWorld(1);
  let ran = 0;
  let left = 200_000;
  const next = (): void => {
    const timeout = world.scheduler.after(60_000, () => ran++);
    world.scheduler.after(0.01, () => {
      timeout.cancel();
      timeout.cancel();
      if (left-- > 0) next();
    });
  };
  world.scheduler.after(30_000, () => ran++);
  next();
  let most = 0;
  const watch = (): boolean => {
    most = Math.max(most, world.scheduler.pendingEvents);
    return false;
  };
  await world.run({ until: watch });
  expect(ran).toBe(1);
  expect(most).toBeLessThan(3_000);
});

test('a run ends at its limit of time, events or condition, and goes on from there', async () => {
  const world = createWorld(1);
  let count = 0;
  const tick = (): void => {
    count++;
    world.scheduler.after(10, tick);
  };
  world.scheduler.after(10, tick);
  expect(await world.run({ untilMs: 100 })).toBe('time');
  expect([count, world.scheduler.nowMs]).toEqual([10, 100]);
  expect(await world.run({ untilMs: 105 })).toBe('time');
  expect([count, world.scheduler.nowMs]).toEqual([10, 105]);
  expect(await world.run({ maxEvents: 3 })).toBe('events');
  expect([count, world.scheduler.nowMs]).toEqual([13, 130]);
  expect(await world.run({ until: () => count === 20 })).toBe('condition');
  expect([count, world.scheduler.nowMs]).toEqual([20, 200]);
});

test.each([
  [
    'an exception',
    () => {
      throw new Error('boom');
    },
  ],
  [
    'a rejection that nobody takes',
    () => {
      void Promise.reject(new Error('boom'));
    },
  ],
  [
    'an exception in a promise reaction',
    () =>
      queueMicrotask(() => {
        throw new Error('boom');
      }),
  ],
  [
    'an exception in a tick',
    () =>
      process.nextTick(() => {
        throw new Error('boom');
      }),
  ],
] as [string, () => void][])('%s fails the run and not the process', async (_, misbehave) => {
  const world = createWorld(1);
  const listeners = [process.listeners('unhandledRejection'), process.listeners('uncaughtException')];
  let after = 0;
  world.scheduler.after(3, misbehave);
  world.scheduler.after(3, () => after++);
  expect(await world.run()).toBe('failure');
  expect(world.failure).toMatchObject({ kind: 'crash', error: { message: 'boom' }, atMs: 3 });
  expect(world.failure!.error.stack).toContain('scheduler.test');
  expect(after).toBe(0);
  expect(await world.run()).toBe('failure');
  expect([process.listeners('unhandledRejection'), process.listeners('uncaughtException')]).toEqual(
    listeners,
  );
});

test("a rejection that is taken within its event is nobody's failure", async () => {
  const world = createWorld(1);
  let taken: unknown;
  world.scheduler.after(1, () => {
    const rejected = Promise.reject(new Error('expected'));
    void (async () => {
      await undefined;
      await rejected.catch((error: unknown) => {
        taken = error;
      });
    })();
  });
  expect(await world.run()).toBe('idle');
  expect(taken).toMatchObject({ message: 'expected' });
});

test('completing a promise gives what it gives, and does not wait for ever', async () => {
  const world = createWorld(1);
  const later = <T>(delayMs: number, settle: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      world.scheduler.after(delayMs, () => {
        try {
          resolve(settle());
        } catch (error) {
          reject(error as Error);
        }
      });
    });
  expect(await world.complete(later(10, () => 'done'))).toBe('done');
  expect(world.scheduler.nowMs).toBe(10);
  await expect(
    world.complete(
      later(10, () => {
        throw new Error('no');
      }),
    ),
  ).rejects.toThrow('no');
  await expect(
    world.complete(
      later(100, () => 'late'),
      { withinMs: 50 },
    ),
  ).rejects.toThrow(/pending at 70 ms: time/);
  await expect(world.complete(new Promise(() => {}))).rejects.toThrow(/pending at 120 ms: idle/);
  world.scheduler.after(1, () => {
    throw new Error('elsewhere');
  });
  await expect(world.complete(new Promise(() => {}))).rejects.toThrow('elsewhere');
});

test('the trace tells runs apart that differ in anything, with and without a reader', async () => {
  const run = async (change: { delayMs?: number; field?: string; read?: boolean }): Promise<string> => {
    const lines: string[] = [];
    const world = createWorld(1, change.read ? { trace: (atMs, what) => lines.push(`${atMs} ${what}`) } : {});
    world.scheduler.after(change.delayMs ?? 1, () =>
      world.trace.event('happened', { field: change.field ?? 'a' }),
    );
    await world.run();
    if (change.read) expect(lines).toEqual(['1 happened']);
    return world.trace.hash;
  };
  const usual = await run({});
  expect(usual).toMatch(/^[0-9a-f]{16}$/);
  expect(await run({})).toBe(usual);
  expect(await run({ read: true })).toBe(usual);
  expect(await run({ delayMs: 1.001 })).not.toBe(usual);
  expect(await run({ field: 'b' })).not.toBe(usual);
});

test('two worlds in one process do not disturb each other', async () => {
  const alone = async (seed: number): Promise<string> => {
    const world = createWorld(seed);
    const dice = world.dice.fork('steps');
    let left = 500;
    const step = (): void => {
      if (left-- > 0) void Promise.resolve().then(() => world.scheduler.after(dice.unit(), step));
    };
    step();
    await world.run();
    return world.trace.hash;
  };
  const failing = async (): Promise<string | undefined> => {
    const world = createWorld(3);
    world.scheduler.after(1, () => void Promise.reject(new Error('mine')));
    await world.run();
    return world.failure?.error.message;
  };
  const one = await alone(1);
  const two = await alone(2);
  expect(await Promise.all([alone(1), failing(), alone(2)])).toEqual([one, 'mine', two]);
});
