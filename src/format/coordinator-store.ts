/**
 * Codec of what the embedded coordinator keeps in its database. Byte table: docs/format/coordinator-store.md.
 */
import { readSafeU64, writeSafeU64 } from './integers.ts';

export interface StoredEntry {
  readonly version: number;
  /** 0: none. */
  readonly leaseId: number;
  readonly value: Buffer;
}

type Checksum = (bytes: Uint8Array) => number;

const VERSION = 1;
const ENTRY_BYTES = 24;
const NUMBER_BYTES = 16;

/** Keys of the database: one letter, then the name. */
export const storeKeys = {
  entry: (key: string) => Buffer.from(`e${key}`),
  lease: (id: number) => Buffer.from(`l${id}`),
  /** The number of the last change. */
  revision: Buffer.from('r'),
  /** The id of the last lease, so that none is given twice. */
  lastLease: Buffer.from('i'),
} as const;

export function encodeStoredEntry(entry: StoredEntry, checksum: Checksum): Buffer {
  const bytes = Buffer.alloc(ENTRY_BYTES + entry.value.length);
  bytes.writeUInt16LE(VERSION, 4);
  writeSafeU64(bytes, entry.version, 8);
  writeSafeU64(bytes, entry.leaseId, 16);
  entry.value.copy(bytes, ENTRY_BYTES);
  return sealed(bytes, checksum);
}

/** undefined: damaged, or of an unknown version. */
export function decodeStoredEntry(bytes: Buffer, checksum: Checksum): StoredEntry | undefined {
  if (bytes.length < ENTRY_BYTES || !isIntact(bytes, checksum)) return undefined;
  const version = readSafeU64(bytes, 8);
  const leaseId = readSafeU64(bytes, 16);
  if (version === undefined || leaseId === undefined) return undefined;
  return { version, leaseId, value: bytes.subarray(ENTRY_BYTES) };
}

/** A lease's time to live, the last lease, or the last change. */
export function encodeStoredNumber(value: number, checksum: Checksum): Buffer {
  const bytes = Buffer.alloc(NUMBER_BYTES);
  bytes.writeUInt16LE(VERSION, 4);
  writeSafeU64(bytes, value, 8);
  return sealed(bytes, checksum);
}

/** undefined: damaged, or of an unknown version. */
export function decodeStoredNumber(bytes: Buffer, checksum: Checksum): number | undefined {
  if (bytes.length !== NUMBER_BYTES || !isIntact(bytes, checksum)) return undefined;
  return readSafeU64(bytes, 8);
}

function sealed(bytes: Buffer, checksum: Checksum): Buffer {
  bytes.writeUInt32LE(checksum(bytes.subarray(4)), 0);
  return bytes;
}

function isIntact(bytes: Buffer, checksum: Checksum): boolean {
  return (
    bytes.readUInt32LE(0) === checksum(bytes.subarray(4)) &&
    bytes.readUInt16LE(4) === VERSION &&
    bytes.readUInt16LE(6) === 0
  );
}
