import { afterEach, expect, test } from 'vitest';
import type { AvailabilityReport } from '../../src/replicator/adapt/adapter.ts';
import { startFio } from './support/fio.ts';
import { killProcess, TestVolume } from './support/volume.ts';

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

test('a target that needs one parity more is carried out, and two nodes may be lost then', async () => {
  volume = TestVolume.up({ nodes: 5, parity: 1 });
  await startFio(volume.mountPoint, ...flags).finished;
  const { availability, nodes } = volume.status();
  expect(availability.targetUnavailability).toBe(null);
  expect(availability.predictedUnavailability).toBeGreaterThan(1e-6);
  expect(nodes.every(({ unavailability }) => unavailability !== null && unavailability > 0)).toBe(true);
  volume.run('availability', 'target', '99.9999');
  volume.run('wait', 'adapted', '--timeout', '60s');
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
  volume.run('wait', 'healed', '--timeout', '60s');
  expect(volume.status().redundancy.parity).toBe(2);
  expect(json<{ exitCode: number }>('fsck', '--data').exitCode).toBe(0);
});
