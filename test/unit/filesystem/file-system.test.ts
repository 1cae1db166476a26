import { describe, expect, it } from 'vitest';
import { KIB, MIB } from '../../../src/base/units.ts';
import { patterned, readAll, root, World } from './harness.ts';

const BLOCK = 4 * KIB;

async function withFile(world: World, name = 'f') {
  const { attributes, handle } = await world.fileSystem.create(1, name, 0o644, 0, root);
  const { inode } = attributes;
  return {
    inode,
    handle,
    write: (offset: number, bytes: Uint8Array) =>
      world.fileSystem.write(inode, handle, offset, [bytes], false),
    read: (offset: number, length: number) => readAll(world.fileSystem, inode, handle, offset, length),
    fsync: () => world.fileSystem.fsync(inode, handle, false),
  };
}

describe('durability', () => {
  it('reads what was written before and after the segment is committed', async () => {
    const world = await World.open();
    const file = await withFile(world);
    const bytes = patterned(3 * MIB + 777, 1);
    for (let at = 0; at < bytes.length; at += MIB) await file.write(at, bytes.subarray(at, at + MIB));
    expect((await file.read(0, MIB)).equals(bytes.subarray(0, MIB))).toBe(true);
    await world.fileSystem.syncAll();
    expect(world.reader.reads).toBe(0);
    for (let at = 0; at < bytes.length; at += MIB)
      expect((await file.read(at, MIB)).equals(bytes.subarray(at, at + MIB))).toBe(true);
    expect(world.reader.reads).toBeGreaterThan(0);
    await world.close();
  });

  it('a small fsync goes into the journal and survives a crash without any segment', async () => {
    const world = await World.open();
    const file = await withFile(world);
    await file.write(0, patterned(5000, 2));
    await file.fsync();
    expect(world.store.size).toBe(0);
    await world.crash();
    const found = world.fileSystem.lookup(1, 'f', root);
    const inode = (await found)!.inode;
    const handle = await world.fileSystem.open(inode, 0, root);
    expect((await readAll(world.fileSystem, inode, handle, 0, 10_000)).equals(patterned(5000, 2))).toBe(true);
    expect(world.store.size).toBe(1);
    await world.close();
  });

  it('a large fsync seals the segment and survives a crash', async () => {
    const world = await World.open();
    const file = await withFile(world);
    const bytes = patterned(MIB, 3);
    await file.write(0, bytes);
    await file.fsync();
    expect(world.store.size).toBe(1);
    await world.crash();
    const inode = (await world.fileSystem.lookup(1, 'f', root))!.inode;
    const handle = await world.fileSystem.open(inode, 0, root);
    expect((await readAll(world.fileSystem, inode, handle, 0, MIB)).equals(bytes)).toBe(true);
    await world.close();
  });

  it('data that nobody synced becomes durable by itself', async () => {
    const world = await World.open();
    const file = await withFile(world);
    await file.write(0, patterned(100, 4));
    await new Promise((resolve) => setTimeout(resolve, 80));
    await world.crash(world.metadata.operations.length);
    const inode = (await world.fileSystem.lookup(1, 'f', root))!;
    expect((await inode).sizeBytes).toBe(100);
    await world.close();
  });

  it('overwriting a block in a later segment while the earlier one is in flight keeps the newer', async () => {
    const world = await World.open();
    const file = await withFile(world);
    world.writer.held = true;
    await file.write(0, patterned(MIB, 5));
    world.writer.seal(true);
    await file.write(BLOCK, patterned(BLOCK, 6));
    expect((await file.read(BLOCK, BLOCK)).equals(patterned(BLOCK, 6))).toBe(true);
    world.writer.held = false;
    world.writer.storeNext();
    expect((await file.read(BLOCK, BLOCK)).equals(patterned(BLOCK, 6))).toBe(true);
    await world.fileSystem.syncAll();
    expect((await file.read(BLOCK, BLOCK)).equals(patterned(BLOCK, 6))).toBe(true);
    expect((await file.read(0, BLOCK)).equals(patterned(MIB, 5).subarray(0, BLOCK))).toBe(true);
    await world.close();
  });

  it('a block journaled from a later segment is not undone by the commit of an earlier one', async () => {
    const world = await World.open();
    const file = await withFile(world);
    world.writer.held = true;
    await file.write(0, patterned(BLOCK, 7));
    await file.fsync();
    world.writer.seal(true);
    await file.write(0, patterned(BLOCK, 8));
    await file.fsync();
    world.writer.held = false;
    world.writer.storeNext();
    await world.crash();
    const inode = (await world.fileSystem.lookup(1, 'f', root))!.inode;
    const handle = await world.fileSystem.open(inode, 0, root);
    expect((await readAll(world.fileSystem, inode, handle, 0, BLOCK)).equals(patterned(BLOCK, 8))).toBe(true);
    await world.close();
  });

  it('a file renamed over another is whole after a crash without any sync', async () => {
    for (const size of [5000, MIB]) {
      const world = await World.open();
      const old = await withFile(world, 'name');
      await old.write(0, patterned(3000, 1));
      await old.fsync();
      const made = await withFile(world, 'temporary');
      await made.write(0, patterned(size, 2));
      await world.fileSystem.rename(1, 'temporary', 1, 'name', 0, root);
      for (let kept = world.metadata.durableOperations; kept <= world.metadata.operations.length; kept++) {
        const after = world.metadata.crashed(kept, world.clock.time());
        const inode = after.inode(after.lookup(1, 'name')!)!;
        expect([3000, size]).toContain(inode.sizeBytes);
      }
      await world.crash(world.metadata.operations.length);
      const found = (await world.fileSystem.lookup(1, 'name', root))!;
      const handle = await world.fileSystem.open(found.inode, 0, root);
      const bytes = await readAll(world.fileSystem, found.inode, handle, 0, 2 * MIB);
      expect(bytes.equals(patterned(size, 2))).toBe(true);
      await world.close();
    }
  });
});

describe('directories', () => {
  const namesOf = async (world: World, page: number, after = 0n) => {
    const names: string[] = [];
    let cookie = after;
    for (let more = true; more; ) {
      more = false;
      let room = page;
      await world.fileSystem.readDirectory(1, 0, cookie, true, (entry) => {
        if (room === 0) {
          more = true;
          return false;
        }
        room -= 1;
        cookie = entry.cookie;
        names.push(entry.name);
        return true;
      });
    }
    return names;
  };

  it('are listed whole, page by page, in this turn or later, with look-ups counted', async () => {
    const world = await World.open();
    const made = new Set<string>(['.', '..']);
    for (let at = 0; at < 700; at++) {
      const attributes = await world.fileSystem.makeNode(1, `n${at}`, 0o100644, 0, root);
      world.fileSystem.forget(attributes.inode, 1);
      made.add(`n${at}`);
    }
    for (const slow of [false, true]) {
      world.metadata.slow = slow;
      for (const page of [1, 100, 1000]) {
        const names = await namesOf(world, page);
        expect(names.length).toBe(made.size);
        expect(new Set(names)).toEqual(made);
      }
    }
    // Six listings looked everything up: an unlinked file lives until that is forgotten.
    const inode = world.metadata.lookup(1, 'n5')!;
    await world.fileSystem.unlink(1, 'n5', root);
    world.fileSystem.forget(inode, 5);
    expect(world.metadata.inode(inode)).toBeDefined();
    world.fileSystem.forget(inode, 1);
    expect(world.metadata.inode(inode)).toBeUndefined();
    await world.close();
  });
});

describe('memory', () => {
  it('holds no state of files that are closed and committed', async () => {
    const world = await World.open();
    for (let at = 0; at < 50; at++) {
      const file = await withFile(world, `f${at}`);
      await file.write(0, patterned(10_000, at));
      if (at % 2 === 0) await file.fsync();
      await world.fileSystem.release(file.inode, file.handle);
      if (at % 5 === 0) await world.fileSystem.unlink(1, `f${at}`, root);
      world.fileSystem.forget(file.inode, 1);
    }
    await world.fileSystem.syncAll();
    await world.writer.drain();
    expect(world.writer.statistics().freeSlots).toBe(8);
    expect(world.metadata.totals().inodes).toBe(41);
    await world.close();
  });
});
