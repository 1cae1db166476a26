/** Each thing that can be wrong with a disk: it happens when it is switched on, to the files it is meant for, and not afterwards. */
import { describe, expect, test } from 'vitest';
import type { DiskFile } from '../../../src/platform/platform.ts';
import type { DiskFaultRates } from '../../../src/simulator/contract.ts';
import {
  BLOCK,
  block,
  DIRECTORY,
  type DiskBed,
  diskBed,
  path,
  sectorsOf,
  syncedFile,
  underSeeds,
} from './disk-bed.ts';

async function withFile(
  rates: Partial<DiskFaultRates>,
  bytes: Buffer,
  seed = 1,
): Promise<[DiskBed, DiskFile]> {
  const bed = await diskBed(seed);
  const file = await bed.run((files) => syncedFile(files, bytes));
  bed.disk.faults.set(rates);
  return [bed, file];
}

describe('a rate', () => {
  test('of read errors fails reads of every kind with EIO', async () => {
    const [bed, file] = await withFile({ readErrors: 1 }, block(1));
    await bed.run(async (files) => {
      await expect(file.read([block(0)], 0)).rejects.toMatchObject({ name: 'MachineError', code: 'EIO' });
      expect(() => file.readSync(block(0), 0)).toThrow(path);
      expect(await new Promise((resolve) => file.readThen(block(0), 0, resolve))).toBe(-5);
      await expect(files.readSmallFile(path)).rejects.toMatchObject({ code: 'EIO' });
    });
    expect(bed.disk.counters.faults).toBe(4);
    bed.disk.faults.clear();
    expect(await bed.run((files) => sectorsOf(files))).toEqual(Array(8).fill(1));
  });

  test('of write errors fails writes, which may have been made in part', async () => {
    const outcomes = await underSeeds(10, async (seed) => {
      const [bed, file] = await withFile({ writeErrors: 1 }, block(1), seed);
      await bed.run(() => expect(file.write([block(2)], 0)).rejects.toMatchObject({ code: 'EIO' }));
      return bed.run((files) => sectorsOf(files));
    });
    expect(new Set(outcomes.flat())).toEqual(new Set([1, 2]));
  });

  test('of sync errors fails syncs, and nothing has become durable', async () => {
    const outcomes = await underSeeds(20, async (seed) => {
      const [bed, file] = await withFile({ syncErrors: 1 }, block(1), seed);
      await bed.run(async (files) => {
        await file.write([block(2)], 0);
        await expect(file.sync()).rejects.toMatchObject({ code: 'EIO' });
        await expect(files.syncDirectory(DIRECTORY)).rejects.toMatchObject({ code: 'EIO' });
      });
      bed.losePower();
      return bed.run((files) => sectorsOf(files));
    });
    expect(outcomes.flat()).toContain(1);
  });

  test('of lost writes acknowledges what never gets to the disk', async () => {
    const [bed, file] = await withFile({ lostWrites: 1 }, block(1));
    await bed.run(() => file.write([block(2), block(3)], 0, { durable: true }));
    const sectors = await bed.run((files) => sectorsOf(files));
    expect(sectors).toEqual([...Array(8).fill(1), ...Array(8).fill(0)]);
  });

  test('of misdirected writes puts the bytes elsewhere in the file', async () => {
    const [bed, file] = await withFile({ misdirectedWrites: 1 }, block(1, 16));
    await bed.run(() => file.write([block(2)], 0, { durable: true }));
    const sectors = await bed.run((files) => sectorsOf(files));
    expect(sectors.slice(0, 8)).toEqual(Array(8).fill(1));
    expect(sectors.filter((found) => found === 2)).toHaveLength(8);
  });

  test('strikes some operations, and only on the files it is for', async () => {
    const [bed, file] = await withFile({ readErrors: 0.3, files: (at) => at === path }, block(1));
    const failures = await bed.run(async (files) => {
      const other = await syncedFile(files, block(1), `${path}2`);
      let count = 0;
      for (let round = 0; round < 50; round++) {
        await other.read([block(0)], 0);
        await file.read([block(0)], 0).catch(() => count++);
      }
      return count;
    });
    expect(failures).toBeGreaterThan(3);
    expect(failures).toBeLessThan(40);
    expect(bed.disk.counters.faults).toBe(failures);
  });
});

describe('rot', () => {
  test('flips one bit of the byte it is told, for every reader', async () => {
    const [bed, file] = await withFile({}, block(1, 2));
    expect(bed.disk.faults.rot(path, BLOCK + 5)).toBe(true);
    const into = block(0, 2);
    file.readSync(into, 0);
    const wrong = [...into.entries()].filter(([, byte]) => byte !== 1);
    expect(wrong.map(([at]) => at)).toEqual([BLOCK + 5]);
    expect((wrong[0]![1] ^ 1).toString(2).replaceAll('0', '')).toBe('1');
  });

  test('survives a power loss, and a write mends it', async () => {
    const [bed, file] = await withFile({}, block(1));
    bed.disk.faults.rot(path, 3);
    bed.losePower();
    expect((await bed.run((files) => files.readSmallFile(path))).equals(block(1))).toBe(false);
    expect(file.path).toBe(path);
    await bed.run(async (files) => {
      const again = await files.open(path, { write: true });
      await again.write([block(1)], 0, { durable: true });
    });
    expect((await bed.run((files) => files.readSmallFile(path))).equals(block(1))).toBe(true);
  });

  test('has nothing to do where nothing is stored', async () => {
    const [bed, file] = await withFile({}, block(1));
    await bed.run(() => file.truncate(40 * BLOCK));
    expect(bed.disk.faults.rot(path, 20 * BLOCK)).toBe(false);
    expect(bed.disk.faults.rot(path, 100 * BLOCK)).toBe(false);
    expect(bed.disk.faults.rot(`${path}2`, 0)).toBe(false);
    expect(bed.disk.faults.rotSomewhere((at) => at.endsWith('2'))).toBeUndefined();
  });

  test('finds a stored byte by itself', async () => {
    const [bed] = await withFile({}, block(1, 9));
    const place = bed.disk.faults.rotSomewhere((at) => at.startsWith(DIRECTORY));
    expect(place?.path).toBe(path);
    const bytes = await bed.run((files) => files.readSmallFile(path));
    expect(bytes[place!.positionBytes]).not.toBe(1);
  });
});

describe('a full disk', () => {
  test('refuses with ENOSPC what needs more, and takes again what was given back', async () => {
    const bed = await diskBed(1, { capacityBytes: 8 * BLOCK });
    await bed.run(async (files) => {
      const file = await syncedFile(files, block(1, 6));
      await expect(file.allocate(6 * BLOCK, 3 * BLOCK)).rejects.toMatchObject({ code: 'ENOSPC' });
      await expect(file.write([block(2, 3)], 6 * BLOCK)).rejects.toMatchObject({ code: 'ENOSPC' });
      expect(await file.size()).toBe(6 * BLOCK);
      await file.write([block(2, 6)], 0);
      expect(await files.space(path)).toEqual({ totalBytes: 8 * BLOCK, freeBytes: 2 * BLOCK });
      await file.punchHole(0, 2 * BLOCK);
      await file.allocate(6 * BLOCK, 4 * BLOCK);
      expect((await files.space(path)).freeBytes).toBe(0);
      await file.truncate(BLOCK);
      expect((await files.space(path)).freeBytes).toBe(8 * BLOCK);
    });
  });

  test('can become so, and an open file without a name still takes its space', async () => {
    const bed = await diskBed(1);
    await bed.run(async (files) => {
      const file = await syncedFile(files, block(1, 6));
      bed.disk.faults.setCapacity(4 * BLOCK);
      expect(await files.space(path)).toEqual({ totalBytes: 4 * BLOCK, freeBytes: 0 });
      await files.remove(path);
      await expect(files.writeSmallFile(`${path}2`, block(1))).rejects.toMatchObject({ code: 'ENOSPC' });
      await file.close();
      await files.writeSmallFile(`${path}2`, block(1));
    });
    const open = await bed.run((files) => files.open(`${path}2`, {}));
    await bed.run((files) => files.remove(`${path}2`));
    expect((await bed.run((files) => files.space(DIRECTORY))).freeBytes).toBe(3 * BLOCK);
    expect(open.path).toBe(`${path}2`);
    bed.kill();
    expect((await bed.run((files) => files.space(DIRECTORY))).freeBytes).toBe(4 * BLOCK);
  });
});

describe('time', () => {
  const timeOf = async (bed: DiskBed, file: DiskFile): Promise<number> => {
    const before = bed.world.scheduler.nowMs;
    await bed.run(() => file.write([block(1)], 0, { durable: true }));
    return bed.world.scheduler.nowMs - before;
  };

  test('passes in virtual milliseconds, more of them on a slow disk', async () => {
    const [bed, file] = await withFile({}, block(1));
    const [slow, sameFile] = await withFile({}, block(1));
    slow.disk.faults.setSlowness(100);
    const usualMs = await timeOf(bed, file);
    expect(usualMs).toBeGreaterThan(0);
    expect(await timeOf(slow, sameFile)).toBeCloseTo(100 * usualMs);
  });

  test('stands still for a stuck disk, also for what is under way', async () => {
    const [bed, file] = await withFile({}, block(1));
    const write = file.write([block(2)], 0);
    bed.disk.faults.stick(5000);
    const before = bed.world.scheduler.nowMs;
    await bed.run(() => Promise.all([write, file.sync()]));
    expect(bed.world.scheduler.nowMs - before).toBeGreaterThanOrEqual(5000);
    expect(await timeOf(bed, file)).toBeLessThan(100);
  });

  test('of large transfers grows with their length', async () => {
    const bed = await diskBed(1, { latency: { perMibMs: 1000 } });
    const file = await bed.run((files) => syncedFile(files, block(1, 256)));
    const before = bed.world.scheduler.nowMs;
    await bed.run(() => file.read([block(0, 256)], 0));
    expect(bed.world.scheduler.nowMs - before).toBeGreaterThan(500);
  });
});

test('a direct file refuses what is not in whole blocks', async () => {
  const bed = await diskBed(1);
  await bed.run(async (files) => {
    const file = await files.open(path, { write: true, create: true, direct: true });
    await file.write([block(1, 2)], 0);
    await expect(file.write([block(1).subarray(0, 512)], 0)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(file.write([block(1)], 512)).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(file.read([block(1)], 1)).rejects.toMatchObject({ code: 'EINVAL' });
    expect(() => file.writeSync(Buffer.alloc(100), 0)).toThrow(path);
    expect(await file.read([block(0)], BLOCK)).toBe(BLOCK);
  });
});

test('the same seed gives the same disk, another one another', async () => {
  const hashOf = async (seed: number): Promise<string> => {
    const bed = await diskBed(seed);
    bed.disk.faults.set({ readErrors: 0.1, writeErrors: 0.1, lostWrites: 0.1, misdirectedWrites: 0.1 });
    let seen = '';
    for (let round = 0; round < 5; round++) {
      await bed.run(async (files, platform) => {
        const file = await files.open(path, { write: true, create: true });
        for (let at = 0; at < 20; at++) {
          await file.write([block(at)], (at % 7) * BLOCK, { durable: at % 3 === 0 }).catch(() => 'failed');
        }
        const database = await platform.databases.open(`${DIRECTORY}/database`);
        for (let at = 0; at < 20; at++) await database.put(block(at).subarray(0, 3), block(round));
      });
      bed.losePower();
      bed.disk.faults.rotSomewhere(() => true);
      seen += await bed.run(async (files, platform) => {
        const database = await platform.databases.open(`${DIRECTORY}/database`);
        const entries = await database.iterator().all();
        const bytes = (await files.exists(path)) ? await sectorsOf(files).catch(() => []) : [];
        return JSON.stringify([entries, bytes, bed.world.scheduler.nowMs, bed.disk.counters]);
      });
      bed.kill();
    }
    return seen;
  };
  expect(await hashOf(7)).toBe(await hashOf(7));
  expect(await hashOf(7)).not.toBe(await hashOf(8));
});

test('a transfer in one turn keeps the whole process waiting, a stuck disk as long as it is stuck', async () => {
  const [bed, file] = await withFile({}, block(1));
  bed.disk.faults.stick(5000);
  const before = bed.world.scheduler.nowMs;
  const passed = await bed.run(async (_, platform) => {
    file.writeSync(block(2), 0, { durable: true });
    await platform.timers.sleep(10);
    return bed.world.scheduler.nowMs - before;
  });
  expect(passed).toBeGreaterThan(5000);
  expect(await bed.run((files) => sectorsOf(files))).toEqual(Array(8).fill(2));
});
