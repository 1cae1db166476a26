/**
 * Memory for rebuilding, kept from one segment to the next: one set for each of those who rebuild. It grows to what the largest segment needs
 * (at most its data and parity and a strip of each source). The payload is a piece that is shared with the nodes, if one can be had.
 *
 * What a read or a put that did not end in time may still touch is given up: other memory takes its place with the next payload, and the next strip.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { Memory } from '../platform/platform.ts';
import type { SharedPieces } from './shared-pieces.ts';

/** Fragments are read in strips of so many blocks. */
export const STRIP_BLOCKS = 128;

/** Whoever lends memory to calls and reads. */
export interface Lender {
  /** Any of it may be touched until `settled` resolves, though nobody waits for it any more. */
  giveUp(settled: Promise<void>): void;
}

export class RepairMemory implements Lender {
  readonly #memory: Memory;
  readonly #shared: SharedPieces | undefined;
  #payload: Buffer | undefined;
  #piece: Buffer | undefined;
  /** What may still touch the piece. */
  #late: Promise<void>[] = [];
  #strips: Buffer[] = [];

  constructor(memory: Memory, shared?: SharedPieces) {
    this.#memory = memory;
    this.#shared = shared;
  }

  /** One piece; what it holds is what was there before. The one of before is not in use any more. */
  payload(lengthBytes: number): Buffer {
    if (this.#late.length > 0) this.release();
    this.#piece ??= this.#shared?.take(lengthBytes);
    if (this.#piece !== undefined && this.#piece.length >= lengthBytes) {
      this.#payload = undefined;
      return this.#piece.subarray(0, lengthBytes);
    }
    if (this.#payload === undefined || this.#payload.length < lengthBytes) {
      this.#payload = this.#memory.allocate(lengthBytes);
    }
    return this.#payload.subarray(0, lengthBytes);
  }

  strip(index: number, blocks: number): Buffer {
    this.#strips[index] ??= this.#memory.allocate(STRIP_BLOCKS * BLOCK_BYTES);
    return this.#strips[index].subarray(0, blocks * BLOCK_BYTES);
  }

  giveUp(settled: Promise<void>): void {
    this.#payload = undefined;
    this.#strips = [];
    if (this.#piece !== undefined) this.#late.push(settled);
  }

  /** Gives back what is shared: nothing is being done with the payload. */
  release(): void {
    const piece = this.#piece;
    const late = this.#late;
    this.#piece = undefined;
    this.#late = [];
    if (piece === undefined) return;
    if (late.length === 0) this.#shared?.give(piece);
    else void Promise.all(late).then(() => this.#shared?.give(piece));
  }
}
