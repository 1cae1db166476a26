/**
 * The segment table's entry: where a segment's fragments lie and how much of it lives. Byte table: docs/format/segment-record.md.
 *
 * The codec refuses what it does not know (version, reserved bytes) and what no writer makes (lengths that do not fit each
 * other, a node twice). The checksum function is the caller's, so that this file needs no machine.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES, MAX_PARITY, MAX_SEGMENT_BLOCKS } from '../base/limits.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';

export interface SegmentRecord {
  readonly segmentId: number;
  /** Raised when the segment was laid out anew under the same id before it was committed. 0..255. */
  readonly generation: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Length of every fragment, in blocks. */
  readonly fragmentBlocks: number;
  /** Blocks of file data, from index 0. */
  readonly dataBlocks: number;
  /** Summary blocks, right behind the data. */
  readonly summaryBlocks: number;
  /** Node of fragment i: data fragments first, then parity. No node twice. */
  readonly nodes: readonly number[];
  /** Data blocks that an extent still points to. */
  readonly liveBlocks: number;
  /** Further holders of data fragments, in order of positions, one of each at most. Absent where there is none. */
  readonly copies?: readonly FragmentCopy[];
}

/** The same fragment once more, on a node that holds nothing else of the segment. */
export interface FragmentCopy {
  readonly position: number;
  readonly nodeId: number;
}

type Checksum = (bytes: Uint8Array) => number;

/** Without copies, and with some. */
const PLAIN_VERSION = 1;
const COPIES_VERSION = 2;
const FIXED_BYTES = 32;
const COPY_BYTES = 4;
export const MAX_SEGMENT_RECORD_BYTES = FIXED_BYTES + COPY_BYTES * MAX_NODES;
const NO_COPIES: readonly FragmentCopy[] = [];

export function encodeSegmentRecord(record: SegmentRecord, crc32c: Checksum): Buffer {
  const { copies = NO_COPIES } = record;
  assert(copies.length === 0 || isConsistentSegmentRecord(record), 'a copy is on a node of its own');
  const copiesAt = FIXED_BYTES + 2 * record.nodes.length;
  const bytes = Buffer.alloc(copiesAt + COPY_BYTES * copies.length);
  bytes.writeUInt16LE(copies.length === 0 ? PLAIN_VERSION : COPIES_VERSION, 4);
  bytes.writeUInt8(record.generation, 6);
  bytes.writeUInt8(record.dataFragments, 7);
  writeSafe(bytes, record.segmentId, 8);
  bytes.writeUInt32LE(record.fragmentBlocks, 16);
  bytes.writeUInt32LE(record.dataBlocks, 20);
  bytes.writeUInt32LE(record.liveBlocks, 24);
  bytes.writeUInt16LE(record.summaryBlocks, 28);
  bytes.writeUInt8(record.parityFragments, 30);
  bytes.writeUInt8(copies.length, 31);
  record.nodes.forEach((node, index) => {
    bytes.writeUInt16LE(node, FIXED_BYTES + 2 * index);
  });
  copies.forEach(({ position, nodeId }, index) => {
    bytes.writeUInt16LE(nodeId, copiesAt + COPY_BYTES * index);
    bytes.writeUInt8(position, copiesAt + COPY_BYTES * index + 2);
  });
  bytes.writeUInt32LE(crc32c(bytes.subarray(4)), 0);
  return bytes;
}

/** Throws FormatError: damaged, or not a segment record of a version known here. */
export function decodeSegmentRecord(bytes: Buffer, crc32c: Checksum): SegmentRecord {
  must(bytes.length >= FIXED_BYTES && bytes.length <= MAX_SEGMENT_RECORD_BYTES, 'length of a segment record');
  must(bytes.readUInt32LE(0) === crc32c(bytes.subarray(4)), 'checksum of a segment record');
  const version = bytes.readUInt16LE(4);
  must(version === PLAIN_VERSION || version === COPIES_VERSION, 'version of a segment record');
  const dataFragments = bytes.readUInt8(7);
  const parityFragments = bytes.readUInt8(30);
  const copies = bytes.readUInt8(31);
  must(copies > 0 === (version === COPIES_VERSION), 'copies of a segment record');
  const copiesAt = FIXED_BYTES + 2 * (dataFragments + parityFragments);
  must(bytes.length === copiesAt + COPY_BYTES * copies, 'length of a segment record');
  const record: SegmentRecord = {
    segmentId: readSafe(bytes, 8),
    generation: bytes.readUInt8(6),
    dataFragments,
    parityFragments,
    fragmentBlocks: bytes.readUInt32LE(16),
    dataBlocks: bytes.readUInt32LE(20),
    summaryBlocks: bytes.readUInt16LE(28),
    nodes: Array.from({ length: dataFragments + parityFragments }, (_, index) =>
      bytes.readUInt16LE(FIXED_BYTES + 2 * index),
    ),
    liveBlocks: bytes.readUInt32LE(24),
    ...(copies === 0 ? {} : { copies: decodeCopies(bytes.subarray(copiesAt)) }),
  };
  must(isConsistentSegmentRecord(record), 'numbers of a segment record do not fit each other');
  return record;
}

function decodeCopies(bytes: Buffer): FragmentCopy[] {
  return Array.from({ length: bytes.length / COPY_BYTES }, (_, index) => {
    const at = COPY_BYTES * index;
    mustBeZero(bytes, at + 3, at + COPY_BYTES);
    return { position: bytes.readUInt8(at + 2), nodeId: bytes.readUInt16LE(at) };
  });
}

/** Whether the numbers fit each other as those of every real segment do. */
export function isConsistentSegmentRecord(record: SegmentRecord): boolean {
  const { dataFragments: k, parityFragments: m, fragmentBlocks, dataBlocks, summaryBlocks, nodes } = record;
  const { copies = NO_COPIES } = record;
  const holders = [...nodes, ...copies.map(({ nodeId }) => nodeId)];
  const blocks = dataBlocks + summaryBlocks;
  return (
    record.segmentId > 0 &&
    k >= 1 &&
    m <= MAX_PARITY &&
    nodes.length === k + m &&
    holders.length <= MAX_NODES &&
    blocks >= 1 &&
    blocks <= MAX_SEGMENT_BLOCKS &&
    fragmentBlocks === Math.ceil(blocks / k) &&
    record.liveBlocks <= dataBlocks &&
    holders.every((node) => node > 0) &&
    new Set(holders).size === holders.length &&
    copies.every(({ position }, index) => position < k && position > (copies[index - 1]?.position ?? -1))
  );
}
