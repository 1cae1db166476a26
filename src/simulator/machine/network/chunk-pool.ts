/**
 * Memory for bytes under way. They are copied when they are sent, because the sender's memory is only lent, and what was delivered is used
 * again at once: whoever keeps a view that was valid during a call only sees it change.
 */
const SMALLEST_POOLED_BYTES = 8 * 1_024;
const LARGEST_POOLED_BYTES = 1_024 * 1_024;
const MAX_FREE_BYTES = 16 * 1_024 * 1_024;
/** What bytes become whose call is over. */
const POISON = 0xa5;

export class ChunkPool {
  /** Free chunks by the logarithm of their length. */
  readonly #free: Buffer[][] = Array.from({ length: 32 }, () => []);
  #freeBytes = 0;

  /** At least `lengthBytes` long, with anything in it. */
  take(lengthBytes: number): Buffer {
    if (lengthBytes < SMALLEST_POOLED_BYTES || lengthBytes > LARGEST_POOLED_BYTES)
      return Buffer.allocUnsafe(lengthBytes);
    const bits = 32 - Math.clz32(lengthBytes - 1);
    const chunk = this.#free[bits]!.pop();
    if (chunk === undefined) return Buffer.allocUnsafeSlow(2 ** bits);
    this.#freeBytes -= chunk.length;
    return chunk;
  }

  giveBack(chunk: Buffer): void {
    if (chunk.length < SMALLEST_POOLED_BYTES) {
      chunk.fill(POISON);
      return;
    }
    if (chunk.length > LARGEST_POOLED_BYTES || this.#freeBytes + chunk.length > MAX_FREE_BYTES) return;
    this.#freeBytes += chunk.length;
    this.#free[31 - Math.clz32(chunk.length)]!.push(chunk);
  }
}
