/** For processes that have nothing to store. */
import type { Databases, Disk } from '../../../src/platform/platform.ts';
import type { SimulatedDisk } from '../../../src/simulator/contract.ts';

const absent = new Proxy(
  {},
  {
    get: (_, name) => () => Promise.reject(new Error(`this machine has no disk for ${String(name)}`)),
  },
);

export const noDisk: SimulatedDisk = {
  platformFor: () => ({ disk: absent as Disk, databases: absent as Databases }),
  losePower: () => {},
  end: () => {},
  faults: absent as SimulatedDisk['faults'],
  counters: absent as SimulatedDisk['counters'],
};
