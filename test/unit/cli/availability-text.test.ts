import { expect, test } from 'vitest';
import { availabilityText, outlookText } from '../../../src/cli/status/availability-text.ts';
import type { AvailabilityReport } from '../../../src/replicator/adapt/adapter.ts';

const report: AvailabilityReport = {
  ...{ state: 'idle', segmentsLeft: 0, leftBytes: 0, doneBytes: 0, bytesPerSecond: 0, secondsLeft: null },
  ...{ paused: false, limitBytesPerSecond: 0, segmentsKnown: true },
  ...{ targetUnavailability: 1e-5, predictedUnavailability: 1e-6, remedies: [], next: null },
  ...{ carriedBytesPerSecond: 100e6, nodes: [], domains: [] },
  layout: { dataFragments: 4, parityFragments: 2 },
  written: { dataFragments: 4, parityFragments: 2 },
  groups: [],
};

test('what is written is said, also where it is narrower than it is meant to be', () => {
  expect(availabilityText(report)).toContain('; new segments are 4+2');
  const narrow = { ...report, written: { dataFragments: 3, parityFragments: 2 } };
  expect(availabilityText(narrow)).toContain('; new segments are 3+2, 4+2 with more nodes');
  expect(availabilityText({ ...report, written: null })).toContain('too few nodes for new segments');
});

test('groups are named, and how many are to follow', () => {
  const groups = [
    [1, 2, 3],
    [4, 5, 6],
  ];
  expect(availabilityText({ ...report, groups })).toContain('within one group of nodes: 1 2 3 | 4 5 6');
  const next = { dataFragments: 2, parityFragments: 1, groups: 2, inSeconds: 60 };
  expect(outlookText({ ...report, next })).toContain('2+1 in 2 groups of nodes in ');
});

test('each node, each shared domain, and what they carry', () => {
  const share = { unavailability: 0.001, low: 0.0001, high: 0.01 };
  const text = availabilityText({
    ...report,
    carriedBytesPerSecond: 2 ** 28,
    nodes: [{ id: 3, ...share }],
    domains: [{ label: 'rack-1', ...share }],
  });
  expect(text).toContain('seen to carry 256 MiB/s together');
  expect(text).toContain('node 3: away 0.1% of the time (80% sure of 0.01% to 1%)');
  expect(text).toContain('all nodes of rack-1 at once: away 0.1% of the time');
});
