import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CommandFailure } from '../../../src/cli/failure.ts';
import { ManagedProcess } from '../../../src/cli/supervisor/managed-process.ts';
import { realLogger } from '../../../src/platform/real/logger.ts';

let directory: string;
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/tartan-managed-');
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** It never says that it is ready. */
function starting(): ManagedProcess {
  return new ManagedProcess({
    name: 'node-1',
    pidFile: join(directory, 'pid'),
    logFile: join(directory, 'log'),
    nodeArgs: ['--eval', 'setInterval(() => {}, 1000)'],
    log: realLogger({ level: 'error' }),
    onUnexpectedEnd: () => expect.fail('its end was asked for'),
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
