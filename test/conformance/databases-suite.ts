/** What every implementation of the database seam must do. `makeBed` gives each test a platform and an empty directory on it. */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Database, Databases } from '../../src/platform/platform.ts';
import type { DiskBed } from './disk-suite.ts';

export interface DatabasesBed extends DiskBed {
  readonly databases: Databases;
  /** Damages a closed database. */
  corrupt(path: string): void;
}

const key = (text: string): Buffer => Buffer.from(text);

export function databasesSuite(makeBed: () => DatabasesBed | Promise<DatabasesBed>): void {
  let bed: DatabasesBed;
  let databases: Databases;
  let path: string;
  const check = (name: string, body: () => Promise<void>): void => test(name, () => bed.run(body));
  beforeEach(async () => {
    bed = await makeBed();
    databases = bed.databases;
    path = join(bed.directory, 'database');
  });
  afterEach(() => bed.release());

  check('a batch is there after the database is opened again, in order of keys', async () => {
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

  check('one in use is EBUSY', async () => {
    const database = await databases.open(path);
    await expect(databases.open(path)).rejects.toMatchObject({ name: 'MachineError', code: 'EBUSY' });
    await database.close();
  });

  check('a corrupt one is ECORRUPT, and can be destroyed', async () => {
    const database = await databases.open(path);
    await database.put(key('a'), key('b'));
    await database.close();
    bed.corrupt(path);
    await expect(databases.open(path)).rejects.toMatchObject({ name: 'MachineError', code: 'ECORRUPT' });
    await databases.destroy(path);
    await databases.destroy(path);
    const fresh = await databases.open(path);
    expect(fresh.getSync(key('a'))).toBeUndefined();
    await fresh.close();
  });

  check('one that cannot be made is EIO', async () => {
    await bed.disk.writeSmallFile(path, Buffer.from('a file is in the way'));
    await expect(databases.open(path)).rejects.toMatchObject({ name: 'MachineError', code: 'EIO' });
  });

  const filled = async (names: readonly string[]): Promise<Database> => {
    const database = await databases.open(path);
    const values = names.map((name) => ({
      type: 'put' as const,
      key: key(name),
      value: key(`value of ${name}`),
    }));
    await database.batch(values, { sync: true } as object);
    return database;
  };
  const namesIn = (pairs: readonly (readonly [Buffer, Buffer])[]): string[] =>
    pairs.map(([name]) => name.toString());

  check('ranges have ends that belong to them or not, directions and limits', async () => {
    const database = await filled(['a', 'b', 'c', 'd', 'e']);
    const found = async (options: object): Promise<string> =>
      namesIn(await database.iterator(options).all()).join('');
    expect(await found({})).toBe('abcde');
    expect(await found({ gt: key('b') })).toBe('cde');
    expect(await found({ gte: key('b'), lt: key('d') })).toBe('bc');
    expect(await found({ gte: key('b'), lte: key('d'), reverse: true })).toBe('dcb');
    expect(await found({ gt: key('aa'), limit: 2 })).toBe('bc');
    expect(await found({ lt: key('e'), reverse: true, limit: 1 })).toBe('d');
    expect(await found({ gt: key('e') })).toBe('');
    await database.close();
  });

  check('an iterator reads on where it was, and seeks', async () => {
    const names = Array.from({ length: 500 }, (_, index) => String(index).padStart(3, '0'));
    const database = await filled(names);
    const iterator = database.iterator({ gte: key('010') });
    expect(namesIn(await iterator.nextv(3))).toEqual(['010', '011', '012']);
    expect((await iterator.next())?.[0]?.toString()).toBe('013');
    iterator.seek(key('300'));
    expect(namesIn(await iterator.nextv(1000))).toEqual(names.slice(300));
    expect(await iterator.next()).toBeUndefined();
    await iterator.close();
    await database.close();
  });

  check('a snapshot and an iterator keep what was there when they were made', async () => {
    const database = await filled(['a', 'b']);
    const snapshot = database.snapshot();
    const early = database.iterator();
    await database.batch([
      { type: 'del', key: key('a') },
      { type: 'put', key: key('c'), value: key('new') },
    ]);
    expect(namesIn(await early.all())).toEqual(['a', 'b']);
    expect(namesIn(await database.iterator({ snapshot }).all())).toEqual(['a', 'b']);
    expect(database.getSync(key('a'), { snapshot })?.toString()).toBe('value of a');
    expect(namesIn(await database.iterator().all())).toEqual(['b', 'c']);
    await snapshot.close();
    await database.close();
  });

  check('values are got, cleared by range and collected for a batch', async () => {
    const database = await filled(['a', 'b', 'c', 'd']);
    expect((await database.get(key('a')))?.toString()).toBe('value of a');
    expect(await database.get(key('x'))).toBeUndefined();
    expect((await database.getMany([key('b'), key('x')])).map((value) => value?.toString())).toEqual([
      'value of b',
      undefined,
    ]);
    await database.clear({ gt: key('a'), lte: key('c') });
    expect(namesIn(await database.iterator().all())).toEqual(['a', 'd']);
    await database
      .batch()
      .del(key('a'))
      .put(key('z'), key('last'))
      .write({ sync: true } as object);
    await database.del(key('d'));
    expect(namesIn(await database.iterator().all())).toEqual(['z']);
    await database.close();
  });

  check('a closed one can be opened again', async () => {
    const database = await filled(['a']);
    await database.close();
    await database.open();
    expect(database.getSync(key('a'))?.toString()).toBe('value of a');
    await database.close();
    expect(() => database.getSync(key('a'))).toThrow();
  });
}
