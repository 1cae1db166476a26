/**
 * Private buffers that answers of storage nodes arrive in before they are checked and copied. A buffer whose call was given up
 * comes back only when the call can no longer touch it, and may never: so buffers are kept for reuse within a bound, and made anew when
 * none is at hand.
 */
import { MIB } from '../base/units.ts';

const MAX_KEPT_BYTES = 16 * MIB;

export class BounceBuffers {
  readonly #allocate: (lengthBytes: number) => Buffer;
  readonly #kept = new Map<number, Buffer[]>();
  #keptBytes = 0;

  constructor(allocate: (lengthBytes: number) => Buffer) {
    this.#allocate = allocate;
  }

  /** A buffer of at least `lengthBytes`. */
  take(lengthBytes: number): Buffer {
    const size = sizeClass(lengthBytes);
    const buffer = this.#kept.get(size)?.pop();
    if (buffer === undefined) return this.#allocate(size);
    this.#keptBytes -= size;
    return buffer;
  }

  give(buffer: Buffer): void {
    if (this.#keptBytes + buffer.length > MAX_KEPT_BYTES) return;
    this.#keptBytes += buffer.length;
    const kept = this.#kept.get(buffer.length);
    if (kept === undefined) this.#kept.set(buffer.length, [buffer]);
    else kept.push(buffer);
  }
}

function sizeClass(lengthBytes: number): number {
  return 2 ** Math.ceil(Math.log2(lengthBytes));
}
