import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MIB } from '../../../src/base/units.ts';
import {
  DEFAULT_READ_COPY_POLICY,
  decideReadCopy,
  type SegmentUse,
} from '../../../src/replicator/plan/read-copies.ts';

const DAY_MS = 86_400_000;
const perDay = (times: number): number => (times * 4 * MIB) / DAY_MS;
const hot: SegmentUse = {
  dataBytes: 4 * MIB,
  readBytesPerMs: perDay(2000),
  overwrittenBytesPerMs: perDay(2),
  hasCopy: false,
  freeShare: 0.6,
  busiestHolderReadBytesPerMs: 9000,
  meanNodeReadBytesPerMs: 3000,
};

describe('an extra copy', () => {
  test('is made for a segment that is read two thousand times a day on a busy node', () => {
    const decision = decideReadCopy(hot);
    expect(decision).toMatchObject({ verdict: 'make', reason: 'pays', imbalance: 3 });
    expect(decision.readsPerDay).toBeCloseTo(2000, 9);
    expect(decision.writesPerRead).toBeCloseTo(0.001, 9);
  });

  test.each<[string, Partial<SegmentUse>, string]>([
    [
      'is read a hundred times a day',
      { readBytesPerMs: perDay(100), overwrittenBytesPerMs: 0 },
      'read-seldom',
    ],
    ['is never read', { readBytesPerMs: 0 }, 'read-seldom'],
    ['is overwritten half as often as it is read', { overwrittenBytesPerMs: perDay(1000) }, 'written-often'],
    ['would fill the nodes', { freeShare: 0.1 }, 'little-space'],
  ])('is not made, and dropped if there is one, when the segment %s', (_, fields, reason) => {
    expect(decideReadCopy({ ...hot, ...fields })).toMatchObject({ verdict: 'none', reason });
    expect(decideReadCopy({ ...hot, ...fields, hasCopy: true })).toMatchObject({ verdict: 'drop', reason });
  });

  test('is not made where the load is even, and stays where it made the load even', () => {
    const even = { ...hot, busiestHolderReadBytesPerMs: 3000 };
    expect(decideReadCopy(even)).toMatchObject({ verdict: 'none', reason: 'load-is-even' });
    expect(decideReadCopy({ ...even, hasCopy: true })).toMatchObject({ verdict: 'keep', reason: 'pays' });
  });

  test('is not made where hardly anything is read, however uneven it is, and stays there', () => {
    const light = { ...hot, busiestHolderReadBytesPerMs: 1500, meanNodeReadBytesPerMs: 300 };
    expect(decideReadCopy(light)).toMatchObject({ verdict: 'none', reason: 'load-is-light' });
    expect(decideReadCopy({ ...light, hasCopy: true })).toMatchObject({ verdict: 'keep' });
  });

  test('can be switched off', () => {
    const off = { ...DEFAULT_READ_COPY_POLICY, enabled: false };
    expect(decideReadCopy(hot, off)).toMatchObject({ verdict: 'none', reason: 'switched-off' });
    expect(decideReadCopy({ ...hot, hasCopy: true }, off)).toMatchObject({ verdict: 'drop' });
  });

  test('that was just made is never dropped by the same measurements', () => {
    const use = fc.record({
      dataBytes: fc.constant(4 * MIB),
      readBytesPerMs: fc.double({ min: 0, max: perDay(5000), noNaN: true }),
      overwrittenBytesPerMs: fc.double({ min: 0, max: perDay(100), noNaN: true }),
      hasCopy: fc.constant(false),
      freeShare: fc.double({ min: 0, max: 1, noNaN: true }),
      busiestHolderReadBytesPerMs: fc.double({ min: 0, max: 10_000, noNaN: true }),
      meanNodeReadBytesPerMs: fc.double({ min: 0, max: 5000, noNaN: true }),
    });
    fc.assert(
      fc.property(use, (measured) => {
        const made = decideReadCopy(measured).verdict === 'make';
        if (made) expect(decideReadCopy({ ...measured, hasCopy: true }).verdict).toBe('keep');
      }),
      { seed: 61, numRuns: 500 },
    );
  });
});
