import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  decodeChanges,
  decodeLease,
  decodeWatch,
  decodeWrite,
  encodeChanges,
  encodeLease,
  encodeWatch,
  encodeWrite,
  leaseAction,
} from '../../../src/format/coordinator-messages.ts';
import {
  decodeStoredEntry,
  decodeStoredNumber,
  encodeStoredEntry,
  encodeStoredNumber,
} from '../../../src/format/coordinator-store.ts';
import { nativeKernels } from '../../../src/platform/native/native-kernels.ts';
import { golden } from './golden.ts';

const checksum = nativeKernels.crc32c;
const entry = { version: 7, leaseId: 3, value: Buffer.from('{"id":1}') };
const write = { key: 'nodes/1', value: Buffer.from('value'), expectedVersion: 9, leaseId: 2 };
const watch = { prefix: 'nodes/', sinceRevision: 12, waitMs: 10_000 };
const changes = {
  complete: false,
  revision: 14,
  changes: [
    { key: 'nodes/1', version: 13, value: Buffer.from('value') },
    { key: 'nodes/2', version: 14, value: undefined },
  ],
};
const lease = { action: leaseAction.grant, leaseId: 0, ttlMs: 5_000 };

describe('what the coordinator keeps', () => {
  test('is laid out as its page says', () => {
    expect(encodeStoredEntry(entry, checksum)).toEqual(golden('coordinator-entry.v1'));
    expect(decodeStoredEntry(golden('coordinator-entry.v1'), checksum)).toEqual(entry);
    expect(encodeStoredNumber(2 ** 40, checksum)).toEqual(golden('coordinator-number.v1'));
    expect(decodeStoredNumber(golden('coordinator-number.v1'), checksum)).toBe(2 ** 40);
  });

  test('is refused when any byte of it has changed', () => {
    for (const name of ['coordinator-entry.v1', 'coordinator-number.v1']) {
      for (let offset = 0; offset < golden(name).length; offset++) {
        const bytes = Buffer.from(golden(name));
        bytes[offset] = bytes[offset]! ^ 0x10;
        expect(decodeStoredEntry(bytes, checksum)).toBeUndefined();
        expect(decodeStoredNumber(bytes, checksum)).toBeUndefined();
      }
    }
  });

  test('is refused when its version is unknown, whatever its checksum', () => {
    const bytes = Buffer.from(golden('coordinator-entry.v1'));
    bytes.writeUInt16LE(2, 4);
    bytes.writeUInt32LE(checksum(bytes.subarray(4)), 0);
    expect(decodeStoredEntry(bytes, checksum)).toBeUndefined();
  });
});

describe('what is said to the coordinator', () => {
  test('is laid out as its page says', () => {
    expect(encodeWrite(write)).toEqual(golden('coordinator-write.v1'));
    expect(decodeWrite(golden('coordinator-write.v1'))).toEqual(write);
    expect(encodeWatch(watch)).toEqual(golden('coordinator-watch.v1'));
    expect(decodeWatch(golden('coordinator-watch.v1'))).toEqual(watch);
    expect(encodeChanges(changes)).toEqual(golden('coordinator-changes.v1'));
    expect(decodeChanges(golden('coordinator-changes.v1'))).toEqual(changes);
    expect(encodeLease(lease)).toEqual(golden('coordinator-lease.v1'));
    expect(decodeLease(golden('coordinator-lease.v1'))).toEqual(lease);
  });

  test('is refused when it is cut short or too long', () => {
    for (const bytes of [golden('coordinator-changes.v1'), golden('coordinator-lease.v1')]) {
      for (let length = 0; length < bytes.length; length++) {
        expect(decodeChanges(bytes.subarray(0, length))).toBeUndefined();
        expect(decodeLease(bytes.subarray(0, length))).toBeUndefined();
      }
      expect(decodeChanges(Buffer.concat([bytes, Buffer.alloc(1)]))).toBeUndefined();
    }
    expect(decodeWrite(golden('coordinator-write.v1').subarray(0, 30))).toBeUndefined();
    expect(decodeWatch(golden('coordinator-watch.v1').subarray(0, 15))).toBeUndefined();
  });

  test('never makes a decoder throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (raw) => {
        const bytes = Buffer.from(raw);
        if (bytes.length >= 2) bytes.writeUInt16LE(1, 0);
        decodeWrite(bytes);
        decodeWatch(bytes);
        decodeChanges(bytes);
        decodeLease(bytes);
      }),
      { numRuns: 2000 },
    );
  });
});
