import { describe, expect, test } from 'vitest';
import { explainedRows, explanationText, segmentName } from '../../../src/cli/status/explanation.ts';
import type { Explanation } from '../../../src/cli/supervisor/control-messages.ts';

const segmentId = 3 * 2 ** 32 + 7;
const explanation: Explanation = {
  inode: 12,
  sizeBytes: 40_000,
  extents: [
    { fileBlock: 0, blocks: 3, segmentId, blockIndex: 6 },
    { fileBlock: 3, blocks: 2, segmentId: 0, blockIndex: 0 },
    { fileBlock: 5, blocks: 1, segmentId: segmentId + 1, blockIndex: 0 },
  ],
  segments: [
    {
      segmentId,
      dataFragments: 2,
      parityFragments: 1,
      fragmentBlocks: 8,
      nodes: [4, 5, 6],
      use: {
        ...{ copies: [{ position: 1, nodeId: 9 }], readBytesPerSecond: 2048, overwrittenBytesPerSecond: 0 },
        ...{ verdict: 'keep', reason: 'pays', readsPerDay: 700, writesPerRead: 0, imbalance: 2 },
      },
      journaledOn: null,
    },
    {
      segmentId: segmentId + 1,
      dataFragments: 0,
      parityFragments: 0,
      fragmentBlocks: 0,
      nodes: [],
      use: null,
      journaledOn: [1, 2, 3],
    },
  ],
  truncated: false,
};

describe('the explanation of a file', () => {
  test('is cut where the data passes to the next fragment', () => {
    expect(explainedRows(explanation).slice(0, 2)).toEqual([
      {
        offsetBytes: 0,
        lengthBytes: 8192,
        kind: 'segment',
        segment: '3.7',
        fragment: 0,
        nodes: [4],
        parityNodes: [6],
      },
      {
        offsetBytes: 8192,
        lengthBytes: 4096,
        kind: 'segment',
        segment: '3.7',
        fragment: 1,
        nodes: [5, 9],
        parityNodes: [6],
      },
    ]);
  });

  test('tells holes and journaled blocks apart', () => {
    expect(explainedRows(explanation).slice(2)).toMatchObject([
      { kind: 'hole', lengthBytes: 8192, nodes: [] },
      { kind: 'journal', nodes: [1, 2, 3] },
    ]);
  });

  test('names a segment by term and number', () => {
    expect(segmentName(segmentId)).toBe('3.7');
  });

  test('says so when there is no block', () => {
    const empty = { ...explanation, extents: [], segments: [] };
    expect(explanationText('/mnt/x', empty)).toContain('no blocks');
  });
});
