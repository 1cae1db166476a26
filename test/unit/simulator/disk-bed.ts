/** A machine with a simulated disk, and what can be done to it between two steps of time. */
import type { Disk, DiskFile, Platform } from '../../../src/platform/platform.ts';
import type { SimulatedDisk, SimulatedProcess } from '../../../src/simulator/contract.ts';
import {
  createSimulatedDisk,
  type SimulatedDiskOptions,
} from '../../../src/simulator/disks/simulated-disk.ts';
import { createMachine } from '../../../src/simulator/machine/machine.ts';
import { createWorld } from '../../../src/simulator/machine/world.ts';

export const BLOCK = 4096;
export const DIRECTORY = '/data';

export interface DiskBed {
  readonly world: ReturnType<typeof createWorld>;
  readonly disk: SimulatedDisk;
  /** Of a process that lives now; after a crash, of a new one. */
  platform(): Platform;
  readonly process: SimulatedProcess;
  run<T>(body: (disk: Disk, platform: Platform) => Promise<T>): Promise<T>;
  kill(): void;
  losePower(): void;
}

export async function diskBed(seed: number, options: SimulatedDiskOptions = {}): Promise<DiskBed> {
  const world = createWorld(seed);
  const disk = createSimulatedDisk(world, 'one', options);
  const machine = createMachine(world, { name: 'one', disk });
  let process = machine.start('test');
  const platform = (): Platform => {
    if (!process.alive) process = machine.start('test');
    return process.platform;
  };
  const bed: DiskBed = {
    world,
    disk,
    platform,
    get process() {
      return process;
    },
    run: (body) => {
      const { disk: files } = platform();
      return world.complete(body(files, process.platform));
    },
    kill: () => process.kill(),
    losePower: () => machine.losePower(),
  };
  await bed.run(async (files) => {
    await files.makeDirectory(DIRECTORY);
    await files.syncDirectory('/');
  });
  return bed;
}

export const path = `${DIRECTORY}/file`;
export const block = (fill: number, count = 1): Buffer => Buffer.alloc(count * BLOCK, fill);

/** A new file whose name and first bytes are on the disk. */
export async function syncedFile(files: Disk, bytes: Buffer, at = path): Promise<DiskFile> {
  const file = await files.open(at, { write: true, create: true });
  await file.write([bytes], 0);
  await file.sync();
  await files.syncDirectory(DIRECTORY);
  return file;
}

/** What each 512 bytes start with. */
export async function sectorsOf(files: Disk, at = path): Promise<number[]> {
  const bytes = await files.readSmallFile(at);
  return Array.from({ length: bytes.length / 512 }, (_, index) => bytes[index * 512]!);
}

/** The outcomes of one body under many seeds. */
export async function underSeeds<T>(count: number, body: (seed: number) => Promise<T>): Promise<T[]> {
  const outcomes: T[] = [];
  for (let seed = 1; seed <= count; seed++) outcomes.push(await body(seed));
  return outcomes;
}
