/** A process on a simulated machine with an empty directory, for the suites that run over every implementation of a seam. */
import type { Databases } from '../../src/platform/platform.ts';
import type { SimulatedDisk } from '../../src/simulator/contract.ts';
import { createSimulatedDisk } from '../../src/simulator/disks/simulated-disk.ts';
import { createMachine } from '../../src/simulator/machine/machine.ts';
import { createWorld } from '../../src/simulator/machine/world.ts';
import type { DiskBed } from './disk-suite.ts';

export interface SimulatedBed extends DiskBed {
  readonly databases: Databases;
  readonly machineDisk: SimulatedDisk;
}

export async function simulatedBed(): Promise<SimulatedBed> {
  const world = createWorld(1);
  const machineDisk = createSimulatedDisk(world, 'one');
  const process = createMachine(world, { name: 'one', disk: machineDisk }).start('suite');
  const directory = '/var/lib/suite';
  const run = (body: () => Promise<void>): Promise<void> => world.complete(body());
  await run(() => process.platform.disk.makeDirectory(directory));
  return { ...process.platform, machineDisk, directory, run, release: () => process.kill() };
}
