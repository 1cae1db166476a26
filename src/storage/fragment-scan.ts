/**
 * Finds the fragments in a stretch of a log file by their headers alone: after a crash the ends of the files, after the loss of the index
 * everything. Pure reading; what it means is for the recovery to say.
 *
 * Fragments are written side by side, so a torn one may lie in front of a whole one: where no header is found the scan goes on page by page.
 */
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import {
  decodeFragmentHeader,
  FRAGMENT_MAGIC,
  FRAGMENT_MAGIC_OFFSET,
  fragmentHeaderLength,
} from '../format/storage-log-file.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';

export interface FoundFragment {
  readonly headerOffset: number;
  readonly headerBytes: number;
  readonly description: FragmentDescription;
}

const HEADER_READ_BYTES = 2 * BLOCK_BYTES;
const WINDOW_BYTES = MIB;

export class FragmentScanner {
  readonly #platform: Platform;
  readonly #nonce: Buffer;
  readonly #window: Buffer;
  readonly #sums = new Uint32Array(WINDOW_BYTES / BLOCK_BYTES);

  constructor(platform: Platform, nonce: Buffer) {
    this.#platform = platform;
    this.#nonce = nonce;
    this.#window = platform.memory.allocate(WINDOW_BYTES);
  }

  /** The header at `headerOffset`, if a valid one is there. */
  async headerAt(file: DiskFile, fileId: number, headerOffset: number): Promise<FoundFragment | undefined> {
    const got = await file.read([this.#window.subarray(0, HEADER_READ_BYTES)], headerOffset);
    return this.#decode(this.#window.subarray(0, got), fileId, headerOffset);
  }

  #decode(bytes: Buffer, fileId: number, headerOffset: number): FoundFragment | undefined {
    const headerBytes = fragmentHeaderLength(bytes);
    if (headerBytes === undefined || headerBytes > bytes.length) return undefined;
    try {
      const description = decodeFragmentHeader(
        { fileId, headerOffset, nonce: this.#nonce },
        bytes.subarray(0, headerBytes),
        this.#platform.kernels.crc32c,
      );
      return { headerOffset, headerBytes, description };
    } catch (error) {
      if (error instanceof FormatError) return undefined;
      throw error;
    }
  }

  /** The first fragment whose header is in [from, to). */
  async next(file: DiskFile, fileId: number, from: number, to: number): Promise<FoundFragment | undefined> {
    let offset = from;
    while (offset < to) {
      const found = await this.headerAt(file, fileId, offset);
      if (found !== undefined) return found;
      offset = await this.#nextCandidate(file, offset + BLOCK_BYTES, to);
    }
    return undefined;
  }

  /** First page from `from` on that looks like a header; `to` if there is none. */
  async #nextCandidate(file: DiskFile, from: number, to: number): Promise<number> {
    let offset = from;
    while (offset < to) {
      const got = await file.read([this.#window], offset);
      for (let at = 0; at + BLOCK_BYTES <= got && offset + at < to; at += BLOCK_BYTES) {
        if (this.#window.readUInt32LE(at + FRAGMENT_MAGIC_OFFSET) === FRAGMENT_MAGIC) return offset + at;
      }
      if (got < WINDOW_BYTES) return to;
      offset += got;
    }
    return to;
  }

  /** Does every block of the payload match its checksum? */
  async payloadIsWhole(file: DiskFile, found: FoundFragment): Promise<boolean> {
    const { fragmentBlocks, checksums } = found.description;
    const lengthBytes = fragmentBlocks * BLOCK_BYTES;
    const start = found.headerOffset + found.headerBytes;
    for (let done = 0; done < lengthBytes; done += WINDOW_BYTES) {
      const part = this.#window.subarray(0, Math.min(WINDOW_BYTES, lengthBytes - done));
      if ((await file.read([part], start + done)) < part.length) return false;
      this.#platform.kernels.crc32cBlocks(part, BLOCK_BYTES, this.#sums, 0);
      for (let i = 0; i < part.length / BLOCK_BYTES; i++) {
        if (this.#sums[i] !== checksums[done / BLOCK_BYTES + i]) return false;
      }
    }
    return true;
  }
}
