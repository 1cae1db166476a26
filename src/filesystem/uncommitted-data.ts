/**
 * The bookkeeping of written but uncommitted blocks: which segments are pending, how many of their blocks live, and which part of
 * each file they hold. It tells the writer which blocks died; it neither seals nor commits.
 *
 * A block overwritten in the same segment dies at once. One overwritten by a block of a later segment stays alive until both are
 * committed, in order: after a crash a file is as it was after some prefix of its writes.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { Placement, SegmentContents, SegmentWriter } from '../log/log.ts';
import type { InodeState, InodeTable, Part } from './inode-state.ts';
import { indexOf, locationOf, MAX_SEGMENT_SLOTS, slotOf } from './pending-blocks.ts';

export interface PendingSegment {
  readonly segmentId: number;
  /** Small number that stands for the segment in block locations. */
  readonly slot: number;
  /** Live blocks, those that were journaled inline included. */
  liveBlocks: number;
}

export class UncommittedData {
  readonly #writer: SegmentWriter;
  readonly #inodes: InodeTable;
  readonly #segments = new Map<number, PendingSegment>();
  readonly #slots: (PendingSegment | undefined)[] = [];
  #newest: PendingSegment | undefined;
  #claiming: { state: InodeState; segment: PendingSegment } | undefined;
  /** Called after a segment was committed or lost its last live block. */
  onSegmentGone: () => void = () => undefined;

  constructor(writer: SegmentWriter, inodes: InodeTable) {
    this.#writer = writer;
    this.#inodes = inodes;
  }

  /** Segment id of a block location. */
  segmentId(location: number): number {
    const segment = this.#slots[slotOf(location)];
    assert(segment !== undefined, 'a location in a segment that is gone');
    return segment.segmentId;
  }

  /** True while a segment with an id up to this one has live blocks that are not committed. */
  hasLive(upToSegmentId: number): boolean {
    for (const segment of this.#segments.values())
      if (segment.segmentId <= upToSegmentId && segment.liveBlocks > 0) return true;
    return false;
  }

  isUncommitted(segmentId: number): boolean {
    return this.#segments.has(segmentId);
  }

  get newestSegmentId(): number {
    return this.#newest?.segmentId ?? 0;
  }

  /** Blocks of the file were appended: they are visible from now on. `endBytes`: where the written bytes end in the file. */
  claim(state: InodeState, firstBlock: number, placements: readonly Placement[], endBytes: number): void {
    let block = firstBlock;
    for (const placement of placements) {
      const segment = this.#pendingSegment(placement.segmentId);
      const part = partFor(state, placement);
      segment.liveBlocks += placement.count;
      state.uncommittedBlocks += placement.count;
      part.liveBlocks += placement.count;
      this.#claiming = { state, segment };
      state.pending.set(
        block,
        placement.count,
        locationOf(segment.slot, placement.blockIndex),
        this.#replaced,
      );
      block += placement.count;
      state.sizeBytes = Math.max(state.sizeBytes, Math.min(endBytes, block * BLOCK_BYTES));
      part.sizeBytes = state.sizeBytes;
    }
    this.#claiming = undefined;
    state.contentChanged();
  }

  /** Blocks [firstBlock, endBlock) of the file are no more: every uncommitted version of them dies. */
  drop(state: InodeState, firstBlock: number, endBlock: number): void {
    if (state.uncommittedBlocks === 0) return;
    if (state.uncommittedBlocks === state.pending.blockCount) {
      state.pending.removeRange(firstBlock, endBlock, (location) => {
        this.#kill(state, this.#slots[slotOf(location)]!, indexOf(location));
      });
      return;
    }
    const dead: { segment: PendingSegment; blockIndex: number; fileBlock: number }[] = [];
    this.#writer.forEachPendingBlock(state.inode, (segmentId, blockIndex, fileBlock) => {
      const segment = this.#segments.get(segmentId);
      if (segment !== undefined && fileBlock >= firstBlock && fileBlock < endBlock)
        dead.push({ segment, blockIndex, fileBlock });
    });
    for (const { segment, blockIndex, fileBlock } of dead) {
      state.pending.removeAt(fileBlock, locationOf(segment.slot, blockIndex));
      this.#kill(state, segment, blockIndex);
    }
  }

  /** The segment's blocks are committed: readers find them through their extents now. */
  committed(contents: SegmentContents): void {
    const segment = this.#segments.get(contents.segmentId);
    if (segment === undefined) return;
    const { inodes, fileBlocks, blockCount } = contents;
    let state: InodeState | undefined;
    for (let index = 0; index < blockCount; index++) {
      const inode = inodes[index]!;
      if (inode === 0) continue;
      if (state?.inode !== inode) {
        if (state !== undefined) this.#inodes.settle(state);
        state = this.#inodes.find(inode);
        assert(
          state !== undefined,
          `inode ${inode} has blocks in segment ${contents.segmentId} but no state`,
        );
      }
      state.pending.removeAt(fileBlocks[index]!, locationOf(segment.slot, index));
      state.uncommittedBlocks -= 1;
    }
    if (state !== undefined) this.#inodes.settle(state);
    this.#forget(segment);
    // Older ones without live blocks were never written out.
    for (const older of this.#segments.values())
      if (older.segmentId < segment.segmentId && older.liveBlocks === 0) this.#forget(older);
    this.onSegmentGone();
  }

  readonly #replaced = (location: number): void => {
    const { state, segment } = this.#claiming!;
    if (slotOf(location) === segment.slot) this.#kill(state, segment, indexOf(location));
  };

  #kill(state: InodeState, segment: PendingSegment, blockIndex: number): void {
    this.#writer.markDead(segment.segmentId, blockIndex);
    state.uncommittedBlocks -= 1;
    segment.liveBlocks -= 1;
    const { parts } = state;
    for (let i = parts.length - 1; i >= 0; i--) {
      const part = parts[i]!;
      if (part.segmentId !== segment.segmentId || blockIndex < part.firstIndex) continue;
      part.liveBlocks -= 1;
      if (part.liveBlocks === 0) parts.splice(i, 1);
      break;
    }
    if (segment.liveBlocks === 0) this.onSegmentGone();
  }

  #pendingSegment(segmentId: number): PendingSegment {
    if (this.#newest?.segmentId === segmentId) return this.#newest;
    let segment = this.#segments.get(segmentId);
    if (segment === undefined) {
      let slot = this.#slots.indexOf(undefined);
      if (slot < 0) slot = this.#slots.length;
      assert(slot < MAX_SEGMENT_SLOTS, 'pending segments are bounded by the memory of the log');
      segment = { segmentId, slot, liveBlocks: 0 };
      this.#slots[slot] = segment;
      this.#segments.set(segmentId, segment);
    }
    this.#newest = segment;
    return segment;
  }

  #forget(segment: PendingSegment): void {
    this.#segments.delete(segment.segmentId);
    this.#slots[segment.slot] = undefined;
    if (this.#newest === segment) this.#newest = undefined;
  }
}

/** The part of the file in the placement's segment, made when its blocks so far are journaled or there are none. */
function partFor(state: InodeState, placement: Placement): Part {
  const last = state.parts.at(-1);
  if (last?.segmentId === placement.segmentId) return last;
  const made: Part = {
    segmentId: placement.segmentId,
    firstIndex: placement.blockIndex,
    sizeBytes: state.sizeBytes,
    liveBlocks: 0,
    committing: false,
  };
  state.parts.push(made);
  return made;
}
