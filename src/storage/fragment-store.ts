/**
 * The fragments of one storage node: put, get, free, list. Owns the node's storage directory:
 *
 *   state.slot       term and identity         tombstones.ring   frees whose headers may still be readable
 *   00000001.tlog    log files: the truth      index/            `level`: where each fragment lies, a view
 *
 * A put is acknowledged when header and payload are durable; a free when its tombstone is. Nothing is overwritten in place. Every
 * block that leaves here through `get` was checked. The store knows nothing of files, extents or liveness.
 *
 * A store whose state was lost has forgotten which primaries it promised to refuse. It serves reads and takes what is new; nothing that it holds is
 * freed or replaced until a primary has shown that it reigned after the store was opened (`pledge`; docs/metadata-protocol.md says why).
 */
import { assert } from '../base/assert.ts';
import { entryCache } from '../base/entry-cache.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { IndexedFragment } from '../format/storage-index.ts';
import { encodeFragmentHeader, fragmentHeaderBytes } from '../format/storage-log-file.ts';
import type {
  FragmentKey,
  FragmentLocation,
  FragmentName,
  ListReply,
  StorageStatistics,
} from '../format/storage-messages.ts';
import { encodeStorageSlotState, type StorageSlotState, slotKinds } from '../format/storage-slot.ts';
import type { Tombstone } from '../format/storage-tombstones.ts';
import type { DiskFile, Platform } from '../platform/platform.ts';
import { BufferPool } from './buffer-pool.ts';
import type { FragmentIndex } from './fragment-index.ts';
import { FragmentReader, fragmentLengthBytes, locationOf } from './fragment-reader.ts';
import {
  type FragmentStoreOptions,
  type FragmentStoreParts,
  openFragmentStoreParts,
  slotPathOf,
} from './fragment-store-parts.ts';
import { IndexCheckpoints } from './index-checkpoints.ts';
import type { LogFile } from './log-file.ts';
import type { Claim, LogFiles } from './log-files.ts';
import { Reclaimer } from './reclaimer.ts';
import { SlotFile } from './slot-file.ts';
import { SpaceAccount } from './space-account.ts';
import { refusalOf, StorageError } from './storage-error.ts';
import { RING_PAGES, type TombstoneRing } from './tombstone-ring.ts';

export type { FragmentStoreOptions };

export interface PutResult {
  readonly location: FragmentLocation;
  readonly freeBytes: number;
}

const HEADER_BUFFER_BYTES = 2 * BLOCK_BYTES;
const HEADER_BUFFERS = 64;
const REMEMBERED_FREES = 8192;
const VERIFY_BLOCKS = 64;

export class FragmentStore {
  readonly #platform: Platform;
  readonly #space: SpaceAccount;
  readonly #directory: string;
  /** undefined: the term was forgotten. */
  #slot: SlotFile | undefined;
  /** Of this opening: who knows it has spoken with the store since. */
  readonly #challenge: number;
  #pledging: Promise<void> | undefined;
  #state: StorageSlotState;
  readonly #index: FragmentIndex;
  readonly #logs: LogFiles;
  readonly #ring: TombstoneRing;
  readonly #reclaimer: Reclaimer;
  readonly #headers: BufferPool;
  readonly #reader: FragmentReader;
  readonly #checkpoints: IndexCheckpoints;
  /** Puts in flight by fragment: a second one, or a free, waits for the first. */
  readonly #putting = new Map<string, Promise<PutResult>>();
  /** By place: fragments whose tombstones are being written. */
  readonly #burying = new Map<string, Promise<void>>();
  readonly #freeing = new Set<Promise<unknown>>();
  /** Frees of late: a put that was on its way when its segment was given up is refused. */
  readonly #freedGenerations = entryCache<string, number>(REMEMBERED_FREES);
  #fragments = 0;
  #closing = false;
  readonly #counters = { puts: 0, gets: 0, frees: 0, bytesWritten: 0, bytesRead: 0, corruptBlocks: 0 };

  private constructor(platform: Platform, options: FragmentStoreOptions, parts: FragmentStoreParts) {
    const { slot, state, index, logs, ring, regions } = parts;
    this.#platform = platform;
    this.#directory = options.directory;
    this.#slot = slot;
    this.#challenge = platform.random.bytes(6).readUIntLE(0, 6);
    this.#state = state;
    this.#index = index;
    this.#logs = logs;
    this.#ring = ring;
    this.#headers = new BufferPool(platform.memory, HEADER_BUFFERS, HEADER_BUFFER_BYTES);
    this.#reader = new FragmentReader(platform.kernels, this.#headers, state.nonce);
    this.#checkpoints = new IndexCheckpoints(platform, index, logs, ring, state.nonce);
    this.#reclaimer = new Reclaimer(platform, logs, ring, (released, removed) =>
      this.#checkpoints.run(released, removed),
    );
    this.#space = new SpaceAccount(platform, logs, options.capacityBytes, options.diskSharers ?? (() => 1));
    this.#space.pendingBytes = () => this.#reclaimer.pendingBytes;
    for (const log of logs.byId.values()) {
      this.#space.usedBytes += log.liveBytes;
      this.#fragments += log.liveFragments;
    }
    for (const region of regions) this.#reclaimer.add(region);
  }

  static async open(platform: Platform, options: FragmentStoreOptions): Promise<FragmentStore> {
    return new FragmentStore(platform, options, await openFragmentStoreParts(platform, options));
  }

  get term(): number {
    return this.#state.term;
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
    const held = this.#index.get(segmentId, position);
    if (held?.generation === generation && (await this.#isIntact(description, held))) {
      return this.#putResult(held);
    }
    const freed = this.#freedGenerations.get(name) ?? -1;
    if ((held !== undefined && held.generation > generation) || freed >= generation) {
      throw new StorageError(
        { reason: 'conflict' },
        `fragment ${name} generation ${generation} was superseded`,
      );
    }
    if (held !== undefined && this.#slot === undefined) throw this.#notWhileForgotten();
    this.#reader.verify(payload, description.checksums, 0);
    await this.#checkpoints.admit();
    const headerBytes = fragmentHeaderBytes(fragmentBlocks, nodes.length);
    const lengthBytes = headerBytes + payload.length;
    if (lengthBytes > this.freeBytes) {
      this.#space.refresh();
      throw new StorageError({ reason: 'full' }, 'the node has no room for the fragment');
    }
    const { entry, replaced } = await this.#store(description, headerBytes, lengthBytes, payload);
    if (replaced !== undefined) await this.#bury([{ segmentId, position, ...replaced }]);
    return this.#putResult(entry);
  }

  /** Whether what is held is what is put, and whole. Reads all of it: puts come twice only when something went wrong. */
  async #isIntact(put: FragmentDescription, held: IndexedFragment): Promise<boolean> {
    const buffer = this.#platform.memory.allocate(VERIFY_BLOCKS * BLOCK_BYTES);
    const log = this.#logOf(held);
    try {
      if (!isSameFragment(await this.#reader.describe(log, put, held), put)) return false;
      for (let first = 0; first < held.fragmentBlocks; first += VERIFY_BLOCKS) {
        const blocks = Math.min(VERIFY_BLOCKS, held.fragmentBlocks - first);
        await this.#reader.read(log, put, held, first, buffer.subarray(0, blocks * BLOCK_BYTES));
      }
      return true;
    } catch (error) {
      const refused = refusalOf(error, 'reading a fragment');
      if (!(refused instanceof StorageError)) throw error;
      return false;
    }
  }

  async #store(
    description: FragmentDescription,
    headerBytes: number,
    lengthBytes: number,
    payload: Uint8Array,
  ): Promise<{ entry: IndexedFragment; replaced: IndexedFragment | undefined }> {
    return this.#space.reserving(lengthBytes, async () => {
      const claim = await this.#claim(lengthBytes);
      await this.#write(claim, description, headerBytes, payload);
      const { segmentId, position, generation, fragmentBlocks, nodes } = description;
      const entry: IndexedFragment = {
        fileId: claim.log.fileId,
        headerOffset: claim.offset,
        fragmentBlocks,
        generation,
        fragments: nodes.length,
      };
      // Not what was held before the write: that may have been freed meanwhile.
      const replaced = this.#index.get(segmentId, position);
      this.#account(claim, segmentId, position, entry, lengthBytes);
      return { entry, replaced };
    });
  }

  async #claim(lengthBytes: number): Promise<Claim> {
    const claim = async () => this.#logs.claim(lengthBytes);
    return this.#space.placing(lengthBytes, async () => {
      try {
        return await claim().catch(async (error: unknown) => {
          if (this.#reclaimer.pendingBytes === 0) throw error;
          await this.#reclaimer.run(); // what was freed just now may be what is missing
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
    const buffer = await this.#headers.take();
    try {
      const header = buffer.subarray(0, headerBytes);
      const place = { fileId: log.fileId, headerOffset: offset, nonce: this.#state.nonce };
      encodeFragmentHeader(place, description, header, this.#platform.kernels.crc32c);
      await log.file.write([header, payload], offset, { durable: true });
    } catch (error) {
      log.written(offset);
      this.#reclaimer.add({ fileId: log.fileId, offset, lengthBytes: headerBytes + payload.length });
      throw refusalOf(error, 'writing a fragment');
    } finally {
      this.#headers.give(buffer);
    }
  }

  #account(
    { log, offset }: Claim,
    segmentId: number,
    position: number,
    entry: IndexedFragment,
    lengthBytes: number,
  ): void {
    // Replaced in the same turn: the index names the new one from here on.
    this.#index.put(segmentId, position, entry);
    log.liveFragments++;
    log.liveBytes += lengthBytes;
    log.written(offset);
    this.#fragments++;
    this.#space.usedBytes += lengthBytes;
    this.#counters.puts++;
    this.#counters.bytesWritten += lengthBytes;
    this.#checkpoints.note(lengthBytes);
  }

  #putResult(entry: IndexedFragment): PutResult {
    return { location: locationOf(entry), freeBytes: this.freeBytes };
  }

  /** Blocks [firstBlock, firstBlock + blockCount) of the fragment into `into` (page-aligned), checked. Returns their length. Refuses with missing, corrupt. */
  async get(name: FragmentName, firstBlock: number, blockCount: number, into: Uint8Array): Promise<number> {
    this.#mustServe(undefined);
    const entry = this.#find(name);
    const lengthBytes = blockCount * BLOCK_BYTES;
    if (blockCount < 1 || firstBlock + blockCount > entry.fragmentBlocks || into.length < lengthBytes) {
      throw new StorageError(
        { reason: 'invalid' },
        `blocks ${firstBlock}+${blockCount} of ${entry.fragmentBlocks}`,
      );
    }
    try {
      await this.#reader.read(this.#logOf(entry), name, entry, firstBlock, into.subarray(0, lengthBytes));
    } catch (error) {
      this.#find(name); // freed while it was read? Then its bytes were never wrong
      if (error instanceof StorageError && error.refusal.reason === 'corrupt') this.#noteCorrupt(name, error);
      throw refusalOf(error, 'reading a fragment');
    }
    this.#counters.gets++;
    this.#counters.bytesRead += lengthBytes;
    return lengthBytes;
  }

  #logOf(entry: IndexedFragment): LogFile {
    const log = this.#logs.byId.get(entry.fileId);
    assert(log !== undefined, 'an indexed fragment lies in an open log file');
    return log;
  }

  #noteCorrupt(name: FragmentName, error: StorageError): void {
    this.#counters.corruptBlocks++;
    const { segmentId, position } = name;
    this.#platform.log.warn('fragment-corrupt', { segmentId, position, why: error.message });
  }

  #find(name: FragmentName): IndexedFragment {
    const entry = this.#index.get(name.segmentId, name.position);
    if (entry?.generation === name.generation) return entry;
    const { segmentId, position, generation } = name;
    throw new StorageError(
      { reason: 'missing' },
      `no fragment ${segmentId}/${position} generation ${generation}`,
    );
  }

  /** Frees what is held of each name up to its generation; durable when it resolves. Returns how many were there. */
  async free(term: number, names: readonly FragmentName[]): Promise<number> {
    this.#mustServe(term);
    if (this.#slot === undefined) throw this.#notWhileForgotten();
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
      const entry = this.#index.get(segmentId, position);
      if (entry !== undefined && entry.generation <= generation)
        held.set(placeOf(entry), { segmentId, position, ...entry });
    }
    this.#counters.frees += held.size;
    await this.#bury([...held.values()]);
    return held.size;
  }

  /** Makes it durable that these are gone, then forgets them and has their space reclaimed. What is on its way to that already is waited for. */
  async #bury(held: readonly (FragmentKey & IndexedFragment)[]): Promise<void> {
    const fresh = held.filter((fragment) => !this.#burying.has(placeOf(fragment)));
    const underWay = held.map((fragment) => this.#burying.get(placeOf(fragment)));
    const work = this.#buryNow(fresh);
    for (const fragment of fresh) this.#burying.set(placeOf(fragment), work);
    try {
      await Promise.all([work, ...underWay]);
    } finally {
      for (const fragment of fresh) this.#burying.delete(placeOf(fragment));
    }
  }

  async #buryNow(held: readonly (FragmentKey & IndexedFragment)[]): Promise<void> {
    if (held.length === 0) return;
    const tombstones = held.map((fragment): Tombstone => {
      const { segmentId, position, generation, fileId, headerOffset } = fragment;
      return {
        segmentId,
        position,
        generation,
        fileId,
        headerOffset,
        lengthBytes: fragmentLengthBytes(fragment),
      };
    });
    await this.#ring.write(tombstones, () => {
      for (const tombstone of tombstones) this.#forget(tombstone);
    });
    if (this.#ring.pagesInUse > RING_PAGES / 2) this.#ring.onFull?.();
  }

  #forget({ segmentId, position, fileId, headerOffset, lengthBytes }: Tombstone): void {
    const entry = this.#index.get(segmentId, position);
    if (entry?.fileId === fileId && entry.headerOffset === headerOffset)
      this.#index.delete(segmentId, position);
    const log = this.#logs.byId.get(fileId);
    assert(log !== undefined, 'a fragment is forgotten before its log file is removed');
    log.liveFragments--;
    log.liveBytes -= lengthBytes;
    this.#fragments--;
    this.#space.usedBytes -= lengthBytes;
    this.#reader.forget(fileId, headerOffset);
    this.#reclaimer.add({ fileId, offset: headerOffset, lengthBytes });
    this.#checkpoints.note(0);
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
    const entry = this.#index.get(segmentId, position);
    if (entry === undefined)
      throw new StorageError({ reason: 'missing' }, `no fragment ${segmentId}/${position}`);
    try {
      return await this.#reader.describe(this.#logOf(entry), key, entry);
    } catch (error) {
      throw refusalOf(error, 'reading a fragment header');
    }
  }

  locate(name: FragmentName): FragmentLocation {
    this.#mustServe(undefined);
    return locationOf(this.#find(name));
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

  #notWhileForgotten(): StorageError {
    const message = 'the node has forgotten its term: what it holds stays until a primary renews it';
    return new StorageError({ reason: 'busy' }, message);
  }

  /**
   * Puts and frees of terms before this one are refused from now on, also after a restart; those under way are over when it resolves. Refuses with
   * fenced, and with forgotten: see `pledge`.
   */
  async fence(term: number): Promise<void> {
    this.#mustServe(term);
    const slot = this.#slot;
    if (slot === undefined) {
      const refusal = { reason: 'forgotten', challenge: this.#challenge } as const;
      throw new StorageError(refusal, 'the node has forgotten its term');
    }
    const before = this.#state;
    this.#state = { ...before, term };
    if (term > before.term) {
      try {
        await slot.write(encodeStorageSlotState(this.#state));
      } catch (error) {
        throw refusalOf(error, 'storing the term');
      }
    }
    await Promise.allSettled([...this.#putting.values(), ...this.#freeing]);
  }

  /** A fence by who reigned after it was given the challenge, so that no newer term can have been promised before. */
  async pledge(term: number, challenge: number): Promise<void> {
    this.#mustServe(term);
    if (this.#slot === undefined) {
      if (challenge !== this.#challenge) {
        throw new StorageError({ reason: 'forgotten', challenge: this.#challenge }, 'the node was restarted');
      }
      this.#pledging ??= this.#makeSlot(term).finally(() => {
        this.#pledging = undefined;
      });
      await this.#pledging;
    }
    await this.fence(term);
  }

  async #makeSlot(term: number): Promise<void> {
    const state = { ...this.#state, term };
    try {
      const path = slotPathOf(this.#directory);
      const payload = encodeStorageSlotState(state);
      const slot = await SlotFile.create(this.#platform, path, slotKinds.storage, payload);
      this.#state = state;
      this.#slot = slot;
      this.#platform.log.info('storage-state-renewed', { term });
    } catch (error) {
      throw refusalOf(error, 'storing the term');
    }
  }

  statistics(): StorageStatistics {
    return {
      capacityBytes: this.#space.capacityBytes,
      usedBytes: this.#space.usedBytes,
      freeBytes: this.freeBytes,
      fragments: this.#fragments,
      logFiles: this.#logs.byId.size,
      term: this.#state.term,
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
    if (term !== undefined && term < this.#state.term) {
      const known = this.#state.term;
      throw new StorageError({ reason: 'fenced', term: known }, `term ${term} is older than ${known}`);
    }
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
    await this.#pledging?.catch(() => undefined); // its caller was told
    await this.#slot?.close();
  }
}

function placeOf({ fileId, headerOffset }: IndexedFragment): string {
  return `${fileId}/${headerOffset}`;
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
