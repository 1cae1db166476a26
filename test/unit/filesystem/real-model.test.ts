/** The file system against the reference model over a real volume in this process. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { CrashRun, crashSteps } from './crash-run.ts';
import { patterned, readAll, root } from './harness.ts';
import { operations, pairedRun } from './operations.ts';
import { RealWorld } from './real-world.ts';

let world: RealWorld;
beforeAll(async () => {
  world = await RealWorld.open();
});
afterAll(async () => {
  // Absent if it could not be opened.
  await (world as RealWorld | undefined)?.close();
});

it('does what the reference model does, on real nodes', async () => {
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(operations, { minLength: 1, maxLength: 80, size: 'max' }), async (sequence) => {
      runs += 1;
      world.clock.nowMs += 1000;
      const model = new MemoryFileSystem(() => world.clock.time());
      const directory = await world.fileSystem.makeDirectory(1, `run${runs}`, 0o755, root);
      const run = pairedRun(model, world.fileSystem, directory.inode);
      for (const operation of sequence) {
        world.clock.nowMs += 1000;
        await run.apply(operation);
      }
      await run.compareAll();
      await run.releaseAll();
      await world.fileSystem.syncAll();
      await run.compareAll();
    }),
    { interruptAfterTimeLimit: 100_000, numRuns: Number(process.env.MODEL_RUNS ?? 25) },
  );
});

it('what was synced is there after crashes, in the journal or in segments', async () => {
  const sizes = [100, 4096, 70_000, 1_000_000];
  for (let reign = 1; reign <= 3; reign++) {
    const { fileSystem } = world;
    for (const [at, size] of sizes.entries()) {
      const name = `synced-${reign}-${at}`;
      const { attributes, handle } = await fileSystem.create(1, name, 0o644, 0, root);
      await fileSystem.write(attributes.inode, handle, 0, [patterned(size, reign + at)], false);
      await fileSystem.fsync(attributes.inode, handle, false);
    }
    await world.crash();
    for (let earlier = 1; earlier <= reign; earlier++) {
      for (const [at, size] of sizes.entries()) {
        const found = await world.fileSystem.lookup(1, `synced-${earlier}-${at}`, root);
        expect(found?.sizeBytes).toBe(size);
        const handle = await world.fileSystem.open(found!.inode, 0, root);
        const bytes = await readAll(world.fileSystem, found!.inode, handle, 0, size);
        expect(bytes.equals(patterned(size, earlier + at))).toBe(true);
      }
    }
  }
});

it('after crashes of the mount synced bytes are there and no byte is one that never was', async () => {
  const crashing = {
    get fileSystem() {
      return world.fileSystem;
    },
    crash: () => world.crash(),
    slowDown: () => undefined,
    check: () => undefined,
  };
  let runs = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.array(crashSteps, { minLength: 20, maxLength: 60, size: 'max' }),
      async (sequence) => {
        const run = await CrashRun.start(crashing, `crash${runs++}-`);
        for (const step of sequence) await run.step(step);
        await run.step({ kind: 'crash', file: 0, offset: 0, length: 1 });
      },
    ),
    { interruptAfterTimeLimit: 100_000, numRuns: Number(process.env.MODEL_RUNS ?? 3) },
  );
});
