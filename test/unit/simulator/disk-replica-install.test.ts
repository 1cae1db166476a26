/** The store of a metadata replica over a disk that loses power. */
import { expect, test } from 'vitest';
import { ReplicaStore } from '../../../src/cluster/replica-store.ts';
import { DIRECTORY, diskBed, underSeeds } from './disk-bed.ts';

const directory = `${DIRECTORY}/replica`;
const operations = (prefix: string, count: number): { key: Buffer; value: Buffer }[] =>
  Array.from({ length: count }, (_, index) => ({
    key: Buffer.from(`${prefix}${index}`),
    value: Buffer.alloc(33),
  }));

test('a replica that is complete after a power loss has nothing of the snapshot before', async () => {
  const outcomes = await underSeeds(30, async (seed) => {
    const bed = await diskBed(seed, { latency: { tableMs: 1000 } });
    await bed.run(async (_, platform) => {
      const store = await ReplicaStore.open(platform, { directory });
      const install = async (prefix: string, sequence: number): Promise<void> => {
        await store.beginInstall();
        await store.installPage(0, operations(prefix, 1500));
        await store.endInstall(sequence);
      };
      await install('old', 1);
      await install('new', 2);
    });
    bed.losePower();
    return bed.run(async (_, platform) => {
      const store = await ReplicaStore.open(platform, { directory });
      expect(store.state).toEqual({ complete: true, appliedSequence: 2 });
      const entries = await store.database.iterator({ gt: Buffer.from([1]) }).all();
      return entries.filter(([key]) => key.toString().startsWith('old')).length;
    });
  });
  expect(Math.max(...outcomes)).toBe(0);
});
