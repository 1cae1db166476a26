import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { TestVolume } from './support/volume.ts';

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

describe('a disk that is full', () => {
  test('is told apart before anything is made on it, and an old volume comes back once there is room', () => {
    const small = new TestVolume();
    volume = small;
    mkdirSync(small.state);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=600m', 'none', small.state]);
    try {
      const filler = join(small.state, 'filler');
      const fill = () => spawnSync('dd', ['if=/dev/zero', `of=${filler}`, 'bs=1M'], { stdio: 'ignore' });
      fill();
      const refused = small.try('up', small.mountPoint);
      expect(refused.status).toBe(74);
      expect(refused.stderr).toMatch(/^tartan: the disk of .* free some/);
      expect(readdirSync(small.state)).toEqual(['filler']);
      rmSync(filler);
      small.up();
      writeFileSync(small.path('kept'), 'x');
      small.run('down');
      fill();
      expect(small.try('up').status).toBe(74);
      rmSync(filler);
      small.up();
      expect(readFileSync(small.path('kept'), 'utf8')).toBe('x');
      small.run('down');
    } finally {
      small.try('down', '--force');
      execFileSync('umount', [small.state]);
    }
  });
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
