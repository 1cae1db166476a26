/**
 * A directory for tests of what is built on the stores: in memory where there is enough of it, since they sync all the time and never lose power. The
 * tests of the stores themselves, and of the platform, are on a disk.
 */
import { existsSync, mkdtempSync, statfsSync } from 'node:fs';
import { join } from 'node:path';

const IN_MEMORY = '/dev/shm';
const ON_DISK = '/var/tmp';
/** Containers often have 64 MiB there: less than the journals of a volume take. */
const ENOUGH_BYTES = 4 * 2 ** 30;

function hasEnoughMemory(): boolean {
  if (!existsSync(IN_MEMORY)) return false;
  const { bavail, bsize } = statfsSync(IN_MEMORY);
  return bavail * bsize >= ENOUGH_BYTES;
}

export function makeScratch(name: string): string {
  return mkdtempSync(join(hasEnoughMemory() ? IN_MEMORY : ON_DISK, `tartan-${name}-`));
}
