import { expect, test } from 'vitest';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { ReadUse } from '../../../src/log/read-use.ts';
import { UseMeter } from '../../../src/replicator/copies/use-meter.ts';

const BLOCK = 4096;
const record: SegmentRecord = {
  ...{ segmentId: 1, generation: 0, dataFragments: 1, parityFragments: 0, nodes: [1] },
  ...{ fragmentBlocks: 100, dataBlocks: 99, summaryBlocks: 1, liveBlocks: 50 },
};

function meter(windowMs = 1000) {
  const use = new ReadUse();
  return { use, meter: new UseMeter(use, (id) => ({ ...record, segmentId: id }), { windowMs, nowMs: 0 }) };
}

test('a steady rate is measured as it is, whatever the steps', () => {
  const { use, meter: measured } = meter();
  for (let nowMs = 10; nowMs <= 10_000; nowMs += 10) {
    use.noteSegment(7, 1);
    use.node(3).readBytes += BLOCK;
    measured.look(nowMs);
  }
  expect(measured.segment(7).readBytesPerMs / (BLOCK / 10)).toBeCloseTo(1, 1);
  expect(measured.nodeReadBytesPerMs(3) / (BLOCK / 10)).toBeCloseTo(1, 1);
});

test('what is not read any more is forgotten', () => {
  const { use, meter: measured } = meter();
  use.noteSegment(7, 100);
  measured.look(100);
  const at = measured.segment(7).readBytesPerMs;
  measured.look(1100);
  expect(measured.segment(7).readBytesPerMs).toBeCloseTo(at / Math.E, 5);
  measured.look(20_000);
  expect(measured.hottest()).toEqual([]);
});

test('what is overwritten of segments that are read counts, and of no others', () => {
  const { use, meter: measured } = meter();
  use.noteSegment(7, 10);
  measured.look(100);
  measured.liveChanged(7, 40);
  measured.liveChanged(7, 45);
  measured.liveChanged(8, 0);
  expect(measured.segment(7).overwrittenBytesPerMs).toBe((10 * BLOCK) / 1000);
  expect(measured.segment(8)).toEqual({ readBytesPerMs: 0, overwrittenBytesPerMs: 0 });
  measured.forgotten(7);
  expect(measured.hottest()).toEqual([]);
});

test('of many segments the most read are known', () => {
  const { use, meter: measured } = meter();
  for (let round = 0; round < 2; round++) {
    for (let id = 1; id <= 4000; id++) use.noteSegment(4000 * round + id, 1 + (id % 7));
    measured.look(10 * (round + 1));
  }
  expect(measured.hottest()).toHaveLength(4096);
  expect(measured.segment(6).readBytesPerMs).toBeGreaterThan(0);
  expect(measured.segment(7).readBytesPerMs).toBe(0);
});

test('it begins anew with another window', () => {
  const { use, meter: measured } = meter();
  use.noteSegment(7, 10);
  expect(measured.isSettled(999)).toBe(false);
  expect(measured.isSettled(1000)).toBe(true);
  measured.restart(5000, 2000);
  expect(measured.hottest()).toEqual([]);
  expect(measured.isSettled(6999)).toBe(false);
});
