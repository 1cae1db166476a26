/** Each workload finds nothing wrong with file systems that keep their promises, and something with each that breaks one. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import type { Workload } from '../../../src/simulator/contract.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { AppendWorkload } from '../../../src/simulator/workloads/append.ts';
import { BankWorkload } from '../../../src/simulator/workloads/bank.ts';
import { FillWorkload } from '../../../src/simulator/workloads/fill.ts';
import { OverwriteWorkload } from '../../../src/simulator/workloads/overwrite.ts';
import { PosixWorkload } from '../../../src/simulator/workloads/posix.ts';
import { ReserveWorkload } from '../../../src/simulator/workloads/reserve.ts';
import { StreamWorkload } from '../../../src/simulator/workloads/stream.ts';
import { smallWorld, World } from '../filesystem/harness.ts';
import { RealWorld } from '../filesystem/real-world.ts';
import { type LoadOptions, type Served, TestLoad } from './workload-context.ts';

const MIB = 1024 * 1024;
const workloads: Record<string, () => Workload> = {
  posix: () => new PosixWorkload(),
  append: () => new AppendWorkload(),
  bank: () => new BankWorkload(),
  stream: () => new StreamWorkload('stream', { fileBytes: MIB / 2 }),
  fill: () => new FillWorkload('fill', { fileBytes: MIB / 4, mostBytes: MIB }),
  overwrite: () => new OverwriteWorkload(),
  reserve: () => new ReserveWorkload('reserve', { reservedBlocks: 60, fillBytes: MIB }),
};
const SEEDS = Number(process.env.MODEL_RUNS ?? 3);

/** Stand-ins for log and metadata that lose in a crash what is not durable, or a part of it. */
function crashing(world: World): Served {
  return {
    get fileSystem() {
      return world.fileSystem;
    },
    get metadata() {
      return world.metadata;
    },
    crash(choice) {
      const { operations, durableOperations } = world.metadata;
      return world.crash(durableOperations + (choice % (operations.length - durableOperations + 1)));
    },
  };
}

async function loaded(served: Served, workload: Workload, options: LoadOptions): Promise<TestLoad> {
  const load = new TestLoad(served, options);
  try {
    await load.run(workload);
  } catch (error) {
    throw new Error(`seed ${options.seed}: ${(error as Error).message}`, { cause: error });
  }
  return load;
}

describe.each(Object.entries(workloads))('the workload %s', (_name, make) => {
  it('agrees with the model', async () => {
    const served = { fileSystem: new MemoryFileSystem() as FileSystem };
    await loaded(served, make(), { seed: 1, operations: 800 });
  });
});

// The stand-ins give no space back, which the workload 'fill' waits for.
const crashable = Object.entries(workloads).filter(([name]) => name !== 'fill');
describe.each(crashable)('the workload %s', (_name, make) => {
  it('finds nothing wrong with what a crash may leave', async () => {
    let crashes = 0;
    for (let seed = 1; seed <= SEEDS; seed++) {
      const world = await World.open(smallWorld(seed));
      world.writer.latencyTurns = seed % 5;
      const load = await loaded(crashing(world), make(), { seed, crashChance: 0.02, operations: 600 });
      crashes += load.crashes;
      world.writer.close();
    }
    expect(crashes).toBeGreaterThan(SEEDS);
  });
});

describe('on real nodes', () => {
  let world: RealWorld;
  beforeAll(async () => {
    world = await RealWorld.open();
  });
  afterAll(async () => {
    await (world as RealWorld | undefined)?.close();
  });

  it.each(Object.entries(workloads))(
    '%s finds nothing wrong, with crashes of the mount',
    async (_name, make) => {
      const served: Served = {
        get fileSystem() {
          return world.fileSystem;
        },
        get metadata() {
          return world.metadata;
        },
        crash: () => world.crash(),
        isReal: true,
      };
      await loaded(served, make(), { seed: 5, crashChance: 0.004, operations: 400 });
    },
  );
});
