/**
 * Page-aligned buffers for bulk bytes that travel inside frames. The total is bounded; who finds it used up waits for a release and asks again.
 * Sizes are powers of two, so that buffers of one call serve the next.
 */
import { assert } from '../base/assert.ts';
import type { Memory } from '../platform/platform.ts';

const SMALLEST_BYTES = 16 * 1024;

export class BufferPool {
  readonly #memory: Memory;
  readonly #maxBytes: number;
  readonly #free = new Map<number, Buffer[]>();
  #allocatedBytes = 0;
  #freeBytes = 0;
  readonly #waiters = new Set<() => void>();

  constructor(memory: Memory, maxBytes: number) {
    this.#memory = memory;
    this.#maxBytes = maxBytes;
  }

  /** What a request for `lengthBytes` takes from the pool. */
  static sizeOf(lengthBytes: number): number {
    let size = SMALLEST_BYTES;
    while (size < lengthBytes) size *= 2;
    return size;
  }

  get usedBytes(): number {
    return this.#allocatedBytes - this.#freeBytes;
  }

  /** Could buffers of these sizes (zero: none wanted) be taken now? */
  fits(firstBytes: number, secondBytes: number): boolean {
    const first = firstBytes === 0 ? 0 : BufferPool.sizeOf(firstBytes);
    const second = secondBytes === 0 ? 0 : BufferPool.sizeOf(secondBytes);
    return this.usedBytes + first + second <= this.#maxBytes;
  }

  /** A buffer of at least `lengthBytes`, to be given back once. Only after `fits` said so in this turn. */
  take(lengthBytes: number): Buffer {
    assert(this.fits(lengthBytes, 0), 'the pool has room');
    const size = BufferPool.sizeOf(lengthBytes);
    const pooled = this.#free.get(size)?.pop();
    if (pooled !== undefined) {
      this.#freeBytes -= size;
      return pooled;
    }
    if (this.#allocatedBytes + size > this.#maxBytes) this.#dropFree();
    this.#allocatedBytes += size;
    return this.#memory.allocate(size);
  }

  release(buffer: Buffer): void {
    const list = this.#free.get(buffer.length);
    if (list === undefined) this.#free.set(buffer.length, [buffer]);
    else list.push(buffer);
    this.#freeBytes += buffer.length;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const run of waiters) run();
  }

  /** Runs once after the next release. */
  whenReleased(run: () => void): void {
    this.#waiters.add(run);
  }

  /** Free buffers of other sizes are in the way of a new one. */
  #dropFree(): void {
    this.#allocatedBytes -= this.#freeBytes;
    this.#freeBytes = 0;
    this.#free.clear();
  }
}
