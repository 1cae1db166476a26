/**
 * A file on the native disk queue. Errors name the file. Closing waits for what is in flight, so that a descriptor's number is never
 * taken over by another file under a transfer.
 */
import { closeSync, fstat, ftruncate } from 'node:fs';
import { promisify } from 'node:util';
import { assert } from '../../base/assert.ts';
import { type DiskQueue, readSync, type TransferBuffers, writeSync } from '../native/disk-queue.ts';
import type { DiskFile } from '../platform.ts';
import { machineErrorOf, toMachineError, withMachineErrors } from './machine-error.ts';

/** What one operation of the queue takes. */
const MAX_BUFFERS = 8;

const fstatAsync = promisify(fstat);
const ftruncateAsync = promisify(ftruncate);

export class RealDiskFile implements DiskFile {
  readonly path: string;
  readonly direct: boolean;
  readonly #queue: DiskQueue;
  readonly #descriptor: number;
  #inFlight = 0;
  #closed = false;
  #onIdle: (() => void) | undefined;

  /** Takes ownership of the descriptor. */
  constructor(queue: DiskQueue, path: string, descriptor: number, direct: boolean) {
    this.#queue = queue;
    this.path = path;
    this.#descriptor = descriptor;
    this.direct = direct;
  }

  get descriptor(): number {
    return this.#descriptor;
  }

  async read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    if (buffers.length <= MAX_BUFFERS) return this.#read(buffers, positionBytes);
    let total = 0;
    for (let from = 0; from < buffers.length; from += MAX_BUFFERS) {
      const some = buffers.slice(from, from + MAX_BUFFERS);
      const wanted = byteCount(some);
      const got = await this.#read(some, positionBytes + total);
      total += got;
      if (got < wanted) break;
    }
    return total;
  }

  readThen(into: Uint8Array, positionBytes: number, done: (result: number) => void): void {
    assert(!this.#closed, 'the file is open');
    this.#queue.submitRead(this.#descriptor, into, positionBytes, (result) => {
      this.#finished();
      done(result);
    });
    this.#inFlight++;
  }

  async write(
    buffers: readonly Uint8Array[],
    positionBytes: number,
    options: { durable?: boolean } = {},
  ): Promise<void> {
    const durable = options.durable ?? false;
    if (buffers.length <= MAX_BUFFERS) return this.#write(buffers, positionBytes, durable);
    let position = positionBytes;
    for (let from = 0; from < buffers.length; from += MAX_BUFFERS) {
      const some = buffers.slice(from, from + MAX_BUFFERS);
      await this.#write(some, position, durable);
      position += byteCount(some);
    }
  }

  readSync(buffer: Uint8Array, positionBytes: number): number {
    return this.#named('read', () => readSync(this.#descriptor, buffer, positionBytes));
  }

  writeSync(buffer: Uint8Array, positionBytes: number, options: { durable?: boolean } = {}): void {
    this.#named('write', () => writeSync(this.#descriptor, buffer, positionBytes, options));
  }

  async sync(): Promise<void> {
    await this.#submit('sync', (onResult) => this.#queue.submitSync(this.#descriptor, onResult));
  }

  allocate(positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#whole('allocate', () => this.#queue.allocate(this.#descriptor, positionBytes, lengthBytes));
  }

  punchHole(positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#whole('punch', () => this.#queue.punchHole(this.#descriptor, positionBytes, lengthBytes));
  }

  truncate(lengthBytes: number): Promise<void> {
    return this.#whole('truncate', () => ftruncateAsync(this.#descriptor, lengthBytes));
  }

  size(): Promise<number> {
    return this.#whole('stat', async () => (await fstatAsync(this.#descriptor)).size);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    closeSync(this.#descriptor);
  }

  #read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    const into = single(buffers);
    return this.#submit('read', (onResult) =>
      this.#queue.submitRead(this.#descriptor, into, positionBytes, onResult),
    );
  }

  async #write(buffers: readonly Uint8Array[], positionBytes: number, durable: boolean): Promise<void> {
    const from = single(buffers);
    await this.#submit('write', (onResult) =>
      this.#queue.submitWrite(this.#descriptor, from, positionBytes, durable, onResult),
    );
  }

  #submit(what: string, submit: (onResult: (result: number) => void) => void): Promise<number> {
    assert(!this.#closed, 'the file is open');
    return new Promise((resolve, reject) => {
      submit((result) => {
        this.#finished();
        if (result < 0) reject(machineErrorOf(result, `${what} ${this.path}`));
        else resolve(result);
      });
      this.#inFlight++;
    });
  }

  async #whole<T>(what: string, run: () => Promise<T>): Promise<T> {
    assert(!this.#closed, 'the file is open');
    this.#inFlight++;
    try {
      return await withMachineErrors(`${what} ${this.path}`, run);
    } finally {
      this.#finished();
    }
  }

  #finished(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) this.#onIdle?.();
  }

  #named<T>(what: string, run: () => T): T {
    assert(!this.#closed, 'the file is open');
    try {
      return run();
    } catch (error) {
      throw toMachineError(error, `${what} ${this.path}`);
    }
  }
}

function single(buffers: readonly Uint8Array[]): TransferBuffers {
  return buffers.length === 1 ? buffers[0]! : buffers;
}

function byteCount(buffers: readonly Uint8Array[]): number {
  return buffers.reduce((sum, buffer) => sum + buffer.length, 0);
}
