/**
 * Durable word that fragments were freed, until their headers are durably gone: a small preallocated ring of pages, so that frees work on a full
 * disk. Frees that wait at the same time share a write.
 *
 * A page may be overwritten once the reclaimer has released its serial: the holes of all its fragments are durable, and so is an index
 * without them. Until then a restart reads the page and finishes the work, with or without an index.
 * Format: docs/format/storage-tombstones.md.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import {
  decodeTombstonePage,
  encodeTombstonePage,
  isUnwrittenTombstonePage,
  MAX_TOMBSTONES_PER_PAGE,
  type Tombstone,
  type TombstonePage,
} from '../format/storage-tombstones.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import { StorageError } from './storage-error.ts';

export const RING_PAGES = 256;
const RING_BYTES = RING_PAGES * BLOCK_BYTES;
/** What is read or written at once when the ring is opened. */
const STRETCH_BYTES = RING_BYTES / 4;

interface Waiting {
  readonly tombstones: readonly Tombstone[];
  readonly apply: () => void;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export class TombstoneRing {
  readonly #platform: Platform;
  readonly #file: DiskFile;
  readonly #nonce: Buffer;
  readonly #page: Buffer;
  #lastSerial = 0;
  #appliedSerial = 0;
  #releasedSerial = 0;
  #queue: Waiting[] = [];
  #running = false;
  /** Told when the ring has no page left: reclaiming makes room. */
  onFull: (() => void) | undefined;
  #whenReleased: (() => void)[] = [];
  #closed = false;

  private constructor(platform: Platform, file: DiskFile, nonce: Buffer) {
    this.#platform = platform;
    this.#file = file;
    this.#nonce = nonce;
    this.#page = platform.memory.allocate(BLOCK_BYTES);
  }

  /** Opens or creates the ring and returns the pages that can be read and are not released, in order of serials. */
  static async open(
    platform: Platform,
    path: string,
    nonce: Buffer,
    releasedSerial: number,
  ): Promise<{ ring: TombstoneRing; pages: TombstonePage[] }> {
    const file = await platform.disk.open(path, { write: true, create: true, direct: true });
    const ring = new TombstoneRing(platform, file, nonce);
    const pages: TombstonePage[] = [];
    const stretch = platform.memory.allocate(STRETCH_BYTES);
    if ((await file.size()) < RING_BYTES) {
      for (let at = 0; at < RING_BYTES; at += STRETCH_BYTES) await file.write([stretch], at);
      await file.sync();
    } else {
      for (let at = 0; at < RING_BYTES; at += STRETCH_BYTES) {
        await file.read([stretch], at);
        for (let from = 0; from < STRETCH_BYTES; from += BLOCK_BYTES) {
          const page = ring.#decode(stretch.subarray(from, from + BLOCK_BYTES));
          if (page !== undefined && page.serial > releasedSerial) pages.push(page);
        }
      }
      // What a killed process left behind can be read before it is durable, and is obeyed from here on.
      await file.sync();
    }
    pages.sort((a, b) => a.serial - b.serial);
    ring.#releasedSerial = releasedSerial;
    ring.#lastSerial = pages.at(-1)?.serial ?? releasedSerial;
    ring.#appliedSerial = ring.#lastSerial;
    return { ring, pages };
  }

  /** A torn page was never acknowledged: it is as if it was not there. */
  #decode(bytes: Buffer): TombstonePage | undefined {
    if (isUnwrittenTombstonePage(bytes)) return undefined;
    try {
      return decodeTombstonePage(this.#nonce, bytes, this.#platform.kernels.crc32c);
    } catch (error) {
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }

  /** The frees of all pages up to this one have been applied by their owners. */
  get appliedSerial(): number {
    return this.#appliedSerial;
  }

  get releasedSerial(): number {
    return this.#releasedSerial;
  }

  get pagesInUse(): number {
    return this.#lastSerial - this.#releasedSerial;
  }

  /** Pages up to `serial` may be overwritten. */
  release(serial: number): void {
    assert(serial <= this.#appliedSerial, 'only applied tombstones are released');
    this.#releasedSerial = Math.max(this.#releasedSerial, serial);
    const waiting = this.#whenReleased;
    this.#whenReleased = [];
    for (const resolve of waiting) resolve();
  }

  /** Once the tombstones are durable, `apply` runs, and it resolves. */
  write(tombstones: readonly Tombstone[], apply: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queue.push({ tombstones, apply, resolve, reject });
      if (!this.#running) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#running = true;
    while (this.#queue.length > 0) {
      const batch = this.#queue;
      this.#queue = [];
      try {
        const all = batch.flatMap((waiting) => waiting.tombstones);
        for (let i = 0; i < all.length; i += MAX_TOMBSTONES_PER_PAGE) {
          await this.#writePage(all.slice(i, i + MAX_TOMBSTONES_PER_PAGE));
        }
        for (const waiting of batch) waiting.apply();
        this.#appliedSerial = this.#lastSerial;
        for (const waiting of batch) waiting.resolve();
      } catch (error) {
        for (const waiting of batch) waiting.reject(error);
      }
    }
    this.#running = false;
  }

  async #writePage(tombstones: readonly Tombstone[]): Promise<void> {
    while (this.pagesInUse >= RING_PAGES) {
      if (this.#closed) throw new StorageError({ reason: 'busy' }, 'the store is closing');
      const released = new Promise<void>((resolve) => this.#whenReleased.push(resolve));
      this.onFull?.();
      await released;
    }
    const serial = this.#lastSerial + 1;
    encodeTombstonePage(
      { serial, nonce: this.#nonce, tombstones },
      this.#page,
      this.#platform.kernels.crc32c,
    );
    await this.#file.write([this.#page], (serial % RING_PAGES) * BLOCK_BYTES, { durable: true });
    this.#lastSerial = serial;
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.release(this.#releasedSerial);
    await this.#file.close();
  }
}
