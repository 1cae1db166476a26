import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { FileTime } from '../../../src/platform/platform.ts';
import { type LoggerOptions, realLogger } from '../../../src/platform/real/logger.ts';
import { realRandom } from '../../../src/platform/real/random.ts';
import { realClock, realTimers } from '../../../src/platform/real/time.ts';

function logged(options: LoggerOptions, run: (log: ReturnType<typeof realLogger>) => void): string[] {
  const directory = mkdtempSync('/var/tmp/tartan-log-');
  const path = join(directory, 'log');
  const descriptor = openSync(path, 'a');
  run(realLogger({ ...options, descriptor }));
  closeSync(descriptor);
  const lines = readFileSync(path, 'utf8').split('\n');
  rmSync(directory, { recursive: true });
  expect(lines.pop()).toBe('');
  return lines;
}

describe('the log', () => {
  test('writes a line an event, with fields that need no parser where they are plain', () => {
    const [line] = logged({}, (log) =>
      log.warn('node-lost', { node: 3, path: '/a/b.sock', reason: 'it "went"\naway', none: undefined }),
    );
    expect(line).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z warn node-lost node=3 path=\/a\/b.sock reason=/);
    expect(line).toContain(String.raw`reason="it \"went\"\naway"`);
    expect(line).not.toContain('none');
  });

  test('drops what is below its level, and adds the fields of its parents', () => {
    const lines = logged({ level: 'warn', json: true }, (log) => {
      const child = log.child({ node: 1 }).child({ segment: 2 });
      child.info('quiet');
      child.error('loud', { code: 'EIO' });
    });
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { time: expect.any(String), level: 'error', event: 'loud', node: 1, segment: 2, code: 'EIO' },
    ]);
  });

  test('survives a descriptor that cannot be written to', () => {
    expect(() => realLogger({ descriptor: 987_654 }).error('nowhere')).not.toThrow();
  });
});

test('clocks go forward, and the wall clock is that of the machine', async () => {
  const before = realClock.monotonicMs();
  await realTimers.sleep(2);
  expect(realClock.monotonicMs()).toBeGreaterThan(before);
  expect(Math.abs(realClock.wallMs() - Date.now())).toBeLessThan(60_000);
});

test('files are stamped with the time of the clock for it', () => {
  const directory = mkdtempSync('/var/tmp/tartan-clock-');
  const path = join(directory, 'stamped');
  const ns = ({ seconds, nanoseconds }: FileTime) => BigInt(seconds) * 1_000_000_000n + BigInt(nanoseconds);
  const before = ns(realClock.fileTime());
  writeFileSync(path, 'x');
  const stampedNs = statSync(path, { bigint: true }).mtimeNs;
  const after = ns(realClock.fileTime());
  rmSync(directory, { recursive: true });
  expect(stampedNs >= before).toBe(true);
  // The clock moves in ticks; some file systems can tell times within one.
  const longestTickNs = 10_000_000n;
  expect(stampedNs <= after + longestTickNs).toBe(true);
});

test('a cancelled timer does not run, and deferred work runs after this turn', async () => {
  const order: string[] = [];
  realTimers.after(1, () => order.push('cancelled')).cancel();
  realTimers.defer(() => order.push('deferred'));
  order.push('now');
  await realTimers.sleep(10);
  expect(order).toEqual(['now', 'deferred']);
});

test('random numbers stay under their bound and reach all of it', () => {
  const seen = new Set(Array.from({ length: 500 }, () => realRandom.below(7)));
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(realRandom.below(1)).toBe(0);
  expect(realRandom.below(2 ** 32)).toBeLessThan(2 ** 32);
  expect(realRandom.bytes(32).equals(realRandom.bytes(32))).toBe(false);
});
