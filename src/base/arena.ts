/**
 * Memory for many short byte strings that are dropped roughly in the order in which they were made: cut from large chunks, which the garbage
 * collector frees when nothing of them is in use any more. A string of its own for each costs an allocation outside the heap, and makes the
 * collector run for them.
 *
 * Bound: a string that outlives its neighbours keeps its whole chunk. Not for what is kept singly.
 */
const CHUNK_BYTES = 1024 * 1024;

export class Arena {
  #chunk = Buffer.alloc(0);
  #used = 0;

  /** Bytes with arbitrary contents. */
  take(lengthBytes: number): Buffer {
    if (lengthBytes > CHUNK_BYTES / 4) return Buffer.allocUnsafeSlow(lengthBytes);
    if (this.#used + lengthBytes > this.#chunk.length) {
      this.#chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    this.#used = start + lengthBytes;
    return this.#chunk.subarray(start, this.#used);
  }
}
