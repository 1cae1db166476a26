import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  identityOf,
  isAlive,
  isStopped,
  keepProcessFile,
  liveProcess,
  type ProcessIdentity,
  removeProcessFile,
  signal,
  waitForEnd,
  writeProcessFile,
} from '../../../src/cli/process/process-file.ts';
import { realLogger } from '../../../src/platform/real/logger.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/tartan-process-file-');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const own = (): ProcessIdentity => {
  const identity = identityOf(process.pid);
  if (identity === undefined) throw new Error('this process is alive');
  return identity;
};

describe('a pid file', () => {
  test('leads back to a living process', () => {
    const path = join(directory, 'a.pid');
    writeProcessFile(path, own());
    expect(liveProcess(path)).toEqual(own());
  });

  test('does not lead to a process that has the number of a former one', () => {
    const path = join(directory, 'a.pid');
    writeProcessFile(path, { ...own(), startTicks: own().startTicks - 1 });
    expect(liveProcess(path)).toBeUndefined();
  });

  test('does not survive a boot of the machine', () => {
    const path = join(directory, 'a.pid');
    writeProcessFile(path, { ...own(), bootId: 'another' });
    expect(liveProcess(path)).toBeUndefined();
  });

  test.each(['', '{', '[]', '{"pid":"1"}'])('with the content %j names nobody', (content) => {
    const path = join(directory, 'a.pid');
    writeFileSync(path, content);
    expect(liveProcess(path)).toBeUndefined();
  });

  test('that was removed names nobody', () => {
    const path = join(directory, 'a.pid');
    writeProcessFile(path, own());
    removeProcessFile(path);
    expect(liveProcess(path)).toBeUndefined();
  });
});

describe('a process', () => {
  test('is known to be stopped, and gone once it is killed', async () => {
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const identity = identityOf(child.pid ?? 0);
    if (identity === undefined) throw new Error('the child was just started');
    expect(signal(identity, 'SIGSTOP')).toBe(true);
    await expect.poll(() => isStopped(identity), { timeout: 60_000 }).toBe(true);
    expect(isAlive(identity)).toBe(true);
    expect(await waitForEnd(identity, 20)).toBe(false);
    signal(identity, 'SIGKILL');
    expect(await waitForEnd(identity, 10_000)).toBe(true);
    expect(signal(identity, 'SIGTERM')).toBe(false);
  });

  test('is kept by a process: what others remove or write over it comes back', async () => {
    const path = join(directory, 'a.pid');
    const unname = keepProcessFile(path, realLogger({ level: 'error' }));
    try {
      expect(liveProcess(path)).toEqual(own());
      removeProcessFile(path);
      await expect.poll(() => liveProcess(path), { timeout: 10_000 }).toEqual(own());
      writeProcessFile(path, { ...own(), pid: 1 });
      await expect.poll(() => liveProcess(path)?.pid, { timeout: 10_000 }).toBe(process.pid);
    } finally {
      unname();
    }
    expect(liveProcess(path)).toBeUndefined();
  });
});
