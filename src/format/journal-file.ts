/**
 * What a storage node writes into its journal files: a page that heads the file, and frames of entries. Byte table: docs/format/journal-file.md.
 *
 * Files are written again when their entries were trimmed. Each use is a lap with a number of its own, and a frame names its lap
 * and its offset: so nothing of an earlier lap is ever taken for an entry of this one.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES, roundUp } from '../base/units.ts';
import { must, mustBeZero, mustKnowVersion, readSafe, writeSafe } from './fields.ts';
import { decodeJournalEntries, type JournalEntry } from './journal-messages.ts';
import type { Checksum } from './storage-log-file.ts';

/** 'TJFL' */
const FILE_MAGIC = 0x4c46_4a54;
/** 'TJFR' */
const FRAME_MAGIC = 0x5246_4a54;
const VERSION = 1;

export const JOURNAL_FILE_HEADER_BYTES = BLOCK_BYTES;

export interface JournalFileHeader {
  readonly lap: number;
  /** 16 bytes. */
  readonly volumeId: Buffer;
}

export function encodeJournalFileHeader(header: JournalFileHeader, out: Buffer, checksum: Checksum): void {
  assert(out.length === JOURNAL_FILE_HEADER_BYTES && header.volumeId.length === 16, 'a header is one page');
  out.fill(0);
  out.writeUInt32LE(FILE_MAGIC, 4);
  out.writeUInt16LE(VERSION, 8);
  writeSafe(out, header.lap, 16);
  out.set(header.volumeId, 24);
  out.writeUInt32LE(checksum(out.subarray(4)), 0);
}

export function decodeJournalFileHeader(bytes: Buffer, checksum: Checksum): JournalFileHeader {
  must(bytes.length === JOURNAL_FILE_HEADER_BYTES, 'journal file header is short');
  must(bytes.readUInt32LE(4) === FILE_MAGIC, 'not a journal file');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of a journal file header');
  mustKnowVersion(bytes.readUInt16LE(8), VERSION, 'journal file');
  mustBeZero(bytes, 10, 16);
  mustBeZero(bytes, 40, bytes.length);
  return { lap: readSafe(bytes, 16), volumeId: Buffer.from(bytes.subarray(24, 40)) };
}

export const FRAME_HEADER_BYTES = 48;

export interface FrameHeader {
  readonly lap: number;
  /** Where in the file the frame begins. */
  readonly offset: number;
  /** The entries follow this one; what was behind it is cut. */
  readonly previousSequence: number;
  readonly previousTerm: number;
}

/**
 * Makes a frame of entries that lie at `out[FRAME_HEADER_BYTES ... contentEnd)` already (encodeJournalEntries). Returns its length on disk.
 */
export function sealFrame(header: FrameHeader, out: Buffer, contentEnd: number, checksum: Checksum): number {
  const lengthBytes = roundUp(contentEnd, BLOCK_BYTES);
  assert(lengthBytes <= out.length, 'the frame fits its buffer');
  out.fill(0, contentEnd, lengthBytes);
  out.writeUInt32LE(FRAME_MAGIC, 4);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(0, 10);
  out.writeUInt32LE(contentEnd, 12);
  writeSafe(out, header.lap, 16);
  writeSafe(out, header.offset, 24);
  writeSafe(out, header.previousSequence, 32);
  writeSafe(out, header.previousTerm, 40);
  out.writeUInt32LE(checksum(out.subarray(4, lengthBytes)), 0);
  return lengthBytes;
}

/** Length on disk that the frame starting here claims, or undefined if it is not a frame of this place. Nothing is verified yet. */
export function frameLength(start: Buffer, lap: number, offset: number): number | undefined {
  if (start.length < FRAME_HEADER_BYTES || start.readUInt32LE(4) !== FRAME_MAGIC) return undefined;
  if (readSafe(start, 16) !== lap || readSafe(start, 24) !== offset) return undefined;
  return roundUp(start.readUInt32LE(12), BLOCK_BYTES);
}

const MAX_CLAIMED_LAP = 2n ** 40n;

/** Lap that a page claims in which a frame begins; undefined if none does, or if the number makes no sense. */
export function frameLap(start: Buffer): number | undefined {
  if (start.length < FRAME_HEADER_BYTES || start.readUInt32LE(4) !== FRAME_MAGIC) return undefined;
  const lap = start.readBigUInt64LE(16);
  return lap <= MAX_CLAIMED_LAP ? Number(lap) : undefined;
}

/**
 * Was a frame of this place begun here? Also if parts of its header are damaged: two of magic, lap and offset say so, unless they say that it is a frame
 * of an earlier lap.
 */
export function looksLikeFrame(start: Buffer, lap: number, offset: number): boolean {
  if (start.length < FRAME_HEADER_BYTES) return false;
  const isMagic = start.readUInt32LE(4) === FRAME_MAGIC;
  const lapThere = start.readBigUInt64LE(16);
  const isOffset = start.readBigUInt64LE(24) === BigInt(offset);
  if (lapThere === BigInt(lap)) return isMagic || isOffset;
  return isMagic && isOffset && lapThere > BigInt(lap);
}

export interface Frame {
  readonly previousSequence: number;
  readonly previousTerm: number;
  /** Views of the frame's bytes. */
  readonly entries: JournalEntry[];
}

/** `bytes` is as long as frameLength said. FormatError if it is not whole. */
export function decodeFrame(lap: number, offset: number, bytes: Buffer, checksum: Checksum): Frame {
  must(bytes.length > 0 && frameLength(bytes, lap, offset) === bytes.length, 'not a frame of this place');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of a frame');
  mustKnowVersion(bytes.readUInt16LE(8), VERSION, 'journal frame');
  mustBeZero(bytes, 10, 12);
  const contentEnd = bytes.readUInt32LE(12);
  must(contentEnd >= FRAME_HEADER_BYTES, 'length of a frame');
  return {
    previousSequence: readSafe(bytes, 32),
    previousTerm: readSafe(bytes, 40),
    entries: decodeJournalEntries(bytes, FRAME_HEADER_BYTES, contentEnd),
  };
}
