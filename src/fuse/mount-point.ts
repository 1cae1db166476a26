/**
 * Makes a directory ready to be mounted on: resolves it, clears away what a killed process left, and refuses what is in use.
 */
import { lstatSync, realpathSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Timers } from '../platform/platform.ts';
import { MountError } from './mount-error.ts';
import { type MountEntry, mountAt } from './mount-table.ts';
import { detach } from './unmount.ts';

export const MOUNT_TYPE = 'fuse.tartan';

/** A live file system answers stat at once; one that does not is hung, but not dead. */
const STAT_TIMEOUT_MS = 2000;
/** Dead mounts that lie on top of each other: more than these is somebody's loop. */
const MAX_DEAD_MOUNTS = 16;

/** Returns the absolute path without symbolic links. */
export async function prepareMountPoint(mountPoint: string, timers: Timers): Promise<string> {
  const path = resolveMountPoint(mountPoint);
  for (let cleared = 0; cleared < MAX_DEAD_MOUNTS; cleared++) {
    const present = mountAt(path);
    if (present === undefined || path === '/') {
      requireDirectory(path);
      return path;
    }
    if (present.type !== MOUNT_TYPE || !(await isDead(path, timers))) throw alreadyMounted(present);
    await detach(path);
  }
  throw new MountError('failed', `${path}: dead mounts come back as fast as they are cleared away`);
}

/** Symbolic links are resolved; the last part may be a dead mount, which can be looked at by name only. */
export function resolveMountPoint(mountPoint: string): string {
  const absolute = resolve(mountPoint);
  try {
    const parent = realpathSync(dirname(absolute));
    const path = absolute === '/' ? '/' : join(parent, basename(absolute));
    if (mountAt(path) !== undefined) return path;
    return lstatSync(path).isSymbolicLink() ? realpathSync(path) : path;
  } catch (cause) {
    throw describe(absolute, cause);
  }
}

function requireDirectory(path: string): void {
  let isDirectory: boolean;
  try {
    isDirectory = statSync(path).isDirectory();
  } catch (cause) {
    throw describe(path, cause);
  }
  if (!isDirectory) throw new MountError('not-a-directory', `${path} is not a directory`);
}

function describe(path: string, cause: unknown): MountError {
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === 'ENOENT') return new MountError('no-such-directory', `${path} does not exist`, { cause });
  if (code === 'ENOTDIR') return new MountError('not-a-directory', `${path} is not a directory`, { cause });
  if (code === 'EACCES') return new MountError('no-permission', `${path} may not be searched`, { cause });
  return new MountError('failed', `${path}: ${code ?? String(cause)}`, { cause });
}

function alreadyMounted(present: MountEntry): MountError {
  const what =
    present.type === MOUNT_TYPE ? `the volume ${present.source}` : `a file system (${present.type})`;
  return new MountError('already-mounted', `${what} is already mounted on ${present.mountPoint}`);
}

/** The process that served it is gone: ENOTCONN. */
async function isDead(path: string, timers: Timers): Promise<boolean> {
  const verdict = stat(path).then(
    () => false,
    (error: NodeJS.ErrnoException) => error.code === 'ENOTCONN',
  );
  return Promise.race([verdict, timers.sleep(STAT_TIMEOUT_MS).then(() => false)]);
}
