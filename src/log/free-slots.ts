/**
 * The slots of a slab that hold no segment: free ones, and upcoming ones, whose memory a landing has shown to writers and which become the next segments in
 * that order. All the memory that a writer has; none free means that there is no landing, which pushes back on writers.
 */
import { assert } from '../base/assert.ts';
import { SegmentBuffer } from './segment-buffer.ts';
import type { WriteSlab } from './write-slab.ts';

export class FreeSlots {
  /** The last ones are taken first. */
  readonly #free: SegmentBuffer[] = [];
  readonly #upcoming: SegmentBuffer[] = [];
  /** That a landing may use of a slot: a summary takes one block at least. */
  readonly #landingBlocksEach: number;

  constructor(slab: WriteSlab) {
    this.#landingBlocksEach = slab.geometry.segmentBlocks - 1;
    for (let slot = slab.slotCount - 1; slot >= 0; slot--) {
      this.#free.push(new SegmentBuffer(slot, slab.slot(slot), slab.geometry));
    }
  }

  get count(): number {
    return this.#free.length + this.#upcoming.length;
  }

  /** Makes so many slots upcoming that they give `blocks`, and says how many those are; undefined: there are not enough. */
  prepare(blocks: number): number | undefined {
    let upcoming = 0;
    for (let given = 0; given < blocks; given += this.#landingBlocksEach) {
      if (upcoming === this.#upcoming.length) {
        const buffer = this.#free.pop();
        if (buffer === undefined) return undefined;
        this.#upcoming.push(buffer);
      }
      upcoming++;
    }
    return upcoming;
  }

  /** Adds the memory of the first upcoming ones. */
  show(upcoming: number, parts: Uint8Array[]): void {
    for (let index = 0; index < upcoming; index++) {
      parts.push(this.#upcoming[index]!.view(0, this.#landingBlocksEach));
    }
  }

  take(): SegmentBuffer {
    const buffer = this.#upcoming.shift() ?? this.#free.pop();
    assert(buffer !== undefined, 'an append needs a landing');
    return buffer;
  }

  /** Nothing holds its bytes any more. */
  give(buffer: SegmentBuffer): void {
    this.#free.push(buffer);
  }
}
