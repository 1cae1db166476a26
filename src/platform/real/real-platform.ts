/**
 * The machine as it is: the implementation of the seam that production uses.
 */
import { DiskQueue } from '../native/disk-queue.ts';
import { nativeKernels } from '../native/native-kernels.ts';
import { alignedBuffer, createSlab, mapSlab } from '../native/slab.ts';
import type { Logger, Memory, Platform } from '../platform.ts';
import { realDatabases } from './databases.ts';
import { RealDisk } from './disk.ts';
import { RealDiskFile } from './disk-file.ts';
import { realLogger } from './logger.ts';
import { realNetwork } from './network.ts';
import { realRandom } from './random.ts';
import { realClock, realTimers } from './time.ts';

export interface RealPlatformOptions {
  /** Default: text lines on standard error, from level info on. */
  readonly log?: Logger;
}

export function realPlatform(options: RealPlatformOptions = {}): Platform {
  const log = options.log ?? realLogger();
  let queue: DiskQueue | undefined;
  const diskQueue = (): DiskQueue => {
    queue ??= new DiskQueue();
    return queue;
  };
  const memory: Memory = {
    allocate: (lengthBytes) => alignedBuffer(lengthBytes),
    createSlab,
    mapSlab,
    openDescriptor: (descriptor, direct) =>
      new RealDiskFile(diskQueue(), `descriptor ${descriptor}`, descriptor, direct),
  };
  return {
    clock: realClock,
    timers: realTimers,
    random: realRandom,
    log,
    disk: new RealDisk(diskQueue),
    network: realNetwork(log),
    memory,
    databases: realDatabases,
    kernels: nativeKernels,
  };
}
