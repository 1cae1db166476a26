import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { PATIENT, TestVolume } from './support/volume.ts';

/**
 * The promise is two seconds on top of the work itself, which is done once with all nodes first; `npm run torture -- --failover` measures
 * it. Here the machine may be as busy as it likes: what is told apart is a pause and a wait for the node.
 */
const PROMISED_MS = 2_000;
const TIMES_WORK = 10;
const SLACK_MS = 3_000;
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

/** How long each of these takes: a read from the nodes, much that is written and synced, and little. */
async function measure(test: TestVolume, name: string): Promise<number[]> {
  const write = (file: string, blocks: string) =>
    elapsedMs(`dd if=/dev/zero of=${test.path(`${file}-${name}`)} ${blocks} conv=fsync`);
  return [
    await elapsedMs(`dd if=${test.path('file')} of=/dev/null bs=1M`),
    await write('big', 'bs=1M count=16'),
    await write('small', 'bs=4k count=1'),
  ];
}

describe('a frozen node', () => {
  test('delays reads and synced writes by little, and nothing hangs', async () => {
    volume = TestVolume.up();
    writeFileSync(volume.path('file'), Buffer.alloc(16 * MIB, 'frozen '));
    volume.dropCaches();
    const workMs = await measure(volume, 'before');
    for (const id of [1, 3, 5]) {
      volume.dropCaches();
      const pid = volume.nodePid(id);
      process.kill(pid, 'SIGSTOP');
      try {
        for (const [index, tookMs] of (await measure(volume, `${id}`)).entries()) {
          expect(tookMs).toBeLessThan(PROMISED_MS + TIMES_WORK * workMs[index]! + SLACK_MS);
        }
        await expect.poll(() => volume?.status().nodes[id - 1]?.state, PATIENT).toBe('slow');
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await expect.poll(() => volume?.status().health, PATIENT).toBe('healthy');
    }
    volume.dropCaches();
    execFileSync('cmp', [volume.path('big-1'), volume.path('big-5')]);
  });
});
