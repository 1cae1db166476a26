/**
 * Asynchronous and synchronous file transfers on plain descriptors. What is submitted in one turn of the event loop goes
 * to the kernel in groups of a few, the last of them before the loop sleeps. At most MAX_QUEUED operations wait or run; more are
 * refused with EAGAIN, because a queue's bound is its owner's to keep.
 *
 * Transfers are whole: a write's result is its length, a read's is less than asked only at the end of the file.
 * Buffers must not be touched until their operation is over; the queue keeps them alive.
 */
import { assert } from '../../base/assert.ts';
import { checked, machineError, type NativeHandle, nativeAddon } from './addon.ts';

const DEFAULT_ENTRIES = 256;
const COMPLETIONS_A_BATCH = 256;
const RWF_DSYNC = 2;
const FALLOC_FL_KEEP_SIZE = 1;
const FALLOC_FL_PUNCH_HOLE = 2;
const FALLOC_FL_ZERO_RANGE = 16;

/** One buffer, or up to 8. */
export type TransferBuffers = Uint8Array | readonly Uint8Array[];
/** Bytes transferred, or a negative errno number. */
export type OnResult = (result: number) => void;

export interface WriteOptions {
  /** The bytes are on the disk when the write is over (RWF_DSYNC). */
  readonly durable?: boolean;
}

export interface DiskQueueOptions {
  /** Operations that the kernel holds at once; a power of two. */
  readonly entries?: number;
  /** Use the thread pool although io_uring may be there. */
  readonly forceThreads?: boolean;
}

export class DiskQueue {
  readonly engine: 'io_uring' | 'threads';
  readonly #addon = nativeAddon();
  readonly #handle: NativeHandle;
  readonly #completions = new Int32Array(2 * COMPLETIONS_A_BATCH);
  /** By operation id: who waits, and the buffers that must live until then. */
  readonly #waiting: (OnResult | undefined)[] = [];
  readonly #buffers: (TransferBuffers | undefined)[] = [];
  #inFlight = 0;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(options: DiskQueueOptions = {}) {
    const { entries = DEFAULT_ENTRIES, forceThreads = false } = options;
    assert(entries >= 1 && entries <= 4096, `disk queue entries ${entries}`);
    const onComplete = (count: number): void => this.#complete(count);
    const handle = this.#addon.diskOpen(entries, forceThreads, this.#completions, onComplete);
    this.#handle = checked<NativeHandle>(handle, 'open a disk queue');
    this.engine = this.#addon.diskEngine(this.#handle) as 'io_uring' | 'threads';
  }

  /** Operations that wait or run. */
  get inFlight(): number {
    return this.#inFlight;
  }

  submitRead(fd: number, buffers: TransferBuffers, positionBytes: number, onResult: OnResult): void {
    const id = this.#addon.diskTransfer(this.#handle, false, fd, buffers, positionBytes, 0);
    this.#accept(id, 'read', buffers, onResult);
  }

  submitWrite(
    fd: number,
    buffers: TransferBuffers,
    positionBytes: number,
    durable: boolean,
    onResult: OnResult,
  ): void {
    const flags = durable ? RWF_DSYNC : 0;
    const id = this.#addon.diskTransfer(this.#handle, true, fd, buffers, positionBytes, flags);
    this.#accept(id, 'write', buffers, onResult);
  }

  /** fdatasync */
  submitSync(fd: number, onResult: OnResult): void {
    this.#accept(this.#addon.diskSync(this.#handle, fd), 'fdatasync', undefined, onResult);
  }

  read(fd: number, buffers: TransferBuffers, positionBytes: number): Promise<number> {
    return promised('read', (onResult) => this.submitRead(fd, buffers, positionBytes, onResult));
  }

  async write(
    fd: number,
    buffers: TransferBuffers,
    positionBytes: number,
    options: WriteOptions = {},
  ): Promise<void> {
    const durable = options.durable ?? false;
    await promised('write', (onResult) => this.submitWrite(fd, buffers, positionBytes, durable, onResult));
  }

  async sync(fd: number): Promise<void> {
    await promised('fdatasync', (onResult) => this.submitSync(fd, onResult));
  }

  /** Reserves space; extends the size when the range ends behind it. */
  allocate(fd: number, positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#allocate(fd, 0, positionBytes, lengthBytes);
  }

  /** Gives the range's space back; it reads as zeros. */
  punchHole(fd: number, positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, positionBytes, lengthBytes);
  }

  zeroRange(fd: number, positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#allocate(fd, FALLOC_FL_ZERO_RANGE, positionBytes, lengthBytes);
  }

  /** Hands over at once what was submitted, instead of at the end of this turn. */
  flush(): void {
    if (!this.#closed) this.#addon.diskFlush(this.#handle);
  }

  /** Accepts nothing more, and resolves when what was accepted is over. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    checked(this.#addon.diskClose(this.#handle), 'close a disk queue');
  }

  async #allocate(fd: number, mode: number, positionBytes: number, lengthBytes: number): Promise<void> {
    await promised('fallocate', (onResult) => {
      const id = this.#addon.diskAllocate(this.#handle, fd, mode, positionBytes, lengthBytes);
      this.#accept(id, 'fallocate', undefined, onResult);
    });
  }

  #accept(id: number, what: string, buffers: TransferBuffers | undefined, onResult: OnResult): void {
    assert(!this.#closed, 'the disk queue is open');
    if (id < 0) throw machineError(id, what);
    this.#waiting[id] = onResult;
    this.#buffers[id] = buffers;
    this.#inFlight++;
  }

  #complete(count: number): void {
    this.#inFlight -= count;
    for (let index = 0; index < count; index++) {
      const id = this.#completions[2 * index]!;
      const onResult = this.#waiting[id]!;
      this.#waiting[id] = undefined;
      this.#buffers[id] = undefined;
      onResult(this.#completions[2 * index + 1]!);
    }
    if (this.#inFlight === 0) this.#onIdle?.();
  }
}

function promised(what: string, submit: (onResult: OnResult) => void): Promise<number> {
  return new Promise((resolve, reject) => {
    submit((result) => {
      if (result < 0) reject(machineError(result, what));
      else resolve(result);
    });
  });
}

/** Reads in this turn. Returns less than the buffer's length only at the end of the file. */
export function readSync(fd: number, buffer: Uint8Array, positionBytes: number): number {
  return checked(nativeAddon().preadSync(fd, buffer, positionBytes, 0), 'read');
}

/** Writes all of the buffer in this turn. */
export function writeSync(
  fd: number,
  buffer: Uint8Array,
  positionBytes: number,
  options: WriteOptions = {},
): void {
  const flags = options.durable ? RWF_DSYNC : 0;
  checked(nativeAddon().pwriteSync(fd, buffer, positionBytes, flags), 'write');
}
