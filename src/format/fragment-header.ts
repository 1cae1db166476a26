/**
 * What a storage node knows of one fragment: the same bytes travel in put requests and describe replies, and lie in front of the
 * payload on disk (storage-log-file.ts adds what makes them a header there). Byte table: docs/format/fragment-header.md.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES, MAX_PARITY, MAX_SEGMENT_BLOCKS } from '../base/limits.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';

export interface FragmentDescription {
  readonly segmentId: number;
  /** 0..k-1 data, k..k+m-1 parity. */
  readonly position: number;
  /** Layout generation: see SegmentRecord. */
  readonly generation: number;
  /** Term of the primary that wrote it. */
  readonly term: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Blocks of payload. */
  readonly fragmentBlocks: number;
  /** Blocks of file data in the whole segment. */
  readonly dataBlocks: number;
  readonly summaryBlocks: number;
  /** Node of each position; length k + m. */
  readonly nodes: readonly number[];
  /** CRC32C of each payload block; length fragmentBlocks. */
  readonly checksums: Uint32Array;
}

const FIXED_BYTES = 36;

export function fragmentDescriptionBytes(fragmentBlocks: number, fragments: number): number {
  return FIXED_BYTES + 4 * fragmentBlocks + 2 * fragments;
}

/** Writes it at `offset` and returns the offset behind it. */
export function encodeFragmentDescription(value: FragmentDescription, out: Buffer, offset: number): number {
  assert(value.nodes.length === value.dataFragments + value.parityFragments, 'a node for each fragment');
  assert(value.checksums.length === value.fragmentBlocks, 'a checksum for each block');
  writeSafe(out, value.segmentId, offset);
  writeSafe(out, value.term, offset + 8);
  out.writeUInt32LE(value.fragmentBlocks, offset + 16);
  out.writeUInt32LE(value.dataBlocks, offset + 20);
  out.writeUInt32LE(value.summaryBlocks, offset + 24);
  out[offset + 28] = value.position;
  out[offset + 29] = value.generation;
  out[offset + 30] = value.dataFragments;
  out[offset + 31] = value.parityFragments;
  out.writeUInt32LE(0, offset + 32);
  let at = offset + FIXED_BYTES;
  for (let i = 0; i < value.fragmentBlocks; i++, at += 4) out.writeUInt32LE(value.checksums[i]!, at);
  for (const node of value.nodes) {
    out.writeUInt16LE(node, at);
    at += 2;
  }
  return at;
}

/** Reads one at `offset`; `end` is where it has to fit. Trailing bytes are the caller's matter. */
export function decodeFragmentDescription(bytes: Buffer, offset: number, end: number): FragmentDescription {
  must(end <= bytes.length && end - offset >= FIXED_BYTES, 'fragment description is short');
  const segmentId = readSafe(bytes, offset);
  const term = readSafe(bytes, offset + 8);
  const fragmentBlocks = bytes.readUInt32LE(offset + 16);
  const dataBlocks = bytes.readUInt32LE(offset + 20);
  const summaryBlocks = bytes.readUInt32LE(offset + 24);
  const position = bytes[offset + 28]!;
  const dataFragments = bytes[offset + 30]!;
  const parityFragments = bytes[offset + 31]!;
  const fragments = dataFragments + parityFragments;
  mustBeZero(bytes, offset + 32, offset + FIXED_BYTES);
  must(segmentId > 0, 'segment id 0');
  must(dataFragments >= 1 && parityFragments <= MAX_PARITY && fragments <= MAX_NODES, 'shape of the segment');
  must(position < fragments, 'position outside of the segment');
  must(fragmentBlocks >= 1 && fragmentBlocks <= MAX_SEGMENT_BLOCKS, 'fragment length');
  must(
    dataBlocks <= MAX_SEGMENT_BLOCKS && dataBlocks + summaryBlocks <= fragmentBlocks * dataFragments,
    'more blocks than the fragments hold',
  );
  must(end - offset >= fragmentDescriptionBytes(fragmentBlocks, fragments), 'fragment description is cut');
  const checksums = new Uint32Array(fragmentBlocks);
  let at = offset + FIXED_BYTES;
  for (let i = 0; i < fragmentBlocks; i++, at += 4) checksums[i] = bytes.readUInt32LE(at);
  const nodes: number[] = [];
  for (let i = 0; i < fragments; i++, at += 2) nodes.push(bytes.readUInt16LE(at));
  return {
    segmentId,
    position,
    generation: bytes[offset + 29]!,
    term,
    dataFragments,
    parityFragments,
    fragmentBlocks,
    dataBlocks,
    summaryBlocks,
    nodes,
    checksums,
  };
}
