import { mkdirSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { expectAcknowledged, startWriter } from './support/acknowledged.ts';
import { startFio } from './support/fio.ts';
import { TestVolume, WAIT } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

const flags = [
  '--rw=write',
  '--bs=1m',
  '--size=120m',
  '--fallocate=none',
  '--end_fsync=1',
  '--filename=data',
];

function json<T>(...args: string[]): T {
  return JSON.parse(volume!.run(...args, '--json')) as T;
}

function expectClean(): void {
  const { findings } = json<{ findings: { severity: string }[] }>('fsck', '--data');
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
}

/** Bytes that the nodes hold, by id. */
async function used(isPlausible: (used: ReadonlyMap<number, number>) => boolean) {
  // Nodes say it once in a while.
  for (;;) {
    const nodes = json<{ id: number; usedBytes: number }[]>('node', 'list');
    const held = new Map(nodes.map(({ id, usedBytes }) => [id, usedBytes]));
    if (isPlausible(held)) return held;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const sum = (held: ReadonlyMap<number, number>): number => [...held.values()].reduce((a, b) => a + b, 0);

const drainingNodes = (): number[] =>
  volume!
    .status()
    .nodes.filter(({ draining }) => draining !== null)
    .map(({ id }) => id);

test('a node joins and gets its share, another is drained and removed under a writer and a crash of everything, and a third is lost', async () => {
  volume = TestVolume.up({ nodes: 4, parity: 1, capacity: '400M' });
  await startFio(volume.mountPoint, ...flags).finished;
  const before = await used((held) => sum(held) >= 160e6);
  volume.run('node', 'add');
  volume.run('rebalance', 'start');
  const { moved } = json<{ moved: number }>('wait', 'balanced', '--timeout', WAIT);
  const share = moved / sum(before);
  expect(share).toBeLessThan(1.1 / 5);
  expect(share).toBeGreaterThan(0.8 / 5);
  const after = await used((held) => (held.get(5) ?? 0) > 0.9 * moved);
  for (const id of before.keys()) expect(after.get(id)).toBeLessThan(before.get(id)!);

  expect(volume.try('node', 'remove', '2')).toMatchObject({
    status: 69,
    stderr: expect.stringContaining('tartan node drain 2'),
  });
  volume.run('rebalance', 'limit', '10M');
  const first = startWriter(volume.mountPoint);
  await first.begun;
  expect(json('node', 'drain', '2')).toMatchObject({ id: 2, draining: { bytesLeft: expect.any(Number) } });
  volume.killEverything();
  await first.ended;
  volume.run('up', '--nodes', '5');
  expect(drainingNodes()).toEqual([2]);
  volume.run('rebalance', 'limit', 'none');
  mkdirSync(volume.path('second'));
  const second = startWriter(volume.path('second'));
  volume.run('wait', 'balanced', '--timeout', WAIT);
  volume.run('node', 'remove', '2');
  second.child.kill();
  await second.ended;
  expect(volume.status().nodes.map(({ id }) => id)).toEqual([1, 3, 4, 5]);

  expectClean();
  volume.run('node', 'kill', '3');
  volume.dropCaches();
  await startFio(volume.mountPoint, ...flags, '--verify_only=1').finished;
  expectAcknowledged(volume, first.acknowledged);
  expectAcknowledged({ path: (...parts) => volume!.path('second', ...parts) }, second.acknowledged);
});
