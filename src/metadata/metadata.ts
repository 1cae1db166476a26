/**
 * The metadata manager as the file-system layer sees it: the contract.
 *
 * It holds committed state only: names, inodes, extents, segment records, xattrs. Each mutation is one transaction: validated and
 * applied to the in-memory overlay in the same turn, appended to the journal behind it. `sync` waits until everything before it
 * is durable on every member of the ensemble. Rules that need no data (ENOENT, EEXIST, ENOTEMPTY, link limits, name length, rename's
 * conditions, mtime/ctime of directories and inodes touched) are kept here; handles, look-up counts and pending data are not.
 *
 * Names are byte strings (latin1). Times are given by the caller as nanosecond pairs.
 */
import type { BlockRanges } from '../base/block-ranges.ts';
import type { SegmentRecord } from '../format/segment-record.ts';

/** Decoded inode. Treat as immutable: every change makes a new one. */
export interface Inode {
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly linkCount: number;
  /** Committed size: what survives a crash now. Of a directory: how many entries it has; of a symbolic link: its target's length. */
  readonly sizeBytes: number;
  /** Committed blocks mapped. */
  readonly mappedBlocks: number;
  /** Blocks that are set aside for the file (see reserve) and not mapped. */
  readonly reservedBlocks: number;
  readonly atimeSeconds: number;
  readonly atimeNanoseconds: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanoseconds: number;
  /** For directories: the parent; else 0. */
  readonly parent: number;
  /** True if extended attributes exist. */
  readonly hasXattrs: boolean;
}

/** The changeable part. */
export type InodeChanges = Partial<
  Pick<
    Inode,
    | 'mode'
    | 'uid'
    | 'gid'
    | 'atimeSeconds'
    | 'atimeNanoseconds'
    | 'mtimeSeconds'
    | 'mtimeNanoseconds'
    | 'ctimeSeconds'
    | 'ctimeNanoseconds'
    | 'sizeBytes'
  >
>;

export interface Timestamp {
  readonly seconds: number;
  readonly nanoseconds: number;
}

export interface NewInode {
  /** With type bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly time: Timestamp;
  /** For symbolic links. */
  readonly target?: Uint8Array;
}

export interface ListedEntry {
  readonly name: string;
  readonly inode: number;
  /** mode & S_IFMT */
  readonly type: number;
  readonly cookie: bigint;
}

/**
 * Mapping of a range of blocks, as parallel arrays reused by the next call of the same `BlockMap` object: entry i is file block
 * firstBlock + i. segmentIds[i] === 0 is a hole.
 */
export interface BlockMap {
  count: number;
  readonly segmentIds: Float64Array;
  readonly blockIndexes: Uint32Array;
  readonly checksums: Uint32Array;
}

/**
 * Extents to record: run i maps counts[i] blocks of inodes[i] from fileBlocks[i] to segment blocks from blockIndexes[i], whose checksums
 * follow each other in `checksums` from checksumIndexes[i].
 */
export interface ExtentRuns {
  readonly runCount: number;
  readonly inodes: Float64Array;
  readonly fileBlocks: Float64Array;
  readonly blockIndexes: Uint32Array;
  readonly counts: Uint32Array;
  readonly checksumIndexes: Uint32Array;
  readonly checksums: Uint32Array;
}

/**
 * A new committed size of a file whose blocks are in the same transaction. `mtime`: when it was written; the time of change becomes that,
 * too, if it is older.
 */
export interface SizeUpdate {
  readonly inode: number;
  readonly sizeBytes: number;
  readonly mtime?: Timestamp;
}

/** An inline record found at recovery: blocks of a segment that was never committed. */
export interface RecoveredInline {
  readonly segmentId: number;
  readonly blockIndex: number;
  readonly inode: number;
  readonly fileBlock: number;
  readonly checksum: number;
  readonly bytes: Uint8Array;
}

/** The journal cannot reach any ensemble that would keep the promise; writes fail until nodes return. */
export class MetadataUnavailable extends Error {
  override readonly name = 'MetadataUnavailable';
}

/** Another primary took the volume over: this one knows nothing for certain any more, and never will. Look-ups are refused, too. */
export class Deposed extends MetadataUnavailable {}

export interface MetadataTotals {
  readonly inodes: number;
  readonly mappedBlocks: number;
  readonly reservedBlocks: number;
  readonly segments: number;
  readonly segmentBlocks: number;
}

export interface MetadataManager {
  /** Of this reign, unlike that of any other primary: segment ids are made from it. Changes of the journal's members take further terms. */
  readonly term: number;
  /** Journal members now, and what each has durable. */
  readonly ensemble: readonly { nodeId: number; durableSequence: number }[];

  // Look-ups: same turn.
  lookup(parent: number, name: string): number | undefined;
  inode(inode: number): Inode | undefined;
  readLink(inode: number): Uint8Array;
  getXattr(inode: number, name: string): Uint8Array | undefined;
  listXattrs(inode: number): readonly string[];
  /** Entries behind `cookie` in cookie order, without '.' and '..', at most `limit`; fewer than limit means the end. May be answered in the same turn. */
  list(directory: number, cookie: bigint, limit: number): ListedEntry[] | Promise<ListedEntry[]>;
  mapBlocks(inode: number, firstBlock: number, count: number, out: BlockMap): void;
  /** Smallest mapped block >= fromBlock, or undefined. */
  nextMappedBlock(inode: number, fromBlock: number): number | undefined | Promise<number | undefined>;
  /** Smallest unmapped block >= fromBlock. */
  nextHole(inode: number, fromBlock: number): number | Promise<number>;
  /** The record's liveBlocks follows later changes: copy what is kept. */
  segment(segmentId: number): SegmentRecord | undefined;
  /** What is set aside for a file: of it, what is not mapped is reserved. */
  reservation(inode: number): BlockRanges;
  totals(): MetadataTotals;

  // Mutations: applied in this turn, journaled behind. They throw ErrnoError for POSIX outcomes.
  create(parent: number, name: string, made: NewInode): Inode;
  link(inode: number, parent: number, name: string, time: Timestamp): Inode;
  /** Removes a name. The inode with link count 0 stays as an orphan until `reclaim`. Returns it after the change. */
  unlink(parent: number, name: string, time: Timestamp): Inode;
  removeDirectory(parent: number, name: string, time: Timestamp): Inode;
  /** Returns the inode that lost its name, if one was replaced. */
  rename(
    oldParent: number,
    oldName: string,
    newParent: number,
    newName: string,
    flags: number,
    time: Timestamp,
  ): Inode | undefined;
  update(inode: number, changes: InodeChanges): Inode;
  /** XATTR_CREATE / XATTR_REPLACE in flags. */
  setXattr(inode: number, name: string, value: Uint8Array, flags: number, time: Timestamp): void;
  removeXattr(inode: number, name: string, time: Timestamp): void;

  /**
   * Sets the committed size to `sizeBytes`, unmaps all blocks from ceil(size) on and gives back what was set aside of them. Large files take several transactions; the size is
   * down after the first. The caller keeps writers of the inode out until it resolves.
   */
  truncate(inode: number, sizeBytes: number, changes: InodeChanges): Inode | Promise<Inode>;
  /**
   * Sets [firstBlock, endBlock) aside, behind the end of the file, too: what is unmapped of it counts as reserved until it is mapped, whether it is a
   * hole now or becomes one by `zero`. ENOSPC if the file's reservation would be in too many pieces; whether there is room is the caller's to know. One
   * transaction: the caller bounds the range where the file has blocks.
   */
  reserve(inode: number, firstBlock: number, endBlock: number): void;
  /** Unmaps [firstBlock, endBlock) and sets it aside. Otherwise as `reserve`. */
  zero(inode: number, firstBlock: number, endBlock: number): void;
  /** Unmaps [firstBlock, endBlock) and gives back what was set aside of it. */
  punch(inode: number, firstBlock: number, endBlock: number): void | Promise<void>;
  /** Frees an orphan: its blocks, xattrs and record. In the background for large files; survives crashes. */
  reclaim(inode: number): void;

  /** The segment is durable: its record, its extents and the sizes they allow, in one transaction. Extents of inodes that are gone are dropped. */
  commitSegment(
    record: Omit<SegmentRecord, 'liveBlocks'>,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void;
  /**
   * The same for blocks whose bytes travel in the journal: `bytes` are the blocks [firstIndex, firstIndex + bytes/BLOCK_BYTES) of the
   * open segment. The segment's own commit follows later and supersedes this record.
   */
  commitInline(
    segmentId: number,
    firstIndex: number,
    bytes: Uint8Array,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void;
  /** Called with segments that died (no live block) once that is durable, and again at start for those not yet freed. */
  onSegmentDead: ((record: SegmentRecord) => void) | undefined;
  /** The fragments of a dead segment were freed: forget the record. */
  forgetSegment(segmentId: number): void;
  /** All segments with id > after, in order, at most limit. */
  segments(after: number, limit: number): Promise<SegmentRecord[]>;
  /** Is this segment id known, or still to be committed by this primary? For orphan detection. */
  isKnownSegment(segmentId: number): boolean;

  /** Resolves when everything so far is durable on every member. Rejects with MetadataUnavailable. */
  sync(): Promise<void>;
  /** Begins what the next `sync` will wait for. */
  hasten(): void;
  /** undefined: fine. Otherwise mutations are refused after a bounded backlog. */
  readonly trouble: MetadataUnavailable | undefined;
  /** Resolves when the un-journaled backlog is under its bound; undefined if it is. Mutating callers honour it. */
  backlog(): Promise<void> | undefined;

  /** Inline blocks of the last reign, to be written as ordinary data before anything else. Empties the list. */
  takeRecoveredInline(): RecoveredInline[];
  close(): Promise<void>;
}
