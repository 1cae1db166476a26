/**
 * A decorator of the real platform that can crash: from `crash` on nothing reaches the disk any more and no call ever returns. Writes under way
 * are torn at page boundaries; holes and truncations that were not synced happen or not. The directory can then be opened anew.
 */
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { Database, DiskFile, Platform } from '../../../src/platform/platform.ts';

const MAX_PAUSE_TURNS = 4;

export class CrashingPlatform {
  readonly platform: Platform;
  readonly #real: Platform;
  readonly #random: () => number;
  readonly #databases: Database[] = [];
  readonly #files: CrashingFile[] = [];
  crashed = false;

  /** `random` gives numbers in [0, 1): the faults follow from it. */
  constructor(real: Platform, random: () => number) {
    this.#real = real;
    this.#random = random;
    this.platform = {
      ...real,
      disk: {
        open: async (path, options) => {
          await this.alive();
          const file = new CrashingFile(await real.disk.open(path, options), this, random);
          this.#files.push(file);
          return file;
        },
        makeDirectory: (path) => this.guard(() => real.disk.makeDirectory(path)),
        list: (path) => this.guard(() => real.disk.list(path)),
        exists: (path) => this.guard(() => real.disk.exists(path)),
        remove: (path) => this.guard(() => real.disk.remove(path)),
        rename: (from, to) => this.guard(() => real.disk.rename(from, to)),
        syncDirectory: (path) => this.guard(() => real.disk.syncDirectory(path)),
        readSmallFile: (path) => this.guard(() => real.disk.readSmallFile(path)),
        writeSmallFile: (path, bytes) => this.guard(() => real.disk.writeSmallFile(path, bytes)),
        space: (path) => this.guard(() => real.disk.space(path)),
      },
      databases: {
        open: async (path, options) => {
          const database = await this.guard(() => real.databases.open(path, options));
          this.#databases.push(database);
          return database;
        },
        destroy: (path) => this.guard(() => real.databases.destroy(path)),
      },
      timers: {
        ...real.timers,
        after: (delayMs, run) =>
          real.timers.after(delayMs, () => {
            if (!this.crashed) run();
          }),
      },
    };
  }

  async alive(): Promise<void> {
    if (this.crashed) await new Promise<never>(() => undefined);
  }

  async guard<T>(run: () => Promise<T>): Promise<T> {
    await this.alive();
    const result = await run();
    await this.alive();
    return result;
  }

  /** A moment in which a crash may come. */
  async pause(): Promise<void> {
    const turns = Math.floor(this.#random() * MAX_PAUSE_TURNS);
    for (let i = 0; i < turns; i++) await new Promise<void>((resolve) => this.#real.timers.defer(resolve));
  }

  async crash(): Promise<void> {
    this.crashed = true;
    // Writes that were about to start wake up now and are torn.
    for (let i = 0; i < 2 * MAX_PAUSE_TURNS; i++)
      await new Promise<void>((resolve) => this.#real.timers.defer(resolve));
    for (const file of this.#files) await file.settle();
    for (const database of this.#databases) await database.close();
  }
}

class CrashingFile implements DiskFile {
  readonly #file: DiskFile;
  readonly #owner: CrashingPlatform;
  readonly #random: () => number;
  /** Not synced yet. */
  #unsynced: (() => Promise<void>)[] = [];
  #tearing: Promise<void>[] = [];
  #closed = false;

  constructor(file: DiskFile, owner: CrashingPlatform, random: () => number) {
    this.#file = file;
    this.#owner = owner;
    this.#random = random;
  }

  get path(): string {
    return this.#file.path;
  }

  get direct(): boolean {
    return this.#file.direct;
  }

  get descriptor(): number | undefined {
    return this.#file.descriptor;
  }

  read(buffers: readonly Uint8Array[], positionBytes: number): Promise<number> {
    return this.#owner.guard(() => this.#file.read(buffers, positionBytes));
  }

  readThen(into: Uint8Array, positionBytes: number, done: (result: number) => void): void {
    this.#file.readThen(into, positionBytes, done);
  }

  async write(
    buffers: readonly Uint8Array[],
    positionBytes: number,
    options?: { durable?: boolean },
  ): Promise<void> {
    await this.#owner.alive();
    await this.#owner.pause();
    if (this.#owner.crashed) {
      const torn = this.#tear(buffers, positionBytes);
      this.#tearing.push(torn);
      await torn;
    }
    await this.#owner.guard(() => this.#file.write(buffers, positionBytes, options));
  }

  async #tear(buffers: readonly Uint8Array[], positionBytes: number): Promise<void> {
    let position = positionBytes;
    for (const buffer of buffers) {
      for (let at = 0; at < buffer.length; at += BLOCK_BYTES) {
        if (this.#random() < 0.5)
          await this.#file.write([buffer.subarray(at, at + BLOCK_BYTES)], position + at);
      }
      position += buffer.length;
    }
  }

  readSync(buffer: Uint8Array, positionBytes: number): number {
    this.#mustLive();
    return this.#file.readSync(buffer, positionBytes);
  }

  writeSync(buffer: Uint8Array, positionBytes: number, options?: { durable?: boolean }): void {
    this.#mustLive();
    this.#file.writeSync(buffer, positionBytes, options);
  }

  #mustLive(): void {
    if (this.#owner.crashed) throw new Error('the machine has crashed');
  }

  sync(): Promise<void> {
    return this.#owner.guard(async () => {
      const operations = this.#unsynced;
      this.#unsynced = [];
      for (const operation of operations) await operation();
      await this.#file.sync();
    });
  }

  allocate(positionBytes: number, lengthBytes: number): Promise<void> {
    return this.#owner.guard(() => this.#file.allocate(positionBytes, lengthBytes));
  }

  async punchHole(positionBytes: number, lengthBytes: number): Promise<void> {
    await this.#owner.alive();
    this.#unsynced.push(() => this.#file.punchHole(positionBytes, lengthBytes));
  }

  async truncate(lengthBytes: number): Promise<void> {
    await this.#owner.alive();
    if (lengthBytes === 0) this.#unsynced.push(() => this.#file.truncate(0));
    else await this.#owner.guard(() => this.#file.truncate(lengthBytes));
  }

  size(): Promise<number> {
    return this.#owner.guard(() => this.#file.size());
  }

  async close(): Promise<void> {
    await this.#owner.alive();
    await this.#close();
  }

  async #close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#file.close();
  }

  /** After the crash: what was not synced happens or not. */
  async settle(): Promise<void> {
    await Promise.all(this.#tearing);
    for (const operation of this.#unsynced) if (this.#random() < 0.5) await operation();
    await this.#close();
  }
}
