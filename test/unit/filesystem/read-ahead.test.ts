import { describe, expect, it } from 'vitest';
import { MIB } from '../../../src/base/units.ts';
import { patterned, readAll, root, World } from './harness.ts';

const turns = async (count = 3) => {
  for (let at = 0; at < count; at++) await new Promise((resolve) => setImmediate(resolve));
};

async function storedFile(world: World, megabytes: number) {
  const { attributes, handle } = await world.fileSystem.create(1, 'f', 0o644, 0, root);
  const { inode } = attributes;
  const bytes = patterned(megabytes * MIB, 9);
  for (let at = 0; at < bytes.length; at += MIB) {
    while (world.fileSystem.writeLanding() === undefined) await world.fileSystem.whenWritable();
    await world.fileSystem.write(inode, handle, at, [bytes.subarray(at, at + MIB)], false);
  }
  await world.fileSystem.syncAll();
  await turns();
  return { inode, handle, bytes };
}

describe('read-ahead', () => {
  it('has the next bytes of a sequential reader in memory', async () => {
    const world = await World.open();
    const { inode, handle, bytes } = await storedFile(world, 24);
    let atOnce = 0;
    for (let at = 0; at < bytes.length; at += MIB) {
      const result = world.fileSystem.read(inode, handle, at, MIB);
      if (!(result instanceof Promise)) atOnce += 1;
      const found = await result;
      expect(Buffer.concat(found.parts).equals(bytes.subarray(at, at + MIB))).toBe(true);
      found.release();
      await turns();
    }
    expect(atOnce).toBeGreaterThanOrEqual(20);
    expect(world.reader.blocksRead * 4096).toBe(bytes.length);
    await world.fileSystem.release(inode, handle);
    expect(world.reader.usedBytes).toBe(0);
    await world.close();
  });

  it('serves reads of odd sizes and positions from the same chunks', async () => {
    const world = await World.open();
    const { inode, handle, bytes } = await storedFile(world, 6);
    for (let at = 100; at < bytes.length; at += 70_001) {
      const found = await readAll(world.fileSystem, inode, handle, at, 70_001);
      expect(found.equals(bytes.subarray(at, at + 70_001))).toBe(true);
    }
    expect(world.reader.blocksRead * 4096).toBeLessThanOrEqual(bytes.length + MIB);
    await world.fileSystem.release(inode, handle);
    expect(world.reader.usedBytes).toBe(0);
    await world.close();
  });

  it('reads nothing ahead for a random reader, nor when many reads are in flight', async () => {
    const world = await World.open();
    const { inode, handle, bytes } = await storedFile(world, 16);
    for (const at of [7, 3, 11, 2, 9]) await readAll(world.fileSystem, inode, handle, at * MIB, 4096);
    expect(world.reader.blocksRead).toBe(5);
    world.reader.blocksRead = 0;
    const second = await world.fileSystem.open(inode, 0, root);
    const under: Promise<Buffer>[] = [];
    for (let at = 0; at < bytes.length; at += MIB)
      under.push(readAll(world.fileSystem, inode, second, at, MIB));
    await Promise.all(under);
    expect(world.reader.blocksRead * 4096).toBeLessThanOrEqual(bytes.length + 2 * MIB);
    await world.fileSystem.release(inode, handle);
    await world.fileSystem.release(inode, second);
    expect(world.reader.usedBytes).toBe(0);
    await world.close();
  });

  it('forgets what a write, a truncation or a hole makes wrong', async () => {
    const world = await World.open();
    const { inode, handle, bytes } = await storedFile(world, 8);
    const expected = Buffer.from(bytes);
    for (let at = 0; at < 3 * MIB; at += MIB) await readAll(world.fileSystem, inode, handle, at, MIB);
    await turns();
    await world.fileSystem.write(inode, handle, 3 * MIB + 50, [patterned(5000, 1)], false);
    patterned(5000, 1).copy(expected, 3 * MIB + 50);
    const fourth = await readAll(world.fileSystem, inode, handle, 3 * MIB, MIB);
    expect(fourth.equals(expected.subarray(3 * MIB, 4 * MIB))).toBe(true);
    await world.fileSystem.syncAll();
    await readAll(world.fileSystem, inode, handle, 4 * MIB, MIB);
    await readAll(world.fileSystem, inode, handle, 5 * MIB, MIB);
    await turns();
    await world.fileSystem.fallocate(inode, handle, 3, 6 * MIB, 8192);
    expected.fill(0, 6 * MIB, 6 * MIB + 8192);
    await world.fileSystem.setAttributes(inode, { sizeBytes: 6 * MIB + 10_000 }, root);
    const seventh = await readAll(world.fileSystem, inode, handle, 6 * MIB, MIB);
    expect(seventh.equals(expected.subarray(6 * MIB, 6 * MIB + 10_000))).toBe(true);
    await world.fileSystem.release(inode, handle);
    expect(world.reader.usedBytes).toBe(0);
    await world.close();
  });

  it('keeps its memory bounded over many streams and within the pool', async () => {
    const world = await World.open();
    const { inode, handle, bytes } = await storedFile(world, 16);
    const handles = [handle];
    while (handles.length < 12) handles.push(await world.fileSystem.open(inode, 0, root));
    for (let at = 0; at < 6 * MIB; at += MIB) {
      for (const one of handles) {
        const found = await readAll(world.fileSystem, inode, one, at, MIB);
        expect(found.equals(bytes.subarray(at, at + MIB))).toBe(true);
      }
    }
    await turns();
    expect(world.reader.usedBytes).toBeLessThanOrEqual(24 * MIB);
    for (const one of handles) await world.fileSystem.release(inode, one);
    expect(world.reader.usedBytes).toBe(0);
    await world.close();
  });
});
