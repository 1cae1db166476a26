import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { TestVolume } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

describe('a volume whose nodes may use little', () => {
  test('says that it is full, and gives the space back when files are deleted', async () => {
    volume = TestVolume.up({ capacity: '64M' });
    const { status, stderr } = spawnSync(
      'dd',
      ['if=/dev/zero', `of=${volume.path('big')}`, 'bs=1M', 'count=1000', 'conv=fsync'],
      {
        encoding: 'utf8',
      },
    );
    expect(status).not.toBe(0);
    expect(stderr).toContain('No space left on device');
    expect(readdirSync(volume.mountPoint)).toEqual(['big']);
    rmSync(volume.path('big'));
    // The first one after it may report the failure once more.
    spawnSync('sync', ['-f', volume.mountPoint]);
    const available = (): number => volume?.status().capacity.availableBytes ?? 0;
    await expect.poll(available, { timeout: 15_000 }).toBeGreaterThan(100 * 1024 * 1024);
    writeFileSync(volume.path('again'), Buffer.alloc(50 * 1024 * 1024, 7));
    execFileSync('sync', ['-f', volume.mountPoint]);
    expect(volume.status().health).toBe('healthy');
  });
});
