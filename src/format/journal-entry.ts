/**
 * Codec of a journal entry's payload: one group of metadata transactions as redo operations. Byte table: docs/format/journal-entry.md.
 *
 * A group is applied whole or not at all: its checksum covers everything, and transactions never straddle groups. Operations say what
 * changed, not how records look afterwards, so a 4 KiB write costs some ten bytes. They are applied by whoever implements
 * `RedoSink`, in order, on top of the state that the entry before left: applying is deterministic and needs nothing else.
 */
import { assert } from '../base/assert.ts';
import { MAX_SEGMENT_BLOCKS } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { must, mustKnowVersion } from './fields.ts';
import { ByteReader, ByteWriter } from './metadata-bytes.ts';
import type { Checksum, InodeRecord } from './metadata-records.ts';
import { decodeSegmentRecord, encodeSegmentRecord, type SegmentRecord } from './segment-record.ts';

/**
 * Runs of blocks: run i maps counts[i] blocks of inodes[i] from fileBlocks[i] to segment blocks from blockIndexes[i], whose checksums
 * follow each other in `checksums` from checksumIndexes[i].
 */
export interface BlockRuns {
  readonly runCount: number;
  readonly inodes: Float64Array;
  readonly fileBlocks: Float64Array;
  readonly blockIndexes: Uint32Array;
  readonly counts: Uint32Array;
  readonly checksumIndexes: Uint32Array;
  readonly checksums: Uint32Array;
}

export type InodePatch = Partial<Omit<InodeRecord, 'inode' | 'rdev' | 'mappedBlocks' | 'reservedBlocks'>>;

/** What can happen to the state. */
export interface RedoSink {
  newInode(inode: Readonly<InodeRecord>): void;
  changeInode(inode: number, patch: InodePatch): void;
  deleteInode(inode: number): void;
  /** Also sets the directory's mtime and ctime, counts the entry, and counts a link if it is a directory. */
  addEntry(
    parent: number,
    name: string,
    inode: number,
    type: number,
    seconds: number,
    nanoseconds: number,
  ): void;
  removeEntry(parent: number, name: string, seconds: number, nanoseconds: number): void;
  /** `key` as in metadata-keys.ts, without a codec of its own: attributes, link targets, marks. */
  putValue(key: string, value: Uint8Array): void;
  deleteValue(key: string): void;
  unmapBlocks(inode: number, firstBlock: number, endBlock: number): void;
  /** Sets the blocks aside; those that are mapped take nothing until they are unmapped. */
  reserveBlocks(inode: number, firstBlock: number, endBlock: number): void;
  /** Gives back what is set aside of the blocks; what is mapped stays. */
  releaseBlocks(inode: number, firstBlock: number, endBlock: number): void;
  /** liveBlocks of the record is not used: it follows from the runs. */
  commitSegment(record: SegmentRecord, runs: BlockRuns): void;
  /** `bytes` are the blocks of the runs, one behind the other in the order of the runs. */
  commitInline(segmentId: number, bytes: Uint8Array, runs: BlockRuns): void;
  forgetSegment(segmentId: number): void;
  /** A repair: the record of `key` becomes `value`, as it is stored, or goes. Nothing is counted. */
  setRecord(key: string, value: Uint8Array | undefined): void;
}

const kinds = {
  newInode: 1,
  changeInode: 2,
  deleteInode: 3,
  addEntry: 4,
  removeEntry: 5,
  putValue: 6,
  deleteValue: 7,
  unmapBlocks: 8,
  commitSegment: 9,
  commitInline: 10,
  forgetSegment: 11,
  setRecord: 12,
  reserveBlocks: 13,
  releaseBlocks: 14,
} as const;

const VERSION = 1;
const JOURNAL_ENTRY_HEADER_BYTES = 24;

const has = {
  mode: 1,
  uid: 2,
  gid: 4,
  linkCount: 8,
  size: 16,
  atime: 32,
  mtime: 64,
  ctime: 128,
  parent: 256,
  xattrs: 512,
  all: 1023,
} as const;

/** Collects a group. The buffer is reused from group to group. */
export class GroupEncoder implements RedoSink {
  readonly #out = new ByteWriter(512 * 1024);
  readonly #crc32c: Checksum;
  #operations = 0;

  constructor(crc32c: Checksum) {
    this.#crc32c = crc32c;
    this.#reset();
  }

  get lengthBytes(): number {
    return this.#out.lengthBytes;
  }

  get operations(): number {
    return this.#operations;
  }

  /** Puts the group's bytes into `into`, lengthBytes of them, and starts the next group. */
  close(sequence: number, into: Buffer): Buffer {
    const out = this.#out;
    assert(into.length === out.lengthBytes, 'the group fits');
    out.patchU64(sequence, 8);
    out.patchU32(this.#operations, 16);
    out.copyTo(into);
    into.writeUInt32LE(this.#crc32c(into.subarray(4)), 0);
    this.#reset();
    return into;
  }

  #reset(): void {
    const out = this.#out;
    out.clear();
    out.u32(0);
    out.u32(VERSION);
    out.u64(0);
    out.u32(0);
    out.u32(0);
    this.#operations = 0;
  }

  #kind(kind: number): ByteWriter {
    this.#operations++;
    this.#out.u8(kind);
    return this.#out;
  }

  newInode(inode: Readonly<InodeRecord>): void {
    const out = this.#kind(kinds.newInode);
    out.varint(inode.inode);
    out.varint(inode.mode);
    out.varint(inode.uid);
    out.varint(inode.gid);
    out.varint(inode.rdev);
    out.varint(inode.linkCount);
    out.varint(inode.sizeBytes);
    out.varint(inode.parent);
    const isEmpty = inode.mappedBlocks === 0 && inode.reservedBlocks === 0 && !inode.hasXattrs;
    assert(isEmpty, 'a new inode is empty');
    time(out, inode.atimeSeconds, inode.atimeNanoseconds);
    time(out, inode.mtimeSeconds, inode.mtimeNanoseconds);
    time(out, inode.ctimeSeconds, inode.ctimeNanoseconds);
  }

  changeInode(inode: number, patch: InodePatch): void {
    const out = this.#kind(kinds.changeInode);
    out.varint(inode);
    let mask = 0;
    if (patch.mode !== undefined) mask |= has.mode;
    if (patch.uid !== undefined) mask |= has.uid;
    if (patch.gid !== undefined) mask |= has.gid;
    if (patch.linkCount !== undefined) mask |= has.linkCount;
    if (patch.sizeBytes !== undefined) mask |= has.size;
    if (patch.atimeSeconds !== undefined) mask |= has.atime;
    if (patch.mtimeSeconds !== undefined) mask |= has.mtime;
    if (patch.ctimeSeconds !== undefined) mask |= has.ctime;
    if (patch.parent !== undefined) mask |= has.parent;
    if (patch.hasXattrs !== undefined) mask |= has.xattrs;
    out.u16(mask);
    if (patch.mode !== undefined) out.varint(patch.mode);
    if (patch.uid !== undefined) out.varint(patch.uid);
    if (patch.gid !== undefined) out.varint(patch.gid);
    if (patch.linkCount !== undefined) out.varint(patch.linkCount);
    if (patch.sizeBytes !== undefined) out.varint(patch.sizeBytes);
    if (patch.atimeSeconds !== undefined) time(out, patch.atimeSeconds, patch.atimeNanoseconds ?? 0);
    if (patch.mtimeSeconds !== undefined) time(out, patch.mtimeSeconds, patch.mtimeNanoseconds ?? 0);
    if (patch.ctimeSeconds !== undefined) time(out, patch.ctimeSeconds, patch.ctimeNanoseconds ?? 0);
    if (patch.parent !== undefined) out.varint(patch.parent);
    if (patch.hasXattrs !== undefined) out.u8(patch.hasXattrs ? 1 : 0);
  }

  deleteInode(inode: number): void {
    this.#kind(kinds.deleteInode).varint(inode);
  }

  addEntry(
    parent: number,
    name: string,
    inode: number,
    type: number,
    seconds: number,
    nanoseconds: number,
  ): void {
    const out = this.#kind(kinds.addEntry);
    out.varint(parent);
    out.text(name);
    out.varint(inode);
    out.u8(type >>> 12);
    time(out, seconds, nanoseconds);
  }

  removeEntry(parent: number, name: string, seconds: number, nanoseconds: number): void {
    const out = this.#kind(kinds.removeEntry);
    out.varint(parent);
    out.text(name);
    time(out, seconds, nanoseconds);
  }

  putValue(key: string, value: Uint8Array): void {
    const out = this.#kind(kinds.putValue);
    out.text(key);
    out.varint(value.length);
    out.raw(value);
  }

  deleteValue(key: string): void {
    this.#kind(kinds.deleteValue).text(key);
  }

  unmapBlocks(inode: number, firstBlock: number, endBlock: number): void {
    this.#blocks(kinds.unmapBlocks, inode, firstBlock, endBlock);
  }

  reserveBlocks(inode: number, firstBlock: number, endBlock: number): void {
    this.#blocks(kinds.reserveBlocks, inode, firstBlock, endBlock);
  }

  releaseBlocks(inode: number, firstBlock: number, endBlock: number): void {
    this.#blocks(kinds.releaseBlocks, inode, firstBlock, endBlock);
  }

  #blocks(kind: number, inode: number, firstBlock: number, endBlock: number): void {
    const out = this.#kind(kind);
    out.varint(inode);
    out.varint(firstBlock);
    out.varint(endBlock);
  }

  commitSegment(record: SegmentRecord, runs: BlockRuns): void {
    const out = this.#kind(kinds.commitSegment);
    const bytes = encodeSegmentRecord({ ...record, liveBlocks: 0 }, this.#crc32c);
    out.varint(bytes.length);
    out.raw(bytes);
    encodeRuns(out, runs);
  }

  commitInline(segmentId: number, bytes: Uint8Array, runs: BlockRuns): void {
    assert(bytes.length === blocksOf(runs) * BLOCK_BYTES, 'inline bytes are those of the runs');
    const out = this.#kind(kinds.commitInline);
    out.varint(segmentId);
    encodeRuns(out, runs);
    out.raw(bytes);
  }

  forgetSegment(segmentId: number): void {
    this.#kind(kinds.forgetSegment).varint(segmentId);
  }

  setRecord(key: string, value: Uint8Array | undefined): void {
    const out = this.#kind(kinds.setRecord);
    out.text(key);
    out.varint(value === undefined ? 0 : value.length + 1);
    if (value !== undefined) out.raw(value);
  }
}

function time(out: ByteWriter, seconds: number, nanoseconds: number): void {
  out.signedVarint(seconds);
  out.varint(nanoseconds);
}

function blocksOf(runs: BlockRuns): number {
  let blocks = 0;
  for (let i = 0; i < runs.runCount; i++) blocks += runs.counts[i]!;
  return blocks;
}

const follows = { inode: 1, fileBlock: 2, blockIndex: 4, one: 8 } as const;

function encodeRuns(out: ByteWriter, runs: BlockRuns): void {
  const { runCount, inodes, fileBlocks, blockIndexes, counts, checksumIndexes, checksums } = runs;
  out.varint(runCount);
  let inode = 0;
  let fileBlock = 0;
  let blockIndex = 0;
  for (let i = 0; i < runCount; i++) {
    let flags = 0;
    if (inodes[i] === inode) flags |= follows.inode;
    if (fileBlocks[i] === fileBlock) flags |= follows.fileBlock;
    if (blockIndexes[i] === blockIndex) flags |= follows.blockIndex;
    const count = counts[i]!;
    if (count === 1) flags |= follows.one;
    out.u8(flags);
    if ((flags & follows.inode) === 0) out.varint(inodes[i]!);
    if ((flags & follows.fileBlock) === 0) out.varint(fileBlocks[i]!);
    if ((flags & follows.blockIndex) === 0) out.varint(blockIndexes[i]!);
    if ((flags & follows.one) === 0) out.varint(count);
    const from = checksumIndexes[i]!;
    out.u32s(checksums, from, from + count);
    inode = inodes[i]!;
    fileBlock = fileBlocks[i]! + count;
    blockIndex = blockIndexes[i]! + count;
  }
}

function decodeRuns(input: ByteReader): BlockRuns {
  const runCount = input.varint();
  must(runCount <= MAX_SEGMENT_BLOCKS, 'more runs than blocks of a segment');
  const inodes = new Float64Array(runCount);
  const fileBlocks = new Float64Array(runCount);
  const blockIndexes = new Uint32Array(runCount);
  const counts = new Uint32Array(runCount);
  const checksumIndexes = new Uint32Array(runCount);
  const checksums: number[] = [];
  let inode = 0;
  let fileBlock = 0;
  let blockIndex = 0;
  for (let i = 0; i < runCount; i++) {
    const flags = input.u8();
    must(flags <= 15, 'flags of a run');
    if ((flags & follows.inode) === 0) inode = input.varint();
    if ((flags & follows.fileBlock) === 0) fileBlock = input.varint();
    if ((flags & follows.blockIndex) === 0) blockIndex = input.varint();
    const count = (flags & follows.one) === 0 ? input.varint() : 1;
    must(count >= 1 && blockIndex + count <= MAX_SEGMENT_BLOCKS, 'length of a run');
    inodes[i] = inode;
    fileBlocks[i] = fileBlock;
    blockIndexes[i] = blockIndex;
    counts[i] = count;
    checksumIndexes[i] = checksums.length;
    for (let j = 0; j < count; j++) checksums.push(input.u32());
    fileBlock += count;
    blockIndex += count;
  }
  return {
    runCount,
    inodes,
    fileBlocks,
    blockIndexes,
    counts,
    checksumIndexes,
    checksums: Uint32Array.from(checksums),
  };
}

/** Passes a group's operations to `sink`. Throws FormatError, before anything is passed if the bytes are damaged or of another entry. */
export function decodeGroup(bytes: Buffer, sequence: number, crc32c: Checksum, sink: RedoSink): void {
  must(bytes.length >= JOURNAL_ENTRY_HEADER_BYTES, 'journal entry is short');
  must(bytes.readUInt32LE(0) === crc32c(bytes.subarray(4)), 'checksum of a journal entry');
  mustKnowVersion(bytes.readUInt32LE(4), VERSION, 'journal entry');
  const input = new ByteReader(bytes, 8);
  must(input.u64() === sequence, 'journal entry of another sequence number');
  const operations = input.u32();
  input.zeros(4);
  for (let i = 0; i < operations; i++) {
    const kind = input.u8();
    const decode = operationDecoders[kind];
    must(decode !== undefined, `unknown journal operation ${kind}`);
    decode(input, sink, crc32c);
  }
  input.end();
}

type OperationDecoder = (input: ByteReader, sink: RedoSink, crc32c: Checksum) => void;

/** By kind. Arguments are evaluated from left to right, which is the order on the wire. */
const operationDecoders: Record<number, OperationDecoder> = {
  [kinds.newInode]: (input, sink) => sink.newInode(decodeNewInode(input)),
  [kinds.changeInode]: (input, sink) => sink.changeInode(input.varint(), decodePatch(input)),
  [kinds.deleteInode]: (input, sink) => sink.deleteInode(input.varint()),
  [kinds.addEntry]: (input, sink) =>
    sink.addEntry(
      input.varint(),
      input.text(),
      input.varint(),
      input.u8() << 12,
      input.signedVarint(),
      input.varint(),
    ),
  [kinds.removeEntry]: (input, sink) =>
    sink.removeEntry(input.varint(), input.text(), input.signedVarint(), input.varint()),
  [kinds.putValue]: (input, sink) => sink.putValue(input.text(), input.raw(input.varint())),
  [kinds.deleteValue]: (input, sink) => sink.deleteValue(input.text()),
  [kinds.unmapBlocks]: (input, sink) => sink.unmapBlocks(input.varint(), input.varint(), input.varint()),
  [kinds.reserveBlocks]: (input, sink) => sink.reserveBlocks(input.varint(), input.varint(), input.varint()),
  [kinds.releaseBlocks]: (input, sink) => sink.releaseBlocks(input.varint(), input.varint(), input.varint()),
  [kinds.commitSegment]: (input, sink, crc32c) =>
    sink.commitSegment(decodeSegmentRecord(input.raw(input.varint()), crc32c), decodeRuns(input)),
  [kinds.commitInline]: (input, sink) => {
    const segmentId = input.varint();
    const runs = decodeRuns(input);
    sink.commitInline(segmentId, input.raw(blocksOf(runs) * BLOCK_BYTES), runs);
  },
  [kinds.forgetSegment]: (input, sink) => sink.forgetSegment(input.varint()),
  [kinds.setRecord]: (input, sink) => {
    const key = input.text();
    const codedBytes = input.varint();
    sink.setRecord(key, codedBytes === 0 ? undefined : Buffer.from(input.raw(codedBytes - 1)));
  },
};

function decodeNewInode(input: ByteReader): InodeRecord {
  return {
    inode: input.varint(),
    mode: input.varint(),
    uid: input.varint(),
    gid: input.varint(),
    rdev: input.varint(),
    linkCount: input.varint(),
    sizeBytes: input.varint(),
    parent: input.varint(),
    atimeSeconds: input.signedVarint(),
    atimeNanoseconds: input.varint(),
    mtimeSeconds: input.signedVarint(),
    mtimeNanoseconds: input.varint(),
    ctimeSeconds: input.signedVarint(),
    ctimeNanoseconds: input.varint(),
    mappedBlocks: 0,
    reservedBlocks: 0,
    hasXattrs: false,
  };
}

function decodePatch(input: ByteReader): InodePatch {
  const mask = input.u16();
  must(mask <= has.all, 'unknown field of an inode');
  const patch: InodePatch = {};
  if ((mask & has.mode) !== 0) patch.mode = input.varint();
  if ((mask & has.uid) !== 0) patch.uid = input.varint();
  if ((mask & has.gid) !== 0) patch.gid = input.varint();
  if ((mask & has.linkCount) !== 0) patch.linkCount = input.varint();
  if ((mask & has.size) !== 0) patch.sizeBytes = input.varint();
  if ((mask & has.atime) !== 0) {
    patch.atimeSeconds = input.signedVarint();
    patch.atimeNanoseconds = input.varint();
  }
  if ((mask & has.mtime) !== 0) {
    patch.mtimeSeconds = input.signedVarint();
    patch.mtimeNanoseconds = input.varint();
  }
  if ((mask & has.ctime) !== 0) {
    patch.ctimeSeconds = input.signedVarint();
    patch.ctimeNanoseconds = input.varint();
  }
  if ((mask & has.parent) !== 0) patch.parent = input.varint();
  if ((mask & has.xattrs) !== 0) patch.hasXattrs = input.u8() === 1;
  return patch;
}
