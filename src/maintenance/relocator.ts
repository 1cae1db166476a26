/**
 * Moves live blocks out of segments: reads and verifies them (rebuilding what is missing), writes them into segments of its own, and commits, once
 * every fragment is durable, those whose extents still point to the old place in that very turn. What users overwrote, truncated or deleted
 * meanwhile is dropped, so nobody ever waits for it. Sizes and times of files do not change.
 *
 * A segment whose last block moved dies like any other and is freed by who frees dead ones. A crash before a commit leaves fragments that no record
 * names, which the sweep takes away. Memory: the slots of its writer, a batch of the read pool for each segment that is being read, and twelve bytes
 * a block on its way.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { RpcError } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { SegmentSummary } from '../format/segment-summary.ts';
import {
  type DurableSegment,
  LogUnreadable,
  type Placement,
  type SegmentReader,
  type SegmentWriter,
} from '../log/log.ts';
import { readSegmentSummary } from '../log/segment-table.ts';
import { ExtentRunsBuilder, newBlockMap } from '../metadata/extent-runs.ts';
import type { MetadataManager } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';
import { CommitQueue } from './commit-queue.ts';
import { LiveBatch, LiveBlocks } from './live-blocks.ts';

export interface RelocatorParts {
  readonly metadata: Pick<MetadataManager, 'mapBlocks' | 'segment' | 'commitSegment' | 'backlog'>;
  /** For relocated blocks only. */
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  readonly links: NodeLinks;
  /** Data and summary blocks of a full segment. */
  readonly segmentBlocks: number;
}

/** 'gone': nothing in it lived, or not for long. 'unreadable': some blocks could not be read and stay where they are. */
export type Relocation = 'moved' | 'gone' | 'unreadable';

/** Where the blocks of a segment under way come from, by block index. */
interface Origins {
  readonly segmentIds: Float64Array;
  readonly blockIndexes: Uint32Array;
}

const MAP_BLOCKS = 64;

/** Of one read and one append: what the landing of its writer has to hold. */
export function relocationBatchBlocks(segmentBlocks: number): number {
  return Math.min(64, segmentBlocks - 1);
}

export class Relocator {
  readonly #platform: Platform;
  readonly #parts: RelocatorParts;
  readonly #queue: CommitQueue;
  readonly #origins = new Map<number, Origins>();
  /** Segments that are being read, or that have blocks on their way: how many, and one for the reading. */
  readonly #moving = new Map<number, number>();
  readonly #extents = new ExtentRunsBuilder();
  readonly #map = newBlockMap(MAP_BLOCKS);
  #closed = false;
  /** Blocks that got a new place, and that were copied in vain. */
  movedBlocks = 0;
  droppedBlocks = 0;
  /** Asked before each batch: when to yield to others is for those to say who use it. */
  pause: () => Promise<void> | undefined = () => undefined;
  /** Called after each commit: segments that were moved may be dead now. `segmentId`: the new one. `from`: of one of its blocks. */
  onCommitted: (segmentId: number, from: readonly number[]) => void = () => undefined;

  constructor(platform: Platform, parts: RelocatorParts) {
    this.#platform = platform;
    this.#parts = parts;
    this.#queue = new CommitQueue(platform, parts.metadata, (segment) => this.#commit(segment));
    parts.writer.onDurable = (segment) => this.#queue.push(segment);
  }

  /** Whether blocks of the segment are being read or on their way. */
  isMoving(segmentId: number): boolean {
    return this.#moving.has(segmentId);
  }

  /** Of its writer: nodes may have been chosen for them. */
  get sealedSegments(): readonly number[] {
    return this.#parts.writer.sealedSegments;
  }

  get moving(): Iterable<number> {
    return this.#moving.keys();
  }

  /**
   * Resolves when the segment's live blocks are appended, not yet durable. Rejects with LogUnwritable when they cannot be, MetadataUnavailable when
   * it is not known what lives. Several at once share the writer's segments.
   */
  async relocate(segmentId: number): Promise<Relocation> {
    assert(!this.#moving.has(segmentId), 'a segment is moved by one');
    const found = this.#parts.metadata.segment(segmentId);
    if (found === undefined || found.liveBlocks === 0) return 'gone';
    const record = { ...found };
    this.#moving.set(segmentId, 1);
    try {
      const summary = await this.#summary(record);
      return summary === undefined ? 'unreadable' : await this.#move(record, summary);
    } finally {
      this.#settle(segmentId, 1);
    }
  }

  /** Starts writing out what is appended so far. */
  flush(): void {
    this.#parts.writer.seal(true);
  }

  /** Nothing is committed any more; relocations under way end soon. */
  close(): void {
    this.#closed = true;
    this.#queue.close();
    this.#parts.writer.close();
  }

  async #summary(record: SegmentRecord): Promise<SegmentSummary | undefined> {
    try {
      return await readSegmentSummary(this.#parts.links, this.#platform.kernels, record);
    } catch (error) {
      if (!(error instanceof RpcError) && !(error instanceof FormatError)) throw error;
      this.#platform.log.warn('summary-not-read', { segmentId: record.segmentId, why: error.message });
      return undefined;
    }
  }

  async #move(record: SegmentRecord, summary: SegmentSummary): Promise<Relocation> {
    const { metadata, reader, segmentBlocks } = this.#parts;
    const batchBlocks = relocationBatchBlocks(segmentBlocks);
    const live = new LiveBlocks(metadata, summary);
    const batch = new LiveBatch(batchBlocks);
    let outcome: Relocation = 'moved';
    while (!live.done && !this.#closed) {
      const backlog = metadata.backlog();
      if (backlog !== undefined) await backlog;
      const pause = this.pause();
      if (pause !== undefined) await pause;
      const buffer = await reader.whenBuffer(batchBlocks * BLOCK_BYTES);
      try {
        live.next(batch);
        if (batch.count > 0) {
          await this.#read(record, batch, buffer.bytes);
          await this.#append(record.segmentId, batch, buffer.bytes);
        }
      } catch (error) {
        if (!(error instanceof LogUnreadable)) throw error;
        if (error.reason === 'stale' && metadata.segment(record.segmentId) === undefined) return 'gone';
        outcome = 'unreadable';
      } finally {
        buffer.release();
      }
    }
    return outcome;
  }

  async #read(record: SegmentRecord, batch: LiveBatch, into: Uint8Array): Promise<void> {
    const reads: Promise<void>[] = [];
    for (let from = 0; from < batch.count; ) {
      const end = batch.endOfStretch(from);
      const view = into.subarray(from * BLOCK_BYTES, end * BLOCK_BYTES);
      const blockIndex = batch.blockIndexes[from]!;
      reads.push(this.#parts.reader.readBlocks(record, blockIndex, end - from, batch.checksums, from, view));
      from = end;
    }
    // All of them end before the buffer may be used for something else.
    const results = await Promise.allSettled(reads);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  async #append(from: number, batch: LiveBatch, bytes: Uint8Array): Promise<void> {
    const { writer } = this.#parts;
    for (let at = 0; at < batch.count; ) {
      const end = batch.endOfRun(at);
      while (writer.landing() === undefined) await writer.whenRoom();
      const blocks = bytes.subarray(at * BLOCK_BYTES, end * BLOCK_BYTES);
      for (const placement of writer.append(batch.inodes[at]!, batch.fileBlocks[at]!, blocks)) {
        this.#note(placement, from, batch, at);
        at += placement.count;
      }
    }
  }

  #note({ segmentId, blockIndex, count }: Placement, from: number, batch: LiveBatch, at: number): void {
    let origins = this.#origins.get(segmentId);
    if (origins === undefined) {
      const { segmentBlocks } = this.#parts;
      origins = { segmentIds: new Float64Array(segmentBlocks), blockIndexes: new Uint32Array(segmentBlocks) };
      this.#origins.set(segmentId, origins);
    }
    origins.segmentIds.fill(from, blockIndex, blockIndex + count);
    origins.blockIndexes.set(batch.blockIndexes.subarray(at, at + count), blockIndex);
    this.#moving.set(from, this.#moving.get(from)! + count);
  }

  #commit({ record, contents }: DurableSegment): void {
    const { segmentId, blockCount, inodes, fileBlocks } = contents;
    const { metadata, writer } = this.#parts;
    const origins = this.#origins.get(segmentId)!;
    this.#extents.begin(blockCount, contents.checksums);
    let kept = 0;
    for (let from = 0; from < blockCount; ) {
      const inode = inodes[from]!;
      let end = from + 1;
      while (
        end < blockCount &&
        end - from < MAP_BLOCKS &&
        inodes[end] === inode &&
        fileBlocks[end] === fileBlocks[end - 1]! + 1
      ) {
        end++;
      }
      metadata.mapBlocks(inode, fileBlocks[from]!, end - from, this.#map);
      for (let index = from; index < end; index++) {
        const isThere =
          this.#map.segmentIds[index - from] === origins.segmentIds[index] &&
          this.#map.blockIndexes[index - from] === origins.blockIndexes[index];
        if (!isThere) continue;
        kept++;
        this.#extents.add(inode, fileBlocks[index]!, index);
      }
      from = end;
    }
    // Without any extent it is dead on arrival, and freed like all dead ones.
    metadata.commitSegment(record, this.#extents, []);
    this.movedBlocks += kept;
    this.droppedBlocks += blockCount - kept;
    this.#origins.delete(segmentId);
    writer.release(segmentId);
    this.#committed(segmentId, origins.segmentIds.subarray(0, blockCount));
  }

  #committed(segmentId: number, origins: Float64Array): void {
    const counts = new Map<number, number>();
    for (const from of origins) counts.set(from, (counts.get(from) ?? 0) + 1);
    this.onCommitted(segmentId, [...counts.keys()]);
    for (const [from, count] of counts) this.#settle(from, count);
  }

  #settle(segmentId: number, count: number): void {
    const left = this.#moving.get(segmentId)! - count;
    assert(left >= 0, 'a block is settled once');
    if (left === 0) this.#moving.delete(segmentId);
    else this.#moving.set(segmentId, left);
  }
}
