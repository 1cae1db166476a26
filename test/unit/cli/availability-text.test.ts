import { expect, test } from 'vitest';
import { availabilityText, outlookText } from '../../../src/cli/status/availability-text.ts';
import type { AvailabilityReport } from '../../../src/replicator/adapt/adapter.ts';

const report: AvailabilityReport = {
  ...{ state: 'idle', segmentsLeft: 0, leftBytes: 0, doneBytes: 0, bytesPerSecond: 0, secondsLeft: null },
  ...{ paused: false, limitBytesPerSecond: 0, segmentsKnown: true },
  ...{ targetUnavailability: 1e-5, predictedUnavailability: 1e-6, remedies: [], next: null, nodes: [] },
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
