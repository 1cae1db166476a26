/**
 * A process's open file on a simulated disk. Transfers happen whole at one moment, with the buffers' bytes of that moment: a caller
 * that changes a buffer under a write finds what it deserves on the disk.
 */
import { assert } from '../../base/assert.ts';
import { type ErrnoCode, errnoNumbers } from '../../base/errno.ts';
import { type DiskFile, MachineError } from '../../platform/platform.ts';
import type { Device } from './device.ts';
import type { Operation, Operations } from './operations.ts';
import { BLOCK_BYTES, SECTOR_BYTES } from './sectors.ts';
import type { StoredFile } from './stored-file.ts';

export interface SimulatedFileOptions {
  readonly path: string;
  readonly write: boolean;
  readonly direct: boolean;
}

export class SimulatedFile implements DiskFile {
  readonly path: string;
  readonly direct: boolean;
  readonly descriptor = undefined;
  readonly #write: boolean;
  readonly #stored: StoredFile;
  readonly #operations: Operations;
  readonly #device: Device;
  readonly #letGo: () => void;
  #inFlight = 0;
  #closed = false;
  #onIdle: (() => void) | undefined;

  constructor(operations: Operations, stored: StoredFile, options: SimulatedFileOptions) {
    this.#operations = operations;
    this.#device = operations.device;
    this.#stored = stored;
    this.path = options.path;
    this.direct = options.direct;
    this.#write = options.write;
    stored.opened();
    this.#letGo = operations.hold(() => stored.closed());
  }

  read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    return this.#run({
      latencyMs: this.#device.delayMs(this.#device.latency.readMs, byteCount(buffers)),
      perform: () => this.#doRead(buffers, positionBytes),
      abandon: nothing,
    });
  }

  readThen(into: Uint8Array, positionBytes: number, done: (result: number) => void): void {
    assert(!this.#closed, 'the file is open');
    this.#inFlight++;
    const operation = {
      latencyMs: this.#device.delayMs(this.#device.latency.readMs, into.length),
      perform: () => this.#doRead([into], positionBytes),
      abandon: nothing,
    };
    this.#operations.submit(operation, (outcome) => {
      this.#finished();
      done('error' in outcome ? errnoOf(outcome.error) : outcome.value);
    });
  }

  write(
    buffers: readonly Uint8Array[],
    positionBytes: number,
    options: { durable?: boolean } = {},
  ): Promise<void> {
    const durable = options.durable ?? false;
    return this.#run({
      latencyMs: this.#device.delayMs(this.#writeMs(durable), byteCount(buffers)),
      perform: () => this.#doWrite(buffers, positionBytes, durable),
      abandon: () => this.#abandonWrite(buffers, positionBytes),
    });
  }

  readSync(buffer: Uint8Array, positionBytes: number): number {
    assert(!this.#closed, 'the file is open');
    this.#block(this.#device.latency.readMs, buffer.length);
    return this.#doRead([buffer], positionBytes);
  }

  writeSync(buffer: Uint8Array, positionBytes: number, options: { durable?: boolean } = {}): void {
    assert(!this.#closed, 'the file is open');
    const durable = options.durable ?? false;
    this.#block(this.#writeMs(durable), buffer.length);
    this.#doWrite([buffer], positionBytes, durable);
  }

  sync(): Promise<void> {
    const point = this.#stored.beginSync();
    return this.#run({
      latencyMs: this.#device.delayMs(this.#device.latency.syncMs),
      perform: () => {
        this.#device.counters.syncs++;
        if (this.#device.strikes('syncErrors', this.path)) throw this.#error('EIO', 'sync');
        this.#stored.endSync(point);
      },
    });
  }

  allocate(positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#change('allocate', () =>
      this.#stored.extend(positionBytes, lengthBytes, `allocate ${this.path}`),
    );
  }

  punchHole(positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#change('punch', () => this.#stored.punchHole(positionBytes, lengthBytes));
  }

  truncate(lengthBytes: number): Promise<void> {
    return this.#change('truncate', () => this.#stored.truncate(lengthBytes));
  }

  size(): Promise<number> {
    return this.#run({
      latencyMs: this.#device.delayMs(this.#device.latency.namesMs),
      perform: () => this.#stored.sizeBytes,
      abandon: nothing,
    });
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#inFlight > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
    this.#letGo();
    this.#stored.closed();
  }

  #writeMs(durable: boolean): number {
    const { writeMs, syncMs } = this.#device.latency;
    return writeMs + (durable ? syncMs : 0);
  }

  /** It is done at once, and what else the process would do waits for as long as it should have taken. */
  #block(meanMs: number, lengthBytes: number): void {
    const { gate } = this.#operations;
    gate.block(this.#device.delayMs(meanMs, lengthBytes) + this.#device.stuckForMs);
  }

  #doRead(buffers: readonly Uint8Array[], positionBytes: number): number {
    this.#checkAligned('read', buffers, positionBytes);
    this.#device.counters.reads++;
    if (this.#device.strikes('readErrors', this.path)) throw this.#error('EIO', 'read');
    let total = 0;
    for (const buffer of buffers) {
      const got = this.#stored.read(buffer, positionBytes + total);
      total += got;
      if (got < buffer.length) break;
    }
    this.#device.counters.readBytes += total;
    return total;
  }

  #doWrite(buffers: readonly Uint8Array[], positionBytes: number, durable: boolean): void {
    if (!this.#write) throw this.#error('EBADF', 'write');
    this.#checkAligned('write', buffers, positionBytes);
    const lengthBytes = byteCount(buffers);
    this.#device.counters.writes++;
    this.#stored.extend(positionBytes, lengthBytes, `write ${this.path}`);
    if (this.#device.strikes('writeErrors', this.path)) {
      this.#storeSome(buffers, positionBytes);
      throw this.#error('EIO', 'write');
    }
    if (this.#device.strikes('lostWrites', this.path)) return;
    const elsewhere = this.#elsewhere(positionBytes, lengthBytes);
    let position = positionBytes;
    if (elsewhere !== undefined && this.#device.strikes('misdirectedWrites', this.path)) position = elsewhere;
    for (const buffer of buffers) {
      this.#stored.store(buffer, position, durable);
      position += buffer.length;
    }
    this.#device.counters.writtenBytes += lengthBytes;
  }

  /** Another place of the file's reserved space that is long enough. */
  #elsewhere(positionBytes: number, lengthBytes: number): number | undefined {
    if (this.#device.rates.misdirectedWrites === 0) return undefined;
    const places = this.#stored
      .storedPages()
      .filter(
        (start) =>
          start + lengthBytes <= this.#stored.sizeBytes && Math.abs(start - positionBytes) >= lengthBytes,
      );
    return places.length === 0 ? undefined : this.#device.dice.pick(places);
  }

  #abandonWrite(buffers: readonly Uint8Array[], positionBytes: number): void {
    const fate = this.#device.dice.pick(['none', 'some', 'all'] as const);
    if (fate === 'none') return;
    if (fate === 'all') {
      this.#doWrite(buffers, positionBytes, false);
      return;
    }
    if (!this.#write) return;
    this.#checkAligned('write', buffers, positionBytes);
    this.#stored.extend(positionBytes, byteCount(buffers), `write ${this.path}`);
    this.#storeSome(buffers, positionBytes);
  }

  #storeSome(buffers: readonly Uint8Array[], positionBytes: number): void {
    let position = positionBytes;
    for (const buffer of buffers) {
      for (let at = 0; at < buffer.length; at += SECTOR_BYTES) {
        const sector = buffer.subarray(at, at + SECTOR_BYTES);
        if (this.#device.dice.chance(0.5)) this.#stored.store(sector, position + at, false);
      }
      position += buffer.length;
    }
  }

  #change(what: string, change: () => void): Promise<void> {
    return this.#run({
      latencyMs: this.#device.delayMs(this.#device.latency.namesMs),
      perform: () => {
        if (!this.#write) throw this.#error(what === 'truncate' ? 'EINVAL' : 'EBADF', what);
        change();
      },
    });
  }

  async #run<Result>(operation: Operation<Result>): Promise<Result> {
    assert(!this.#closed, 'the file is open');
    this.#inFlight++;
    try {
      return await this.#operations.run(operation);
    } finally {
      this.#finished();
    }
  }

  #finished(): void {
    this.#inFlight--;
    if (this.#inFlight === 0) this.#onIdle?.();
  }

  #checkAligned(what: string, buffers: readonly Uint8Array[], positionBytes: number): void {
    if (!this.direct) return;
    const aligned = (value: number): boolean => value % BLOCK_BYTES === 0;
    if (aligned(positionBytes) && buffers.every(({ length }) => aligned(length))) return;
    throw this.#error('EINVAL', what);
  }

  #error(code: ErrnoCode, what: string): MachineError {
    return new MachineError(code, `${what} ${this.path}: ${code}`);
  }
}

function nothing(): void {}

function errnoOf(error: unknown): number {
  if (error instanceof MachineError && error.code in errnoNumbers)
    return -errnoNumbers[error.code as ErrnoCode];
  throw error;
}

function byteCount(buffers: readonly Uint8Array[]): number {
  return buffers.reduce((sum, buffer) => sum + buffer.length, 0);
}
