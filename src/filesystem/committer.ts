/**
 * Turns durable data into committed metadata: sealed segments whose fragments are all durable, in order of their ids, and blocks of
 * the open segment whose bytes go into the journal. One metadata operation each: extents and the sizes that they allow.
 *
 * It decides nothing about when (flusher.ts does) and waits for nothing but a metadata backlog.
 */

import type { DurableSegment, SegmentWriter } from '../log/log.ts';
import { CommitQueue } from '../maintenance/commit-queue.ts';
import { ExtentRunsBuilder, newBlockMap } from '../metadata/extent-runs.ts';
import type { MetadataManager, MetadataUnavailable, SizeUpdate } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';
import type { InodeState, InodeTable } from './inode-state.ts';
import type { UncommittedData } from './uncommitted-data.ts';

export class Committer {
  readonly #metadata: MetadataManager;
  readonly #writer: SegmentWriter;
  readonly #inodes: InodeTable;
  readonly #data: UncommittedData;
  readonly #extents = new ExtentRunsBuilder();
  readonly #mapped = newBlockMap(1);
  /** The metadata refused a commit for now; it is tried again. Who waits for it may want to fail. */
  onRefused: (reason: MetadataUnavailable) => void = () => undefined;

  constructor(
    platform: Platform,
    metadata: MetadataManager,
    writer: SegmentWriter,
    inodes: InodeTable,
    data: UncommittedData,
  ) {
    this.#metadata = metadata;
    this.#writer = writer;
    this.#inodes = inodes;
    this.#data = data;
    const queue = new CommitQueue(platform, metadata, (segment) => this.#commit(segment));
    queue.onRefused = (reason) => this.onRefused(reason);
    writer.onDurable = (segment) => queue.push(segment);
  }

  /**
   * Journals the blocks of the open segment that are not durable yet. Files that also have blocks in earlier uncommitted segments
   * are left out, since their sizes would cover what is not there: returns false if there was one. Their blocks become durable with
   * the segment, which then has to be sealed by force.
   */
  commitInline(): boolean {
    const inline = this.#writer.takeInline();
    if (inline === undefined) return true;
    const { segmentId, firstIndex, endIndex, contents } = inline;
    const sizes: SizeUpdate[] = [];
    const journaled: InodeState[] = [];
    let complete = true;
    let inode = 0;
    let state: InodeState | undefined;
    this.#extents.begin(endIndex - firstIndex, contents.checksums);
    for (let index = firstIndex; index < endIndex; index++) {
      const owner = contents.inodes[index]!;
      if (owner === 0) continue;
      if (owner !== inode) {
        inode = owner;
        state = this.#inlineable(owner, segmentId, firstIndex);
        if (state === undefined) complete = false;
        else if (!state.parts[0]!.committing) {
          state.parts[0]!.committing = true;
          sizes.push(this.#sizeUpdate(state, state.parts[0]!.sizeBytes));
          journaled.push(state);
        }
      }
      if (state !== undefined) this.#extents.add(owner, contents.fileBlocks[index]!, index);
    }
    if (this.#extents.runCount === 0) return complete;
    try {
      this.#metadata.commitInline(segmentId, firstIndex, inline.bytes, this.#extents, sizes);
    } catch (error) {
      // The writer takes these blocks for journaled: only the segment itself can make them durable now.
      for (const one of journaled) one.parts[0]!.committing = false;
      this.#writer.seal(true);
      throw error;
    }
    for (const one of journaled) {
      one.parts.shift();
      one.newestInlineSegment = segmentId;
      one.dirtyTime = undefined;
    }
    return complete;
  }

  /** The file's state if all that it has uncommitted lies in this segment from firstIndex on. */
  #inlineable(inode: number, segmentId: number, firstIndex: number): InodeState | undefined {
    const state = this.#inodes.find(inode);
    const part = state?.parts[0];
    if (part === undefined || part.segmentId !== segmentId || part.firstIndex < firstIndex) return undefined;
    return state;
  }

  #commit({ record, contents }: DurableSegment): void {
    const { segmentId, inodes, fileBlocks, blockCount } = contents;
    const sizes: SizeUpdate[] = [];
    const finished: InodeState[] = [];
    let inode = 0;
    let mayBeSuperseded = false;
    this.#extents.begin(blockCount, contents.checksums);
    for (let index = 0; index < blockCount; index++) {
      const owner = inodes[index]!;
      if (owner === 0) continue;
      if (owner !== inode) {
        inode = owner;
        const state = this.#inodes.find(owner);
        mayBeSuperseded = state !== undefined && state.newestInlineSegment > segmentId;
        const part = state?.parts[0];
        if (state !== undefined && part?.segmentId === segmentId && !part.committing) {
          part.committing = true;
          sizes.push(this.#sizeUpdate(state, part.sizeBytes));
          finished.push(state);
        }
      }
      if (mayBeSuperseded && this.#isSuperseded(owner, fileBlocks[index]!, segmentId)) continue;
      this.#extents.add(owner, fileBlocks[index]!, index);
    }
    try {
      this.#metadata.commitSegment(record, this.#extents, sizes);
    } catch (error) {
      for (const state of finished) state.parts[0]!.committing = false;
      throw error;
    }
    for (const state of finished) {
      state.parts.shift();
      state.dirtyTime = undefined;
    }
    this.#data.committed(contents);
    this.#writer.release(segmentId);
  }

  /**
   * Whether a later version of the block was journaled before this one: then the extent points to a newer segment of users' writes that is not
   * committed yet. A newer segment that is committed holds an older version, which the cleaner moved.
   */
  #isSuperseded(inode: number, fileBlock: number, segmentId: number): boolean {
    this.#metadata.mapBlocks(inode, fileBlock, 1, this.#mapped);
    const mapped = this.#mapped.segmentIds[0]!;
    return mapped > segmentId && this.#data.isUncommitted(mapped);
  }

  #sizeUpdate(state: InodeState, sizeBytes: number): SizeUpdate {
    const mtime = state.dirtyTime;
    return mtime === undefined ? { inode: state.inode, sizeBytes } : { inode: state.inode, sizeBytes, mtime };
  }
}
