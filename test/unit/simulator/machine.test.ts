import { beforeEach, expect, test } from 'vitest';
import type { Timers } from '../../../src/platform/platform.ts';
import { createMachine, type Machine, type MachineOptions } from '../../../src/simulator/machine/machine.ts';
import { createWorld, type SimulatedWorld } from '../../../src/simulator/machine/world.ts';
import { noDisk } from './no-disk.ts';

let world: SimulatedWorld;
beforeEach(() => {
  world = createWorld(9);
});
const machine = (options: Partial<MachineOptions> = {}): Machine =>
  createMachine(world, { name: 'one', disk: noDisk, ...options });

test('nothing that a process waited for comes after it was killed', async () => {
  const process = machine().start('program');
  const { timers } = process.platform;
  const heard: string[] = [];
  timers.after(10, () => heard.push('timer'));
  timers.sleep(10).then(() => heard.push('sleep'));
  world.scheduler.after(10, () => {
    heard.push('killed');
    process.kill();
    timers.defer(() => heard.push('defer'));
    process.after(0, () => heard.push('gate'));
    timers.after(1, () => heard.push('timer of the dead'));
  });
  timers.after(20, () => heard.push('late timer'));
  process.onDeath(() => heard.push(`death, alive: ${process.alive}`));
  await world.run();
  expect(heard).toEqual(['timer', 'sleep', 'killed', 'death, alive: false']);
  expect(process.liveTimers).toBe(0);
  process.kill();
  expect(heard.length).toBe(4);
});

test('a frozen process hears nothing, and everything in order when it thaws', async () => {
  const process = machine().start('program');
  const { timers } = process.platform;
  const heard: string[] = [];
  const note = (what: string) => () => void heard.push(`${what} at ${world.scheduler.nowMs}`);
  world.scheduler.after(5, () => process.freeze());
  // What comes at the moment of the thaw comes after all that is late.
  world.scheduler.after(50, () => process.thaw());
  for (const delayMs of [30, 10, 20, 50, 60]) timers.after(delayMs, note(`timer ${delayMs}`));
  const cancelled = timers.after(25, note('cancelled'));
  world.scheduler.after(40, () => cancelled.cancel());
  world.scheduler.after(50, note('another process'));
  await world.run();
  expect(heard).toEqual([
    'timer 10 at 50',
    'timer 20 at 50',
    'timer 30 at 50',
    'timer 50 at 50',
    'another process at 50',
    'timer 60 at 60',
  ]);
});

test('a process that is killed while it is frozen stays silent', async () => {
  const process = machine().start('program');
  let heard = 0;
  process.platform.timers.after(10, () => heard++);
  process.freeze();
  await world.run({ untilMs: 20 });
  process.kill();
  process.thaw();
  expect(await world.run()).toBe('idle');
  expect(heard).toBe(0);
});

test('live timers are counted, whatever becomes of them', async () => {
  const process = machine().start('program');
  const { timers } = process.platform;
  const cancelled = timers.after(5, () => {});
  timers.after(5, () => {});
  void timers.sleep(15);
  timers.after(10, () => process.freeze());
  const parked = timers.after(12, () => {});
  timers.defer(() => {});
  expect(process.liveTimers).toBe(5);
  cancelled.cancel();
  expect(process.liveTimers).toBe(4);
  await world.run({ untilMs: 7 });
  expect(process.liveTimers).toBe(3);
  await world.run({ untilMs: 13 });
  expect(process.liveTimers).toBe(2);
  parked.cancel();
  expect(process.liveTimers).toBe(1);
  process.thaw();
  await world.run();
  expect(process.liveTimers).toBe(0);
});

test('timers are never shorter than a millisecond, and deferred work runs at this moment', async () => {
  const { timers } = machine().start('program').platform;
  const times: Record<string, number> = {};
  const note = (what: string) => () => {
    times[what] = world.scheduler.nowMs;
  };
  await world.run({ untilMs: 3 });
  timers.after(0, note('timer'));
  timers.after(1.5, note('fraction'));
  timers.defer(note('deferred'));
  await world.run();
  expect(times).toEqual({ timer: 4, fraction: 4.5, deferred: 3 });
});

test('clocks differ between machines by skew, drift and uptime', async () => {
  const exact = machine({ name: 'exact' });
  const skewed = machine({ name: 'skewed', skewMs: -5_000 });
  const fast = machine({ name: 'fast', driftPpm: 100 });
  const start = exact.clock.wallMs();
  expect(new Date(start).getUTCFullYear()).toBe(2026);
  expect(skewed.clock.wallMs()).toBe(start - 5_000);
  expect(skewed.clock.monotonicMs()).not.toBe(exact.clock.monotonicMs());
  const fastStart = fast.clock.monotonicMs();
  await world.run({ untilMs: 1_000_000 });
  expect(exact.clock.wallMs()).toBe(start + 1_000_000);
  expect(skewed.clock.wallMs()).toBe(start + 1_000_000 - 5_000);
  expect(fast.clock.monotonicMs() - fastStart).toBeCloseTo(1_000_100, 3);
  expect(fast.clock.wallMs()).toBeCloseTo(start + 1_000_100, 3);
});

test('the monotonic clock goes on evenly whatever is done to the clocks', async () => {
  const { clock } = machine();
  let last = clock.monotonicMs();
  for (const [skewMs, driftPpm] of [
    [-60_000, 0],
    [3_600_000, -50_000],
    [0, 50_000],
    [0, 0],
  ] as const) {
    clock.skewMs = skewMs;
    clock.driftPpm = driftPpm;
    expect(clock.monotonicMs()).toBeCloseTo(last, 6);
    await world.run({ untilMs: world.scheduler.nowMs + 100 });
    expect(clock.monotonicMs() - last).toBeCloseTo(100 * (1 + driftPpm / 1e6), 6);
    last = clock.monotonicMs();
  }
});

test("timers go by the machine's own clock", async () => {
  const measure = async (timers: Timers): Promise<number> => {
    const from = world.scheduler.nowMs;
    await world.complete(timers.sleep(1_000));
    return world.scheduler.nowMs - from;
  };
  expect(await measure(machine({ name: 'slow', driftPpm: -50_000 }).start('x').platform.timers)).toBeCloseTo(
    1_052.6,
    1,
  );
  expect(await measure(machine({ name: 'fast', driftPpm: 50_000 }).start('x').platform.timers)).toBeCloseTo(
    952.4,
    1,
  );
});

test('a machine kills all its processes when it loses power, and then its disk forgets', () => {
  const events: string[] = [];
  const host = machine({
    disk: { ...noDisk, losePower: () => events.push('disk') },
  });
  const [one, two] = [host.start('program'), host.start('program')];
  one.onDeath(() => events.push('one'));
  two.onDeath(() => events.push('two'));
  host.losePower();
  expect(events).toEqual(['one', 'two', 'disk']);
  expect(host.processes).toEqual([]);
  const third = host.start('program');
  expect(host.processes).toEqual([third]);
  expect(new Set([one.name, two.name, third.name]).size).toBe(3);
});

test("random numbers are a process's own, and the same in every run", () => {
  const numbers = (seed: number): number[][] => {
    world = createWorld(seed);
    const host = machine();
    return [host.start('program'), host.start('program')].map(({ platform }) =>
      Array.from({ length: 5 }, () => platform.random.below(1_000)),
    );
  };
  const [first, second] = numbers(4);
  expect(numbers(4)).toEqual([first, second]);
  expect(first).not.toEqual(second);
  expect(numbers(5)[0]).not.toEqual(first);
});

test('log lines go to the trace with the process and its fields', async () => {
  const lines: unknown[] = [];
  world = createWorld(1, { trace: (atMs, what, fields) => lines.push({ atMs, what, ...fields }) });
  const process = machine().start('program');
  lines.length = 0;
  process.platform.timers.after(2, () => {
    const log = process.platform.log.child({ part: 'engine' });
    log.debug('turned', { turns: 3 });
    log.error('stopped');
  });
  await world.run();
  const common = { atMs: 2, process: process.name, part: 'engine' };
  expect(lines).toEqual([
    { ...common, what: 'turned', level: 'debug', turns: 3 },
    { ...common, what: 'stopped', level: 'error' },
  ]);
});

test('a stack trace in a line does not change the hash of the run, its message does', () => {
  const hash = (error: string): string => {
    const { trace } = createWorld(9);
    trace.event('refused', { error });
    return trace.hash;
  };
  const here =
    'Error: no room\n    at write (file:///here/dist/disk.js:12:3)\n    at file:///here/dist/main.js:1:1';
  expect(hash(here)).toBe(hash(here.replaceAll('/here/', '/elsewhere/')));
  expect(hash(here)).not.toBe(hash(here.replace('no room', 'no rooms')));
});

test('memory of a dead process serves others after a while, all zeros, and is empty for who still has a view', async () => {
  const dead = machine().start('program');
  const lengthBytes = 3 * 2 ** 18;
  const old = dead.platform.memory.allocate(lengthBytes).fill(1);
  const { buffer: slab } = dead.platform.memory.createSlab(lengthBytes);
  dead.kill();
  const { memory } = machine({ name: 'two' }).start('program').platform;
  memory.allocate(lengthBytes).fill(2);
  expect([old.length, old[0], slab.length]).toEqual([lengthBytes, 1, lengthBytes]);
  await world.run({ untilMs: 5_000 });
  const taken = Array.from({ length: 4 }, () => memory.allocate(lengthBytes));
  expect([old.length, slab.length]).toEqual([0, 0]);
  expect(taken.every((one) => one.length === lengthBytes && one.every((byte) => byte === 0))).toBe(true);
  expect(new Set(taken.map((one) => one.buffer)).size).toBe(4);
  world.end();
  expect(taken.every((one) => one.length === 0)).toBe(true);
});

test('slabs are memory without a descriptor, and empty once closed', () => {
  const { memory } = machine().start('program').platform;
  const slab = memory.createSlab(8_192);
  expect(slab.descriptor).toBeUndefined();
  const view = slab.buffer.subarray(4_096);
  view.fill(1);
  expect(slab.buffer[5_000]).toBe(1);
  slab.close();
  slab.close();
  expect([view.length, slab.buffer.length]).toEqual([0, 0]);
  expect(memory.allocate(4_096).every((byte) => byte === 0)).toBe(true);
  expect(() => memory.mapSlab(3, 4_096)).toThrow(/cannot map/);
  expect(() => memory.openDescriptor(3, true)).toThrow(/no descriptors/);
});
