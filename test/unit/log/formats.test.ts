import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { FormatError } from '../../../src/format/fields.ts';
import {
  decodeSegmentRecord,
  encodeSegmentRecord,
  type SegmentRecord,
} from '../../../src/format/segment-record.ts';
import {
  decodeSummary,
  encodeSummary,
  type SegmentSummary,
  summaryBlocksFor,
} from '../../../src/format/segment-summary.ts';
import { scriptKernels } from '../../../src/platform/native/script-kernels.ts';
import { golden } from '../format/golden.ts';

const { crc32c } = scriptKernels;

const record: SegmentRecord = {
  segmentId: 7 * 2 ** 32 + 258,
  generation: 2,
  dataFragments: 4,
  parityFragments: 1,
  fragmentBlocks: 250,
  dataBlocks: 996,
  summaryBlocks: 3,
  nodes: [3, 1, 65535, 2, 4],
  liveBlocks: 700,
};

const summary: SegmentSummary = {
  segmentId: 7 * 2 ** 32 + 258,
  dataBlocks: 1030,
  runCount: 3,
  inodes: Float64Array.of(1, 2 ** 48 - 1, 5),
  fileBlocks: Float64Array.of(0, 2 ** 31 - 1, 77),
  counts: Uint16Array.of(1, 1024, 5),
};

function encoded(value: SegmentSummary): Buffer {
  const bytes = Buffer.alloc(summaryBlocksFor(value.runCount) * BLOCK_BYTES);
  encodeSummary(value, bytes, crc32c);
  return bytes;
}

/** The bytes with a change, and with a checksum that fits it. */
function changed(bytes: Buffer, change: (bytes: Buffer) => void): Buffer {
  const copy = Buffer.from(bytes);
  change(copy);
  copy.writeUInt32LE(crc32c(copy.subarray(4)), 0);
  return copy;
}

describe('segment record', () => {
  test('is the golden one, byte for byte', () => {
    expect(encodeSegmentRecord(record, crc32c)).toEqual(golden('segment-record.v1'));
    expect(decodeSegmentRecord(golden('segment-record.v1'), crc32c)).toEqual(record);
  });

  test('is refused with any byte changed or cut off', () => {
    const bytes = encodeSegmentRecord(record, crc32c);
    for (let at = 0; at < bytes.length; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 1 << (at % 8);
      expect(() => decodeSegmentRecord(damaged, crc32c)).toThrow(FormatError);
      expect(() => decodeSegmentRecord(bytes.subarray(0, at), crc32c)).toThrow(FormatError);
    }
  });

  test('is refused when its numbers do not fit each other, whatever the checksum says', () => {
    const bytes = encodeSegmentRecord(record, crc32c);
    const changes: ((bytes: Buffer) => void)[] = [
      (b) => b.writeUInt16LE(2, 4), // copies, and none
      (b) => b.writeUInt16LE(3, 4), // version
      (b) => b.writeUInt8(3, 7), // k without its nodes
      (b) => b.fill(0, 8, 16), // segment 0
      (b) => b.writeUInt32LE(249, 16), // fragments too short
      (b) => b.writeUInt32LE(2000, 20), // more data than a segment has
      (b) => b.writeUInt32LE(997, 24), // more live than data
      (b) => b.writeUInt8(1, 31), // a copy, without its place
      (b) => b.writeUInt16LE(3, 34), // a node twice
      (b) => b.writeUInt16LE(0, 34), // no node
    ];
    for (const change of changes) {
      expect(() => decodeSegmentRecord(changed(bytes, change), crc32c)).toThrow(FormatError);
    }
  });
});

describe('segment record with copies', () => {
  const copied: SegmentRecord = {
    ...record,
    copies: [
      { position: 0, nodeId: 9 },
      { position: 3, nodeId: 65534 },
    ],
  };

  test('is the golden one, byte for byte', () => {
    expect(encodeSegmentRecord(copied, crc32c)).toEqual(golden('segment-record.v2'));
    expect(decodeSegmentRecord(golden('segment-record.v2'), crc32c)).toEqual(copied);
  });

  test('is written as one without them when there are none', () => {
    expect(encodeSegmentRecord({ ...record, copies: [] }, crc32c)).toEqual(golden('segment-record.v1'));
  });

  test('is refused when its copies do not fit, whatever the checksum says', () => {
    const bytes = encodeSegmentRecord(copied, crc32c);
    const first = 32 + 2 * 5;
    const changes: ((bytes: Buffer) => void)[] = [
      (b) => b.writeUInt16LE(1, 4), // a version without copies
      (b) => b.writeUInt8(1, 31), // more bytes than copies
      (b) => b.writeUInt8(3, 31), // fewer
      (b) => b.writeUInt16LE(3, first), // on a node that holds another fragment
      (b) => b.writeUInt16LE(65534, first), // two on one node
      (b) => b.writeUInt16LE(0, first), // no node
      (b) => b.writeUInt8(3, first + 2), // two of one position
      (b) => b.writeUInt8(4, first + 6), // of parity
      (b) => b.writeUInt8(1, first + 3), // reserved
    ];
    for (const change of changes) {
      expect(() => decodeSegmentRecord(changed(bytes, change), crc32c)).toThrow(FormatError);
    }
  });
});

describe('segment summary', () => {
  test('is the golden one, byte for byte', () => {
    const written = golden('segment-summary.v1');
    const bytes = encoded(summary);
    expect(bytes.subarray(0, written.length)).toEqual(written);
    expect(bytes.subarray(written.length).every((byte) => byte === 0)).toBe(true);
    const whole = Buffer.concat([written, Buffer.alloc(BLOCK_BYTES - written.length)]);
    expect(decodeSummary(whole, crc32c)).toEqual(summary);
  });

  test('comes back as it was, whatever its runs', () => {
    const run = fc.record({
      inode: fc.integer({ min: 0, max: 2 ** 48 - 1 }),
      fileBlock: fc.integer({ min: 0, max: 2 ** 31 - 1 }),
      count: fc.integer({ min: 1, max: 3 }),
    });
    fc.assert(
      fc.property(fc.array(run, { maxLength: 350 }), (runs) => {
        const value: SegmentSummary = {
          segmentId: 99,
          dataBlocks: runs.reduce((sum, { count }) => sum + count, 0),
          runCount: runs.length,
          inodes: Float64Array.from(runs, ({ inode }) => inode),
          fileBlocks: Float64Array.from(runs, ({ fileBlock }) => fileBlock),
          counts: Uint16Array.from(runs, ({ count }) => count),
        };
        if (value.dataBlocks > 1056) return;
        expect(decodeSummary(encoded(value), crc32c)).toEqual(value);
      }),
      { numRuns: 30 },
    );
  });

  test('is refused when damaged, too long, or when its runs do not cover its blocks', () => {
    const bytes = encoded(summary);
    const damaged = Buffer.from(bytes);
    damaged[4000]! ^= 1;
    expect(() => decodeSummary(damaged, crc32c)).toThrow(FormatError);
    const changes: ((bytes: Buffer) => void)[] = [
      (b) => b.writeUInt32LE(0, 4),
      (b) => b.writeUInt16LE(2, 8),
      (b) => b.writeUInt16LE(1029, 10),
      (b) => b.writeUInt16LE(2, 12),
      (b) => b.writeUInt16LE(1, 14),
      (b) => b.writeUInt8(1, 4095),
    ];
    for (const change of changes) {
      expect(() => decodeSummary(changed(bytes, change), crc32c)).toThrow(FormatError);
    }
    const longer = changed(Buffer.concat([bytes, Buffer.alloc(BLOCK_BYTES)]), () => {});
    expect(() => decodeSummary(longer, crc32c)).toThrow(FormatError);
  });
});
