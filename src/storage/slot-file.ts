/**
 * A little state that survives torn writes and one rotten page: two copies in one preallocated file, each made durable before the other
 * is touched. Writing needs no new space, so it works on a full disk. Format: docs/format/storage-slot.md.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import { FormatError, UnknownVersion } from '../format/fields.ts';
import { decodeSlot, encodeSlot, type SlotKind } from '../format/storage-slot.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import { laterVersion, StorageUnusable } from './storage-error.ts';

const COPIES = 2;

/** Neither copy can be read. */
export class SlotDamaged extends StorageUnusable {}

export class SlotFile {
  readonly #platform: Platform;
  readonly #file: DiskFile;
  readonly #kind: SlotKind;
  readonly #page: Buffer;
  #serial = 0;
  #writing: Promise<void> = Promise.resolve();

  private constructor(platform: Platform, file: DiskFile, kind: SlotKind) {
    this.#platform = platform;
    this.#file = file;
    this.#kind = kind;
    this.#page = platform.memory.allocate(BLOCK_BYTES);
  }

  /** undefined: there is no such file. Rejects with SlotDamaged. */
  static async open(
    platform: Platform,
    path: string,
    kind: SlotKind,
  ): Promise<{ slot: SlotFile; payload: Buffer } | undefined> {
    if (!(await platform.disk.exists(path))) return undefined;
    const slot = new SlotFile(platform, await platform.disk.open(path, { write: true, direct: true }), kind);
    const payload = await slot.#readNewest();
    if (payload === undefined) {
      await slot.close();
      throw new SlotDamaged(`${path} is damaged: neither of its copies can be read`);
    }
    // A killed process may have left a copy that is not durable yet: it is the state from here on.
    await slot.#file.sync();
    return { slot, payload };
  }

  /** The file appears whole or not at all, also in a crash. */
  static async create(platform: Platform, path: string, kind: SlotKind, payload: Buffer): Promise<SlotFile> {
    const bytes = Buffer.alloc(COPIES * BLOCK_BYTES);
    for (let copy = 0; copy < COPIES; copy++) {
      const page = bytes.subarray(copy * BLOCK_BYTES, (copy + 1) * BLOCK_BYTES);
      encodeSlot({ kind, serial: 1, payload }, page, platform.kernels.crc32c);
    }
    await platform.disk.writeSmallFile(path, bytes);
    const slot = new SlotFile(platform, await platform.disk.open(path, { write: true, direct: true }), kind);
    slot.#serial = 1;
    return slot;
  }

  async #readNewest(): Promise<Buffer | undefined> {
    let newest: Buffer | undefined;
    for (let copy = 0; copy < COPIES; copy++) {
      if ((await this.#file.read([this.#page], copy * BLOCK_BYTES)) < BLOCK_BYTES) continue;
      try {
        const { serial, payload } = decodeSlot(this.#kind, this.#page, this.#platform.kernels.crc32c);
        if (serial <= this.#serial) continue;
        this.#serial = serial;
        newest = payload;
      } catch (error) {
        if (error instanceof UnknownVersion) throw laterVersion(this.#file.path, error);
        if (!(error instanceof FormatError)) throw error;
        this.#platform.log.warn('state-copy-damaged', { path: this.#file.path, copy, why: error.message });
      }
    }
    return newest;
  }

  /** Durable when it resolves. Writes take their turn. */
  write(payload: Buffer): Promise<void> {
    const turn = this.#writing.then(() => this.#writeCopies(payload));
    this.#writing = turn.catch(() => undefined); // the caller hears of it; the next write is a new attempt
    return turn;
  }

  async #writeCopies(payload: Buffer): Promise<void> {
    this.#serial++;
    encodeSlot(
      { kind: this.#kind, serial: this.#serial, payload },
      this.#page,
      this.#platform.kernels.crc32c,
    );
    for (let copy = 0; copy < COPIES; copy++) {
      await this.#file.write([this.#page], copy * BLOCK_BYTES, { durable: true });
    }
  }

  async close(): Promise<void> {
    await this.#writing;
    await this.#file.close();
  }
}
