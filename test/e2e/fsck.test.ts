/** `tartan fsck` on real processes and disks: clean, damaged, repaired, mounted and stopped. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { TestVolume } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

interface Checked {
  readonly status: number | null;
  readonly kinds: readonly string[];
  readonly left: readonly string[];
  readonly stderr: string;
}

function fsck(...args: string[]): Checked {
  const { status, stdout, stderr } = volume!.try('fsck', '--json', ...args);
  if (stdout === '') return { status, kinds: [], left: [], stderr };
  const { findings } = JSON.parse(stdout) as { findings: { kind: string; repaired: boolean }[] };
  const left = findings.filter(({ repaired }) => !repaired);
  return { status, kinds: findings.map(({ kind }) => kind), left: left.map(({ kind }) => kind), stderr };
}

const MARKER = 'the bytes that the test looks for on the disk, as nothing else has them; ';

/** Writes a few files, and returns what they hold by name. */
function fill(): Map<string, string> {
  const digests = new Map<string, string>();
  mkdirSync(volume!.path('dir'));
  symlinkSync('../dir', volume!.path('dir', 'self'));
  for (let i = 0; i < 40; i++) {
    const bytes = Buffer.alloc(10_000 * i + 1, `${MARKER}${i} `);
    writeFileSync(volume!.path('dir', `file-${i}`), bytes);
    digests.set(`file-${i}`, createHash('sha256').update(bytes).digest('hex'));
  }
  execFileSync('sync', ['-f', volume!.mountPoint]);
  return digests;
}

function expectIntact(digests: ReadonlyMap<string, string>): void {
  volume!.dropCaches();
  for (const [name, digest] of digests) {
    const bytes = readFileSync(volume!.path('dir', name));
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(digest);
  }
}

function storageOf(node: number): string {
  return join(volume!.state, 'nodes', String(node), 'storage');
}

/** Overwrites the first bytes of a file's data that are found on the node's disk. */
function damage(node: number): void {
  for (const name of readdirSync(storageOf(node)).filter((each) => each.endsWith('.tlog'))) {
    const path = join(storageOf(node), name);
    const at = readFileSync(path).indexOf(MARKER);
    if (at < 0) continue;
    const descriptor = openSync(path, 'r+');
    writeSync(descriptor, Buffer.alloc(100, 0x5a), 0, 100, at);
    closeSync(descriptor);
    return;
  }
  throw new Error(`no file's data lies on node ${node}`);
}

describe('four nodes, 3+1', () => {
  test('damage is found and repaired while the volume is used', () => {
    volume = TestVolume.up({ nodes: 4, parity: 1, capacity: '500M' });
    const digests = fill();
    expect(fsck()).toMatchObject({ status: 0, kinds: [] });
    expect(fsck('--data')).toMatchObject({ status: 0, kinds: [] });
    damage(2);
    expect(fsck('--data')).toMatchObject({ status: 4, kinds: ['fragment-corrupt'] });
    expect(fsck('--data', '--repair')).toMatchObject({ status: 1, left: [] });
    expect(fsck('--data')).toMatchObject({ status: 0, kinds: [] });
    expectIntact(digests);
    const { stdout } = volume.try('fsck');
    expect(stdout).toBe('');
  });

  test('a stopped volume is checked and stays stopped; a node that lost everything is filled again', () => {
    volume = TestVolume.up({ nodes: 4, parity: 1, capacity: '500M' });
    const digests = fill();
    volume.run('down');
    expect(fsck()).toMatchObject({ status: 0, kinds: [] });
    expect(volume.pids()).toEqual([]);
    rmSync(storageOf(3), { recursive: true });
    const found = fsck();
    expect(found.status).toBe(4);
    expect(new Set(found.kinds)).toEqual(new Set(['fragment-missing']));
    expect(fsck('--repair')).toMatchObject({ status: 1, left: [] });
    expect(fsck('--data')).toMatchObject({ status: 0, kinds: [] });
    expect(volume.pids()).toEqual([]);
    volume.up();
    expectIntact(digests);
  });

  test('a node that is down is a warning, and wrong use and no volume have codes of their own', () => {
    volume = TestVolume.up({ nodes: 4, parity: 1, capacity: '500M' });
    fill();
    volume.run('node', 'kill', '4');
    expect(fsck()).toMatchObject({ status: 4, kinds: expect.arrayContaining(['node-unreachable']) });
    volume.run('node', 'start', '4');
    expect(fsck('--data')).toMatchObject({ status: 0 });
    expect(fsck('--such').status).toBe(16);
    expect(volume.try('fsck', '--volume', 'another').status).toBe(8);
  });
});
