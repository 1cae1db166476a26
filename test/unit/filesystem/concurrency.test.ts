/** Many operations on one file under way at once: the result is as if they had come one by one, in order. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { readAll, root, smallWorld, World } from './harness.ts';

interface Step {
  readonly kind: 'write' | 'truncate' | 'punch' | 'read' | 'fsync' | 'wait';
  readonly offset: number;
  readonly length: number;
}

const steps: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom('write', 'write', 'write', 'truncate', 'punch', 'read', 'fsync', 'wait'),
  offset: fc.oneof(
    fc.nat(30).map((block) => block * BLOCK_BYTES),
    fc.nat(30 * BLOCK_BYTES),
  ),
  length: fc.integer({ min: 1, max: 12 * BLOCK_BYTES }),
});

it('operations that overlap in time take effect in the order they came', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 2, maxLength: 50, size: 'max' }), async (sequence) => {
      const world = await World.open(smallWorld(sequence.length));
      const { fileSystem, writer } = world;
      const model = new MemoryFileSystem(() => world.clock.time());
      const real = await fileSystem.create(1, 'f', 0o644, 0, root);
      const expected = model.create(1, 'f', 0o644, 0, root);
      const { inode } = real.attributes;
      const under: Promise<unknown>[] = [];
      const start = (result: unknown) => under.push(Promise.resolve(result));
      for (const [at, { kind, offset, length }] of sequence.entries()) {
        writer.latencyTurns = length % 5;
        const bytes = Buffer.alloc(length, at + 1);
        switch (kind) {
          case 'write':
            start(fileSystem.write(inode, real.handle, offset, [bytes], false));
            bytes.fill(0xee);
            model.write(expected.attributes.inode, 0, offset, [Buffer.alloc(length, at + 1)]);
            break;
          case 'truncate':
            start(fileSystem.setAttributes(inode, { sizeBytes: offset }, root));
            model.setAttributes(expected.attributes.inode, { sizeBytes: offset });
            break;
          case 'punch':
            start(fileSystem.fallocate(inode, real.handle, 3, offset, length));
            model.fallocate(expected.attributes.inode, 0, 3, offset, length);
            break;
          case 'read':
            start(readAll(fileSystem, inode, real.handle, offset, length));
            break;
          case 'fsync':
            start(fileSystem.fsync(inode, real.handle, false));
            break;
          case 'wait':
            await new Promise((resolve) => setImmediate(resolve));
        }
      }
      await Promise.all(under);
      for (let round = 0; round < 2; round++) {
        const { sizeBytes, blocks512 } = await fileSystem.getAttributes(inode);
        const wanted = model.getAttributes(expected.attributes.inode);
        expect(sizeBytes).toBe(wanted.sizeBytes);
        expect(blocks512).toBe(wanted.blocks512);
        const found = await readAll(fileSystem, inode, real.handle, 0, sizeBytes);
        const modelBytes = Buffer.concat(model.read(expected.attributes.inode, 0, 0, sizeBytes).parts);
        expect(found.equals(modelBytes)).toBe(true);
        await fileSystem.syncAll();
      }
      await fileSystem.release(inode, real.handle);
      expect(world.reader.usedBytes).toBe(0);
      expect(writer.pinnedCount).toBe(0);
      writer.close();
    }),
    { interruptAfterTimeLimit: 100_000, numRuns: Number(process.env.MODEL_RUNS ?? 80) },
  );
});

it('writers that waited for the same room each get their own', async () => {
  for (let seed = 0; seed < 6; seed++) {
    const world = await World.open(smallWorld(seed));
    const { fileSystem, writer } = world;
    writer.latencyTurns = 3 + seed;
    const files = [];
    for (let file = 0; file < 6; file++) files.push(await fileSystem.create(1, `f${file}`, 0o644, 0, root));
    for (let round = 0; round < 4; round++) {
      const writes = files.map(async ({ attributes, handle }, file) => {
        await fileSystem.write(attributes.inode, handle, 1, [Buffer.alloc(300_000, 1 + round + file)], false);
        await fileSystem.fallocate(attributes.inode, handle, 3, 100, 50_000);
      });
      await Promise.all(writes);
    }
    for (const [file, { attributes, handle }] of files.entries()) {
      const found = await readAll(fileSystem, attributes.inode, handle, 0, 400_000);
      expect(found.subarray(50_100).equals(Buffer.alloc(300_001 - 50_100, 4 + file))).toBe(true);
    }
    writer.close();
  }
});

it('a sync during the making of a hole covers the size that was set before', async () => {
  const world = await World.open(smallWorld(2));
  const { attributes, handle } = await world.fileSystem.create(1, 'f', 0o644, 0, root);
  const { inode } = attributes;
  await world.fileSystem.fsync(inode, handle, false);
  await world.fileSystem.write(inode, handle, 0, [Buffer.alloc(BLOCK_BYTES, 1)], false);
  await world.fileSystem.setAttributes(inode, { sizeBytes: 10 * BLOCK_BYTES }, root);
  world.metadata.slow = true;
  const punched = Promise.resolve(world.fileSystem.fallocate(inode, handle, 3, 0, BLOCK_BYTES));
  await Promise.resolve();
  await world.fileSystem.fsync(inode, handle, false);
  const { durableOperations } = world.metadata;
  await punched;
  await world.crash(durableOperations);
  const found = await world.fileSystem.lookup(1, 'f', root);
  expect(found?.sizeBytes).toBe(10 * BLOCK_BYTES);
  world.writer.close();
});
