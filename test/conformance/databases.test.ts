/** What every implementation of the database seam must do; here over the real one. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { realPlatform } from '../../src/platform/real/real-platform.ts';

const { databases } = realPlatform();
let directory: string;
let path: string;
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/tartan-database-');
  path = join(directory, 'database');
});
afterEach(() => rmSync(directory, { recursive: true }));

const key = (text: string): Buffer => Buffer.from(text);

test('a batch is there after the database is opened again, in order of keys', async () => {
  const database = await databases.open(path);
  await database.batch([
    { type: 'put', key: key('b'), value: Buffer.from([2, 0, 255]) },
    { type: 'put', key: key('a'), value: Buffer.alloc(0) },
    { type: 'put', key: Buffer.from([0xff, 0]), value: key('last') },
    { type: 'put', key: key('c'), value: key('gone') },
    { type: 'del', key: key('c') },
  ]);
  await database.close();
  const again = await databases.open(path);
  const all: [Buffer, Buffer][] = [];
  for await (const entry of again.iterator()) all.push(entry as [Buffer, Buffer]);
  expect(all).toEqual([
    [key('a'), Buffer.alloc(0)],
    [key('b'), Buffer.from([2, 0, 255])],
    [Buffer.from([0xff, 0]), key('last')],
  ]);
  expect(again.getSync(key('b'))).toEqual(Buffer.from([2, 0, 255]));
  expect(again.getSync(key('c'))).toBeUndefined();
  await again.close();
});

test('one in use is EBUSY', async () => {
  const database = await databases.open(path);
  await expect(databases.open(path)).rejects.toMatchObject({ name: 'MachineError', code: 'EBUSY' });
  await database.close();
});

test('a corrupt one is ECORRUPT, and can be destroyed', async () => {
  const database = await databases.open(path);
  await database.put(key('a'), key('b'));
  await database.close();
  for (const name of readdirSync(path)) {
    if (name.startsWith('MANIFEST') || name === 'CURRENT') writeFileSync(join(path, name), 'nonsense');
  }
  await expect(databases.open(path)).rejects.toMatchObject({ name: 'MachineError', code: 'ECORRUPT' });
  await databases.destroy(path);
  await databases.destroy(path);
  const fresh = await databases.open(path);
  expect(fresh.getSync(key('a'))).toBeUndefined();
  await fresh.close();
});

test('one that cannot be made is EIO', async () => {
  writeFileSync(path, 'a file is in the way');
  await expect(databases.open(path)).rejects.toMatchObject({ name: 'MachineError', code: 'EIO' });
});
