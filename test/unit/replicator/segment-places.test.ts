import { expect, test } from 'vitest';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { deranged } from '../../../src/maintenance/segment-relayout.ts';
import { SegmentPlaces } from '../../../src/replicator/heal/segment-places.ts';

const BLOCK = 4096;

function record(segmentId: number, nodes: number[], parityFragments = 1): SegmentRecord {
  const dataFragments = nodes.length - parityFragments;
  return {
    ...{ segmentId, generation: 0, dataFragments, parityFragments, nodes },
    ...{ fragmentBlocks: 10, dataBlocks: 10 * dataFragments - 1, summaryBlocks: 1, liveBlocks: 5 },
  };
}

const up =
  (...nodes: number[]) =>
  (nodeId: number) =>
    nodes.includes(nodeId);
const not =
  (...nodes: number[]) =>
  (nodeId: number) =>
    !nodes.includes(nodeId);

test('segments are counted by the nodes that are away, and by what is damaged on the others', () => {
  const places = new SegmentPlaces(1);
  places.committed(record(1, [1, 2, 3]));
  places.committed(record(2, [2, 3, 1]));
  places.committed(record(3, [2, 3, 4]));
  expect(places.count(not())).toMatchObject({ degradedSegments: 0, bytesToRepair: 0, atRisk: false });
  expect(places.count(not(1))).toMatchObject({
    degradedSegments: 2,
    bytesToRepair: 20 * BLOCK,
    atRisk: true,
  });
  expect(places.count(not(2, 3))).toMatchObject({ degradedSegments: 3, unreadableSegments: 3 });
  places.noteDamage(record(3, [2, 3, 4]), 4);
  expect(places.count(not())).toMatchObject({ degradedSegments: 1, bytesToRepair: 10 * BLOCK, atRisk: true });
  expect(places.count(not(2))).toMatchObject({ degradedSegments: 3, unreadableSegments: 1 });
  // What is damaged on a node that is away counts once.
  expect(places.count(not(4))).toMatchObject({ degradedSegments: 1, bytesToRepair: 10 * BLOCK });
  places.noteRepaired(3, 4);
  expect(places.count(not()).degradedSegments).toBe(0);
});

test('a segment that moves or is forgotten is counted where it is', () => {
  const places = new SegmentPlaces(1);
  const before = record(1, [1, 2, 3]);
  places.committed(before);
  places.laidAnew(record(1, [4, 2, 3]), before);
  expect(places.count(not(1)).degradedSegments).toBe(0);
  expect(places.count(not(4)).degradedSegments).toBe(1);
  places.forgotten(1, record(1, [4, 2, 3]));
  expect(places.count(not(4)).degradedSegments).toBe(0);
});

test('what is damaged stays so when other fragments move or are added, until it moves itself or all is laid out anew', () => {
  const places = new SegmentPlaces(1);
  const before = record(1, [1, 2, 3]);
  const moved = record(1, [4, 2, 3]);
  const added = { ...record(1, [4, 2, 3, 5], 2) };
  places.committed(before);
  places.noteDamage(before, 2);
  places.laidAnew(moved, before);
  expect([...places.damagedOn(1)]).toEqual([2]);
  places.laidAnew(added, moved);
  expect(places.count(not())).toMatchObject({ degradedSegments: 1, atRisk: false });
  places.laidAnew(record(1, [4, 6, 3, 5], 2), added);
  expect(places.count(not()).degradedSegments).toBe(0);
  const anew = { ...record(1, [2, 4, 5]), generation: 1 };
  places.noteDamage(record(1, [4, 6, 3, 5], 2), 4);
  places.laidAnew(anew, record(1, [4, 6, 3, 5], 2));
  expect(places.count(not()).degradedSegments).toBe(0);
});

test('copies are counted where they are, and what is known of the fragments stays', () => {
  const places = new SegmentPlaces(1);
  const plain = record(1, [1, 2, 3]);
  const copies = [{ position: 0, nodeId: 4 }];
  places.committed(plain);
  places.noteDamage(plain, 2);
  places.laidAnew({ ...plain, copies }, plain);
  expect(places.bytesHeld(4)).toBe(10 * BLOCK);
  expect(places.count(not())).toMatchObject({ degradedSegments: 1 });
  expect(places.count(not(4))).toMatchObject({ degradedSegments: 1, bytesToRepair: 10 * BLOCK });
  expect([...places.copied()]).toMatchObject([{ segmentId: 1, copies }]);
  // What has a copy can be read, and is as much to be rebuilt.
  expect(places.count(not(1, 3))).toMatchObject({ degradedSegments: 1, unreadableSegments: 0 });
  expect(places.count(not(2, 3))).toMatchObject({ unreadableSegments: 1 });
  expect(places.count(not(1, 3, 4))).toMatchObject({ unreadableSegments: 1 });
  places.laidAnew(plain, { ...plain, copies });
  expect(places.bytesHeld(4)).toBe(0);
  expect(places.copiedCount).toBe(0);
  places.laidAnew({ ...plain, copies }, plain);
  places.forgotten(1, { ...plain, copies });
  expect([places.copiedCount, places.copyBytes(4), places.bytesHeld(1)]).toEqual([0, 0, 0]);
});

test('those with the fewest good fragments to spare come first', () => {
  const places = new SegmentPlaces(1);
  places.committed(record(1, [1, 3, 4, 5], 2));
  places.committed(record(2, [1, 2, 3, 4], 2));
  places.committed(record(3, [3, 4, 5, 6], 2));
  places.committed(record(4, [3, 4, 5, 6], 2));
  places.noteDamage(record(4, [3, 4, 5, 6], 2), 6);
  const order = (limit: number, excluded = -1) =>
    places.endangered(
      limit,
      { isGone: up(1, 2), isUp: not(1, 2), parityNow: 1 },
      (segmentId) => segmentId === excluded,
    );
  expect(order(10)[0]).toBe(2);
  expect(order(10).slice(1).sort()).toEqual([1, 4]);
  expect(order(1)).toEqual([2]);
  expect(order(10, 2).sort()).toEqual([1, 4]);
});

test('what was written with less than full parity is degraded, and healed first once the nodes for it are there', () => {
  const places = new SegmentPlaces(2);
  let told = 0;
  places.onDegraded = () => told++;
  places.committed(record(1, [1, 2, 3, 4], 2));
  places.committed(record(2, [1, 2], 1));
  places.committed(record(3, [2], 0));
  expect(told).toBe(2);
  expect(places.count(not())).toMatchObject({
    ...{ degradedSegments: 2, unreadableSegments: 0, atRisk: true },
    bytesToRepair: (1 + 2) * 10 * BLOCK,
  });
  const now = (parityNow: number, ...away: number[]) => ({ isGone: up(), isUp: not(...away), parityNow });
  const order = (parityNow: number, ...away: number[]) =>
    places.endangered(10, now(parityNow, ...away), () => false);
  expect(order(2)).toEqual([3, 2]);
  expect(places.bytesToHeal(now(2))).toBe((1 + 2) * 10 * BLOCK);
  // With three nodes there is parity for the one with none only.
  expect(order(1, 3, 4)).toEqual([3]);
  expect(places.bytesToHeal(now(1, 3, 4))).toBe(10 * BLOCK);
  expect(order(2, 1)).toEqual([3]);
  places.laidAnew(record(3, [2, 1, 3], 2), record(3, [2], 0));
  expect(order(2)).toEqual([2]);
});

test('nodes of a new layout get other positions than they had', () => {
  for (const [nodes, old] of [
    [
      [1, 2, 3, 4],
      [1, 2, 3, 4, 5],
    ],
    [
      [3, 1, 2],
      [1, 2, 3],
    ],
    [
      [1, 2],
      [1, 2, 3],
    ],
    [
      [1, 3, 2, 4],
      [1, 2, 3, 4],
    ],
  ]) {
    const made = deranged(nodes!, old!)!;
    expect([...made].sort()).toEqual([...nodes!].sort());
    expect(made.every((node, index) => node !== old![index])).toBe(true);
  }
  expect(deranged([1], [1, 2])).toBeUndefined();
});
