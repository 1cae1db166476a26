/** Waiting awake: it ends with whatever comes, and with the process or thread that waits. */
import { execFile, spawnSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { realTimers } from '../../../src/platform/real/time.ts';

function runChild(mode: string) {
  const child = new URL('./children/awake.mjs', import.meta.url).pathname;
  return spawnSync(process.execPath, [child, mode], { encoding: 'utf8', timeout: 30_000 });
}

it('ends with whatever comes', async () => {
  realTimers.waitAwake(true);
  const order: string[] = [];
  realTimers.defer(() => order.push('deferred'));
  await realTimers.sleep(1);
  order.push('timer');
  await new Promise((resolve) => execFile('true', resolve));
  order.push('process');
  realTimers.waitAwake(false);
  expect(order).toEqual(['deferred', 'timer', 'process']);
});

it('does not keep a process running, nor stop it from ending', () => {
  expect(runChild('idle')).toMatchObject({ status: 0, stderr: '', stdout: 'idle\n' });
  expect(runChild('exit')).toMatchObject({ status: 0, stderr: '', signal: null });
});

it('ends with a thread', () => {
  expect(runChild('worker').stdout).toContain('ended\n');
});
