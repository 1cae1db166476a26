import { describe, expect, it } from 'vitest';
import { KIB, MIB } from '../../../src/base/units.ts';
import { LogUnwritable } from '../../../src/log/log.ts';
import { MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import { patterned, readAll, root, World } from './harness.ts';

const unavailable = new LogUnwritable('unavailable', 'too few nodes');
const full = new LogUnwritable('full', 'no room');
const turn = () => new Promise((resolve) => setImmediate(resolve));

async function fileIn(world: World, name = 'f') {
  const { attributes, handle } = await world.fileSystem.create(1, name, 0o644, 0, root);
  return { inode: attributes.inode, handle };
}

describe('a log that cannot be written', () => {
  it('fails writes with EIO while too few nodes answer, and with ENOSPC while they are full', async () => {
    const world = await World.open();
    const { inode, handle } = await fileIn(world);
    const write = () => world.fileSystem.write(inode, handle, 0, [patterned(4096, 1)], false);
    world.writer.setTrouble(unavailable);
    expect(write).toThrow(expect.objectContaining({ code: 'EIO' }));
    world.writer.setTrouble(full);
    expect(write).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    world.writer.setTrouble(undefined);
    await write();
    await world.close();
  });

  it('refuses what admission refuses with ENOSPC and keeps the file as it was', async () => {
    const world = await World.open();
    const { inode, handle } = await fileIn(world);
    world.writer.freeBytes = 64 * KIB;
    await world.fileSystem.write(inode, handle, 0, [patterned(32 * KIB, 1)], false);
    expect(() => world.fileSystem.write(inode, handle, 0, [patterned(MIB, 2)], false)).toThrow(
      expect.objectContaining({ code: 'ENOSPC' }),
    );
    expect(() => world.fileSystem.fallocate(inode, handle, 0, 0, MIB)).toThrow(
      expect.objectContaining({ code: 'ENOSPC' }),
    );
    expect((await world.fileSystem.getAttributes(inode)).sizeBytes).toBe(32 * KIB);
    await world.fileSystem.fsync(inode, handle, false);
    await world.close();
  });

  it('fails an fsync that waits for a segment, and a later one succeeds', async () => {
    const world = await World.open();
    const { inode, handle } = await fileIn(world);
    world.writer.held = true;
    await world.fileSystem.write(inode, handle, 0, [patterned(MIB, 1)], false);
    const synced = Promise.resolve(world.fileSystem.fsync(inode, handle, false));
    const outcome = expect(synced).rejects.toMatchObject({ code: 'EIO' });
    await turn();
    world.writer.setTrouble(unavailable);
    await outcome;
    await expect(world.fileSystem.fsync(inode, handle, false)).rejects.toMatchObject({ code: 'EIO' });
    world.writer.setTrouble(undefined);
    world.writer.held = false;
    world.writer.storeNext();
    await world.fileSystem.fsync(inode, handle, false);
    await world.crash();
    expect((await world.fileSystem.lookup(1, 'f', root))!.sizeBytes).toBe(MIB);
    await world.close();
  });

  it('tells each handle once at its close', async () => {
    const world = await World.open();
    const { inode, handle } = await fileIn(world);
    const second = await world.fileSystem.open(inode, 0, root);
    world.writer.held = true;
    await world.fileSystem.write(inode, handle, 0, [patterned(MIB, 1)], false);
    world.writer.setTrouble(unavailable);
    const flush = (which: number) => () => world.fileSystem.flush(inode, which);
    expect(flush(handle)).toThrow(expect.objectContaining({ code: 'EIO' }));
    expect(flush(handle)).not.toThrow();
    expect(flush(second)).toThrow(expect.objectContaining({ code: 'EIO' }));
    world.writer.close();
  });
});

describe('back-pressure', () => {
  it('gives no landing while every slot is in use, and wakes up when one is released', async () => {
    const world = await World.open({ slotCount: 4 });
    const { inode, handle } = await fileIn(world);
    world.writer.held = true;
    let offset = 0;
    for (let landing = world.fileSystem.writeLanding(); landing !== undefined; ) {
      await world.fileSystem.write(inode, handle, offset, [patterned(MIB, 1)], false);
      offset += MIB;
      landing = world.fileSystem.writeLanding();
    }
    let woken = false;
    const writable = world.fileSystem.whenWritable().then(() => {
      woken = true;
    });
    await turn();
    expect(woken).toBe(false);
    world.writer.storeNext();
    await writable;
    expect(world.fileSystem.writeLanding()).toBeDefined();
    world.writer.held = false;
    while (world.writer.storeNext());
    await world.close();
  });

  it('gives memory to receive writes into that are going to fail, so that reads go on', async () => {
    const world = await World.open({ slotCount: 4 });
    const { inode, handle } = await fileIn(world);
    world.writer.held = true;
    for (let offset = 0; world.fileSystem.writeLanding() !== undefined; offset += MIB)
      await world.fileSystem.write(inode, handle, offset, [patterned(MIB, 1)], false);
    const writable = world.fileSystem.whenWritable();
    world.writer.setTrouble(unavailable);
    await writable;
    const landing = world.fileSystem.writeLanding()!;
    expect(landing.reduce((sum, part) => sum + part.length, 0)).toBeGreaterThanOrEqual(MIB);
    const landed = [landing[0]!.subarray(0, 4096)];
    expect(() => world.fileSystem.write(inode, handle, 0, landed, true)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    expect((await readAll(world.fileSystem, inode, handle, 0, 4096)).length).toBe(4096);
    world.writer.close();
  });

  it('bounds the copies held by writes that wait', async () => {
    const world = await World.open({ slotCount: 4 });
    const { inode, handle } = await fileIn(world);
    await world.fileSystem.write(inode, handle, 0, [patterned(MIB, 1)], false);
    await world.fileSystem.syncAll();
    let open = () => {};
    world.reader.gate = new Promise((resolve) => {
      open = resolve;
    });
    // The first one has to read the block it begins in; the others queue behind it.
    const waiting: unknown[] = [];
    for (let count = 0; world.fileSystem.writeLanding() !== undefined; count++) {
      expect(count).toBeLessThan(20);
      waiting.push(world.fileSystem.write(inode, handle, 100, [patterned(MIB, count)], false));
    }
    open();
    await Promise.all(waiting);
    expect(world.fileSystem.writeLanding()).toBeDefined();
    const found = await readAll(world.fileSystem, inode, handle, 100, MIB);
    expect(found.equals(patterned(MIB, waiting.length - 1))).toBe(true);
    await world.close();
  });

  it('lets changes of names wait for a metadata backlog', async () => {
    const world = await World.open();
    let clear = () => {};
    world.metadata.backlogged = new Promise((resolve) => {
      clear = resolve;
    });
    const made = world.fileSystem.makeDirectory(1, 'd', 0o755, root);
    expect(made).toBeInstanceOf(Promise);
    expect(world.fileSystem.writeLanding()).toBeUndefined();
    expect(world.metadata.lookup(1, 'd')).toBeUndefined();
    world.metadata.backlogged = undefined;
    clear();
    expect((await made).linkCount).toBe(2);
    await world.close();
  });
});

describe('metadata that cannot be written', () => {
  it('fails changes with EIO and commits what was written when it is back', async () => {
    const world = await World.open();
    const { inode, handle } = await fileIn(world);
    await world.fileSystem.write(inode, handle, 0, [patterned(MIB, 3)], false);
    world.metadata.trouble = new MetadataUnavailable('no ensemble');
    await expect(world.fileSystem.fsync(inode, handle, false)).rejects.toMatchObject({ code: 'EIO' });
    expect(() => world.fileSystem.makeDirectory(1, 'd', 0o755, root)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    expect(() => world.fileSystem.write(inode, handle, 0, [patterned(100, 1)], false)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    world.metadata.trouble = undefined;
    await new Promise((resolve) => setTimeout(resolve, 150));
    await world.fileSystem.fsync(inode, handle, false);
    await world.crash();
    expect((await world.fileSystem.lookup(1, 'f', root))!.sizeBytes).toBe(MIB);
    await world.close();
  });

  it('a refused journal commit is made good by the segment', async () => {
    const world = await World.open();
    const { inode, handle } = await fileIn(world);
    await world.fileSystem.write(inode, handle, 0, [patterned(4096, 3)], false);
    world.metadata.trouble = new MetadataUnavailable('no ensemble');
    expect(() => world.fileSystem.fsync(inode, handle, false)).toThrow(
      expect.objectContaining({ code: 'EIO' }),
    );
    world.metadata.trouble = undefined;
    await new Promise((resolve) => setTimeout(resolve, 150));
    await world.fileSystem.fsync(inode, handle, false);
    expect(world.store.size).toBe(1);
    await world.close();
  });
});

it('a block that cannot be read is EIO, and a segment that moved is looked up again', async () => {
  const world = await World.open();
  const { inode, handle } = await fileIn(world);
  await world.fileSystem.write(inode, handle, 0, [patterned(MIB, 3)], false);
  await world.fileSystem.fsync(inode, handle, false);
  world.reader.staleReads = 3;
  expect((await readAll(world.fileSystem, inode, handle, 0, 4096)).length).toBe(4096);
  world.reader.staleReads = 100;
  await expect(readAll(world.fileSystem, inode, handle, 0, 4096)).rejects.toMatchObject({ code: 'EIO' });
  world.reader.staleReads = 0;
  world.store.clear();
  await expect(readAll(world.fileSystem, inode, handle, 0, 4096)).rejects.toMatchObject({ code: 'EIO' });
  expect(world.reader.usedBytes).toBe(0);
  await world.close();
});
