/** Machines and containers that cannot mount: one line that says what to do, and nothing is left running. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { COMMAND_TIMEOUT_MS, type Outcome, TestVolume, tartanCommand } from './support/volume.ts';

let volume: TestVolume;
beforeEach(() => {
  volume = new TestVolume({ nodes: 3 });
});
afterEach((context) => volume.destroy(context));

/** `tartan up` in a mount namespace of its own, which `prepare` may spoil. */
function upWhere(prepare: string, prefix: readonly string[] = []): Outcome {
  const up = [
    process.execPath,
    tartanCommand,
    'up',
    volume.mountPoint,
    '--dir',
    volume.state,
    '--nodes',
    '3',
  ];
  const script = `${prepare}; exec "$@"`;
  const args = ['--mount', '--propagation', 'private', 'sh', '-ec', script, 'sh', ...prefix, ...up];
  const { status, stdout, stderr } = spawnSync('unshare', args, {
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
  });
  return { status, stdout, stderr };
}

describe('a machine', () => {
  test.each([
    ['without /dev/fuse', (base: string) => `mount --bind ${base}/dev /dev`, 'is missing'],
    ['with something else in its place', () => 'mount --bind /dev/null /dev/fuse', "is not the kernel's"],
    [
      'with a file in its place',
      (base: string) => `mount --bind ${base}/file /dev/fuse`,
      "is not the kernel's",
    ],
  ])('%s is told what to do, and nothing is made', (_, prepare, what) => {
    mkdirSync(join(volume.base, 'dev'));
    writeFileSync(join(volume.base, 'file'), '');
    const { status, stderr } = upWhere(prepare(volume.base));
    expect(stderr).toMatch(/^tartan: \/dev\/fuse .*: run `modprobe fuse`, or start the container with .*\n$/);
    expect(stderr).toContain(what);
    expect(status).toBe(78);
    expect(existsSync(volume.state)).toBe(false);
  });

  test('whose root may not mount is told so, and what was started is stopped again', () => {
    const { status, stderr } = upWhere('true', ['setpriv', '--bounding-set=-sys_admin', '--']);
    expect(stderr.trim().split('\n').at(-1)).toMatch(/^tartan: .*may not mount.*--cap-add SYS_ADMIN$/);
    expect(status).toBe(77);
    expect(volume.pids()).toEqual([]);
    expect(spawnSync('pgrep', ['-f', volume.state], { encoding: 'utf8' }).stdout).toBe('');
  });
});
