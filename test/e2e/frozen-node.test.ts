import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { TestVolume } from './support/volume.ts';

/** The promise is two seconds; the rest is the work itself on a busy machine. */
const LONGEST_MS = 2_500;
const MIB = 1024 * 1024;

let volume: TestVolume | undefined;
afterEach((context) => {
  volume?.destroy(context);
  volume = undefined;
});

/** Runs a shell command without blocking this process. Rejects unless it succeeds. */
async function elapsedMs(command: string): Promise<number> {
  const startMs = performance.now();
  const child = spawn('sh', ['-c', command], { stdio: ['ignore', 'ignore', 'pipe'] });
  let message = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    message += text;
  });
  const [code] = await once(child, 'close');
  expect(code, `${command}: ${message}`).toBe(0);
  return performance.now() - startMs;
}

describe('a frozen node', () => {
  test('delays reads and synced writes by at most two seconds, and nothing hangs', async () => {
    volume = TestVolume.up();
    writeFileSync(volume.path('file'), Buffer.alloc(16 * MIB, 'frozen '));
    for (const id of [1, 3, 5]) {
      volume.dropCaches();
      const pid = volume.nodePid(id);
      process.kill(pid, 'SIGSTOP');
      try {
        expect(await elapsedMs(`dd if=${volume.path('file')} of=/dev/null bs=1M`)).toBeLessThan(LONGEST_MS);
        const big = `dd if=/dev/zero of=${volume.path(`big-${id}`)} bs=1M count=16 conv=fsync`;
        expect(await elapsedMs(big)).toBeLessThan(LONGEST_MS);
        const small = `dd if=/dev/zero of=${volume.path(`small-${id}`)} bs=4k count=1 conv=fsync`;
        expect(await elapsedMs(small)).toBeLessThan(LONGEST_MS);
        await expect.poll(() => volume?.status().nodes[id - 1]?.state, { timeout: 5_000 }).toBe('slow');
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await expect.poll(() => volume?.status().health, { timeout: 10_000 }).toBe('healthy');
    }
    volume.dropCaches();
    execFileSync('cmp', [volume.path('big-1'), volume.path('big-5')]);
  });
});
