/** What simulated databases keep, lose and lock; the rest is in the conformance suite. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Database } from '../../../src/platform/platform.ts';
import { OrderedTree } from '../../../src/simulator/disks/ordered-tree.ts';
import { BLOCK, block, DIRECTORY, type DiskBed, diskBed, underSeeds } from './disk-bed.ts';

const at = `${DIRECTORY}/database`;
const key = (text: string): Buffer => Buffer.from(text);
const put = (database: Database, name: string, sync = false): Promise<void> =>
  database.batch([{ type: 'put', key: key(name), value: key(name) }], { sync } as object);
const open = (bed: DiskBed): Promise<Database> => bed.run((_, platform) => platform.databases.open(at));
const namesIn = (bed: DiskBed): Promise<string> =>
  bed.run(async (_, platform) => {
    const database = await platform.databases.open(at);
    const entries = await database.iterator().all();
    await database.close();
    return entries.map(([name]) => name.toString()).join('');
  });

describe('a power loss', () => {
  test('leaves what was synced with everything before, and a beginning of the rest', async () => {
    const outcomes = await underSeeds(60, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      await bed.run(async () => {
        await put(database, 'a');
        await put(database, 'b', true);
        for (const name of ['c', 'd', 'e']) await put(database, name);
      });
      bed.losePower();
      return namesIn(bed);
    });
    expect(new Set(outcomes)).toEqual(new Set(['ab', 'abc', 'abcd', 'abcde']));
  });

  test('may leave a gap between a log that was just closed and the synced part of the next', async () => {
    const outcomes = await underSeeds(60, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      const long = { type: 'put' as const, key: key('z'), value: Buffer.alloc(70_000) };
      await bed.run(async (_, platform) => {
        await put(database, 'a', true);
        await put(database, 'b');
        await database.batch([long]);
        await put(database, 'c', true);
        await platform.timers.sleep(seed % 2 === 0 ? 0 : 1000);
      });
      bed.losePower();
      return `${seed % 2} ${await namesIn(bed)}`;
    });
    expect(new Set(outcomes)).toEqual(new Set(['1 abcz', '0 ac', '0 abc', '0 abcz']));
  });

  test('takes nothing that was there when the database was opened', async () => {
    const outcomes = await underSeeds(20, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      await bed.run(() => put(database, 'a'));
      bed.kill();
      await open(bed);
      bed.losePower();
      return namesIn(bed);
    });
    expect(new Set(outcomes)).toEqual(new Set(['a']));
  });

  test('takes a batch whole or not at all', async () => {
    const outcomes = await underSeeds(30, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      await bed.run(async () => {
        await put(database, 'x', true);
        await database.batch().put(key('a'), key('1')).put(key('b'), key('2')).del(key('x')).write();
      });
      bed.losePower();
      return namesIn(bed);
    });
    expect(new Set(outcomes)).toEqual(new Set(['x', 'ab']));
  });

  test('decides a synced batch that is under way', async () => {
    const outcomes = await underSeeds(30, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      await bed.run(async () => {
        put(database, 'a', true).catch(() => expect.unreachable());
      });
      bed.losePower();
      return namesIn(bed);
    });
    expect(new Set(outcomes)).toEqual(new Set(['', 'a']));
  });

  test('may undo a destruction that was not synced', async () => {
    const outcomes = await underSeeds(20, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      await bed.run(async (_, platform) => {
        await put(database, 'a', true);
        await database.close();
        await platform.databases.destroy(at);
      });
      bed.losePower();
      return namesIn(bed);
    });
    expect(new Set(outcomes)).toEqual(new Set(['', 'a']));
  });
});

describe('the death of a process', () => {
  test('loses nothing that was written and opens the lock', async () => {
    const bed = await diskBed(1);
    const database = await open(bed);
    await bed.run(() => put(database, 'a'));
    bed.kill();
    expect(await namesIn(bed)).toBe('a');
  });

  test('never lets a batch of the dead arrive later', async () => {
    const outcomes = await underSeeds(20, async (seed) => {
      const bed = await diskBed(seed);
      const database = await open(bed);
      await bed.run(async () => {
        put(database, 'a').catch(() => expect.unreachable());
      });
      bed.kill();
      const first = await namesIn(bed);
      await bed.run((_, platform) => platform.timers.sleep(1000));
      expect(await namesIn(bed)).toBe(first);
      return first;
    });
    expect(new Set(outcomes)).toEqual(new Set(['', 'a']));
  });
});

test('clearing is done in pieces, so that a power loss may leave a part', async () => {
  const names = Array.from({ length: 1000 }, (_, index) => String(index).padStart(4, '0'));
  const outcomes = await underSeeds(20, async (seed) => {
    const bed = await diskBed(seed);
    const database = await open(bed);
    await bed.run(async () => {
      const puts = names.map((name) => ({ type: 'put' as const, key: key(name), value: key('') }));
      await database.batch(puts, { sync: true } as object);
      await database.clear();
    });
    bed.losePower();
    return (await namesIn(bed)).length / 4;
  });
  expect(outcomes).toContain(0);
  expect(outcomes).toContain(1000);
  expect(outcomes.some((count) => count > 0 && count < 1000)).toBe(true);
});

test('a corrupt one cannot be opened until it is destroyed', async () => {
  const bed = await diskBed(1);
  await bed.run(async () => undefined);
  expect(bed.disk.faults.corruptDatabase(at)).toBe(false);
  const database = await open(bed);
  await bed.run(() => database.close());
  expect(bed.disk.faults.corruptDatabase(at)).toBe(true);
  await expect(open(bed)).rejects.toMatchObject({ name: 'MachineError', code: 'ECORRUPT' });
  bed.losePower();
  await expect(open(bed)).rejects.toMatchObject({ code: 'ECORRUPT' });
  await bed.run((_, platform) => platform.databases.destroy(at));
  expect(await namesIn(bed)).toBe('');
});

test('on a full disk writes fail until the database is opened again with room', async () => {
  const bed = await diskBed(1, { capacityBytes: 4 * BLOCK });
  const database = await open(bed);
  await bed.run(async (files) => {
    await expect(database.put(key('a'), block(1, 5))).rejects.toMatchObject({ code: 'LEVEL_IO_ERROR' });
    await expect(database.put(key('a'), block(1))).rejects.toMatchObject({ code: 'LEVEL_IO_ERROR' });
    await database.close();
    await database.open();
    await database.put(key('a'), block(1));
    expect((await files.space(DIRECTORY)).freeBytes).toBeLessThanOrEqual(3 * BLOCK);
    await database.del(key('a'));
    expect((await files.space(DIRECTORY)).freeBytes).toBe(4 * BLOCK);
  });
});

test('the tree under a database holds what a sorted map holds, and old trees stay as they were', () => {
  const keys = fc.string({ unit: fc.constantFrom('a', 'b', '\u00ff', '\0'), maxLength: 5 });
  const change = fc.record({ key: keys, put: fc.boolean() });
  fc.assert(
    fc.property(
      fc.array(change, { maxLength: 400 }),
      keys,
      keys,
      fc.boolean(),
      (changes, low, high, reverse) => {
        let tree = OrderedTree.empty;
        const model = new Map<string, Buffer>();
        const history: [OrderedTree, number][] = [];
        for (const [index, { key: name, put: isPut }] of changes.entries()) {
          const value = Buffer.from([index]);
          tree = isPut ? tree.put(name, value) : tree.remove(name);
          if (isPut) model.set(name, value);
          else model.delete(name);
          history.push([tree, model.size]);
        }
        const sorted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
        expect(tree.entries({}, Number.POSITIVE_INFINITY)).toEqual(sorted);
        expect(tree.lengthBytes).toBe(sorted.reduce((sum, [name]) => sum + name.length + 1, 0));
        const range = { from: { key: low, inclusive: false }, to: { key: high, inclusive: true }, reverse };
        const within = sorted.filter(([name]) => name > low && name <= high);
        if (reverse) within.reverse();
        expect(tree.entries(range, 7)).toEqual(within.slice(0, 7));
        for (const name of [low, high]) expect(tree.get(name)).toEqual(model.get(name));
        for (const [old, size] of history)
          expect(old.entries({}, Number.POSITIVE_INFINITY)).toHaveLength(size);
      },
    ),
    { numRuns: 60, seed: 1 },
  );
});
