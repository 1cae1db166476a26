/** What the machine must offer before a volume can be mounted, checked first so that nothing is half started. */
import { accessSync, constants, existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { CommandFailure, exitCodes } from '../failure.ts';

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

function onPath(command: string): boolean {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .some((directory) => directory !== '' && existsSync(join(directory, command)));
}
