/**
 * Keys and values of a storage node's fragment index. Byte table: docs/format/storage-index.md. The database checks its own blocks, so values
 * carry no checksum; they carry lengths and are refused when they do not fit. The index is a view: log files are the truth.
 */
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';
import { NONCE_BYTES } from './storage-log-file.ts';
import type { FragmentKey } from './storage-messages.ts';

const FRAGMENT_PREFIX = 0x66; // 'f'
const FILE_PREFIX = 0x6c; // 'l'
export const indexStateKey = Buffer.from('s');
const STATE_VERSION = 1;

export function fragmentIndexKey(segmentId: number, position: number): Buffer {
  const out = Buffer.allocUnsafe(10);
  out[0] = FRAGMENT_PREFIX;
  out.writeUInt32BE(Math.floor(segmentId / 2 ** 32), 1);
  out.writeUInt32BE(segmentId % 2 ** 32, 5);
  out[9] = position;
  return out;
}

export function decodeFragmentIndexKey(key: Buffer): FragmentKey {
  must(key.length === 10 && key[0] === FRAGMENT_PREFIX, 'key of a fragment');
  return { segmentId: key.readUInt32BE(1) * 2 ** 32 + key.readUInt32BE(5), position: key[9]! };
}

/** Behind every fragment's key. */
export const fragmentIndexEnd = Buffer.from([FRAGMENT_PREFIX + 1]);

export interface IndexedFragment {
  readonly fileId: number;
  readonly headerOffset: number;
  readonly fragmentBlocks: number;
  readonly generation: number;
  /** k + m: with fragmentBlocks it gives the header's length. */
  readonly fragments: number;
}

export function encodeIndexedFragment(value: IndexedFragment): Buffer {
  const out = Buffer.allocUnsafe(20);
  out.writeUInt32LE(value.fileId, 0);
  out.writeUInt32LE(value.fragmentBlocks, 4);
  writeSafe(out, value.headerOffset, 8);
  out[16] = value.generation;
  out[17] = value.fragments;
  out.writeUInt16LE(0, 18);
  return out;
}

export function decodeIndexedFragment(value: Buffer): IndexedFragment {
  must(value.length === 20, 'length of an indexed fragment');
  mustBeZero(value, 18, 20);
  return {
    fileId: value.readUInt32LE(0),
    fragmentBlocks: value.readUInt32LE(4),
    headerOffset: readSafe(value, 8),
    generation: value[16]!,
    fragments: value[17]!,
  };
}

export function fileIndexKey(fileId: number): Buffer {
  const out = Buffer.allocUnsafe(5);
  out[0] = FILE_PREFIX;
  out.writeUInt32BE(fileId, 1);
  return out;
}

export function decodeFileIndexKey(key: Buffer): number {
  must(key.length === 5 && key[0] === FILE_PREFIX, 'key of a log file');
  return key.readUInt32BE(1);
}

export const fileIndexStart = Buffer.from([FILE_PREFIX]);
export const fileIndexEnd = Buffer.from([FILE_PREFIX + 1]);

export interface IndexedFile {
  readonly liveFragments: number;
  /** Of live fragments with their headers. */
  readonly liveBytes: number;
  /** Everything in front of this is in the index; what lies behind has to be scanned after a crash. */
  readonly indexedTo: number;
  /** Nothing will be appended any more, and indexedTo is its end. */
  readonly sealed: boolean;
}

export function encodeIndexedFile(value: IndexedFile): Buffer {
  const out = Buffer.alloc(24);
  writeSafe(out, value.liveBytes, 0);
  writeSafe(out, value.indexedTo, 8);
  out.writeUInt32LE(value.liveFragments, 16);
  out[20] = value.sealed ? 1 : 0;
  return out;
}

export function decodeIndexedFile(value: Buffer): IndexedFile {
  must(value.length === 24 && value[20]! <= 1, 'indexed log file');
  mustBeZero(value, 21, 24);
  return {
    liveBytes: readSafe(value, 0),
    indexedTo: readSafe(value, 8),
    liveFragments: value.readUInt32LE(16),
    sealed: value[20] === 1,
  };
}

export interface IndexState {
  readonly nonce: Buffer;
  readonly nextFileId: number;
  /** Tombstone pages up to this serial are done with. */
  readonly releasedTombstones: number;
}

export function encodeIndexState(state: IndexState): Buffer {
  const out = Buffer.alloc(32);
  out.writeUInt16LE(STATE_VERSION, 0);
  out.writeUInt32LE(state.nextFileId, 4);
  writeSafe(out, state.releasedTombstones, 8);
  out.set(state.nonce, 16);
  return out;
}

export function decodeIndexState(value: Buffer): IndexState {
  must(value.length === 32 && value.readUInt16LE(0) === STATE_VERSION, 'version of a fragment index');
  mustBeZero(value, 2, 4);
  return {
    nextFileId: value.readUInt32LE(4),
    releasedTombstones: readSafe(value, 8),
    nonce: Buffer.from(value.subarray(16, 16 + NONCE_BYTES)),
  };
}
