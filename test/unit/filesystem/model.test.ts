/** The file system against the reference model, operation by operation, over stand-ins with tiny segments. */
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { smallWorld, World } from './harness.ts';
import { operations, pairedRun } from './operations.ts';

describe('the file system', () => {
  it('does what the reference model does, whatever the order of operations', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(operations, { minLength: 1, maxLength: 120, size: 'max' }),
        async (sequence) => {
          const world = await World.open(smallWorld(sequence.length));
          const model = new MemoryFileSystem(() => world.clock.time());
          const run = pairedRun(model, world.fileSystem);
          try {
            for (const operation of sequence) {
              world.clock.nowMs += 1000;
              world.writer.latencyTurns = operation.length % 7;
              world.metadata.slow = operation.offset % 2 === 1;
              world.reader.staleReads = operation.offset % 11 === 3 ? 2 : 0;
              await run.apply(operation);
            }
            await run.compareAll();
            await run.releaseAll();
            await world.fileSystem.syncAll();
            await run.compareAll();
          } finally {
            world.writer.close();
          }
        },
      ),
      { interruptAfterTimeLimit: 100_000, numRuns: Number(process.env.MODEL_RUNS ?? 80) },
    );
  });
});
