/** A node's metadata replica on a disk that is full for a while. */
import { expect, test } from 'vitest';
import { ReplicaStore } from '../../../src/cluster/replica-store.ts';
import { ReplicaService } from '../../../src/storage/replica-service.ts';
import { DIRECTORY, diskBed } from './disk-bed.ts';

const directory = `${DIRECTORY}/replica`;

function part(fromSequence: number, toSequence: number) {
  const operations = [{ key: Buffer.from(`key${toSequence}`), value: Buffer.alloc(5000, toSequence) }];
  return { ...{ term: 1, fromSequence, toSequence, part: 0, final: true }, operations };
}

test('a replica takes checkpoints and snapshots again when its disk has space again', async () => {
  const bed = await diskBed(1);
  await bed.run(async (_, platform) => {
    const service = new ReplicaService(platform, await ReplicaStore.open(platform, { directory }));
    const install = async (appliedSequence: number): Promise<void> => {
      const { operations } = part(0, 1);
      for (const phase of ['begin', 'page', 'end'] as const)
        await service.install({ ...{ term: 1, phase, page: 0 }, appliedSequence, operations });
    };
    await install(1);
    for (const again of [() => service.checkpoint(part(1, 2)), () => install(2)]) {
      bed.disk.faults.setCapacity(0);
      await expect(service.checkpoint(part(service.state.appliedSequence, 9))).rejects.toThrow();
      // As long as it lasts, what is there can be read.
      await expect(service.checkpoint(part(service.state.appliedSequence, 9))).rejects.toThrow();
      const { operations } = await service.readSnapshot({
        viewId: 0,
        afterKey: Buffer.alloc(0),
        maxBytes: 1e5,
      });
      expect(operations.length).toBeGreaterThan(0);
      bed.disk.faults.setCapacity(1e9);
      await again();
      expect(service.state).toEqual({ complete: true, appliedSequence: 2 });
    }
    await service.close();
  });
});
