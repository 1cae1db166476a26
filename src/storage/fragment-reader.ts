/**
 * Reads fragments from their log files and checks every block against the fragment's header. Owns a bounded cache of headers. Where a
 * fragment lies is told by the caller.
 */
import { LRUCache } from 'lru-cache';
import { MAX_SEGMENT_BLOCKS } from '../base/limits.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { IndexedFragment } from '../format/storage-index.ts';
import { decodeFragmentHeader, fragmentHeaderBytes } from '../format/storage-log-file.ts';
import type { FragmentKey, FragmentLocation } from '../format/storage-messages.ts';
import type { Kernels, Memory, Platform } from '../platform/platform.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { LogFile } from './log-file.ts';
import { refusalOf, StorageError } from './storage-error.ts';

const CACHE_BYTES = 8 * MIB;
const VERIFY_BLOCKS = 64;

export class FragmentReader {
  readonly #kernels: Kernels;
  readonly #memory: Memory;
  readonly #headers: BufferPool;
  readonly #nonce: Buffer;
  readonly #sums = new Uint32Array(MAX_SEGMENT_BLOCKS);
  /** By place: log file and offset. */
  readonly #descriptions = new LRUCache<string, FragmentDescription>({
    maxSize: CACHE_BYTES,
    sizeCalculation: (description) => 256 + description.checksums.byteLength,
  });

  constructor({ kernels, memory }: Platform, headers: BufferPool, nonce: Buffer) {
    this.#kernels = kernels;
    this.#memory = memory;
    this.#headers = headers;
    this.#nonce = nonce;
  }

  /** `into` is page-aligned and exactly as long as the blocks. Refuses with corrupt. */
  async read(
    log: LogFile,
    key: FragmentKey,
    entry: IndexedFragment,
    firstBlock: number,
    into: Uint8Array,
  ): Promise<void> {
    log.retain();
    try {
      const { checksums } = await this.#describe(log, key, entry, firstBlock);
      const position = locationOf(entry).payloadOffset + firstBlock * BLOCK_BYTES;
      const got = await log.file.read([into], position);
      if (got < into.length)
        throw corrupt(firstBlock + Math.floor(got / BLOCK_BYTES), 'the log file is short');
      this.verify(into, checksums, firstBlock);
    } finally {
      log.release();
    }
  }

  async describe(log: LogFile, key: FragmentKey, entry: IndexedFragment): Promise<FragmentDescription> {
    log.retain();
    try {
      return await this.#describe(log, key, entry, 0);
    } finally {
      log.release();
    }
  }

  /** Whether what is held is what is put, and whole. Reads all of it: puts come twice only when something went wrong. */
  async isIntact(log: LogFile, put: FragmentDescription, held: IndexedFragment): Promise<boolean> {
    const buffer = this.#memory.allocate(VERIFY_BLOCKS * BLOCK_BYTES);
    try {
      if (!isSameFragment(await this.describe(log, put, held), put)) return false;
      for (let first = 0; first < held.fragmentBlocks; first += VERIFY_BLOCKS) {
        const blocks = Math.min(VERIFY_BLOCKS, held.fragmentBlocks - first);
        await this.read(log, put, held, first, buffer.subarray(0, blocks * BLOCK_BYTES));
      }
      return true;
    } catch (error) {
      const refused = refusalOf(error, 'reading a fragment');
      if (!(refused instanceof StorageError)) throw error;
      return false;
    }
  }

  /** The header as it is on disk. One that cannot be read makes the fragment corrupt. */
  async #describe(
    log: LogFile,
    key: FragmentKey,
    entry: IndexedFragment,
    blockIndex: number,
  ): Promise<FragmentDescription> {
    const place = `${entry.fileId}/${entry.headerOffset}`;
    const cached = this.#descriptions.get(place);
    if (cached !== undefined) return cached;
    const buffer = await this.#headers.take();
    try {
      const header = buffer.subarray(0, fragmentHeaderBytes(entry.fragmentBlocks, entry.fragments));
      const got = await log.file.read([header], entry.headerOffset);
      const description = decodeFragmentHeader(
        { fileId: entry.fileId, headerOffset: entry.headerOffset, nonce: this.#nonce },
        header.subarray(0, got),
        this.#kernels.crc32c,
      );
      if (description.segmentId !== key.segmentId || description.position !== key.position) {
        throw new FormatError('header of another fragment');
      }
      this.#descriptions.set(place, description);
      return description;
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      throw corrupt(blockIndex, error.message);
    } finally {
      this.#headers.give(buffer);
    }
  }

  /** Refuses with corrupt unless each block matches: bytes[0] is block firstBlock of the table. */
  verify(bytes: Uint8Array, checksums: Uint32Array, firstBlock: number): void {
    const blocks = bytes.length / BLOCK_BYTES;
    this.#kernels.crc32cBlocks(bytes, BLOCK_BYTES, this.#sums, 0);
    for (let i = 0; i < blocks; i++) {
      if (this.#sums[i] !== checksums[firstBlock + i]) throw corrupt(firstBlock + i, 'checksum');
    }
  }

  /** The fragment at this place is gone. */
  forget(fileId: number, headerOffset: number): void {
    this.#descriptions.delete(`${fileId}/${headerOffset}`);
  }
}

/** Header and payload. */
export function fragmentLengthBytes({ fragmentBlocks, fragments }: IndexedFragment): number {
  return fragmentHeaderBytes(fragmentBlocks, fragments) + fragmentBlocks * BLOCK_BYTES;
}

export function locationOf({
  fileId,
  headerOffset,
  fragmentBlocks,
  fragments,
}: IndexedFragment): FragmentLocation {
  const payloadOffset = headerOffset + fragmentHeaderBytes(fragmentBlocks, fragments);
  return { fileId, payloadOffset, fragmentBlocks };
}

/** Who holds the others, how much parity there is among them, and who wrote it, may differ. */
function isSameFragment(held: FragmentDescription, put: FragmentDescription): boolean {
  return (
    held.dataFragments === put.dataFragments &&
    held.fragmentBlocks === put.fragmentBlocks &&
    held.dataBlocks === put.dataBlocks &&
    held.summaryBlocks === put.summaryBlocks &&
    held.checksums.every((checksum, index) => checksum === put.checksums[index])
  );
}

function corrupt(blockIndex: number, why: string): StorageError {
  return new StorageError({ reason: 'corrupt', blockIndex }, `block ${blockIndex}: ${why}`);
}
