import { expect, test } from 'vitest';
import { balanceText } from '../../../src/cli/status/balance-text.ts';
import type { BalanceReport } from '../../../src/replicator/upkeep.ts';

const idle: BalanceReport = {
  ...{ state: 'idle', nodes: [], draining: [], bytesLeft: 0, bytesPerSecond: 0, secondsLeft: null, moved: 0 },
  ...{ paused: false, limitBytesPerSecond: 0 },
};

test('what is moved is said with rate and time left, and what is in the way', () => {
  expect(balanceText(idle)).toBe('rebalance: everything is where it is meant to be');
  expect(balanceText({ ...idle, reason: 'node 3 away' })).toBe('rebalance: waiting: node 3 away');
  expect(balanceText({ ...idle, paused: true, limitBytesPerSecond: 2 ** 20 })).toBe(
    'rebalance: paused; at most 1.00 MiB/s',
  );
  const draining = [
    { id: 2, bytesLeft: 3 * 2 ** 20, journal: true },
    { id: 4, bytesLeft: 0, journal: false },
    { id: 5, bytesLeft: 0, journal: true },
  ];
  const working = { ...idle, state: 'working', bytesLeft: 3 * 2 ** 20, moved: 2 ** 20, draining } as const;
  expect(balanceText({ ...working, bytesPerSecond: 2 ** 20, secondsLeft: 3 })).toBe(
    'rebalance: working; 3.00 MiB to move; 1.00 MiB moved; 1.00 MiB/s, 3 s left\n' +
      '  node 2: draining, 3.00 MiB left\n  node 4: empty\n  node 5: draining, the journal left',
  );
  expect(balanceText({ ...working, state: 'blocked', reason: 'no room' })).toContain(
    'rebalance: blocked: no room',
  );
});
