import { closeSync, openSync, readdirSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { StatusReport } from '../../src/cli/status/status-report.ts';
import { startFio } from './support/fio.ts';
import { TestVolume, WAIT } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

const flags = [
  '--rw=write',
  '--bs=128k',
  '--size=64m',
  '--fallocate=none',
  '--end_fsync=1',
  '--filename=data',
];

function json<T>(...args: string[]): T {
  return JSON.parse(volume!.run(...args, '--json')) as T;
}

async function verify(): Promise<void> {
  volume!.dropCaches();
  await startFio(volume!.mountPoint, ...flags, '--verify_only=1').finished;
}

const degraded = () => volume!.status().redundancy.degradedSegments;

test('one node after another is lost and rebuilt, and everything is read', async () => {
  volume = TestVolume.up({ nodes: 6, parity: 1 });
  await startFio(volume.mountPoint, ...flags).finished;
  volume.run('node', 'kill', '2');
  expect(degraded()).toBeGreaterThan(0);
  volume.run('heal', 'start');
  volume.run('wait', 'healed', '--timeout', WAIT);
  expect(degraded()).toBe(0);
  volume.run('node', 'kill', '5');
  await verify();
  volume.run('heal', 'start');
  volume.run('wait', 'healed', '--timeout', WAIT);
  // Four nodes are left for five fragments: every segment is narrower now.
  volume.run('node', 'kill', '1');
  await verify();
  for (const id of ['1', '2', '5']) volume.run('node', 'start', id);
  volume.run('wait', 'healed', '--timeout', WAIT);
  const { findings } = json<{ findings: { severity: string }[] }>('fsck', '--data');
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
  await verify();
  expect(volume.status().health).toBe('healthy');
});

test('planted damage is found by a scrub, repaired, and reported', async () => {
  volume = TestVolume.up({ nodes: 5, parity: 1 });
  await startFio(volume.mountPoint, ...flags).finished;
  for (const nodeId of [3]) {
    const directory = join(volume.state, 'nodes', String(nodeId), 'storage');
    const file = readdirSync(directory).find((name) => name.endsWith('.tlog'))!;
    const descriptor = openSync(join(directory, file), 'r+');
    for (let at = 300_000; at < 6_000_000; at += 1_500_000)
      writeSync(descriptor, Buffer.alloc(32, 0x5a), 0, 32, at);
    closeSync(descriptor);
  }
  volume.run('scrub', 'start');
  volume.run('wait', 'scrubbed', '--timeout', WAIT);
  const { found, repaired } = json<{ found: number; repaired: number }>('scrub', 'status');
  expect(found).toBeGreaterThan(0);
  expect(repaired).toBe(found);
  const { exitCode } = json<{ exitCode: number }>('fsck', '--data');
  expect(exitCode).toBe(0);
  await verify();
});

test('settings and pauses hold over a restart', () => {
  volume = TestVolume.up({ nodes: 3, parity: 1 });
  volume.run('heal', 'pause');
  volume.run('heal', 'limit', '20M');
  volume.run('heal', 'grace', '5m');
  volume.run('scrub', 'every', 'off');
  volume.run('down');
  volume.up();
  const heal = json<{ paused: boolean; limitBytesPerSecond: number; graceMs: number }>('heal', 'status');
  expect(heal).toMatchObject({ paused: true, limitBytesPerSecond: 20 * 1024 ** 2, graceMs: 300_000 });
  expect(json<{ intervalSeconds: number }>('scrub', 'status').intervalSeconds).toBe(0);
  expect(json<StatusReport>('status').work).toEqual([]);
});
