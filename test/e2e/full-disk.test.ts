import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES, MIB } from '../../src/base/units.ts';
import { PATIENT, TestVolume } from './support/volume.ts';

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
    await expect.poll(available, PATIENT).toBeGreaterThan(100 * 1024 * 1024);
    writeFileSync(volume.path('again'), Buffer.alloc(50 * 1024 * 1024, 7));
    execFileSync('sync', ['-f', volume.mountPoint]);
    expect(volume.status().health).toBe('healthy');
  });

  test('keeps what a file has reserved for it, also through kill -9 of everything', async () => {
    const reservedBytes = 32 * MIB;
    const made = TestVolume.up({ capacity: '48M' });
    volume = made;
    const available = (): number => Number(statfsSync(made.mountPoint).bavail) * BLOCK_BYTES;
    /** Says what went wrong. */
    const write = (name: string, ...flags: string[]) => {
      const target = [`of=${made.path(name)}`, 'bs=1M', 'conv=notrunc,fsync', 'status=none', ...flags];
      return spawnSync('dd', ['if=/dev/urandom', ...target], { encoding: 'utf8' }).stderr;
    };
    const before = available();
    execFileSync('fallocate', ['-l', String(reservedBytes), made.path('reserved')]);
    expect(statSync(made.path('reserved'))).toMatchObject({
      size: reservedBytes,
      blocks: reservedBytes / 512,
    });
    expect(available()).toBeLessThanOrEqual(before - reservedBytes);
    expect(spawnSync('fallocate', ['-l', String(before), made.path('more')]).status).toBe(1);
    // As long as nobody syncs, the kernel takes what it is given.
    expect(write('others', 'count=200')).toContain('No space left on device');
    for (let more = 0; more < 20 && available() >= MIB; more++) write('others', 'count=4', 'oflag=append');
    // What was on its way counts as full segments until it is there.
    expect(available()).toBeLessThan(4 * MIB);

    expect(write('reserved', 'count=16')).toBe('');
    made.killEverything();
    made.up();
    expect(statSync(made.path('reserved')).blocks).toBe(reservedBytes / 512);
    expect(write('others', 'count=16', 'oflag=append')).toContain('No space left on device');
    // The second half for the first time, and all of it for the second.
    for (let round = 0; round < 2; round++) expect(write('reserved', 'count=32')).toBe('');
    expect(statSync(made.path('reserved')).blocks).toBe(reservedBytes / 512);
    expect(available()).toBeLessThan(4 * MIB);
    rmSync(made.path('reserved'));
    await expect.poll(available, PATIENT).toBeGreaterThan(reservedBytes - 2 * MIB);
    expect(made.status().health).toBe('healthy');
  });
});
