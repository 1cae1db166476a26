/**
 * Memory for rebuilding, kept from one segment to the next: one set for each of those who rebuild. It grows to what the largest segment needs
 * (at most its data and parity and a strip of each source), and is given up when a read did not end in time, since that may still write to it.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { Memory } from '../platform/platform.ts';

/** Fragments are read in strips of so many blocks. */
export const STRIP_BLOCKS = 128;

export class RepairMemory {
  readonly #memory: Memory;
  #payload: Buffer | undefined;
  #strips: Buffer[] = [];

  constructor(memory: Memory) {
    this.#memory = memory;
  }

  /** One piece; what it holds is what was there before. */
  payload(lengthBytes: number): Buffer {
    if (this.#payload === undefined || this.#payload.length < lengthBytes) {
      this.#payload = this.#memory.allocate(lengthBytes);
    }
    return this.#payload.subarray(0, lengthBytes);
  }

  strip(index: number, blocks: number): Buffer {
    this.#strips[index] ??= this.#memory.allocate(STRIP_BLOCKS * BLOCK_BYTES);
    return this.#strips[index].subarray(0, blocks * BLOCK_BYTES);
  }

  giveUp(): void {
    this.#payload = undefined;
    this.#strips = [];
  }
}
