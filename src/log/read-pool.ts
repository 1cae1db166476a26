/**
 * Bounded page-aligned memory for reads, handed out in pieces of up to one request. Those who find it empty wait in order of arrival.
 * It is made region by region when it is first needed: who never has many reads under way never has the memory for them.
 *
 * It is private to this process: no storage node can write to it, so a node that was frozen in the middle of a call cannot spoil
 * memory that has another use by then. A disk read that was given up can; `hold` keeps its memory until it is over.
 */
import { assert } from '../base/assert.ts';
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { ReadBuffer } from './log.ts';
import { PageBuddy } from './page-buddy.ts';

const TOP_ORDER = Math.log2(MAX_REQUEST_BYTES / BLOCK_BYTES);
assert(Number.isInteger(TOP_ORDER), 'the largest request is a power of two');
const REGION_BYTES = 2 * MIB;
assert(REGION_BYTES % MAX_REQUEST_BYTES === 0, 'no buffer lies in two regions');

export class ReadPool {
  readonly #lengthBytes: number;
  readonly #allocate: (lengthBytes: number) => Buffer;
  /** Undefined: not needed yet. */
  readonly #regions: (Buffer | undefined)[];
  readonly #buddy: PageBuddy;
  /** Buffers handed out, by first page. */
  readonly #owners: (PooledBuffer | undefined)[];
  readonly #waiting: { lengthBytes: number; resolve: (buffer: ReadBuffer) => void }[] = [];

  /** `lengthBytes` is a multiple of MAX_REQUEST_BYTES; `allocate` gives page-aligned memory. */
  constructor(lengthBytes: number, allocate: (lengthBytes: number) => Buffer) {
    this.#lengthBytes = lengthBytes;
    this.#allocate = allocate;
    this.#regions = new Array(Math.ceil(lengthBytes / REGION_BYTES)).fill(undefined);
    this.#buddy = new PageBuddy(lengthBytes / BLOCK_BYTES, TOP_ORDER);
    this.#owners = new Array(this.#buddy.pageCount).fill(undefined);
  }

  take(lengthBytes: number): ReadBuffer | undefined {
    return this.#waiting.length > 0 ? undefined : this.#take(lengthBytes);
  }

  whenBuffer(lengthBytes: number): Promise<ReadBuffer> {
    const buffer = this.take(lengthBytes);
    if (buffer !== undefined) return Promise.resolve(buffer);
    return new Promise((resolve) => {
      this.#waiting.push({ lengthBytes, resolve });
    });
  }

  /** Keeps the buffer that `view` lies in from being reused until the returned function is called. Other memory is its owner's matter. */
  hold(view: Uint8Array): () => void {
    const region = this.#regions.findIndex((memory) => memory !== undefined && contains(memory, view));
    if (region < 0) return () => {};
    const offset = view.byteOffset - this.#regions[region]!.byteOffset;
    let page = Math.floor((region * REGION_BYTES + offset) / BLOCK_BYTES);
    while (page > 0 && this.#owners[page] === undefined) page--;
    const owner = this.#owners[page];
    assert(owner !== undefined, 'a held view lies in a buffer handed out');
    owner.holds++;
    return () => owner.unhold();
  }

  get freeBytes(): number {
    return this.#buddy.freePages * BLOCK_BYTES;
  }

  #take(lengthBytes: number): ReadBuffer | undefined {
    assert(lengthBytes > 0 && lengthBytes <= MAX_REQUEST_BYTES, `read buffer of ${lengthBytes} bytes`);
    assert(lengthBytes % BLOCK_BYTES === 0, 'a read buffer is whole blocks');
    const pages = lengthBytes / BLOCK_BYTES;
    const order = pages === 1 ? 0 : 32 - Math.clz32(pages - 1);
    const page = this.#buddy.take(order);
    if (page < 0) return undefined;
    const buffer = new PooledBuffer(this, page, order, this.#bytes(page * BLOCK_BYTES, lengthBytes));
    this.#owners[page] = buffer;
    return buffer;
  }

  #bytes(offset: number, lengthBytes: number): Buffer {
    const index = Math.floor(offset / REGION_BYTES);
    const from = index * REGION_BYTES;
    this.#regions[index] ??= this.#allocate(Math.min(REGION_BYTES, this.#lengthBytes - from));
    return this.#regions[index].subarray(offset - from, offset - from + lengthBytes);
  }

  giveBack(buffer: PooledBuffer): void {
    this.#owners[buffer.page] = undefined;
    this.#buddy.give(buffer.page, buffer.order);
    for (let first = this.#waiting[0]; first !== undefined; first = this.#waiting[0]) {
      const next = this.#take(first.lengthBytes);
      if (next === undefined) return;
      this.#waiting.shift();
      first.resolve(next);
    }
  }
}

function contains(memory: Buffer, view: Uint8Array): boolean {
  const offset = view.byteOffset - memory.byteOffset;
  return view.buffer === memory.buffer && offset >= 0 && offset < memory.length;
}

class PooledBuffer implements ReadBuffer {
  readonly bytes: Buffer;
  readonly page: number;
  readonly order: number;
  holds = 0;
  #released = false;
  readonly #pool: ReadPool;

  constructor(pool: ReadPool, page: number, order: number, bytes: Buffer) {
    this.#pool = pool;
    this.page = page;
    this.order = order;
    this.bytes = bytes;
  }

  release(): void {
    assert(!this.#released, 'a read buffer is released once');
    this.#released = true;
    if (this.holds === 0) this.#pool.giveBack(this);
  }

  unhold(): void {
    this.holds--;
    if (this.#released && this.holds === 0) this.#pool.giveBack(this);
  }
}
