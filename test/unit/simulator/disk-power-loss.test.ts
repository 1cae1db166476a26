/** What a power loss may take and what it must leave, each shown to happen under some seed. */
import { describe, expect, test } from 'vitest';
import type { Disk, DiskFile } from '../../../src/platform/platform.ts';
import { BLOCK, block, DIRECTORY, diskBed, path, sectorsOf, syncedFile, underSeeds } from './disk-bed.ts';

const SEEDS = 40;

/** The sectors of a file of ones after `change` and a power loss. */
function afterCrash(change: (file: DiskFile, files: Disk) => Promise<void>, blocks = 2): Promise<number[][]> {
  return underSeeds(SEEDS, async (seed) => {
    const bed = await diskBed(seed);
    await bed.run(async (files) => {
      const file = await syncedFile(files, block(1, blocks));
      await change(file, files);
    });
    bed.losePower();
    return bed.run((files) => sectorsOf(files));
  });
}

const only = (value: number, sectors: readonly number[]): boolean =>
  sectors.every((found) => found === value);

describe('the bytes of a file', () => {
  test('that were not synced are lost, kept or torn', async () => {
    const outcomes = await afterCrash((file) => file.write([block(2, 2)], 0));
    expect(outcomes.some((sectors) => only(1, sectors))).toBe(true);
    expect(outcomes.some((sectors) => only(2, sectors))).toBe(true);
    expect(outcomes.some((sectors) => sectors.includes(1) && sectors.includes(2))).toBe(true);
    expect(outcomes.flat().every((found) => found === 1 || found === 2)).toBe(true);
  });

  test('that were not synced survive in any order', async () => {
    const outcomes = await afterCrash(async (file) => {
      await file.write([block(2)], 0);
      await file.write([block(3)], BLOCK);
    });
    expect(outcomes.some((sectors) => only(1, sectors.slice(0, 8)) && sectors.includes(3))).toBe(true);
    expect(outcomes.some((sectors) => sectors.includes(2) && only(1, sectors.slice(8)))).toBe(true);
  });

  test('may come back in a version between the synced and the last', async () => {
    const outcomes = await afterCrash(async (file) => {
      await file.write([block(2, 2)], 0);
      await file.write([block(3, 2)], 0);
    });
    expect(new Set(outcomes.flat())).toEqual(new Set([1, 2, 3]));
  });

  test.each([
    ['written durably', (file: DiskFile) => file.write([block(2, 2)], 0, { durable: true })],
    [
      'written durably in one turn',
      async (file: DiskFile) => file.writeSync(block(2, 2), 0, { durable: true }),
    ],
    [
      'synced',
      async (file: DiskFile) => {
        await file.write([block(2, 2)], 0);
        await file.sync();
      },
    ],
  ])('that were %s are there', async (_, write) => {
    const outcomes = await afterCrash(write);
    expect(outcomes.every((sectors) => only(2, sectors))).toBe(true);
  });

  test('written durably take their size along and nothing else', async () => {
    const outcomes = await afterCrash(async (file) => {
      await file.write([block(2)], 0);
      await file.write([block(3)], 2 * BLOCK, { durable: true });
    });
    expect(outcomes.every((sectors) => sectors.length === 24 && only(3, sectors.slice(16)))).toBe(true);
    expect(outcomes.some((sectors) => sectors.slice(0, 8).includes(1))).toBe(true);
  });

  test('that were written after a sync began are not covered by it', async () => {
    const outcomes = await afterCrash(async (file) => {
      const sync = file.sync();
      await file.write([block(2, 2)], 0);
      await sync;
    });
    expect(outcomes.some((sectors) => sectors.includes(1))).toBe(true);
  });

  test('all survive the death of the process alone', async () => {
    const outcomes = await underSeeds(5, async (seed) => {
      const bed = await diskBed(seed);
      await bed.run(async (files) => {
        const file = await files.open(path, { write: true, create: true });
        await file.write([block(2)], 0);
      });
      bed.kill();
      return bed.run((files) => sectorsOf(files));
    });
    expect(outcomes.every((sectors) => sectors.length === 8 && only(2, sectors))).toBe(true);
  });
});

describe('a write under way when its process dies', () => {
  test('is there whole, in part or not at all, and never later', async () => {
    const outcomes = await underSeeds(SEEDS, async (seed) => {
      const bed = await diskBed(seed);
      await bed.run(async (files) => {
        const file = await syncedFile(files, block(1, 2));
        file.write([block(2, 2)], 0, { durable: true }).catch(() => expect.unreachable());
      });
      bed.kill();
      const first = await bed.run((files) => sectorsOf(files));
      await bed.run((_, platform) => platform.timers.sleep(1000));
      expect(await bed.run((files) => sectorsOf(files))).toEqual(first);
      return first;
    });
    expect(outcomes.some((sectors) => only(1, sectors))).toBe(true);
    expect(outcomes.some((sectors) => only(2, sectors))).toBe(true);
    expect(outcomes.some((sectors) => sectors.includes(1) && sectors.includes(2))).toBe(true);
  });

  test('is not safe from a power loss even when it was to be durable', async () => {
    const outcomes = await underSeeds(SEEDS, async (seed) => {
      const bed = await diskBed(seed);
      await bed.run(async (files) => {
        const file = await syncedFile(files, block(1, 2));
        file.write([block(2, 2)], 0, { durable: true }).catch(() => expect.unreachable());
      });
      bed.losePower();
      return bed.run((files) => sectorsOf(files));
    });
    expect(outcomes.some((sectors) => only(1, sectors))).toBe(true);
    expect(outcomes.some((sectors) => sectors.includes(2))).toBe(true);
  });
});

describe('the size of a file', () => {
  test('is one it has had, and what was never written there is zero', async () => {
    const outcomes = await afterCrash(async (file) => {
      await file.write([block(2)], 2 * BLOCK);
      await file.write([block(3)], 3 * BLOCK);
    });
    expect(new Set(outcomes.map(({ length }) => length))).toEqual(new Set([16, 24, 32]));
    expect(outcomes.some((sectors) => sectors.length > 16 && sectors.slice(16).includes(0))).toBe(true);
  });

  test('comes back with its bytes when cutting it off was lost', async () => {
    const outcomes = await afterCrash((file) => file.truncate(BLOCK));
    expect(new Set(outcomes.map((sectors) => `${sectors.length} ${new Set(sectors).size}`))).toEqual(
      new Set(['8 1', '16 1']),
    );
    const synced = await afterCrash(async (file) => {
      await file.truncate(BLOCK);
      await file.sync();
    });
    expect(synced.every(({ length }) => length === 8)).toBe(true);
  });

  test('never shows bytes from before a cut that survived', async () => {
    const outcomes = await afterCrash(async (file) => {
      await file.truncate(0);
      await file.sync();
      await file.allocate(0, 2 * BLOCK);
      await file.write([block(2)], BLOCK);
    });
    expect(outcomes.flat().every((found) => found === 0 || found === 2)).toBe(true);
    expect(outcomes.some(({ length }) => length === 0)).toBe(true);
    expect(outcomes.some((sectors) => sectors.includes(2))).toBe(true);
  });

  test('never mixes what was before a cut with what came after it', async () => {
    const unsynced = await afterCrash(async (file) => {
      await file.truncate(0);
      await file.allocate(0, 2 * BLOCK);
    });
    expect(unsynced.every((sectors) => only(0, sectors) || only(1, sectors))).toBe(true);
    expect(new Set(unsynced.map(([first]) => first))).toEqual(new Set([undefined, 0, 1]));
    const durable = await afterCrash(async (file) => {
      await file.truncate(0);
      await file.write([block(2)], BLOCK, { durable: true });
    });
    expect(durable.every((sectors) => only(0, sectors.slice(0, 8)) && only(2, sectors.slice(8)))).toBe(true);
  });

  test('keeps a hole in whole blocks or not at all until it is synced', async () => {
    const outcomes = await afterCrash((file) => file.punchHole(0, 2 * BLOCK));
    const blocks = outcomes.flatMap((sectors) => [sectors.slice(0, 8), sectors.slice(8)]);
    expect(blocks.every((sectors) => only(0, sectors) || only(1, sectors))).toBe(true);
    expect(new Set(outcomes.flat())).toEqual(new Set([0, 1]));
    const synced = await afterCrash(async (file) => {
      await file.punchHole(0, 2 * BLOCK);
      await file.sync();
    });
    expect(synced.flat().every((found) => found === 0)).toBe(true);
  });
});

describe('names', () => {
  const namesAfter = (change: (files: Disk) => Promise<void>): Promise<string[]> =>
    underSeeds(SEEDS, async (seed) => {
      const bed = await diskBed(seed);
      await bed.run(change);
      bed.losePower();
      return bed.run(async (files) => (await files.list(DIRECTORY)).sort().join(' '));
    });
  const touch = async (files: Disk, name: string): Promise<void> =>
    (await files.open(`${DIRECTORY}/${name}`, { write: true, create: true })).close();

  test('that were not synced survive in their order', async () => {
    const outcomes = await namesAfter(async (files) => {
      for (const name of ['a', 'b', 'c']) await touch(files, name);
    });
    expect(new Set(outcomes)).toEqual(new Set(['', 'a', 'a b', 'a b c']));
  });

  test('are there when their directory was synced', async () => {
    const outcomes = await namesAfter(async (files) => {
      await touch(files, 'a');
      await files.rename(`${DIRECTORY}/a`, `${DIRECTORY}/b`);
      await touch(files, 'c');
      await files.syncDirectory(DIRECTORY);
      await files.remove(`${DIRECTORY}/c`);
    });
    expect(new Set(outcomes)).toEqual(new Set(['b', 'b c']));
  });

  test('may go although the file they name was synced', async () => {
    const outcomes = await namesAfter(async (files) => {
      const file = await files.open(path, { write: true, create: true });
      await file.write([block(1)], 0, { durable: true });
    });
    expect(new Set(outcomes)).toEqual(new Set(['', 'file']));
  });

  test('come back with their bytes when taking them away was lost', async () => {
    const outcomes = await underSeeds(SEEDS, async (seed) => {
      const bed = await diskBed(seed, { capacityBytes: 4 * BLOCK });
      await bed.run(async (files) => {
        await (await syncedFile(files, block(1))).close();
        await (await syncedFile(files, block(2), `${path}2`)).close();
        await files.rename(`${path}2`, path);
      });
      bed.losePower();
      return bed.run(async (files) => {
        const first = (await sectorsOf(files))[0];
        const { freeBytes } = await files.space(DIRECTORY);
        expect(freeBytes).toBe(first === 1 ? 2 * BLOCK : 3 * BLOCK);
        return first;
      });
    });
    expect(new Set(outcomes)).toEqual(new Set([1, 2]));
  });

  test('of small files always lead to one content or the other', async () => {
    const outcomes = await underSeeds(SEEDS, async (seed) => {
      const bed = await diskBed(seed);
      await bed.run(async (files, platform) => {
        await files.writeSmallFile(path, Buffer.from('old'));
        files.writeSmallFile(path, Buffer.from('new and longer')).catch(() => expect.unreachable());
        await platform.timers.sleep(seed / 20);
      });
      bed.losePower();
      return bed.run(async (files) => (await files.readSmallFile(path)).toString());
    });
    expect(new Set(outcomes)).toEqual(new Set(['old', 'new and longer']));
  });
});
