/** What the machine must offer before a volume can be mounted, checked first so that nothing is half started. */
import { accessSync, constants, existsSync, statfsSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { MIB } from '../../base/units.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { formatSize } from './sizes.ts';

const FUSE_DEVICE = '/dev/fuse';

export function requireFuse(): void {
  if (!existsSync(FUSE_DEVICE)) {
    throw new CommandFailure(
      exitCodes.configuration,
      `${FUSE_DEVICE} is missing: run \`modprobe fuse\`, or start the container with --device /dev/fuse --cap-add SYS_ADMIN`,
    );
  }
  try {
    accessSync(FUSE_DEVICE, constants.R_OK | constants.W_OK);
  } catch (error) {
    throw new CommandFailure(
      exitCodes.permission,
      `${FUSE_DEVICE} cannot be opened by this user: run \`chmod 666 ${FUSE_DEVICE}\` as root, or run as root`,
      error,
    );
  }
  if (process.getuid?.() !== 0 && !onPath('fusermount3')) {
    throw new CommandFailure(
      exitCodes.configuration,
      'fusermount3 is missing, and only root can mount without it: install it with `sudo apt-get install fuse3`',
    );
  }
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
