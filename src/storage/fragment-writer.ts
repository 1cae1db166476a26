/**
 * Writes fragments to their log files: finds a place, writes header and payload durably, and has them held. Sees to it that space is set aside from the
 * moment that it is asked for, and that the place of a write that failed is given back.
 *
 * Whether a fragment may be written is for fragment-store.ts to say; reading is fragment-reader.ts.
 */
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { IndexedFragment } from '../format/storage-index.ts';
import { encodeFragmentHeader } from '../format/storage-log-file.ts';
import type { Kernels } from '../platform/platform.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { HeldFragments } from './held-fragments.ts';
import type { Claim, LogFiles } from './log-files.ts';
import type { Reclaimer } from './reclaimer.ts';
import type { SpaceAccount } from './space-account.ts';
import { refusalOf } from './storage-error.ts';

export interface FragmentWriterParts {
  readonly kernels: Kernels;
  readonly headers: BufferPool;
  /** Of the store. */
  readonly nonce: Buffer;
  readonly logs: LogFiles;
  readonly space: SpaceAccount;
  readonly reclaimer: Reclaimer;
  readonly held: HeldFragments;
}

export interface StoredFragment {
  readonly entry: IndexedFragment;
  /** What it took the place of; to be buried. */
  readonly replaced: IndexedFragment | undefined;
}

export class FragmentWriter {
  readonly #parts: FragmentWriterParts;
  readonly counters = { puts: 0, bytesWritten: 0 };

  constructor(parts: FragmentWriterParts) {
    this.#parts = parts;
  }

  /** Durable when it resolves. `lengthBytes`: header and payload. Refuses with full, ioError. */
  async store(
    description: FragmentDescription,
    headerBytes: number,
    lengthBytes: number,
    payload: Uint8Array,
  ): Promise<StoredFragment> {
    return this.#parts.space.reserving(lengthBytes, async () => {
      const claim = await this.#claim(lengthBytes);
      await this.#write(claim, description, headerBytes, payload);
      const entry: IndexedFragment = {
        fileId: claim.log.fileId,
        headerOffset: claim.offset,
        fragmentBlocks: description.fragmentBlocks,
        generation: description.generation,
        fragments: description.nodes.length,
      };
      const replaced = this.#parts.held.add(claim, description, entry);
      this.counters.puts++;
      this.counters.bytesWritten += lengthBytes;
      return { entry, replaced };
    });
  }

  async #claim(lengthBytes: number): Promise<Claim> {
    const { logs, space, reclaimer } = this.#parts;
    const claim = async () => logs.claim(lengthBytes);
    return space.placing(lengthBytes, async () => {
      try {
        return await claim().catch(async (error: unknown) => {
          if (reclaimer.pendingBytes === 0) throw error;
          await reclaimer.run(); // what was freed just now may be what is missing
          return claim();
        });
      } catch (error) {
        throw refusalOf(error, 'growing the log');
      }
    });
  }

  async #write(
    { log, offset }: Claim,
    description: FragmentDescription,
    headerBytes: number,
    payload: Uint8Array,
  ): Promise<void> {
    const { headers, nonce, kernels, reclaimer } = this.#parts;
    const buffer = await headers.take();
    try {
      const header = buffer.subarray(0, headerBytes);
      const place = { fileId: log.fileId, headerOffset: offset, nonce };
      encodeFragmentHeader(place, description, header, kernels.crc32c);
      await log.file.write([header, payload], offset, { durable: true });
    } catch (error) {
      log.written(offset);
      reclaimer.add({ fileId: log.fileId, offset, lengthBytes: headerBytes + payload.length });
      throw refusalOf(error, 'writing a fragment');
    } finally {
      headers.give(buffer);
    }
  }
}
