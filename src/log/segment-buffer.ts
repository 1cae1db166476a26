/**
 * One segment in memory, from its first block until its slot is reused: bytes, labels, checksums and what of it is live, journaled
 * or pinned. It knows nothing of nodes; laying out and sending is segment-flight.ts.
 *
 * Blocks are appended in order and never move. `roomBlocks` keeps the place that the summary will need, whatever is appended.
 * The object lives as long as its slot and is reset for each new segment: no allocation per segment but the views handed out.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { encodeSummary, summaryBlocksFor } from '../format/segment-summary.ts';
import type { Kernels } from '../platform/platform.ts';
import type { InlineBlocks, SegmentContents } from './log.ts';
import type { SlotGeometry } from './segment-layout.ts';

export class SegmentBuffer {
  readonly slot: number;
  readonly bytes: Buffer;
  readonly geometry: SlotGeometry;
  /** One a block of the slot: data, summary, zero filling, parity. */
  readonly checksums: Uint32Array;
  segmentId = 0;
  blockCount = 0;
  summaryBlocks = 0;
  liveBlocks = 0;
  /** Live blocks that were not journaled inline. */
  dirtyBlocks = 0;
  pins = 0;
  released = true;

  readonly #inodes: Float64Array;
  readonly #fileBlocks: Float64Array;
  readonly #runInodes: Float64Array;
  readonly #runFileBlocks: Float64Array;
  readonly #runCounts: Uint16Array;
  #runCount = 0;
  #nextInode = 0;
  #nextFileBlock = 0;
  #checksummedBlocks = 0;
  #journaledBlocks = 0;

  constructor(slot: number, bytes: Buffer, geometry: SlotGeometry) {
    this.slot = slot;
    this.bytes = bytes;
    this.geometry = geometry;
    this.checksums = new Uint32Array(geometry.slotBlocks);
    this.#inodes = new Float64Array(geometry.segmentBlocks);
    this.#fileBlocks = new Float64Array(geometry.segmentBlocks);
    this.#runInodes = new Float64Array(geometry.segmentBlocks);
    this.#runFileBlocks = new Float64Array(geometry.segmentBlocks);
    this.#runCounts = new Uint16Array(geometry.segmentBlocks);
  }

  reset(segmentId: number): void {
    assert(this.released && this.pins === 0, 'a slot in use is not reset');
    this.segmentId = segmentId;
    this.blockCount = 0;
    this.summaryBlocks = 0;
    this.liveBlocks = 0;
    this.dirtyBlocks = 0;
    this.released = false;
    this.#runCount = 0;
    this.#nextInode = 0;
    this.#checksummedBlocks = 0;
    this.#journaledBlocks = 0;
  }

  /** Blocks that the next append may bring, whatever they belong to. */
  get roomBlocks(): number {
    const used = this.blockCount + summaryBlocksFor(this.#runCount + 1);
    return Math.max(0, this.geometry.segmentBlocks - used);
  }

  view(blockIndex: number, count: number): Buffer {
    return this.bytes.subarray(blockIndex * BLOCK_BYTES, (blockIndex + count) * BLOCK_BYTES);
  }

  /** Labels the next `count` blocks, whose bytes are in place. Returns the index of the first. */
  append(inode: number, firstFileBlock: number, count: number): number {
    const first = this.blockCount;
    const end = first + count;
    for (let index = first, fileBlock = firstFileBlock; index < end; index++, fileBlock++) {
      this.#inodes[index] = inode;
      this.#fileBlocks[index] = fileBlock;
    }
    if (inode === this.#nextInode && firstFileBlock === this.#nextFileBlock) {
      this.#runCounts[this.#runCount - 1]! += count;
    } else {
      this.#runInodes[this.#runCount] = inode;
      this.#runFileBlocks[this.#runCount] = firstFileBlock;
      this.#runCounts[this.#runCount] = count;
      this.#runCount++;
    }
    this.#nextInode = inode;
    this.#nextFileBlock = firstFileBlock + count;
    this.blockCount = end;
    this.liveBlocks += count;
    this.dirtyBlocks += count;
    return first;
  }

  markDead(blockIndex: number): void {
    assert(blockIndex < this.blockCount, `block ${blockIndex} of ${this.blockCount}`);
    if (this.#inodes[blockIndex] === 0) return;
    this.#inodes[blockIndex] = 0;
    this.liveBlocks--;
    if (blockIndex >= this.#journaledBlocks) this.dirtyBlocks--;
  }

  forEachLive(
    inode: number,
    visit: (segmentId: number, blockIndex: number, fileBlock: number) => void,
  ): void {
    for (let index = 0; index < this.blockCount; index++) {
      if (this.#inodes[index] === inode) visit(this.segmentId, index, this.#fileBlocks[index]!);
    }
  }

  /** Views that stay as they are until the slot is reused, save for blocks that die. */
  contents(blockCount: number): SegmentContents {
    return {
      segmentId: this.segmentId,
      blockCount,
      inodes: this.#inodes.subarray(0, blockCount),
      fileBlocks: this.#fileBlocks.subarray(0, blockCount),
      checksums: this.checksums.subarray(0, blockCount),
    };
  }

  /** What was appended since the last call, with checksums. undefined if nothing of it lives. */
  takeInline(kernels: Kernels): InlineBlocks | undefined {
    if (this.dirtyBlocks === 0) return undefined;
    this.#checksumTo(kernels, this.blockCount);
    const firstIndex = this.#journaledBlocks;
    const endIndex = this.blockCount;
    this.#journaledBlocks = endIndex;
    this.dirtyBlocks = 0;
    return {
      segmentId: this.segmentId,
      firstIndex,
      endIndex,
      contents: this.contents(endIndex),
      bytes: this.view(firstIndex, endIndex - firstIndex),
    };
  }

  /** Writes the summary behind the data and completes the checksums of both. No append may follow. */
  finish(kernels: Kernels): void {
    const summary = {
      segmentId: this.segmentId,
      dataBlocks: this.blockCount,
      runCount: this.#runCount,
      inodes: this.#runInodes,
      fileBlocks: this.#runFileBlocks,
      counts: this.#runCounts,
    };
    this.summaryBlocks = summaryBlocksFor(this.#runCount);
    encodeSummary(summary, this.view(this.blockCount, this.summaryBlocks), (bytes) => kernels.crc32c(bytes));
    this.#checksumTo(kernels, this.blockCount + this.summaryBlocks);
  }

  #checksumTo(kernels: Kernels, end: number): void {
    const from = this.#checksummedBlocks;
    if (from === end) return;
    kernels.crc32cBlocks(this.view(from, end - from), BLOCK_BYTES, this.checksums, from);
    this.#checksummedBlocks = end;
  }
}
