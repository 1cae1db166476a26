/** When data becomes durable that nobody syncs. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import { patterned, root, World } from './harness.ts';

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

it('blocks that an inline commit left out are written out in time although others are synced after it', async () => {
  const world = await World.open({ segmentBlocks: 24, slotCount: 16 });
  const { fileSystem, writer, metadata } = world;
  const large = await fileSystem.create(1, 'large', 0o644, 0, root);
  const small = await fileSystem.create(1, 'small', 0o644, 0, root);
  const { inode } = small.attributes;
  const endBytes = 30 * BLOCK_BYTES;
  writer.held = true;
  await fileSystem.write(large.attributes.inode, large.handle, 0, [patterned(endBytes, 1)], false);
  // Its first segment is on its way, so the end of it, in the open one, cannot be journaled with the first of these.
  for (let round = 0; round < 3; round++) {
    await fileSystem.write(inode, small.handle, round * BLOCK_BYTES, [patterned(BLOCK_BYTES, round)], false);
    await fileSystem.fsync(inode, small.handle, false);
  }
  expect(metadata.inode(large.attributes.inode)?.sizeBytes).toBe(0);
  vi.advanceTimersByTime(50);
  while (writer.storeNext());
  expect(metadata.inode(large.attributes.inode)?.sizeBytes).toBe(endBytes);
  writer.close();
});

it('journaling begins with the write after which the file was synced the last time', async () => {
  const world = await World.open();
  const { fileSystem, metadata } = world;
  const file = await fileSystem.create(1, 'f', 0o644, 0, root);
  const { inode } = file.attributes;
  const write = (at: number) =>
    fileSystem.write(inode, file.handle, at * BLOCK_BYTES, [patterned(BLOCK_BYTES, at)], false);
  const isJournaled = (blocks: number) => metadata.inode(inode)?.sizeBytes === blocks * BLOCK_BYTES;
  await write(0);
  await write(1);
  expect(isJournaled(2)).toBe(false);
  await fileSystem.fsync(inode, file.handle, false);
  await write(2);
  expect(isJournaled(3)).toBe(false);
  await write(3);
  expect(isJournaled(4)).toBe(true);
  expect(metadata.hastenedOperations).toBe(metadata.operations.length);
  expect(metadata.durableOperations).toBeLessThan(metadata.operations.length);
  await fileSystem.fsync(inode, file.handle, false);
  expect(metadata.durableOperations).toBe(metadata.operations.length);
  for (let at = 4; at < 8; at++) await write(at);
  await fileSystem.fsync(inode, file.handle, false);
  const before = metadata.operations.length;
  await write(8);
  expect(metadata.operations.length).toBe(before);
  await world.close();
});

it('a write whose journaling was refused when it began early is not lost, and its fsync says so', async () => {
  const world = await World.open();
  const { fileSystem, metadata } = world;
  const file = await fileSystem.create(1, 'f', 0o644, 0, root);
  const { inode } = file.attributes;
  const write = (at: number) =>
    fileSystem.write(inode, file.handle, at * BLOCK_BYTES, [patterned(BLOCK_BYTES, at)], false);
  await write(0);
  await fileSystem.fsync(inode, file.handle, false);
  const commitInline = metadata.commitInline;
  metadata.commitInline = () => {
    throw new MetadataUnavailable('away');
  };
  await write(1);
  metadata.commitInline = commitInline;
  while (world.writer.storeNext());
  await fileSystem.fsync(inode, file.handle, false);
  expect(metadata.inode(inode)?.sizeBytes).toBe(2 * BLOCK_BYTES);
  await world.close();
});

it('being told the times that a file shows already journals nothing, and they are durable with its data', async () => {
  const world = await World.open();
  const { fileSystem, metadata } = world;
  const file = await fileSystem.create(1, 'f', 0o644, 0, root);
  const { inode } = file.attributes;
  await fileSystem.fsync(inode, file.handle, false);
  world.clock.nowMs += 5000;
  await fileSystem.write(inode, file.handle, 0, [patterned(BLOCK_BYTES, 1)], false);
  const shown = await fileSystem.getAttributes(inode);
  const time = { seconds: shown.mtimeSeconds, nanoseconds: shown.mtimeNanoseconds };
  const before = metadata.operations.length;
  await fileSystem.setAttributes(inode, { mtime: time, ctime: time }, root);
  expect(metadata.operations.length).toBe(before);
  await fileSystem.fsync(inode, file.handle, false);
  const journaled = metadata.operations.length;
  await fileSystem.setAttributes(inode, { mtime: time, ctime: time }, root);
  expect(metadata.operations.length).toBe(journaled);
  const later = { seconds: time.seconds + 1, nanoseconds: 0 };
  await fileSystem.setAttributes(inode, { mtime: later, ctime: time }, root);
  expect(metadata.operations.length).toBe(journaled + 1);
  await world.crash(journaled);
  const found = await world.fileSystem.lookup(1, 'f', root);
  expect(found).toMatchObject({ mtimeSeconds: time.seconds, mtimeNanoseconds: time.nanoseconds });
  await world.close();
});
