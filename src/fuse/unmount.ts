/** umount(2), by privilege or by fusermount3. Waits off the event loop: the kernel writes back through us first. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { getSystemErrorName } from 'node:util';
import { fuseAddon } from './channel.ts';
import { MountError } from './mount-error.ts';
import { mountAt } from './mount-table.ts';

const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

export const HELPERS = ['fusermount3', 'fusermount'] as const;

export interface UnmountOptions {
  /** Detach now, and end when the last user is gone. */
  readonly lazy?: boolean;
}

export function isPrivileged(): boolean {
  return process.geteuid?.() === 0;
}

export async function unmount(path: string, options: UnmountOptions = {}): Promise<void> {
  if (!isPrivileged()) return unmountByHelper(path, options.lazy === true);
  const flags = UMOUNT_NOFOLLOW | (options.lazy === true ? MNT_DETACH : 0);
  const result = await fuseAddon().fuseUnmount(path, flags);
  if (result === 0) return;
  const code = getSystemErrorName(result);
  if (code === 'EBUSY')
    throw new MountError('in-use', `${path} is in use: close what works in it, or unmount lazily`);
  throw new MountError(code === 'EPERM' ? 'no-permission' : 'failed', `cannot unmount ${path}: ${code}`);
}

/** Takes a mount away whose server is gone. */
export function detach(path: string): Promise<void> {
  return unmount(path, { lazy: true });
}

async function unmountByHelper(path: string, lazy: boolean): Promise<void> {
  const args = lazy ? ['-u', '-z', '--', path] : ['-u', '--', path];
  const outcome = await runHelper(args);
  if (outcome.code === 0) return;
  const failure = mountAt(path) === undefined ? 'helper-refused' : 'in-use';
  throw new MountError(failure, `cannot unmount ${path}: ${outcome.message}`);
}

export interface HelperOutcome {
  readonly code: number;
  readonly message: string;
}

/** Runs fusermount3, or its older twin. `communication` becomes its descriptor 3, named to it by _FUSE_COMMFD. */
export async function runHelper(args: readonly string[], communication?: number): Promise<HelperOutcome> {
  for (const helper of HELPERS) {
    const outcome = await runProgram(helper, args, communication);
    if (outcome !== undefined) return outcome;
  }
  throw new MountError('no-helper', 'fusermount3 is needed to mount without root: install the package fuse3');
}

async function runProgram(
  program: string,
  args: readonly string[],
  communication: number | undefined,
): Promise<HelperOutcome | undefined> {
  const stdio: (number | 'pipe' | 'ignore')[] = ['ignore', 'ignore', 'pipe'];
  if (communication !== undefined) stdio.push(communication);
  const env = { ...process.env, _FUSE_COMMFD: '3' };
  const child = spawn(program, args, { stdio, env });
  let message = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    message = (message + text).slice(0, 4096);
  });
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code: code ?? -1, message: message.trim() };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
