/** Random operations against the model, with crashes of stand-ins that lose what they may. */
import { expect, it } from 'vitest';
import { PosixWorkload } from '../../../src/simulator/workloads/posix.ts';
import { smallWorld, World } from '../filesystem/harness.ts';
import { type Served, TestLoad } from './workload-context.ts';

function standIn(world: World): Served {
  return {
    get fileSystem() {
      return world.fileSystem;
    },
    crash(choice) {
      const { operations, durableOperations } = world.metadata;
      return world.crash(durableOperations + (choice % (operations.length - durableOperations + 1)));
    },
  };
}

it('finds nothing wrong with a file system that keeps its promises, whenever it crashes', async () => {
  let crashes = 0;
  for (let seed = 1; seed <= Number(process.env.MODEL_RUNS ?? 12); seed++) {
    const world = await World.open(smallWorld(seed));
    world.writer.latencyTurns = seed % 5;
    const load = new TestLoad(standIn(world), { seed, crashChance: 0.02, operations: 1500 });
    try {
      await load.run(new PosixWorkload());
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    crashes += load.crashes;
    world.writer.close();
  }
  expect(crashes).toBeGreaterThan(20);
});
