import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CommandFailure, exitCodes } from '../../../src/cli/failure.ts';
import { identityOf, writeProcessFile } from '../../../src/cli/process/process-file.ts';
import { ManagedProcess } from '../../../src/cli/supervisor/managed-process.ts';
import { realLogger } from '../../../src/platform/real/logger.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/tartan-managed-');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** It never says that it is ready. */
function starting(
  onUnexpectedEnd: () => void = () => expect.fail('its end was asked for'),
  program = 'setInterval(() => {}, 1000)',
): ManagedProcess {
  return new ManagedProcess({
    name: 'node-1',
    pidFile: join(directory, 'pid'),
    logFile: join(directory, 'log'),
    nodeArgs: ['--eval', program],
    log: realLogger({ level: 'error' }),
    onUnexpectedEnd,
  });
}

test.each(['SIGTERM', 'SIGKILL'] as const)(
  'a process that is stopped by %s while it starts has failed to start, and can be started again',
  async (how) => {
    const managed = starting();
    for (let round = 0; round < 2; round++) {
      const outcome = managed.start([]).catch((error: unknown) => error);
      await managed.stop(how);
      expect(await outcome).toBeInstanceOf(CommandFailure);
      expect(managed.phase).toBe('absent');
    }
  },
);

test.each([true, false])(
  'an adopted process that something killed a moment ago is started again (gone already: %s)',
  async (isGone) => {
    const child = spawn('sleep', ['60']);
    await once(child, 'spawn');
    writeProcessFile(join(directory, 'pid'), identityOf(child.pid!)!);
    const ends: string[] = [];
    const managed = starting(() => {
      ends.push('noticed');
    });
    expect(managed.adopt()).toBe(true);
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    if (isGone) await exited;
    const outcome = managed.start([]).catch((error: unknown) => error);
    await exited;
    // The new one does not live for long either.
    await expect.poll(() => managed.phase, { interval: 1, timeout: 60_000 }).toBe('starting');
    expect(ends).toEqual(['noticed']);
    await managed.stop('SIGKILL');
    expect(await outcome).toBeInstanceOf(CommandFailure);
  },
);

test('a process that named itself after the supervisor had looked for it is found, not started twice', async () => {
  const managed = starting();
  expect(managed.adopt()).toBe(false);
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  writeProcessFile(join(directory, 'pid'), identityOf(child.pid!)!);
  await managed.start([]);
  expect(managed.identity?.pid).toBe(child.pid);
  const exited = once(child, 'exit');
  await managed.stop('SIGKILL');
  await exited;
});

test('a start that fails because the process runs, named by nobody yet, finds it', async () => {
  const child = spawn('sleep', ['60']);
  await once(child, 'spawn');
  const report = JSON.stringify({
    kind: 'failed',
    exitCode: exitCodes.unavailable,
    message: 'is running already',
  });
  const managed = starting(undefined, `require('fs').writeSync(3, ${JSON.stringify(`${report}\n`)})`);
  const start = managed.start([]);
  setTimeout(() => writeProcessFile(join(directory, 'pid'), identityOf(child.pid!)!), 300);
  await start;
  expect(managed.identity?.pid).toBe(child.pid);
  const exited = once(child, 'exit');
  await managed.stop('SIGKILL');
  await exited;
});
