/**
 * The fragments of one storage node: put, get, free, list. Owns the node's storage directory:
 *
 *   state.slot       term and identity         tombstones.ring   frees whose headers may still be readable
 *   00000001.tlog    log files: the truth      index/            `level`: where each fragment lies, a view
 *
 * A put is acknowledged when header and payload are durable; a free when its tombstone is. Nothing is overwritten in place. Every
 * block that leaves here through `get` was checked. The store knows nothing of files, extents or liveness.
 *
 * Here is what puts, frees and fences have to do with each other. What is held, and how it gets on the disk and off it, is in held-fragments.ts,
 * fragment-writer.ts and fragment-reader.ts; the promise of a fence is kept in promised-term.ts.
 *
 * A store whose state was lost has forgotten which primaries it promised to refuse. It serves reads and takes what is new; nothing that it holds is
 * freed or replaced until a primary has shown that it reigned after the store was opened (`pledge`; docs/metadata-protocol.md says why).
 */
import { entryCache } from '../base/entry-cache.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { IndexedFragment } from '../format/storage-index.ts';
import { fragmentHeaderBytes } from '../format/storage-log-file.ts';
import type {
  FragmentKey,
  FragmentLocation,
  FragmentName,
  ListReply,
  StorageStatistics,
} from '../format/storage-messages.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import { BufferPool } from './buffer-pool.ts';
import type { FragmentIndex } from './fragment-index.ts';
import { FragmentReader, locationOf } from './fragment-reader.ts';
import {
  type FragmentStoreOptions,
  type FragmentStoreParts,
  openFragmentStoreParts,
} from './fragment-store-parts.ts';
import { FragmentWriter } from './fragment-writer.ts';
import { HeldFragments, placeOf } from './held-fragments.ts';
import { IndexCheckpoints } from './index-checkpoints.ts';
import type { LogFiles } from './log-files.ts';
import { PromisedTerm } from './promised-term.ts';
import { Reclaimer } from './reclaimer.ts';
import { SpaceAccount } from './space-account.ts';
import { refusalOf, StorageError } from './storage-error.ts';
import type { TombstoneRing } from './tombstone-ring.ts';

export type { FragmentStoreOptions };

export interface PutResult {
  readonly location: FragmentLocation;
  readonly freeBytes: number;
}

const HEADER_BUFFER_BYTES = 2 * BLOCK_BYTES;
const HEADER_BUFFERS = 64;
const REMEMBERED_FREES = 8192;

export class FragmentStore {
  readonly #platform: Platform;
  readonly #space: SpaceAccount;
  readonly #promised: PromisedTerm;
  readonly #index: FragmentIndex;
  readonly #logs: LogFiles;
  readonly #ring: TombstoneRing;
  readonly #reclaimer: Reclaimer;
  readonly #reader: FragmentReader;
  readonly #checkpoints: IndexCheckpoints;
  readonly #held: HeldFragments;
  readonly #writer: FragmentWriter;
  /** Puts in flight by fragment: a second one, or a free, waits for the first. */
  readonly #putting = new Map<string, Promise<PutResult>>();
  readonly #freeing = new Set<Promise<unknown>>();
  /** Frees of late: a put that was on its way when its segment was given up is refused. */
  readonly #freedGenerations = entryCache<string, number>(REMEMBERED_FREES);
  #closing = false;
  readonly #counters = { gets: 0, frees: 0, bytesRead: 0, corruptBlocks: 0 };

  private constructor(platform: Platform, options: FragmentStoreOptions, parts: FragmentStoreParts) {
    const { slot, state, index, logs, ring, regions } = parts;
    this.#platform = platform;
    this.#promised = new PromisedTerm(platform, options.directory, slot, state);
    this.#index = index;
    this.#logs = logs;
    this.#ring = ring;
    const { kernels } = platform;
    const { nonce } = state;
    const headers = new BufferPool(platform.memory, HEADER_BUFFERS, HEADER_BUFFER_BYTES);
    const reader = new FragmentReader(platform, headers, nonce);
    const checkpoints = new IndexCheckpoints(platform, index, logs, ring, nonce);
    const reclaimer = new Reclaimer(platform, logs, ring, (released, removed) =>
      checkpoints.run(released, removed),
    );
    const space = new SpaceAccount(platform, logs, options.capacityBytes, options.diskSharers ?? (() => 1));
    space.pendingBytes = () => reclaimer.pendingBytes;
    const held = new HeldFragments({ index, logs, ring, space, reader, reclaimer, checkpoints });
    this.#reader = reader;
    this.#checkpoints = checkpoints;
    this.#reclaimer = reclaimer;
    this.#space = space;
    this.#held = held;
    this.#writer = new FragmentWriter({ kernels, headers, nonce, logs, space, reclaimer, held });
    for (const region of regions) reclaimer.add(region);
  }

  static async open(platform: Platform, options: FragmentStoreOptions): Promise<FragmentStore> {
    return new FragmentStore(platform, options, await openFragmentStoreParts(platform, options));
  }

  get term(): number {
    return this.#promised.term;
  }

  get usedBytes(): number {
    return this.#space.usedBytes;
  }

  /** What may still be put, headers included. */
  get freeBytes(): number {
    return this.#space.freeBytes;
  }

  /**
   * Stores a fragment durably. Again with the same generation is fine and changes nothing, unless what is held is damaged or another one:
   * then it is replaced, as it is by a higher generation. Refuses
   * with full, fenced, conflict (older than what is held, or freed already), corrupt (payload does not match the checksums), invalid.
   */
  async put(description: FragmentDescription, payload: Uint8Array): Promise<PutResult> {
    const name = `${description.segmentId}/${description.position}`;
    for (;;) {
      this.#mustServe(description.term);
      const other = this.#putting.get(name);
      if (other === undefined) break;
      await other.catch(() => undefined); // its own caller hears of it
    }
    const put = this.#putNew(name, description, payload);
    this.#putting.set(name, put);
    try {
      return await put;
    } finally {
      this.#putting.delete(name);
    }
  }

  async #putNew(name: string, description: FragmentDescription, payload: Uint8Array): Promise<PutResult> {
    const { segmentId, position, generation, fragmentBlocks, nodes } = description;
    if (payload.length !== fragmentBlocks * BLOCK_BYTES) {
      throw new StorageError(
        { reason: 'invalid' },
        `payload of ${payload.length} bytes for ${fragmentBlocks} blocks`,
      );
    }
    const held = this.#held.at(segmentId, position);
    if (
      held?.generation === generation &&
      (await this.#reader.isIntact(this.#held.logOf(held), description, held))
    ) {
      return this.#putResult(held);
    }
    const freed = this.#freedGenerations.get(name) ?? -1;
    if ((held !== undefined && held.generation > generation) || freed >= generation) {
      throw new StorageError(
        { reason: 'conflict' },
        `fragment ${name} generation ${generation} was superseded`,
      );
    }
    if (held !== undefined) this.#promised.mustBeKnown();
    this.#reader.verify(payload, description.checksums, 0);
    await this.#checkpoints.admit();
    const headerBytes = fragmentHeaderBytes(fragmentBlocks, nodes.length);
    const lengthBytes = headerBytes + payload.length;
    if (lengthBytes > this.freeBytes) {
      this.#space.refresh();
      throw new StorageError({ reason: 'full' }, 'the node has no room for the fragment');
    }
    const { entry, replaced } = await this.#writer.store(description, headerBytes, lengthBytes, payload);
    if (replaced !== undefined) await this.#held.bury([{ segmentId, position, ...replaced }]);
    return this.#putResult(entry);
  }

  #putResult(entry: IndexedFragment): PutResult {
    return { location: locationOf(entry), freeBytes: this.freeBytes };
  }

  /** Blocks [firstBlock, firstBlock + blockCount) of the fragment into `into` (page-aligned), checked. Returns their length. Refuses with missing, corrupt. */
  async get(name: FragmentName, firstBlock: number, blockCount: number, into: Uint8Array): Promise<number> {
    this.#mustServe(undefined);
    const entry = this.#held.find(name);
    const lengthBytes = blockCount * BLOCK_BYTES;
    if (blockCount < 1 || firstBlock + blockCount > entry.fragmentBlocks || into.length < lengthBytes) {
      throw new StorageError(
        { reason: 'invalid' },
        `blocks ${firstBlock}+${blockCount} of ${entry.fragmentBlocks}`,
      );
    }
    try {
      await this.#reader.read(
        this.#held.logOf(entry),
        name,
        entry,
        firstBlock,
        into.subarray(0, lengthBytes),
      );
    } catch (error) {
      this.#held.find(name); // freed while it was read? Then its bytes were never wrong
      if (error instanceof StorageError && error.refusal.reason === 'corrupt') this.#noteCorrupt(name, error);
      throw refusalOf(error, 'reading a fragment');
    }
    this.#counters.gets++;
    this.#counters.bytesRead += lengthBytes;
    return lengthBytes;
  }

  #noteCorrupt(name: FragmentName, error: StorageError): void {
    this.#counters.corruptBlocks++;
    const { segmentId, position } = name;
    this.#platform.log.warn('fragment-corrupt', { segmentId, position, why: error.message });
  }

  /** Frees what is held of each name up to its generation; durable when it resolves. Returns how many were there. */
  async free(term: number, names: readonly FragmentName[]): Promise<number> {
    this.#mustServe(term);
    this.#promised.mustBeKnown();
    const work = this.#freeAll(names);
    this.#freeing.add(work);
    try {
      return await work;
    } catch (error) {
      throw refusalOf(error, 'freeing fragments');
    } finally {
      this.#freeing.delete(work);
    }
  }

  async #freeAll(names: readonly FragmentName[]): Promise<number> {
    for (const { segmentId, position, generation } of names) {
      const name = `${segmentId}/${position}`;
      this.#freedGenerations.set(name, Math.max(generation, this.#freedGenerations.get(name) ?? 0));
    }
    for (const { segmentId, position } of names) {
      await this.#putting.get(`${segmentId}/${position}`)?.catch(() => undefined); // its own caller hears of it
    }
    // By place: a request may name one twice.
    const held = new Map<string, FragmentKey & IndexedFragment>();
    for (const { segmentId, position, generation } of names) {
      const entry = this.#held.at(segmentId, position);
      if (entry !== undefined && entry.generation <= generation)
        held.set(placeOf(entry), { segmentId, position, ...entry });
    }
    this.#counters.frees += held.size;
    await this.#held.bury([...held.values()]);
    return held.size;
  }

  async list(afterSegmentId: number, afterPosition: number, limit: number): Promise<ListReply> {
    this.#mustServe(undefined);
    const found = await this.#index.list(afterSegmentId, afterPosition, limit + 1);
    const fragments = found.slice(0, limit).map(({ segmentId, position, generation, fragmentBlocks }) => {
      return { segmentId, position, generation, fragmentBlocks };
    });
    return { more: found.length > limit, fragments };
  }

  async describe(key: FragmentKey): Promise<FragmentDescription> {
    this.#mustServe(undefined);
    const { segmentId, position } = key;
    const entry = this.#held.at(segmentId, position);
    if (entry === undefined)
      throw new StorageError({ reason: 'missing' }, `no fragment ${segmentId}/${position}`);
    try {
      return await this.#reader.describe(this.#held.logOf(entry), key, entry);
    } catch (error) {
      throw refusalOf(error, 'reading a fragment header');
    }
  }

  locate(name: FragmentName): FragmentLocation {
    this.#mustServe(undefined);
    return locationOf(this.#held.find(name));
  }

  /** A read-only handle whose descriptor can be passed to another process. It stays the store's. */
  async shareLogFile(fileId: number): Promise<DiskFile> {
    this.#mustServe(undefined);
    const log = this.#logs.byId.get(fileId);
    if (log === undefined) throw new StorageError({ reason: 'missing' }, `no log file ${fileId}`);
    log.retain();
    try {
      return await log.shared();
    } catch (error) {
      throw refusalOf(error, 'opening a log file');
    } finally {
      log.release();
    }
  }

  /**
   * Puts and frees of terms before this one are refused from now on, also after a restart; those under way are over when it resolves. Refuses with
   * fenced, and with forgotten: see `pledge`.
   */
  async fence(term: number): Promise<void> {
    this.#mustServe(term);
    try {
      const stored = this.#promised.raise(term);
      if (stored !== undefined) await stored;
    } catch (error) {
      throw refusalOf(error, 'storing the term');
    }
    await Promise.allSettled([...this.#putting.values(), ...this.#freeing]);
  }

  /** A fence by who reigned after it was given the challenge, so that no newer term can have been promised before. */
  async pledge(term: number, challenge: number): Promise<void> {
    this.#mustServe(term);
    const renewed = this.#promised.renew(term, challenge);
    if (renewed !== undefined) await renewed;
    await this.fence(term);
  }

  statistics(): StorageStatistics {
    return {
      capacityBytes: this.#space.capacityBytes,
      usedBytes: this.#space.usedBytes,
      freeBytes: this.freeBytes,
      fragments: this.#held.count,
      logFiles: this.#logs.byId.size,
      term: this.#promised.term,
      ...this.#writer.counters,
      ...this.#counters,
    };
  }

  /** For pings: fresh enough, in this turn. */
  space(): { freeBytes: number; usedBytes: number; capacityBytes: number } {
    this.#space.refresh();
    return {
      freeBytes: this.freeBytes,
      usedBytes: this.#space.usedBytes,
      capacityBytes: this.#space.capacityBytes,
    };
  }

  #mustServe(term: number | undefined): void {
    if (this.#closing) throw new StorageError({ reason: 'busy' }, 'the node is stopping');
    if (term !== undefined) this.#promised.admit(term);
  }

  /** Finishes what is under way, reclaims what can be, and leaves an index that needs no scan. */
  async close(): Promise<void> {
    this.#closing = true;
    await Promise.allSettled([...this.#putting.values(), ...this.#freeing]);
    try {
      await this.#reclaimer.run(); // ends with a checkpoint
    } catch (error) {
      this.#platform.log.warn('closed-without-checkpoint', { why: String(error) });
    }
    await this.#reclaimer.close();
    await this.#checkpoints.stop();
    await this.#logs.close();
    await this.#ring.close();
    await this.#index.close();
    await this.#promised.close();
  }
}
