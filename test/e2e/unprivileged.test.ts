/** The command in the hands of an ordinary user, who mounts through fusermount3. */
import { type SpawnSyncReturns, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { StatusReport } from '../../src/cli/status/status-report.ts';
import { COMMAND_TIMEOUT_MS, killProcess, TestVolume, tartanCommand } from './support/volume.ts';

const NOBODY = 65534;

let volume: TestVolume;

beforeEach(() => {
  volume = new TestVolume({ at: 'home' });
  chmodSync(volume.base, 0o755);
  mkdirSync(home());
  chownSync(home(), NOBODY, NOBODY);
});
afterEach((context) => volume.destroy(context));

const home = (): string => join(volume.base, 'home');

/** `prefix`: a command to run it under. */
function runAs(
  user: string,
  command: readonly string[],
  prefix: readonly string[] = [],
): SpawnSyncReturns<string> {
  const setpriv = ['setpriv', `--reuid=${user}`, `--regid=${NOBODY}`, '--clear-groups'];
  const [program, ...args] = [...prefix, ...setpriv, ...command];
  const env = { PATH: process.env.PATH, HOME: home() };
  return spawnSync(program!, args, { encoding: 'utf8', env, timeout: COMMAND_TIMEOUT_MS });
}

const tartanAsNobody = (...args: string[]): SpawnSyncReturns<string> =>
  runAs('nobody', [process.execPath, tartanCommand, ...args]);

function shellAsNobody(script: string): string {
  const { status, stdout, stderr } = runAs('nobody', ['sh', '-ec', script]);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return stdout;
}

describe('an ordinary user', () => {
  test('has a volume at home, of files that are theirs, closed to everybody else, root included', () => {
    expect(tartanAsNobody('up', '--nodes', '3')).toMatchObject({ status: 0 });
    expect(shellAsNobody('cd ~/tartan; echo hello > file; mkdir dir; cat file; stat -c %u:%g file dir')).toBe(
      `hello\n${NOBODY}:${NOBODY}\n${NOBODY}:${NOBODY}\n`,
    );
    const change = runAs('nobody', ['chown', 'root', volume.path('file')]);
    expect(change.stderr).toContain('Operation not permitted');
    expect(tartanAsNobody('status').stdout).toContain('healthy');
    for (const other of ['daemon', 'root']) {
      expect(runAs(other, ['ls', volume.mountPoint]).stderr).toContain('Permission denied');
    }
    expect(runAs('daemon', ['ls', volume.state]).stderr).toContain('Permission denied');
    expect(tartanAsNobody('down')).toMatchObject({ status: 0 });
    expect(readdirSync(volume.mountPoint)).toEqual([]);
    expect(volume.pids()).toEqual([]);
  });

  test('mounts again where a killed mount process left its mount behind', () => {
    expect(tartanAsNobody('up', '--nodes', '3')).toMatchObject({ status: 0 });
    shellAsNobody('cd ~/tartan; echo kept > file; sync file');
    const { mounts } = JSON.parse(tartanAsNobody('status', '--json').stdout) as StatusReport;
    killProcess(mounts[0]?.pid);
    expect(tartanAsNobody('up')).toMatchObject({ status: 0 });
    expect(shellAsNobody('cat ~/tartan/file')).toBe('kept\n');
  });

  test('without fusermount3 gets one line that says how to install it, and nothing is made', () => {
    const command = ['/usr/bin/env', 'PATH=/nonexistent', process.execPath, tartanCommand, 'up'];
    const { status, stderr } = runAs('nobody', command);
    expect(status).toBe(78);
    expect(stderr).toMatch(/^tartan: fusermount3 is missing.*apt-get install fuse3`\n$/);
    expect(readdirSync(home())).toEqual([]);
  });

  test('who may not open /dev/fuse gets one line that says how to change that, and nothing is made', () => {
    // Everybody else goes on seeing the device as it is.
    const device = join(volume.base, 'fuse');
    const closed = `mknod -m 600 ${device} c 10 229; mount --bind ${device} /dev/fuse; exec "$@"`;
    const unshare = ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', closed, 'sh'];
    const { status, stderr } = runAs('nobody', [process.execPath, tartanCommand, 'up'], unshare);
    expect(status).toBe(77);
    expect(stderr).toMatch(/^tartan: \/dev\/fuse cannot be opened by this user: .*chmod 666.*\n$/);
    expect(readdirSync(home())).toEqual([]);
  });
});
