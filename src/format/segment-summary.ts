/**
 * The summary at the end of a segment's blocks: which (inode, file block) each data block was written for. Byte table:
 * docs/format/segment-summary.md.
 *
 * It says what was appended, in the order of block indexes; what of it still counts is for the extents to say. Of several blocks for
 * one file block the one with the largest index is the newest.
 */
import { MAX_SEGMENT_BLOCKS } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';

/** Runs of consecutive file blocks as parallel arrays; run i covers the block indexes behind run i - 1. */
export interface SummaryRuns {
  readonly runCount: number;
  readonly inodes: Float64Array;
  readonly fileBlocks: Float64Array;
  readonly counts: Uint16Array;
}

export interface SegmentSummary extends SummaryRuns {
  readonly segmentId: number;
  readonly dataBlocks: number;
}

type Checksum = (bytes: Uint8Array) => number;

const MAGIC = 0x4d555354; // "TSUM"
const VERSION = 1;
const HEADER_BYTES = 32;
const RUN_BYTES = 12;
const TWO_32 = 2 ** 32;

/** Blocks that a summary of `runCount` runs takes. */
export function summaryBlocksFor(runCount: number): number {
  return Math.ceil((HEADER_BYTES + runCount * RUN_BYTES) / BLOCK_BYTES);
}

/** Fills `into`, exactly summaryBlocksFor(runCount) blocks long. */
export function encodeSummary(summary: SegmentSummary, into: Buffer, crc32c: Checksum): void {
  into.fill(0);
  into.writeUInt32LE(MAGIC, 4);
  into.writeUInt16LE(VERSION, 8);
  into.writeUInt16LE(summary.dataBlocks, 10);
  into.writeUInt16LE(summary.runCount, 12);
  writeSafe(into, summary.segmentId, 16);
  let at = HEADER_BYTES;
  for (let run = 0; run < summary.runCount; run++) {
    const inode = summary.inodes[run]!;
    into.writeUInt32LE(inode % TWO_32, at);
    into.writeUInt16LE(Math.floor(inode / TWO_32), at + 4);
    into.writeUInt16LE(summary.counts[run]!, at + 6);
    into.writeUInt32LE(summary.fileBlocks[run]!, at + 8);
    at += RUN_BYTES;
  }
  into.writeUInt32LE(crc32c(into.subarray(4)), 0);
}

/** Throws FormatError: damaged, or not a summary of a version known here. */
export function decodeSummary(bytes: Buffer, crc32c: Checksum): SegmentSummary {
  must(bytes.length >= BLOCK_BYTES, 'length of a summary');
  must(bytes.readUInt32LE(0) === crc32c(bytes.subarray(4)), 'checksum of a summary');
  must(bytes.readUInt32LE(4) === MAGIC, 'magic of a summary');
  must(bytes.readUInt16LE(8) === VERSION, 'version of a summary');
  const dataBlocks = bytes.readUInt16LE(10);
  const runCount = bytes.readUInt16LE(12);
  const segmentId = readSafe(bytes, 16);
  must(dataBlocks <= MAX_SEGMENT_BLOCKS && runCount <= dataBlocks, 'blocks and runs of a summary');
  must(bytes.length === summaryBlocksFor(runCount) * BLOCK_BYTES, 'length of a summary');
  mustBeZero(bytes, 14, 16);
  mustBeZero(bytes, 24, HEADER_BYTES);
  mustBeZero(bytes, HEADER_BYTES + runCount * RUN_BYTES, bytes.length);
  const runs = readRuns(bytes, runCount);
  const covered = runs.counts.reduce((sum, count) => sum + count, 0);
  must(covered === dataBlocks, 'runs of a summary that cover its blocks');
  must(
    runs.counts.every((count) => count > 0),
    'empty run in a summary',
  );
  return { segmentId, dataBlocks, ...runs };
}

function readRuns(bytes: Buffer, runCount: number): SummaryRuns {
  const inodes = new Float64Array(runCount);
  const fileBlocks = new Float64Array(runCount);
  const counts = new Uint16Array(runCount);
  for (let run = 0; run < runCount; run++) {
    const at = HEADER_BYTES + run * RUN_BYTES;
    inodes[run] = bytes.readUInt32LE(at) + bytes.readUInt16LE(at + 4) * TWO_32;
    counts[run] = bytes.readUInt16LE(at + 6);
    fileBlocks[run] = bytes.readUInt32LE(at + 8);
  }
  return { runCount, inodes, fileBlocks, counts };
}
