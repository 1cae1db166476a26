import { afterEach, expect, test } from 'vitest';
import { startFio } from './support/fio.ts';
import { TestVolume } from './support/volume.ts';

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

test('a node that joins gets its share of the data, and no more than that moves', async () => {
  volume = TestVolume.up({ nodes: 5, parity: 1, capacity: '400M' });
  await startFio(volume.mountPoint, ...flags).finished;
  const before = await used((held) => sum(held) >= 150 * 2 ** 20);
  volume.run('node', 'add');
  volume.run('rebalance', 'start');
  const { moved } = json<{ moved: number }>('wait', 'balanced', '--timeout', '60s');
  const share = moved / sum(before);
  expect(share).toBeLessThan(1.1 / 6);
  expect(share).toBeGreaterThan(0.75 / 6);
  const after = await used((held) => (held.get(6) ?? 0) > 0.9 * moved);
  for (const id of before.keys()) expect(after.get(id)).toBeLessThan(before.get(id)!);
  volume.dropCaches();
  await startFio(volume.mountPoint, ...flags, '--verify_only=1').finished;
  expectClean();
});
