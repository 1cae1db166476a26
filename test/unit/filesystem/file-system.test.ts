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
});
