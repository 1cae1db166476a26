/**
 * Keys of the metadata's key-value space. Byte table: docs/format/metadata-keys.md.
 *
 * One letter, then numbers big-endian so that byte order is number order: all records of a directory or a file are neighbours. Keys are
 * made as byte strings (latin1) where they serve as Map keys, and turned into bytes once.
 */
import { assert } from '../base/assert.ts';
import { must } from './fields.ts';

export const keyLetters = {
  chunk: 'c',
  deadSegment: 'd',
  entry: 'e',
  unfinishedTruncate: 'h',
  inlineBlock: 'i',
  xattrNames: 'l',
  maintenance: 'm',
  inode: 'n',
  orphan: 'o',
  reservation: 'r',
  segment: 's',
  totals: 't',
  xattr: 'x',
  symlink: 'y',
} as const;

const TWO_32 = 2 ** 32;

function u16(value: number): string {
  return String.fromCharCode((value >>> 8) & 255, value & 255);
}

function u32(value: number): string {
  return String.fromCharCode(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
}

function u48(value: number): string {
  return u16(Math.floor(value / TWO_32)) + u32(value % TWO_32);
}

function u64(value: number): string {
  return u32(Math.floor(value / TWO_32)) + u32(value % TWO_32);
}

export function inodeKey(inode: number): string {
  return keyLetters.inode + u48(inode);
}

/** Any of the letters whose keys are one inode. */
export function perInodeKey(letter: string, inode: number): string {
  return letter + u48(inode);
}

export function entryKey(parent: number, cookie: number): string {
  return keyLetters.entry + u48(parent) + u64(cookie);
}

export function chunkKey(inode: number, chunk: number): string {
  return keyLetters.chunk + u48(inode) + u32(chunk);
}

export function segmentKey(segmentId: number): string {
  return keyLetters.segment + u64(segmentId);
}

export function deadSegmentKey(segmentId: number): string {
  return keyLetters.deadSegment + u64(segmentId);
}

export function inlineBlockKey(segmentId: number, blockIndex: number): string {
  return keyLetters.inlineBlock + u64(segmentId) + u32(blockIndex);
}

export function xattrKey(inode: number, name: string): string {
  assert(name.length > 0, 'an attribute has a name');
  return keyLetters.xattr + u48(inode) + name;
}

/** State of background work. */
export function maintenanceKey(
  name: 'heal' | 'scrub' | 'availability' | 'nodes' | 'domains' | 'rate' | 'balance' | 'copies',
): string {
  return keyLetters.maintenance + name;
}

export function keyBytes(key: string): Buffer {
  return Buffer.from(key, 'latin1');
}

function checked(key: Buffer, lengthBytes: number): Buffer {
  must(key.length === lengthBytes, 'length of a metadata key');
  return key;
}

/** The inode in a key of `letter` and one inode. */
export function inodeOfKey(key: Buffer): number {
  return checked(key, 7).readUIntBE(1, 6);
}

export function cookieOfEntryKey(key: Buffer): number {
  return readU64(checked(key, 15), 7);
}

export function chunkOfKey(key: Buffer): number {
  return checked(key, 11).readUInt32BE(7);
}

/** The segment in the key of a segment record or of a dead segment. */
export function segmentOfKey(key: Buffer): number {
  return readU64(checked(key, 9), 1);
}

export function inlineBlockOfKey(key: Buffer): { segmentId: number; blockIndex: number } {
  return { segmentId: readU64(checked(key, 13), 1), blockIndex: key.readUInt32BE(9) };
}

function readU64(bytes: Buffer, offset: number): number {
  const value = bytes.readUInt32BE(offset) * TWO_32 + bytes.readUInt32BE(offset + 4);
  must(Number.isSafeInteger(value), 'number in a key over 2^53');
  return value;
}
