/**
 * What every implementation of the disk seam must do. `makeBed` gives each test a platform and an empty directory on it.
 */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Disk, type DiskFile, MachineError, type Memory } from '../../src/platform/platform.ts';

export interface DiskBed {
  readonly disk: Disk;
  readonly memory: Memory;
  readonly directory: string;
  /** Lets time go by until the test's body is over. */
  run(body: () => Promise<void>): Promise<void>;
  release(): void;
}

const BLOCK = 4096;

export function diskSuite(makeBed: () => DiskBed | Promise<DiskBed>): void {
  let bed: DiskBed;
  let disk: Disk;
  let directory: string;
  let path: string;
  const buffer = (blocks: number, fill: number): Buffer => bed.memory.allocate(blocks * BLOCK).fill(fill);
  const check = (name: string, body: () => Promise<void>): void => test(name, () => bed.run(body));
  const using = async (file: DiskFile, run: (file: DiskFile) => Promise<void>): Promise<void> => {
    try {
      await run(file);
    } finally {
      await file.close();
    }
  };
  beforeEach(async () => {
    bed = await makeBed();
    ({ disk, directory } = bed);
    path = join(directory, 'file');
  });
  afterEach(() => bed.release());

  describe.each([true, false])('a file (direct: %s)', (direct) => {
    check('gives back what was written, from several buffers into several', async () => {
      await using(await disk.open(path, { write: true, create: true, direct }), async (file) => {
        const written = Array.from({ length: 11 }, (_, index) => buffer(1 + (index % 3), index + 1));
        await file.write(written, BLOCK);
        const read = Array.from({ length: 19 }, () => buffer(1, 0xff));
        const blocks = written.reduce((sum, part) => sum + part.length / BLOCK, 0);
        expect(await file.read(read, BLOCK)).toBe(Math.min(19, blocks) * BLOCK);
        expect(Buffer.concat(read).equals(Buffer.concat(written).subarray(0, 19 * BLOCK))).toBe(true);
        expect(await file.size()).toBe((1 + blocks) * BLOCK);
      });
    });

    check('reads fewer bytes at its end, and none behind it', async () => {
      await using(await disk.open(path, { write: true, create: true, direct }), async (file) => {
        await file.write([buffer(3, 1)], 0, { durable: true });
        expect(await file.read([buffer(2, 0), buffer(2, 0)], BLOCK)).toBe(2 * BLOCK);
        expect(await file.read([buffer(1, 0)], 8 * BLOCK)).toBe(0);
      });
    });

    check('transfers in the same turn, too', async () => {
      await using(await disk.open(path, { write: true, create: true, direct }), async (file) => {
        file.writeSync(buffer(2, 7), 0, { durable: true });
        const into = buffer(3, 0);
        expect(file.readSync(into, 0)).toBe(2 * BLOCK);
        expect(into.subarray(0, 2 * BLOCK).equals(buffer(2, 7))).toBe(true);
      });
    });

    check('keeps many transfers at once apart', async () => {
      await using(await disk.open(path, { write: true, create: true, direct }), async (file) => {
        const all = Array.from({ length: 200 }, (_, index) => index);
        await Promise.all(all.map((index) => file.write([buffer(1, index)], index * BLOCK)));
        await file.sync();
        await Promise.all(
          all.map(async (index) => {
            const into = buffer(1, 0);
            await file.read([into], index * BLOCK);
            expect(into.equals(buffer(1, index))).toBe(true);
          }),
        );
      });
    });

    check('allocates, punches holes and is truncated', async () => {
      await using(await disk.open(path, { write: true, create: true, direct }), async (file) => {
        await file.allocate(0, 8 * BLOCK);
        expect(await file.size()).toBe(8 * BLOCK);
        await file.write([buffer(8, 9)], 0);
        await file.punchHole(2 * BLOCK, 3 * BLOCK);
        const into = buffer(8, 1);
        expect(await file.read([into], 0)).toBe(8 * BLOCK);
        const expected = Buffer.concat([buffer(2, 9), buffer(3, 0), buffer(3, 9)]);
        expect(into.equals(expected)).toBe(true);
        await file.truncate(BLOCK);
        expect(await file.size()).toBe(BLOCK);
      });
    });

    check('closes after what is in flight', async () => {
      const file = await disk.open(path, { write: true, create: true, direct });
      const writes = Array.from({ length: 20 }, (_, index) =>
        file.write([buffer(16, index)], index * 16 * BLOCK),
      );
      await file.close();
      await Promise.all(writes);
      await using(await disk.open(path, {}), async (again) => {
        expect(await again.size()).toBe(20 * 16 * BLOCK);
      });
    });

    check('refuses writes when it was opened for reading, by name and code', async () => {
      await disk.writeSmallFile(path, Buffer.from('text'));
      await using(await disk.open(path, { direct }), async (file) => {
        await expect(file.write([buffer(1, 1)], 0)).rejects.toMatchObject({ code: 'EBADF' });
        await expect(file.write([buffer(1, 1)], 0)).rejects.toThrow(path);
        expect(() => file.writeSync(buffer(1, 1), 0)).toThrow(MachineError);
      });
    });
  });

  check('an absent file is ENOENT, a present one EEXIST where it must be new', async () => {
    await expect(disk.open(path, {})).rejects.toMatchObject({ name: 'MachineError', code: 'ENOENT' });
    const exclusive = { write: true, create: true, exclusive: true, direct: true };
    await (await disk.open(path, exclusive)).close();
    await expect(disk.open(path, exclusive)).rejects.toMatchObject({ code: 'EEXIST' });
  });

  check(
    'directories are made with parents, listed, renamed and removed with all that is in them',
    async () => {
      const deep = join(directory, 'a/b/c');
      await disk.makeDirectory(deep);
      await disk.makeDirectory(deep);
      await disk.writeSmallFile(join(deep, 'one'), Buffer.from('1'));
      expect(await disk.list(join(directory, 'a/b'))).toEqual(['c']);
      await disk.rename(join(directory, 'a'), join(directory, 'z'));
      await disk.syncDirectory(directory);
      expect(await disk.exists(deep)).toBe(false);
      expect(await disk.exists(join(directory, 'z/b/c/one'))).toBe(true);
      await disk.remove(join(directory, 'z'));
      await disk.remove(join(directory, 'z'));
      expect(await disk.list(directory)).toEqual([]);
      await expect(disk.list(join(directory, 'z'))).rejects.toMatchObject({ code: 'ENOENT' });
    },
  );

  check('a small file is replaced whole and leaves nothing else behind', async () => {
    await disk.writeSmallFile(path, Buffer.from('first, and longer'));
    await disk.writeSmallFile(path, Buffer.from('second'));
    expect((await disk.readSmallFile(path)).toString()).toBe('second');
    expect(await disk.list(directory)).toEqual(['file']);
    await expect(disk.readSmallFile(join(directory, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
  });

  check('space is told in bytes', async () => {
    const { totalBytes, freeBytes } = await disk.space(directory);
    expect(totalBytes).toBeGreaterThanOrEqual(freeBytes);
    expect(freeBytes).toBeGreaterThan(0);
  });
}
