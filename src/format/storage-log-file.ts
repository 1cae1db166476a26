/**
 * What a storage node writes into its log files: one page that heads the file, and in front of each fragment's payload a header of one or two
 * pages. Byte table: docs/format/storage-log-file.md.
 *
 * A header names its file, its place in the file and the store's nonce. So neither what a recycled disk block holds nor a user's copy of a
 * log file inside the file system is ever taken for a fragment.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES, roundUp } from '../base/units.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';
import type { FragmentDescription } from './fragment-header.ts';
import {
  decodeFragmentDescription,
  encodeFragmentDescription,
  fragmentDescriptionBytes,
} from './fragment-header.ts';

export type Checksum = (bytes: Uint8Array) => number;

export const NONCE_BYTES = 16;
export const LOG_FILE_HEADER_BYTES = BLOCK_BYTES;
/** Offset of the magic number in a fragment header: lets a scan skip most pages without a checksum. */
export const FRAGMENT_MAGIC_OFFSET = 4;
/** 'TFRG' */
export const FRAGMENT_MAGIC = 0x4752_4654;
/** 'TLOG' */
const LOG_FILE_MAGIC = 0x474f_4c54;
const VERSION = 1;
const FIXED_BYTES = 40;

export interface LogFileHeader {
  readonly fileId: number;
  readonly nodeId: number;
  /** 16 bytes. */
  readonly volumeId: Buffer;
  /** 16 random bytes of the store. */
  readonly nonce: Buffer;
}

export function encodeLogFileHeader(header: LogFileHeader, out: Buffer, checksum: Checksum): void {
  assert(out.length === LOG_FILE_HEADER_BYTES, 'a log file header is one page');
  assert(header.volumeId.length === 16 && header.nonce.length === NONCE_BYTES, 'length of ids');
  out.fill(0);
  out.writeUInt32LE(LOG_FILE_MAGIC, 4);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(header.nodeId, 10);
  out.writeUInt32LE(header.fileId, 12);
  out.set(header.volumeId, 16);
  out.set(header.nonce, 32);
  out.writeUInt32LE(checksum(out.subarray(4)), 0);
}

export function decodeLogFileHeader(bytes: Buffer, checksum: Checksum): LogFileHeader {
  must(bytes.length === LOG_FILE_HEADER_BYTES, 'log file header is short');
  must(bytes.readUInt32LE(4) === LOG_FILE_MAGIC, 'not a log file');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of a log file header');
  must(bytes.readUInt16LE(8) === VERSION, 'version of a log file');
  mustBeZero(bytes, 48, LOG_FILE_HEADER_BYTES);
  return {
    nodeId: bytes.readUInt16LE(10),
    fileId: bytes.readUInt32LE(12),
    volumeId: Buffer.from(bytes.subarray(16, 32)),
    nonce: Buffer.from(bytes.subarray(32, 48)),
  };
}

/** Bytes in front of the payload. */
export function fragmentHeaderBytes(fragmentBlocks: number, fragments: number): number {
  return roundUp(FIXED_BYTES + fragmentDescriptionBytes(fragmentBlocks, fragments), BLOCK_BYTES);
}

export interface FragmentPlace {
  readonly fileId: number;
  /** Of the header's first byte in the file. */
  readonly headerOffset: number;
  readonly nonce: Buffer;
}

/** Fills `out`, whose length is fragmentHeaderBytes of the fragment. */
export function encodeFragmentHeader(
  place: FragmentPlace,
  description: FragmentDescription,
  out: Buffer,
  checksum: Checksum,
): void {
  assert(
    out.length === fragmentHeaderBytes(description.fragmentBlocks, description.nodes.length),
    'length of a fragment header',
  );
  out.writeUInt32LE(FRAGMENT_MAGIC, FRAGMENT_MAGIC_OFFSET);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(out.length / BLOCK_BYTES, 10);
  out.writeUInt32LE(place.fileId, 12);
  writeSafe(out, place.headerOffset, 16);
  out.set(place.nonce, 24);
  const end = encodeFragmentDescription(description, out, FIXED_BYTES);
  out.fill(0, end);
  out.writeUInt32LE(checksum(out.subarray(4)), 0);
}

/** Length of the header that starts here, or undefined if these first bytes are not a header's. Nothing is verified yet. */
export function fragmentHeaderLength(start: Buffer): number | undefined {
  if (start.length < FIXED_BYTES || start.readUInt32LE(FRAGMENT_MAGIC_OFFSET) !== FRAGMENT_MAGIC)
    return undefined;
  const pages = start.readUInt16LE(10);
  return pages === 1 || pages === 2 ? pages * BLOCK_BYTES : undefined;
}

/** `bytes` is the whole header (fragmentHeaderLength). FormatError if it is not a header for this place. */
export function decodeFragmentHeader(
  place: FragmentPlace,
  bytes: Buffer,
  checksum: Checksum,
): FragmentDescription {
  must(bytes.length === fragmentHeaderLength(bytes), 'not a fragment header');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of a fragment header');
  must(bytes.readUInt16LE(8) === VERSION, 'version of a fragment header');
  must(
    bytes.readUInt32LE(12) === place.fileId &&
      readSafe(bytes, 16) === place.headerOffset &&
      place.nonce.equals(bytes.subarray(24, 24 + NONCE_BYTES)),
    'fragment header of another place',
  );
  const description = decodeFragmentDescription(bytes, FIXED_BYTES, bytes.length);
  const { fragmentBlocks, nodes } = description;
  must(bytes.length === fragmentHeaderBytes(fragmentBlocks, nodes.length), 'length of a fragment header');
  mustBeZero(bytes, FIXED_BYTES + fragmentDescriptionBytes(fragmentBlocks, nodes.length), bytes.length);
  return description;
}
