/** When data becomes durable that nobody syncs. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
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
