/** Crashes at random moments, with a journal cut at a random place behind what was synced. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type CrashingWorld, CrashRun, crashSteps } from './crash-run.ts';
import { smallWorld, World } from './harness.ts';

function crashing(world: World): CrashingWorld {
  return {
    get fileSystem() {
      return world.fileSystem;
    },
    crash(choice) {
      const { operations, durableOperations } = world.metadata;
      const spare = operations.length - durableOperations;
      return world.crash(durableOperations + (choice % (spare + 1)));
    },
    slowDown(turns) {
      world.writer.latencyTurns = turns;
    },
    /** Live counts agree with the extents, and every extent's segment is stored. */
    check() {
      const { metadata, store } = world;
      for (const [segmentId, count] of metadata.countLive()) {
        const record = metadata.segment(segmentId);
        if (record === undefined) continue;
        expect(record.liveBlocks).toBe(count);
        expect(store.has(segmentId)).toBe(true);
      }
    },
  };
}

it('after a crash synced bytes are there and no byte is one that never was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(crashSteps, { minLength: 5, maxLength: 80, size: 'max' }), async (sequence) => {
      const world = await World.open(smallWorld(sequence.length));
      const run = await CrashRun.start(crashing(world), 'f');
      try {
        for (const step of sequence) await run.step(step);
        await run.step({ kind: 'crash', file: 0, offset: sequence.length, length: 1 });
      } finally {
        world.writer.close();
      }
    }),
    { interruptAfterTimeLimit: 100_000, numRuns: Number(process.env.MODEL_RUNS ?? 60) },
  );
});
