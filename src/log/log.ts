/**
 * The segment log as the file-system layer sees it: the contract of the writer and the reader.
 *
 * The writer owns the memory of segments until they are committed; it knows blocks, fragments and nodes, not files: an
 * (inode, fileBlock) pair is only a label that goes into the summary.
 */
import type { SegmentRecord } from '../format/segment-record.ts';
import type { ReadUse } from './read-use.ts';

/** Where blocks lie: `count` blocks from `blockIndex` of the segment's linear block space. */
export interface Placement {
  readonly segmentId: number;
  readonly blockIndex: number;
  readonly count: number;
}

/**
 * Blocks of a segment in the order of their index, as parallel arrays of the segment's data blocks (no summary).
 * A dead block has inode 0.
 */
export interface SegmentContents {
  readonly segmentId: number;
  readonly blockCount: number;
  readonly inodes: Float64Array;
  readonly fileBlocks: Float64Array;
  /** CRC32C of each block. */
  readonly checksums: Uint32Array;
}

/** A sealed segment all of whose fragments are durable. */
export interface DurableSegment {
  readonly record: SegmentRecord;
  readonly contents: SegmentContents;
}

/** Not yet durable blocks of the open segment, to be journaled. */
export interface InlineBlocks {
  readonly segmentId: number;
  /** First and one-past-last block index; dead blocks in between have inode 0 in contents. */
  readonly firstIndex: number;
  readonly endIndex: number;
  readonly contents: SegmentContents;
  /** The bytes of [firstIndex, endIndex), a view of the segment's memory: stable until the segment is released. */
  readonly bytes: Uint8Array;
}

/** No way to make a segment durable now. 'full': nodes have no room; 'unavailable': fewer than m+1 nodes can be reached. */
export class LogUnwritable extends Error {
  override readonly name = 'LogUnwritable';
  readonly reason: 'full' | 'unavailable';
  constructor(reason: LogUnwritable['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

export interface SegmentWriter {
  /**
   * Free memory at the end of the open segment (and the start of the next) for at least MAX_REQUEST_BYTES, or undefined when
   * every slot is in use. Valid for this turn, until the next append.
   */
  landing(): readonly Uint8Array[] | undefined;
  /** Why landing() gave nothing: not for want of memory, but the nodes have no room and some is being won. That may take a while. */
  readonly awaitsRoom: boolean;
  /** Resolves when landing() will return memory; rejects with LogUnwritable if that is not to be expected. */
  whenRoom(): Promise<void>;

  /**
   * Claims the first `blockCount` blocks of the landing for (inode, firstFileBlock...). One placement for each segment touched,
   * at most two. Call only after landing() gave memory in this turn. Throws LogUnwritable('full') if admission says no.
   */
  appendLanded(inode: number, firstFileBlock: number, blockCount: number): readonly Placement[];
  /** Copies whole blocks into the landing and claims them. */
  append(inode: number, firstFileBlock: number, blocks: Uint8Array): readonly Placement[];

  /** The bytes of blocks in a segment that is not released yet; undefined if it is. */
  pendingBytes(segmentId: number, blockIndex: number, count: number): Uint8Array | undefined;
  /** Whether the segment has a buffer that was not released: its fragments may be on nodes while no record names them. */
  isPending(segmentId: number): boolean;
  /** Those of them that were sealed: nodes may have been chosen for them. */
  readonly sealedSegments: readonly number[];
  /** Keeps a segment's memory from being reused while its bytes are on their way to a reader. Balanced by unpin. */
  pin(segmentId: number): void;
  unpin(segmentId: number): void;
  /** Marks a block of an uncommitted segment dead (truncated, or overwritten in the same segment). */
  markDead(segmentId: number, blockIndex: number): void;
  /**
   * Calls `visit` for every live block of `inode` in uncommitted segments: for truncation.
   */
  forEachPendingBlock(
    inode: number,
    visit: (segmentId: number, blockIndex: number, fileBlock: number) => void,
  ): void;

  /** Live blocks in the open segment that are neither journaled inline nor sealed, in bytes. */
  readonly openDirtyBytes: number;
  readonly openSegmentId: number | undefined;
  /**
   * The not yet journaled part of the open segment with checksums computed, or undefined if there is none. After this the blocks count as journaled.
   */
  takeInline(): InlineBlocks | undefined;
  /** Closes the open segment, if it holds live blocks that are not journaled or `force`, and starts writing it out. Returns its id. */
  seal(force?: boolean): number | undefined;

  /**
   * Called when all fragments are durable, in the order of this writer's segment ids; those of other writers of the volume come in between
   * as they like. The callee commits and then calls release.
   */
  onDurable: ((segment: DurableSegment) => void) | undefined;
  /** The commit is done: the memory may be reused (once unpinned). */
  release(segmentId: number): void;
  /** Called when writability changes: undefined = fine again. Fsyncs waiting for a segment should then fail with it. */
  onTrouble: ((trouble: LogUnwritable | undefined) => void) | undefined;
  readonly trouble: LogUnwritable | undefined;
  /** Bytes usable after parity on live nodes: what can still be appended. */
  availableBytes(): number;
  totalBytes(): number;
  /** Some nodes are away: what they have room for counts in the total, and is not to be had now. */
  readonly lacksNodes: boolean;
  /** Full segments that the nodes can take beside those under way. Less than availableBytes() says where room is spread unevenly. */
  roomSegments(): number;
  /** Frees the fragments of a segment whose free record is durable. Best effort; what fails is found as an orphan later. */
  free(record: SegmentRecord): void;
  statistics(): WriterStatistics;
  /** Seals, waits until everything is released. */
  drain(): Promise<void>;
  close(): void;
}

export interface WriterStatistics {
  readonly segmentsWritten: number;
  readonly segmentsRewritten: number;
  readonly inFlight: number;
  readonly freeSlots: number;
}

/** Blocks could not be read: 'lost' when fewer than k fragments are reachable; 'stale' when the segment is gone (look the extent up again). */
export class LogUnreadable extends Error {
  override readonly name = 'LogUnreadable';
  readonly reason: 'lost' | 'stale';
  constructor(reason: LogUnreadable['reason'], message: string) {
    super(message);
    this.reason = reason;
  }
}

/** Pooled page-aligned memory for reads; `release` exactly once. */
export interface ReadBuffer {
  readonly bytes: Uint8Array;
  release(): void;
}

export interface SegmentReader {
  /**
   * Memory for a read of `lengthBytes` (a multiple of a block, at most MAX_REQUEST_BYTES... bounded pool): undefined when the pool is
   * exhausted: wait for whenBuffer().
   */
  takeBuffer(lengthBytes: number): ReadBuffer | undefined;
  whenBuffer(lengthBytes: number): Promise<ReadBuffer>;
  /**
   * Reads blocks [blockIndex, blockIndex+count) into `into` and checks them against checksums[checksumIndex...]. Missing, slow (over
   * ~300 ms) or corrupt fragments are rebuilt from any k others. Rejects with LogUnreadable. `into` is not touched after it settles.
   */
  readBlocks(
    record: SegmentRecord,
    blockIndex: number,
    count: number,
    checksums: Uint32Array,
    checksumIndex: number,
    into: Uint8Array,
  ): Promise<void>;
  /** Called when a fragment does not have what was written there, whether or not it could be rebuilt. */
  onCorrupt?: ((record: SegmentRecord, nodeId: number) => void) | undefined;
  /** What was read of which segments and from which nodes; undefined: nobody counts. */
  readonly use?: ReadUse;
  statistics(): ReaderStatistics;
  close(): void;
}

export interface ReaderStatistics {
  /** Of takeBuffer's memory. */
  readonly usedPoolBytes: number;
  readonly blocksRead: number;
  readonly blocksRebuilt: number;
  readonly corruptBlocks: number;
  readonly slowReads: number;
}
