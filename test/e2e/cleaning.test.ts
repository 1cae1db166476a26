import { execFileSync } from 'node:child_process';
import { rmSync, statfsSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { MIB } from '../../src/base/units.ts';
import { PATIENT, TestVolume } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

test('a small volume is overwritten at random several times its size, and every block is right', async () => {
  volume = TestVolume.up({ capacity: '64M' });
  const { mountPoint } = volume;
  const free = () => {
    const { bfree, bsize } = statfsSync(mountPoint);
    return bfree * bsize;
  };
  const atFirst = free();
  const bytes = Math.floor((atFirst * 0.8) / MIB) * MIB;
  const fio = (...flags: string[]) =>
    execFileSync(
      'fio',
      [
        '--name=cleaning',
        `--directory=${mountPoint}`,
        '--filename=file',
        `--size=${bytes}`,
        '--bs=64k',
        '--verify_state_save=0',
        ...flags,
      ],
      { encoding: 'utf8' },
    );
  fio('--rw=write', '--end_fsync=1');
  // Every block is written once more in each loop, in an order of its own, and read back in the end.
  fio('--rw=randwrite', '--loops=4', '--fsync=64', '--verify=crc32c', '--do_verify=0');
  fio('--rw=randwrite', '--verify=crc32c', '--do_verify=1', '--end_fsync=1');
  const status = volume.status();
  expect(status.cleaning.cleanedSegments).toBeGreaterThan(10);
  expect(status.health).toBe('healthy');
  volume.run('fsck');
  expect(free()).toBeGreaterThan(atFirst - bytes - 0.1 * atFirst);
  rmSync(volume.path('file'));
  await expect.poll(free, PATIENT).toBeGreaterThan(0.97 * atFirst);
});
