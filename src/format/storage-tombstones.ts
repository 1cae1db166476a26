/**
 * A page of tombstones: fragments that were freed and whose headers may still be readable. Pages lie in a small ring file of the storage node.
 * Byte table: docs/format/storage-tombstones.md.
 *
 * Segment ids are never used again and generations only grow, so a tombstone is true for ever: one that outlived its purpose does no harm.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';
import { type Checksum, NONCE_BYTES } from './storage-log-file.ts';

/** 'TFRE' */
const MAGIC = 0x4552_4654;
const VERSION = 1;
const HEADER_BYTES = 40;
const ENTRY_BYTES = 32;
export const MAX_TOMBSTONES_PER_PAGE = Math.floor((BLOCK_BYTES - HEADER_BYTES) / ENTRY_BYTES);

export interface Tombstone {
  readonly segmentId: number;
  readonly position: number;
  /** This generation and all before it are gone. */
  readonly generation: number;
  readonly fileId: number;
  readonly headerOffset: number;
  /** Header and payload. */
  readonly lengthBytes: number;
}

export interface TombstonePage {
  /** Grows by one with each page written. */
  readonly serial: number;
  readonly nonce: Buffer;
  readonly tombstones: readonly Tombstone[];
}

export function encodeTombstonePage(page: TombstonePage, out: Buffer, checksum: Checksum): void {
  assert(
    out.length === BLOCK_BYTES && page.tombstones.length <= MAX_TOMBSTONES_PER_PAGE,
    'one page of tombstones',
  );
  out.fill(0);
  out.writeUInt32LE(MAGIC, 4);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(page.tombstones.length, 10);
  writeSafe(out, page.serial, 16);
  out.set(page.nonce, 24);
  page.tombstones.forEach((tombstone, i) => {
    const at = HEADER_BYTES + ENTRY_BYTES * i;
    writeSafe(out, tombstone.segmentId, at);
    writeSafe(out, tombstone.headerOffset, at + 8);
    out.writeUInt32LE(tombstone.fileId, at + 16);
    out.writeUInt32LE(tombstone.lengthBytes, at + 20);
    out[at + 24] = tombstone.position;
    out[at + 25] = tombstone.generation;
  });
  out.writeUInt32LE(checksum(out.subarray(4)), 0);
}

/** Most pages of a ring are as they were made. */
export function isUnwrittenTombstonePage(bytes: Buffer): boolean {
  return bytes.readUInt32LE(0) === 0 && bytes.readUInt32LE(4) === 0;
}

export function decodeTombstonePage(nonce: Buffer, bytes: Buffer, checksum: Checksum): TombstonePage {
  must(bytes.length === BLOCK_BYTES && bytes.readUInt32LE(4) === MAGIC, 'not a page of tombstones');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of tombstones');
  must(bytes.readUInt16LE(8) === VERSION, 'version of tombstones');
  const count = bytes.readUInt16LE(10);
  must(count <= MAX_TOMBSTONES_PER_PAGE, 'number of tombstones');
  mustBeZero(bytes, 12, 16);
  must(nonce.equals(bytes.subarray(24, 24 + NONCE_BYTES)), 'tombstones of another store');
  const tombstones: Tombstone[] = [];
  for (let i = 0; i < count; i++) {
    const at = HEADER_BYTES + ENTRY_BYTES * i;
    mustBeZero(bytes, at + 26, at + ENTRY_BYTES);
    tombstones.push({
      segmentId: readSafe(bytes, at),
      headerOffset: readSafe(bytes, at + 8),
      fileId: bytes.readUInt32LE(at + 16),
      lengthBytes: bytes.readUInt32LE(at + 20),
      position: bytes[at + 24]!,
      generation: bytes[at + 25]!,
    });
  }
  mustBeZero(bytes, HEADER_BYTES + ENTRY_BYTES * count, BLOCK_BYTES);
  return { serial: readSafe(bytes, 16), nonce, tombstones };
}
