/** What the machine must offer before a volume can be mounted, checked first so that nothing is half started. */
import { closeSync, constants, existsSync, openSync, type Stats, statfsSync, statSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { MIB } from '../../base/units.ts';
import { CommandFailure, exitCodes, systemCode } from '../failure.ts';
import { formatSize } from './sizes.ts';

const FUSE_DEVICE = '/dev/fuse';
/** Major and minor number, as every kernel has them, and as stat(2) packs numbers that small. */
const FUSE_DEVICE_NUMBER = (10 << 8) | 229;
const GIVE_DEVICE = 'run `modprobe fuse`, or start the container with --device /dev/fuse --cap-add SYS_ADMIN';

export function requireFuse(): void {
  requireFuseDevice();
  if (process.getuid?.() !== 0 && !onPath('fusermount3')) {
    throw new CommandFailure(
      exitCodes.configuration,
      'fusermount3 is missing, and only root can mount without it: install it with `sudo apt-get install fuse3`',
    );
  }
}

/** Opens it, too: modules that are not loaded and rules of containers show only then. */
function requireFuseDevice(): void {
  try {
    if (!isFuse(statSync(FUSE_DEVICE))) {
      throw new CommandFailure(
        exitCodes.configuration,
        `${FUSE_DEVICE} is not the kernel's FUSE device: ${GIVE_DEVICE}`,
      );
    }
    closeSync(openSync(FUSE_DEVICE, constants.O_RDWR));
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw deviceFailure(error);
  }
}

function isFuse(found: Stats): boolean {
  return found.isCharacterDevice() && found.rdev === FUSE_DEVICE_NUMBER;
}

function deviceFailure(error: unknown): CommandFailure {
  const code = systemCode(error);
  if (code === 'EACCES') {
    return new CommandFailure(
      exitCodes.permission,
      `${FUSE_DEVICE} cannot be opened by this user: run \`chmod 666 ${FUSE_DEVICE}\` as root, or run as root`,
      error,
    );
  }
  if (code === 'EPERM') {
    return new CommandFailure(
      exitCodes.permission,
      `${FUSE_DEVICE} may not be opened in this container: start it with --device /dev/fuse --cap-add SYS_ADMIN`,
      error,
    );
  }
  const what = code === 'ENOENT' ? 'is missing' : `cannot be opened (${code ?? String(error)})`;
  return new CommandFailure(exitCodes.configuration, `${FUSE_DEVICE} ${what}: ${GIVE_DEVICE}`, error);
}

/** Journals and databases of a node before the first byte is stored. */
const NEW_NODE_BYTES = 24 * MIB;
/** Logs and databases need a little to start with, even if only to delete something. */
const START_BYTES = 8 * MIB;

/** `newNodes` is 0 for a volume that exists. */
export function requireSpace(directory: string, newNodes: number): void {
  const neededBytes = START_BYTES + newNodes * NEW_NODE_BYTES;
  let existing = directory;
  while (!existsSync(existing)) existing = dirname(existing);
  const { bavail, bsize } = statfsSync(existing);
  const freeBytes = bavail * bsize;
  if (freeBytes >= neededBytes) return;
  throw new CommandFailure(
    exitCodes.ioError,
    `the disk of ${directory} has ${formatSize(freeBytes)} left and ${formatSize(neededBytes)} are needed: ` +
      'free some, or choose another --dir',
  );
}

function onPath(command: string): boolean {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .some((directory) => directory !== '' && existsSync(join(directory, command)));
}
