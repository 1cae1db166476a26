import { expect, test } from 'vitest';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { type CopyNode, placeCopies } from '../../../src/replicator/plan/copy-places.ts';

const record: SegmentRecord = {
  ...{ segmentId: 1, generation: 0, dataFragments: 3, parityFragments: 1, nodes: [1, 2, 3, 4] },
  ...{ fragmentBlocks: 10, dataBlocks: 29, summaryBlocks: 1, liveBlocks: 5 },
};

function nodes(
  rates: readonly number[],
  change: (node: CopyNode) => Partial<CopyNode> = () => ({}),
): CopyNode[] {
  return rates.map((readBytesPerMs, index) => {
    const node = { id: index + 1, domain: String(index + 1), readBytesPerMs, isAble: true };
    return { ...node, ...change(node) };
  });
}

test('the busiest fragments get a copy on the idlest nodes that hold nothing of the segment', () => {
  expect(placeCopies(record, nodes([50, 90, 70, 0, 20, 10]), 60)).toEqual([
    { position: 1, nodeId: 6 },
    { position: 2, nodeId: 5 },
  ]);
});

test('a node that is busier itself, or has no room, gets none', () => {
  expect(placeCopies(record, nodes([0, 90, 0, 0, 95]), 60)).toEqual([]);
  const full = nodes([0, 90, 0, 0, 0, 5], ({ id }) => ({ isAble: id !== 5 }));
  expect(placeCopies(record, full, 60)).toEqual([{ position: 1, nodeId: 6 }]);
});

test('nothing is copied twice, nor onto a node with a copy of something else', () => {
  const copied = { ...record, copies: [{ position: 1, nodeId: 5 }] };
  expect(placeCopies(copied, nodes([80, 90, 0, 0, 0, 10]), 60)).toEqual([{ position: 0, nodeId: 6 }]);
  expect(placeCopies(copied, nodes([80, 90, 0, 0, 0]), 60)).toEqual([]);
});

test('no domain gets more of the segment than that of the fragment has', () => {
  const racks = nodes([0, 90, 0, 0, 0, 5], ({ id }) => ({ domain: id === 5 || id === 1 ? 'a' : String(id) }));
  expect(placeCopies(record, racks, 60)).toEqual([{ position: 1, nodeId: 6 }]);
});
