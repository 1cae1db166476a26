import { afterEach, expect, test } from 'vitest';
import type { Explanation } from '../../src/cli/supervisor/control-messages.ts';
import type { AvailabilityReport } from '../../src/replicator/adapt/adapter.ts';
import { startFio } from './support/fio.ts';
import { killProcess, TestVolume, tartan, WAIT } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

const flags = [
  '--rw=write',
  '--bs=128k',
  '--size=32m',
  '--fallocate=none',
  '--end_fsync=1',
  '--filename=data',
];

function json<T>(...args: string[]): T {
  return JSON.parse(volume!.run(...args, '--json')) as T;
}

/** The nodes of each segment of the file, in the order of its fragments. */
function places(): Map<number, readonly number[]> {
  const { stdout } = tartan('explain', volume!.path('data'), '--json');
  const { segments } = JSON.parse(stdout) as Explanation;
  return new Map(
    segments
      .filter(({ journaledOn }) => journaledOn === null)
      .map(({ segmentId, nodes }) => [segmentId, nodes]),
  );
}

test('parity is added to segments where they are, and dropped again', async () => {
  volume = TestVolume.up({ nodes: 5, parity: 1, capacity: '200M' });
  const data = [...flags.filter((flag) => !flag.startsWith('--size')), '--size=96m'];
  await startFio(volume.mountPoint, ...data).finished;
  volume.run('node', 'add');
  volume.run('rebalance', 'start');
  volume.run('wait', 'balanced', '--timeout', WAIT);
  const before = places();
  volume.run('availability', 'target', '99.9999');
  volume.run('wait', 'adapted', '--timeout', WAIT);
  const layout = () => json<AvailabilityReport>('availability', 'status').layout;
  expect(layout()).toEqual({ dataFragments: 4, parityFragments: 2 });
  const added = places();
  for (const [segmentId, nodes] of before) {
    expect(added.get(segmentId)!.slice(0, 5)).toEqual(nodes);
    expect(added.get(segmentId)).toHaveLength(6);
  }
  volume.run('heal', 'pause');
  const lost = [1, 6];
  for (const id of lost) killProcess(volume.nodePid(id));
  volume.dropCaches();
  await startFio(volume.mountPoint, ...data, '--verify_only=1').finished;
  for (const id of lost) volume.run('node', 'start', `${id}`);
  volume.run('heal', 'resume');
  volume.run('wait', 'healed', '--timeout', WAIT);
  volume.run('availability', 'target', '99');
  volume.run('wait', 'adapted', '--timeout', WAIT);
  expect(layout()).toEqual({ dataFragments: 4, parityFragments: 1 });
  for (const [segmentId, nodes] of before) expect(places().get(segmentId)).toEqual(nodes);
  expect(json<{ exitCode: number }>('fsck', '--data').exitCode).toBe(0);
  killProcess(volume.nodePid(3));
  volume.dropCaches();
  await startFio(volume.mountPoint, ...data, '--verify_only=1').finished;
});

test('a target that needs one parity more is carried out, and two nodes may be lost then', async () => {
  volume = TestVolume.up({ nodes: 5, parity: 1 });
  await startFio(volume.mountPoint, ...flags).finished;
  const { availability, nodes } = volume.status();
  expect(availability.targetUnavailability).toBe(null);
  expect(availability.predictedUnavailability).toBeGreaterThan(1e-6);
  expect(nodes.every(({ unavailability }) => unavailability !== null && unavailability > 0)).toBe(true);
  volume.run('availability', 'target', '99.9999');
  volume.run('wait', 'adapted', '--timeout', WAIT);
  const report = json<AvailabilityReport>('availability', 'status');
  expect(report.layout.parityFragments).toBe(2);
  expect(report.predictedUnavailability).toBeLessThan(1e-6);
  expect(volume.status().redundancy).toMatchObject({ parity: 2, degradedSegments: 0 });
  for (const id of [2, 4]) killProcess(volume.nodePid(id));
  volume.dropCaches();
  await startFio(volume.mountPoint, ...flags, '--verify_only=1').finished;
  // Chosen is chosen, whatever happens to the mount.
  volume.run('down', '--force');
  volume.up();
  volume.run('wait', 'healed', '--timeout', WAIT);
  expect(volume.status().redundancy.parity).toBe(2);
  expect(json<{ exitCode: number }>('fsck', '--data').exitCode).toBe(0);
});

test('a target that groups of nodes meet is carried out by moving fragments, and one node of each may be lost', async () => {
  volume = TestVolume.up({ nodes: 4, parity: 1, capacity: '200M' });
  volume.run('down');
  volume.up('--nodes', '8');
  await startFio(volume.mountPoint, ...flags).finished;
  // Eight nodes of which any four may share a segment give less, and two groups of four more.
  volume.run('availability', 'target', '99.998');
  volume.run('rebalance', 'start');
  volume.run('wait', 'adapted', '--timeout', '60s');
  const { layout, groups } = json<AvailabilityReport>('availability', 'status');
  expect(layout).toEqual({ dataFragments: 3, parityFragments: 1 });
  expect(groups.map(({ length }) => length)).toEqual([4, 4]);
  expect(volume.status().availability.groups).toEqual(groups);
  expect(volume.run('plan')).toMatch(/^\* +keep +3\+1 over 8 nodes in 2 groups/m);
  const within = [...places().values()].map((nodes) =>
    groups.findIndex((group) => nodes.every((id) => group.includes(id))),
  );
  expect(new Set(within)).toEqual(new Set([0, 1]));
  volume.run('heal', 'pause');
  for (const [first] of groups) killProcess(volume.nodePid(first!));
  volume.dropCaches();
  await startFio(volume.mountPoint, ...flags, '--verify_only=1').finished;
});
