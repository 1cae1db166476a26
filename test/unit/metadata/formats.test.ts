import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FormatError } from '../../../src/format/fields.ts';
import { decodeGroup, GroupEncoder, type RedoSink } from '../../../src/format/journal-entry.ts';
import { ByteReader, ByteWriter } from '../../../src/format/metadata-bytes.ts';
import * as keys from '../../../src/format/metadata-keys.ts';
import * as records from '../../../src/format/metadata-records.ts';
import { nativeKernels } from '../../../src/platform/native/native-kernels.ts';
import { golden } from '../format/golden.ts';
import { recordOf, runsOf } from './harness.ts';

const { crc32c } = nativeKernels;

const inode: records.InodeRecord = {
  ...{ inode: 0x0102030405, mode: 0o100644, uid: 1000, gid: 100, rdev: 0, linkCount: 2 },
  ...{ sizeBytes: 0x10203040506, mappedBlocks: 77, reservedBlocks: 0, parent: 0, hasXattrs: true },
  ...{ atimeSeconds: -1, atimeNanoseconds: 999_999_999, mtimeSeconds: 1_700_000_000, mtimeNanoseconds: 1 },
  ...{ ctimeSeconds: 2 ** 33, ctimeNanoseconds: 0 },
};
const entry: records.EntryRecord = { inode: 9, type: 0o100000, overflow: true, name: 'caf\u00e9' };
const totals: records.TotalsRecord = {
  ...{ nextInode: 12, inodes: 10, mappedBlocks: 4000, reservedBlocks: 0, segments: 3, segmentBlocks: 3100 },
  ...{ lastCommittedSegment: 2 ** 32 + 3, provisional: [{ segmentId: 2 ** 32 + 4, liveBlocks: 2 }] },
};
const reservation = [0, 1, 3, 300, 70_000, 2 ** 31];
const block: records.InlineBlockRecord = {
  ...{ inode: 9, fileBlock: 1234, checksum: 0xdeadbeef, bytes: Buffer.alloc(4096, 'inline') },
};

function chunkOf(
  blocks: readonly (readonly [number, number, number, number])[],
  length: number,
): Float64Array {
  const pairs = new Float64Array(2 * length);
  for (const [at, segmentId, blockIndex, checksum] of blocks) {
    pairs[2 * at] = segmentId;
    pairs[2 * at + 1] = blockIndex * 2 ** 32 + checksum;
  }
  return pairs;
}

const chunk = chunkOf(
  [
    [0, 2 ** 32 + 1, 5, 0xffffffff],
    [1, 2 ** 32 + 1, 6, 1],
    [3, 2 ** 32 + 1, 7, 2],
    [9, 2 ** 33 + 9, 1000, 3],
  ],
  16,
);

test('golden records decode, and encode to the same bytes', () => {
  const cases: [string, Buffer, (bytes: Buffer) => unknown, unknown][] = [
    ['inode', records.encodeInode(inode, crc32c), (bytes) => records.decodeInode(bytes, crc32c), inode],
    ['entry', records.encodeEntry(entry, crc32c), (bytes) => records.decodeEntry(bytes, crc32c), entry],
    [
      'chunk',
      records.encodeChunk(chunk, crc32c),
      (bytes) => records.decodeChunk(bytes, crc32c),
      { pairs: chunk, mapped: 4 },
    ],
    ['totals', records.encodeTotals(totals, crc32c), (bytes) => records.decodeTotals(bytes, crc32c), totals],
    [
      'inode-reserving',
      records.encodeInode({ ...inode, reservedBlocks: 2 ** 31 - 77 }, crc32c),
      (bytes) => records.decodeInode(bytes, crc32c),
      { ...inode, reservedBlocks: 2 ** 31 - 77 },
    ],
    [
      'totals-reserving',
      records.encodeTotals({ ...totals, reservedBlocks: 2 ** 40 }, crc32c),
      (bytes) => records.decodeTotals(bytes, crc32c),
      { ...totals, reservedBlocks: 2 ** 40 },
    ],
    [
      'reservation',
      records.encodeReservation(reservation, crc32c),
      (bytes) => records.decodeReservation(bytes, crc32c),
      reservation,
    ],
    [
      'plain',
      records.encodePlain(Buffer.from('value'), crc32c),
      (bytes) => records.decodePlain(bytes, crc32c).toString(),
      'value',
    ],
  ];
  for (const [name, encoded, decode, value] of cases) {
    const stored = golden(`metadata-${name}.v1`);
    expect(decode(stored)).toEqual(value);
    expect(encoded.toString('hex')).toBe(stored.toString('hex'));
  }
});

test('an inline block keeps its bytes', () => {
  const decoded = records.decodeInlineBlock(records.encodeInlineBlock(block, crc32c), crc32c);
  expect({ ...decoded, bytes: Buffer.from(decoded.bytes) }).toEqual(block);
});

/** One of every operation. */
function emit(sink: RedoSink): void {
  sink.newInode({ ...inode, mappedBlocks: 0, hasXattrs: false });
  sink.changeInode(9, { mode: 0o100600, sizeBytes: 5 });
  sink.changeInode(10, {
    ...{ uid: 1, gid: 2, linkCount: 0, parent: 3, hasXattrs: true, atimeSeconds: -7, atimeNanoseconds: 1 },
    ...{ mtimeSeconds: 8, mtimeNanoseconds: 2, ctimeSeconds: 9, ctimeNanoseconds: 3 },
  });
  sink.deleteInode(11);
  sink.addEntry(1, 'caf\u00e9', 9, 0o100000, 1_700_000_000, 4);
  sink.removeEntry(1, 'x'.repeat(255), -1, 5);
  sink.putValue('xab', Buffer.from('value'));
  sink.deleteValue('xab');
  sink.unmapBlocks(9, 0, 2 ** 31);
  const segment = 2 ** 32 + 1;
  sink.commitSegment(
    recordOf(segment, 9),
    runsOf(segment, [
      [9, 0, 0, 3],
      [9, 3, 3, 1],
      [10, 2 ** 30, 5, 2],
    ]),
  );
  sink.commitInline(segment + 1, Buffer.alloc(4096, 1), runsOf(segment + 1, [[9, 77, 1000, 1]]));
  sink.forgetSegment(segment);
}

/** Keeps the calls, in a form that can be compared. */
function recorder(calls: unknown[]): RedoSink {
  const plain = (value: unknown): unknown =>
    ArrayBuffer.isView(value) ? Array.from(value as Uint8Array) : value;
  return new Proxy({} as RedoSink, {
    get:
      (_, method) =>
      (...args: unknown[]) => {
        const shown = args.map((arg) =>
          typeof arg === 'object' && arg !== null && !ArrayBuffer.isView(arg)
            ? Object.fromEntries(Object.entries(arg).map(([field, value]) => [field, plain(value)]))
            : plain(arg),
        );
        calls.push([method, shown]);
      },
  });
}

test('the golden journal entry holds one of every operation', () => {
  const stored = golden('journal-entry.v1');
  const expected: unknown[] = [];
  const decoded: unknown[] = [];
  emit(recorder(expected));
  decodeGroup(stored, 42, crc32c, recorder(decoded));
  expect(decoded).toEqual(expected);
  const encoder = new GroupEncoder(crc32c);
  emit(encoder);
  expect(encoder.close(42, Buffer.alloc(encoder.lengthBytes)).toString('hex')).toBe(stored.toString('hex'));
  expect(encoder.operations).toBe(0);
});

test('the golden journal entry of a repair holds a record that is set and one that goes', () => {
  const stored = golden('journal-entry-repair.v1');
  const emitRepair = (sink: RedoSink) => {
    sink.setRecord(keys.inodeKey(9), records.encodeInode(inode, crc32c));
    sink.setRecord(keys.deadSegmentKey(2 ** 32 + 1), records.encodePlain(Buffer.alloc(0), crc32c));
    sink.setRecord(keys.entryKey(1, 2 ** 40), undefined);
  };
  const expected: unknown[] = [];
  const decoded: unknown[] = [];
  emitRepair(recorder(expected));
  decodeGroup(stored, 43, crc32c, recorder(decoded));
  expect(decoded).toEqual(expected);
  const encoder = new GroupEncoder(crc32c);
  emitRepair(encoder);
  expect(encoder.close(43, Buffer.alloc(encoder.lengthBytes)).toString('hex')).toBe(stored.toString('hex'));
});

test('the golden journal entry of a reservation sets blocks aside and gives some back', () => {
  const stored = golden('journal-entry-reserve.v1');
  const emitReserve = (sink: RedoSink) => {
    sink.reserveBlocks(9, 0, 2 ** 31);
    sink.releaseBlocks(9, 300, 301);
  };
  const expected: unknown[] = [];
  const decoded: unknown[] = [];
  emitReserve(recorder(expected));
  decodeGroup(stored, 44, crc32c, recorder(decoded));
  expect(decoded).toEqual(expected);
  const encoder = new GroupEncoder(crc32c);
  emitReserve(encoder);
  expect(encoder.close(44, Buffer.alloc(encoder.lengthBytes)).toString('hex')).toBe(stored.toString('hex'));
});

test('a journal entry is refused as a whole when a byte differs, when it is cut, and under another number', () => {
  const stored = golden('journal-entry.v1');
  const calls: unknown[] = [];
  const refuse = (bytes: Buffer, sequence = 42) =>
    expect(() => decodeGroup(bytes, sequence, crc32c, recorder(calls))).toThrow(FormatError);
  for (let at = 0; at < stored.length; at += 13) {
    const damaged = Buffer.from(stored);
    damaged[at]! ^= 4;
    refuse(damaged);
    refuse(stored.subarray(0, at));
  }
  refuse(stored, 43);
  const newer = Buffer.from(stored);
  newer.writeUInt32LE(2, 4);
  newer.writeUInt32LE(crc32c(newer.subarray(4)), 0);
  refuse(newer);
  expect(calls).toEqual([]);
});

test('records of an unknown version, with reserved bytes or with damage are refused', () => {
  const sealed = (bytes: Buffer, at: number, value: number) => {
    const changed = Buffer.from(bytes);
    changed[at] = value;
    changed.writeUInt32LE(crc32c(changed.subarray(4)), 0);
    return changed;
  };
  const good = records.encodeInode(inode, crc32c);
  expect(() => records.decodeInode(sealed(good, 4, 2), crc32c)).toThrow(FormatError);
  expect(() => records.decodeInode(sealed(good, 6, 1), crc32c)).toThrow(FormatError);
  expect(() => records.decodeInode(good.subarray(0, 90), crc32c)).toThrow(FormatError);
  expect(() => records.decodeInode(sealed(good, 5, 3), crc32c)).toThrow(FormatError);
  expect(() => records.decodeInode(sealed(good, 5, 4), crc32c)).toThrow(FormatError);
  const reserving = records.encodeInode({ ...inode, reservedBlocks: 1 }, crc32c);
  expect(() => records.decodeInode(sealed(reserving, 96, 0), crc32c)).toThrow(FormatError);
  const reserved = records.encodeReservation(reservation, crc32c);
  expect(() => records.decodeReservation(sealed(reserved, 6, 2), crc32c)).toThrow(FormatError);
  // The second range would touch the first.
  expect(() => records.decodeReservation(sealed(reserved, 10, 0), crc32c)).toThrow(FormatError);
  const damaged = Buffer.from(good);
  damaged[50]! ^= 1;
  expect(() => records.decodeInode(damaged, crc32c)).toThrow(FormatError);
});

test('any chunk of extents comes back as it was', () => {
  const mapping = fc.tuple(
    fc.nat(255),
    fc.integer({ min: 1, max: 2 ** 50 }),
    fc.nat(1055),
    fc.nat(0xffffffff),
  );
  fc.assert(
    fc.property(fc.array(mapping, { minLength: 1, maxLength: 300 }), (blocks) => {
      const pairs = chunkOf(blocks, 256);
      const decoded = records.decodeChunk(records.encodeChunk(pairs, crc32c), crc32c);
      const mapped = new Set(blocks.map((each) => each[0]));
      expect(decoded.mapped).toBe(mapped.size);
      expect(Array.from(pairs).slice(0, decoded.pairs.length)).toEqual(Array.from(decoded.pairs));
      expect(decoded.pairs.length / 2).toBeGreaterThan(Math.max(...mapped));
    }),
  );
});

test('any reservation comes back as it was', () => {
  const pieces = fc.array(fc.tuple(fc.integer({ min: 1, max: 9999 }), fc.integer({ min: 1, max: 9999 })), {
    minLength: 1,
  });
  fc.assert(
    fc.property(fc.nat(1), pieces, (shift, lengths) => {
      const ranges: number[] = [];
      let at = -shift;
      for (const [gap, length] of lengths) {
        ranges.push(at + gap, at + gap + length);
        at += gap + length;
      }
      expect(records.decodeReservation(records.encodeReservation(ranges, crc32c), crc32c)).toEqual(ranges);
    }),
  );
});

test('varints carry every safe integer, signed ones too', () => {
  fc.assert(
    fc.property(
      fc.maxSafeNat(),
      fc.integer({ min: -(2 ** 51), max: 2 ** 51 }),
      fc.string(),
      (number, signed, text) => {
        const bytes = Buffer.from(text).toString('latin1');
        const out = new ByteWriter(1);
        out.varint(number);
        out.signedVarint(signed);
        out.text(bytes);
        const input = new ByteReader(out.copy());
        expect([input.varint(), input.signedVarint(), input.text()]).toEqual([number, signed, bytes]);
        input.end();
      },
    ),
  );
});

test('keys sort as the numbers in them, and give them back', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 2 ** 48 - 1 }),
      fc.nat({ max: 2 ** 48 - 1 }),
      fc.maxSafeNat(),
      fc.maxSafeNat(),
      (a, b, x, y) => {
        expect(keys.inodeOfKey(keys.keyBytes(keys.inodeKey(a)))).toBe(a);
        expect(keys.cookieOfEntryKey(keys.keyBytes(keys.entryKey(a, x)))).toBe(x);
        expect(keys.segmentOfKey(keys.keyBytes(keys.segmentKey(x)))).toBe(x);
        expect(keys.chunkOfKey(keys.keyBytes(keys.chunkKey(a, x % 2 ** 23)))).toBe(x % 2 ** 23);
        const inline = keys.keyBytes(keys.inlineBlockKey(x, y % 1056));
        expect(keys.inlineBlockOfKey(inline)).toEqual({ segmentId: x, blockIndex: y % 1056 });
        expect(Math.sign(keys.keyBytes(keys.segmentKey(x)).compare(keys.keyBytes(keys.segmentKey(y))))).toBe(
          Math.sign(x - y),
        );
        expect(Math.sign(keys.keyBytes(keys.inodeKey(a)).compare(keys.keyBytes(keys.inodeKey(b))))).toBe(
          Math.sign(a - b),
        );
      },
    ),
  );
});
