/**
 * Values of the metadata's key-value space: inode, directory entry, extent chunk, reservation, totals, inline block, and plain bytes
 * (attribute values, attribute names, link targets, truncation marks). Byte tables: docs/format/metadata-records.md. Segment records are in
 * segment-record.ts.
 *
 * Every value starts with {u32 CRC32C of the rest, u8 version}. The checksum function is the caller's, so that this file needs no machine.
 * Decoders throw FormatError.
 */
import { assert } from '../base/assert.ts';
import { type BlockRanges, rangeCount } from '../base/block-ranges.ts';
import { MAX_NAME_BYTES, MAX_RESERVED_RANGES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { must, mustKnowVersion } from './fields.ts';
import { ByteReader, ByteWriter } from './metadata-bytes.ts';

export type Checksum = (bytes: Uint8Array) => number;

const VERSION = 1;
const scratch = new ByteWriter(8192);

function open(): ByteWriter {
  scratch.clear();
  scratch.u32(0);
  scratch.u8(VERSION);
  return scratch;
}

function close(
  writer: ByteWriter,
  crc32c: Checksum,
  into: Buffer = Buffer.allocUnsafe(writer.lengthBytes),
): Buffer {
  writer.patchU32(crc32c(writer.view().subarray(4)), 0);
  writer.copyTo(into);
  return into;
}

function reader(bytes: Buffer, crc32c: Checksum): ByteReader {
  must(bytes.length >= 8, 'metadata record is short');
  must(bytes.readUInt32LE(0) === crc32c(bytes.subarray(4)), 'checksum of a metadata record');
  mustKnowVersion(bytes[4]!, VERSION, 'metadata record');
  return new ByteReader(bytes, 5);
}

/** Is this value of the state as it was written? True of every record, whatever it holds. */
export function isSoundRecord(bytes: Buffer, crc32c: Checksum): boolean {
  return bytes.length >= 4 && bytes.readUInt32LE(0) === crc32c(bytes.subarray(4));
}

/** The stored part of an inode; see Inode in src/metadata/metadata.ts for what the fields mean. */
export interface InodeRecord {
  inode: number;
  mode: number;
  uid: number;
  gid: number;
  rdev: number;
  linkCount: number;
  sizeBytes: number;
  mappedBlocks: number;
  reservedBlocks: number;
  atimeSeconds: number;
  atimeNanoseconds: number;
  mtimeSeconds: number;
  mtimeNanoseconds: number;
  ctimeSeconds: number;
  ctimeNanoseconds: number;
  parent: number;
  hasXattrs: boolean;
}

const INODE_BYTES = 96;
const INODE_BYTES_WITH_RESERVATION = INODE_BYTES + 8;
const inodeFlags = { hasXattrs: 1, hasReservation: 2, all: 3 } as const;

export function encodeInode(inode: InodeRecord, crc32c: Checksum): Buffer {
  const out = open();
  const hasReservation = inode.reservedBlocks > 0;
  out.u8((inode.hasXattrs ? inodeFlags.hasXattrs : 0) | (hasReservation ? inodeFlags.hasReservation : 0));
  out.u16(0);
  out.u64(inode.inode);
  out.u32(inode.mode);
  out.u32(inode.uid);
  out.u32(inode.gid);
  out.u32(inode.rdev);
  out.u32(inode.linkCount);
  out.u32(inode.atimeNanoseconds);
  out.u32(inode.mtimeNanoseconds);
  out.u32(inode.ctimeNanoseconds);
  writeSeconds(out, inode.atimeSeconds);
  writeSeconds(out, inode.mtimeSeconds);
  writeSeconds(out, inode.ctimeSeconds);
  out.u64(inode.sizeBytes);
  out.u64(inode.mappedBlocks);
  out.u64(inode.parent);
  if (hasReservation) out.u64(inode.reservedBlocks);
  return close(out, crc32c);
}

export function decodeInode(bytes: Buffer, crc32c: Checksum): InodeRecord {
  const input = reader(bytes, crc32c);
  const flags = input.u8();
  must(flags <= inodeFlags.all, 'flags of an inode record');
  const hasReservation = (flags & inodeFlags.hasReservation) !== 0;
  const lengthBytes = hasReservation ? INODE_BYTES_WITH_RESERVATION : INODE_BYTES;
  must(bytes.length === lengthBytes, 'length of an inode record');
  input.zeros(2);
  const inode = input.u64();
  const mode = input.u32();
  const uid = input.u32();
  const gid = input.u32();
  const rdev = input.u32();
  const linkCount = input.u32();
  const atimeNanoseconds = input.u32();
  const mtimeNanoseconds = input.u32();
  const ctimeNanoseconds = input.u32();
  const atimeSeconds = readSeconds(input);
  const mtimeSeconds = readSeconds(input);
  const ctimeSeconds = readSeconds(input);
  const sizeBytes = input.u64();
  const mappedBlocks = input.u64();
  const parent = input.u64();
  const reservedBlocks = hasReservation ? input.u64() : 0;
  must(reservedBlocks > 0 === hasReservation, 'reserved blocks of an inode record');
  return {
    inode,
    mode,
    uid,
    gid,
    rdev,
    linkCount,
    sizeBytes,
    mappedBlocks,
    reservedBlocks,
    atimeSeconds,
    atimeNanoseconds,
    mtimeSeconds,
    mtimeNanoseconds,
    ctimeSeconds,
    ctimeNanoseconds,
    parent,
    hasXattrs: (flags & inodeFlags.hasXattrs) !== 0,
  };
}

const TWO_32 = 2 ** 32;

/** i64, two's complement. */
function writeSeconds(out: ByteWriter, seconds: number): void {
  assert(Number.isSafeInteger(seconds), `seconds ${seconds}`);
  const high = Math.floor(seconds / TWO_32);
  out.u32(seconds - high * TWO_32);
  out.u32(high);
}

function readSeconds(input: ByteReader): number {
  const low = input.u32();
  const seconds = (input.u32() | 0) * TWO_32 + low;
  must(Number.isSafeInteger(seconds), 'seconds over 2^53');
  return seconds;
}

/** A slot of a directory. `inode` 0: vacant, kept because names behind it were placed while it was taken. */
export interface EntryRecord {
  readonly inode: number;
  /** mode & S_IFMT */
  readonly type: number;
  /** A name whose own slot is this one or one before it was placed behind this one. */
  readonly overflow: boolean;
  readonly name: string;
}

export function encodeEntry(entry: EntryRecord, crc32c: Checksum): Buffer {
  const out = open();
  out.u8(entry.type >>> 12);
  out.u8(entry.overflow ? 1 : 0);
  out.u8(0);
  out.u64(entry.inode);
  out.rawText(entry.name);
  return close(out, crc32c);
}

export function decodeEntry(bytes: Buffer, crc32c: Checksum): EntryRecord {
  const input = reader(bytes, crc32c);
  const type = input.u8();
  const flags = input.u8();
  must(type <= 15 && flags <= 1, 'flags of a directory entry');
  input.zeros(1);
  const inode = input.u64();
  const nameBytes = input.remainingBytes;
  must(nameBytes <= MAX_NAME_BYTES && nameBytes > 0 === inode > 0, 'name of a directory entry');
  return { inode, type: type << 12, overflow: flags === 1, name: input.rawText(nameBytes) };
}

/** Blocks of a file that one extent record covers. */
export const CHUNK_BLOCKS = 256;

/**
 * A chunk's mapping as pairs: [2 i] the segment (0: hole), [2 i + 1] block index x 2^32 + checksum, of block i of the chunk. Shorter
 * than 2 x CHUNK_BLOCKS when the rest are holes.
 */
export type ChunkPairs = Float64Array;

export function encodeChunk(pairs: ChunkPairs, crc32c: Checksum): Buffer {
  const out = open();
  out.u8(0);
  const countAt = out.lengthBytes;
  out.u16(0);
  const blocks = pairs.length / 2;
  let runs = 0;
  let previousEnd = 0;
  let previousSegment = 0;
  for (let i = 0; i < blocks; ) {
    const segment = pairs[2 * i]!;
    if (segment === 0) {
      i++;
      continue;
    }
    const index = Math.floor(pairs[2 * i + 1]! / TWO_32);
    let end = i + 1;
    while (
      end < blocks &&
      pairs[2 * end] === segment &&
      Math.floor(pairs[2 * end + 1]! / TWO_32) === index + end - i
    )
      end++;
    out.varint(i - previousEnd);
    out.varint(end - i - 1);
    out.signedVarint(segment - previousSegment);
    out.varint(index);
    previousEnd = end;
    previousSegment = segment;
    runs++;
    i = end;
  }
  for (let i = 0; i < blocks; i++) if (pairs[2 * i] !== 0) out.u32(pairs[2 * i + 1]! % TWO_32);
  const view = out.view();
  view.writeUInt16LE(runs, countAt);
  return close(out, crc32c);
}

export function decodeChunk(bytes: Buffer, crc32c: Checksum): { pairs: ChunkPairs; mapped: number } {
  const input = reader(bytes, crc32c);
  input.zeros(1);
  const runs = input.u16();
  must(runs >= 1 && runs <= CHUNK_BLOCKS, 'runs of an extent chunk');
  const full = decodeScratch.fill(0);
  let at = 0;
  let mapped = 0;
  let segment = 0;
  for (let run = 0; run < runs; run++) {
    at += input.varint();
    const count = input.varint() + 1;
    segment += input.signedVarint();
    const index = input.varint();
    must(at + count <= CHUNK_BLOCKS && segment > 0 && index + count <= TWO_32, 'run of an extent chunk');
    for (let i = 0; i < count; i++, at++) {
      full[2 * at] = segment;
      full[2 * at + 1] = (index + i) * TWO_32;
    }
    mapped += count;
  }
  for (let i = 0; i < at; i++) if (full[2 * i] !== 0) full[2 * i + 1]! += input.u32();
  input.end();
  return { pairs: full.slice(0, 2 * chunkCapacity(at)), mapped };
}

const decodeScratch = new Float64Array(2 * CHUNK_BLOCKS);

/** Chunks grow in steps, so that small files cost little memory: 1, 4, 16, 64, 256 blocks. */
export function chunkCapacity(blocks: number): number {
  let capacity = 1;
  while (capacity < blocks) capacity *= 4;
  return capacity;
}

const MAX_FILE_BLOCKS = 2 ** 31;

/** What was set aside for a file, whether or not it was written since. */
export function encodeReservation(ranges: BlockRanges, crc32c: Checksum): Buffer {
  assert(rangeCount(ranges) >= 1 && rangeCount(ranges) <= MAX_RESERVED_RANGES, 'ranges of a reservation');
  const out = open();
  out.u8(0);
  out.u16(rangeCount(ranges));
  let previousEnd = 0;
  for (let i = 0; i < ranges.length; i += 2) {
    out.varint(ranges[i]! - previousEnd);
    out.varint(ranges[i + 1]! - ranges[i]! - 1);
    previousEnd = ranges[i + 1]!;
  }
  return close(out, crc32c);
}

export function decodeReservation(bytes: Buffer, crc32c: Checksum): BlockRanges {
  const input = reader(bytes, crc32c);
  input.zeros(1);
  const count = input.u16();
  must(count >= 1 && count <= MAX_RESERVED_RANGES, 'ranges of a reservation');
  const ranges: number[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    const gap = input.varint();
    must(i === 0 || gap > 0, 'ranges of a reservation touch');
    const from = at + gap;
    at = from + input.varint() + 1;
    must(at <= MAX_FILE_BLOCKS, 'range of a reservation');
    ranges.push(from, at);
  }
  input.end();
  return ranges;
}

export interface ProvisionalSegment {
  readonly segmentId: number;
  readonly liveBlocks: number;
}

export interface TotalsRecord {
  readonly nextInode: number;
  readonly inodes: number;
  readonly mappedBlocks: number;
  /** Set aside for files and not written. */
  readonly reservedBlocks: number;
  readonly segments: number;
  readonly segmentBlocks: number;
  readonly lastCommittedSegment: number;
  /** Segments that extents point to and that are not committed yet: their live blocks are inline. */
  readonly provisional: readonly ProvisionalSegment[];
}

const totalsFlags = { hasReservations: 1 } as const;

export function encodeTotals(totals: TotalsRecord, crc32c: Checksum): Buffer {
  const out = open();
  out.u8(totals.reservedBlocks > 0 ? totalsFlags.hasReservations : 0);
  out.u16(totals.provisional.length);
  out.u64(totals.nextInode);
  out.u64(totals.inodes);
  out.u64(totals.mappedBlocks);
  out.u64(totals.segments);
  out.u64(totals.segmentBlocks);
  out.u64(totals.lastCommittedSegment);
  for (const { segmentId, liveBlocks } of totals.provisional) {
    out.u64(segmentId);
    out.u64(liveBlocks);
  }
  if (totals.reservedBlocks > 0) out.u64(totals.reservedBlocks);
  return close(out, crc32c);
}

export function decodeTotals(bytes: Buffer, crc32c: Checksum): TotalsRecord {
  const input = reader(bytes, crc32c);
  const flags = input.u8();
  must(flags <= totalsFlags.hasReservations, 'flags of the totals');
  const count = input.u16();
  const totals = {
    nextInode: input.u64(),
    inodes: input.u64(),
    mappedBlocks: input.u64(),
    segments: input.u64(),
    segmentBlocks: input.u64(),
    lastCommittedSegment: input.u64(),
  };
  const provisional: ProvisionalSegment[] = [];
  for (let i = 0; i < count; i++) provisional.push({ segmentId: input.u64(), liveBlocks: input.u64() });
  const hasReservations = flags === totalsFlags.hasReservations;
  const reservedBlocks = hasReservations ? input.u64() : 0;
  must(reservedBlocks > 0 === hasReservations, 'reserved blocks in the totals');
  input.end();
  return { ...totals, reservedBlocks, provisional };
}

/** A block of an uncommitted segment that was made durable inside the journal. */
export interface InlineBlockRecord {
  readonly inode: number;
  readonly fileBlock: number;
  /** CRC32C of the bytes. */
  readonly checksum: number;
  readonly bytes: Uint8Array;
}

/** Length of an encoded inline block. */
export const INLINE_BLOCK_RECORD_BYTES = 32 + BLOCK_BYTES;

export function encodeInlineBlock(block: InlineBlockRecord, crc32c: Checksum, into?: Buffer): Buffer {
  assert(block.bytes.length === BLOCK_BYTES, 'an inline block is one block');
  const out = open();
  out.u8(0);
  out.u16(0);
  out.u64(block.inode);
  out.u64(block.fileBlock);
  out.u32(block.checksum);
  out.u32(0);
  out.raw(block.bytes);
  return close(out, crc32c, into);
}

export function decodeInlineBlock(bytes: Buffer, crc32c: Checksum): InlineBlockRecord {
  const input = reader(bytes, crc32c);
  input.zeros(3);
  const inode = input.u64();
  const fileBlock = input.u64();
  const checksum = input.u32();
  input.zeros(4);
  const block = { inode, fileBlock, checksum, bytes: input.raw(BLOCK_BYTES) };
  input.end();
  return block;
}

export function encodePlain(value: Uint8Array, crc32c: Checksum): Buffer {
  const out = open();
  out.u8(0);
  out.u16(0);
  out.raw(value);
  return close(out, crc32c);
}

export function decodePlain(bytes: Buffer, crc32c: Checksum): Buffer {
  const input = reader(bytes, crc32c);
  input.zeros(3);
  return input.raw(input.remainingBytes);
}

/** Names of an inode's attributes, inside a plain record. */
export function encodeNames(names: readonly string[]): Buffer {
  const out = new ByteWriter();
  for (const name of names) out.text(name);
  return out.copy();
}

export function decodeNames(bytes: Buffer): string[] {
  const input = new ByteReader(bytes);
  const names: string[] = [];
  while (input.remainingBytes > 0) names.push(input.text());
  return names;
}
