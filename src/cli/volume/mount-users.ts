/** Which processes use a mount: those that stand in it, have files of it open or mapped, or run from it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { systemCode } from '../failure.ts';

export interface MountUser {
  readonly pid: number;
  readonly command: string;
  /** One path that it uses. */
  readonly path: string;
}

/** Processes come and go while we look, and some are not ours to look into: those have nothing to tell. */
function unlessGone<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ESRCH' || code === 'EACCES' || code === 'EPERM') return otherwise;
    throw error;
  }
}

function* pathsUsed(directory: string): Generator<string> {
  for (const link of ['cwd', 'root', 'exe']) yield unlessGone(() => readlinkSync(`${directory}/${link}`), '');
  for (const descriptor of unlessGone(() => readdirSync(`${directory}/fd`), [])) {
    yield unlessGone(() => readlinkSync(`${directory}/fd/${descriptor}`), '');
  }
  for (const line of unlessGone(() => readFileSync(`${directory}/maps`, 'utf8'), '').split('\n')) {
    const start = line.indexOf('/');
    if (start >= 0) yield line.slice(start);
  }
}

export function mountUsers(mountPoint: string): MountUser[] {
  const users: MountUser[] = [];
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    for (const path of pathsUsed(`/proc/${name}`)) {
      if (path !== mountPoint && !path.startsWith(`${mountPoint}/`)) continue;
      const command = unlessGone(() => readFileSync(`/proc/${name}/comm`, 'utf8').trim(), '?');
      users.push({ pid: Number(name), command, path });
      break;
    }
  }
  return users;
}
