/**
 * A fixed number of page-aligned buffers of one length. Owns their memory; who takes one gives it back exactly once. When none is free,
 * takers wait in order: that bounds the I/O in flight.
 */
import { assert } from '../base/assert.ts';
import type { Memory } from '../platform/platform.ts';

export class BufferPool {
  readonly #free: Buffer[] = [];
  readonly #waiting: ((buffer: Buffer) => void)[] = [];
  readonly #count: number;

  constructor(memory: Memory, count: number, lengthBytes: number) {
    this.#count = count;
    const all = memory.allocate(count * lengthBytes);
    for (let i = 0; i < count; i++) this.#free.push(all.subarray(i * lengthBytes, (i + 1) * lengthBytes));
  }

  take(): Buffer | Promise<Buffer> {
    return this.#free.pop() ?? new Promise((resolve) => this.#waiting.push(resolve));
  }

  give(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next !== undefined) next(buffer);
    else this.#free.push(buffer);
    assert(this.#free.length <= this.#count, 'a buffer was given back twice');
  }
}
