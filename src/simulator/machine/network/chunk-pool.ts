/**
 * Memory for bytes under way. They are copied when they are sent, because the sender's memory is only lent, and what was delivered is used
 * again at once: whoever keeps a view that was valid during a call only sees it change.
 */
import { assert } from '../../../base/assert.ts';

const SMALLEST_BITS = 7;
const LARGEST_BITS = 20;
const MAX_FREE_BYTES = 16 * 1_024 * 1_024;
/** What bytes become whose call is over; only so many of them, as it takes time. */
const POISON = 0xa5;
const MAX_POISONED_BYTES = 1_024;

export class ChunkPool {
  /** Free chunks by the logarithm of their length. */
  readonly #free: Buffer[][] = Array.from({ length: LARGEST_BITS + 1 }, () => []);
  #freeBytes = 0;

  /** At least `lengthBytes` long, with anything in it. */
  take(lengthBytes: number): Buffer {
    const bits = Math.max(SMALLEST_BITS, 32 - Math.clz32(lengthBytes - 1));
    assert(bits <= LARGEST_BITS, 'a chunk that one segment needs');
    const chunk = this.#free[bits]!.pop();
    if (chunk === undefined) return Buffer.allocUnsafeSlow(2 ** bits);
    this.#freeBytes -= chunk.length;
    return chunk;
  }

  giveBack(chunk: Buffer): void {
    chunk.fill(POISON, 0, Math.min(chunk.length, MAX_POISONED_BYTES));
    if (this.#freeBytes + chunk.length > MAX_FREE_BYTES) return;
    this.#freeBytes += chunk.length;
    this.#free[31 - Math.clz32(chunk.length)]!.push(chunk);
  }
}
