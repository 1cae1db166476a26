/**
 * What can be said about a mount point before mounting: fit, mounted already, or the one line that says why not. Never touches the inside
 * of a mount in this process, since a stuck file system would take the command with it.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { MOUNT_TYPE } from '../../fuse/mount-point.ts';
import { mountAt } from '../../fuse/mount-table.ts';
import { asFailure, CommandFailure, exitCodes, systemCode } from '../failure.ts';

const PROBE_TIMEOUT_MS = 5_000;

/** The path as the kernel's table shows it: symbolic links above it resolved, itself untouched. */
export function canonicalMountPoint(path: string): string {
  const absolute = resolve(path);
  try {
    return mountAt(absolute) === undefined
      ? realpathSync(absolute)
      : join(realpathSync(dirname(absolute)), basename(absolute));
  } catch (error) {
    const code = systemCode(error);
    // Not there yet, or a dead mount: both are dealt with by whoever mounts.
    if (code === 'ENOENT' || code === 'ENOTCONN') return absolute;
    throw asFailure(error, absolute);
  }
}

/** Does a mount at `path` answer? Asked by a process of its own that can be killed. */
export function probeMount(path: string): 'answering' | 'dead' | 'silent' {
  const result = spawnSync('stat', ['-c', '%i', path], {
    timeout: PROBE_TIMEOUT_MS,
    killSignal: 'SIGKILL',
    stdio: 'ignore',
  });
  if (result.status === 0) return 'answering';
  return result.status === null ? 'silent' : 'dead';
}

/**
 * `source` is what this volume's mounts show as their source. Creates the directory. Throws CommandFailure when something else is
 * there.
 */
export function prepareMountPoint(path: string, source: string): void {
  const mounted = mountAt(path);
  if (mounted !== undefined) {
    const ours = mounted.type === MOUNT_TYPE && mounted.source === source;
    if (ours) return;
    const what = mounted.type === MOUNT_TYPE ? `volume ${mounted.source}` : `a ${mounted.type} file system`;
    throw new CommandFailure(
      exitCodes.configuration,
      `${path} is busy: ${what} is mounted there; unmount it or choose another mount point`,
    );
  }
  let entries: string[];
  try {
    mkdirSync(path, { recursive: true });
    entries = readdirSync(path);
  } catch (error) {
    const code = systemCode(error);
    if (code === 'EEXIST' || code === 'ENOTDIR') {
      throw new CommandFailure(
        exitCodes.configuration,
        `${path} is not a directory; choose another mount point`,
      );
    }
    throw asFailure(error, path);
  }
  if (entries.length > 0) {
    throw new CommandFailure(
      exitCodes.configuration,
      `${path} is not empty (${entries[0]}): mounting would hide its files; choose an empty directory`,
    );
  }
}

/** Takes a mount whose process is gone (or is to be given up) out of the tree. */
export function detachMount(path: string): void {
  const root = process.getuid?.() === 0;
  const [command, args] = root ? ['umount', ['-l', path]] : ['fusermount3', ['-u', '-z', path]];
  const result = spawnSync(command as string, args as string[], { encoding: 'utf8' });
  if (result.status !== 0 && mountAt(path) !== undefined) {
    const why = result.error?.message ?? result.stderr.trim();
    throw new CommandFailure(exitCodes.ioError, `${path} cannot be unmounted: ${why}`);
  }
}
