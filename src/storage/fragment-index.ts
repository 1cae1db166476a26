/**
 * Where each fragment lies: a `level` database, with what changed since its last checkpoint in memory. A view that can always be rebuilt:
 * nothing waits for it, and what a crash loses of it is found again by scanning the ends of the log files.
 *
 * Memory is bounded by the owner, who checkpoints when `dirtyEntries` grows. Values and the log files' records go into one atomic batch.
 */
import { FormatError } from '../format/fields.ts';
import {
  decodeFileIndexKey,
  decodeFragmentIndexKey,
  decodeIndexedFile,
  decodeIndexedFragment,
  decodeIndexState,
  encodeIndexedFile,
  encodeIndexedFragment,
  encodeIndexState,
  fileIndexEnd,
  fileIndexKey,
  fileIndexStart,
  fragmentIndexEnd,
  fragmentIndexKey,
  type IndexedFile,
  type IndexedFragment,
  type IndexState,
  indexStateKey,
} from '../format/storage-index.ts';
import { type Database, MachineError, type Platform } from '../platform/platform.ts';
import { StorageError } from './storage-error.ts';

export interface IndexEntry extends IndexedFragment {
  readonly segmentId: number;
  readonly position: number;
}

/** A change not yet in the database; without a value the fragment is gone. */
interface Change {
  readonly segmentId: number;
  readonly position: number;
  readonly value: IndexedFragment | undefined;
}

const CACHE_BYTES = 8 * 1024 * 1024;
const WRITE_BUFFER_BYTES = 4 * 1024 * 1024;
const FORGET_PAGE_ENTRIES = 1000;

export class FragmentIndex {
  readonly #platform: Platform;
  readonly #path: string;
  #database: Database;
  #changes = new Map<string, Change>();
  /** On its way into the database. */
  #flushing = new Map<string, Change>();
  readonly #forgottenFiles = new Set<number>();
  #failed = false;
  #damaged = false;

  private constructor(platform: Platform, path: string, database: Database) {
    this.#platform = platform;
    this.#path = path;
    this.#database = database;
  }

  /**
   * Opens the index. Without state, one that is of another store, damaged or new: it is empty and has to be rebuilt.
   */
  static async open(
    platform: Platform,
    path: string,
    nonce: Buffer,
  ): Promise<{ index: FragmentIndex; state: IndexState | undefined; files: Map<number, IndexedFile> }> {
    const marker = `${path}.rebuild`;
    if (!(await platform.disk.exists(marker))) {
      try {
        const database = await openDatabase(platform, path);
        const found = await readState(database, nonce);
        if (found !== undefined) return { index: new FragmentIndex(platform, path, database), ...found };
        await database.close();
      } catch (error) {
        if (!isDamage(error)) throw error;
        platform.log.warn('fragment-index-damaged', { path, why: String(error) });
      }
    }
    await platform.databases.destroy(path);
    await platform.disk.remove(marker);
    const database = await openDatabase(platform, path);
    return { index: new FragmentIndex(platform, path, database), state: undefined, files: new Map() };
  }

  /** Of the store whose index it is; undefined if that cannot be read. Nothing is open afterwards. */
  static async nonceOf(platform: Platform, path: string): Promise<Buffer | undefined> {
    try {
      const database = await openDatabase(platform, path);
      const value = database.getSync(indexStateKey);
      await database.close();
      return value === undefined ? undefined : decodeIndexState(value).nonce;
    } catch (error) {
      if (!isDamage(error)) throw error;
      return undefined;
    }
  }

  get dirtyEntries(): number {
    return this.#changes.size + this.#flushing.size;
  }

  get(segmentId: number, position: number): IndexedFragment | undefined {
    const name = `${segmentId}/${position}`;
    const change = this.#changes.get(name) ?? this.#flushing.get(name);
    if (change !== undefined) return change.value;
    try {
      const value = this.#database.getSync(fragmentIndexKey(segmentId, position));
      return value === undefined ? undefined : decodeIndexedFragment(value);
    } catch (error) {
      if (isDamage(error)) this.#markForRebuild();
      throw new StorageError({ reason: 'ioError' }, `the fragment index cannot be read: ${String(error)}`);
    }
  }

  /** The database turned out to be damaged while it was used: the next start rebuilds it from the log files. */
  #markForRebuild(): void {
    if (this.#damaged) return;
    this.#damaged = true;
    this.#platform.log.error('fragment-index-damaged', { path: this.#path, next: 'restart the node' });
    this.#platform.disk.writeSmallFile(`${this.#path}.rebuild`, Buffer.alloc(0)).catch((error: unknown) => {
      this.#platform.log.error('fragment-index-not-marked', { path: this.#path, why: String(error) });
    });
  }

  put(segmentId: number, position: number, value: IndexedFragment): void {
    this.#changes.set(`${segmentId}/${position}`, { segmentId, position, value });
  }

  delete(segmentId: number, position: number): void {
    this.#changes.set(`${segmentId}/${position}`, { segmentId, position, value: undefined });
  }

  /** The file is gone, and with it the fragments that lay in it. Durable with the next checkpoint. Returns how many those were. */
  async forgetFile(fileId: number): Promise<number> {
    let forgotten = 0;
    let last = { segmentId: 0, position: -1 };
    for (;;) {
      const page = await this.list(last.segmentId, last.position, FORGET_PAGE_ENTRIES);
      for (const entry of page) {
        if (entry.fileId !== fileId) continue;
        this.delete(entry.segmentId, entry.position);
        forgotten++;
      }
      const end = page.at(-1);
      if (end === undefined || page.length < FORGET_PAGE_ENTRIES) break;
      last = end;
    }
    this.#forgottenFiles.add(fileId);
    return forgotten;
  }

  /**
   * Writes what changed, with the files' records and the state as they are now, in one durable batch. Calls must not overlap.
   */
  async checkpoint(
    state: IndexState,
    files: Iterable<readonly [number, IndexedFile]>,
    removedFiles: readonly number[],
  ): Promise<void> {
    this.#flushing = this.#changes;
    this.#changes = new Map();
    const forgotten = [...this.#forgottenFiles];
    try {
      if (this.#failed) await this.#reopen();
      const batch = this.#database.batch();
      for (const { segmentId, position, value } of this.#flushing.values()) {
        const key = fragmentIndexKey(segmentId, position);
        if (value === undefined) batch.del(key);
        else batch.put(key, encodeIndexedFragment(value));
      }
      for (const [fileId, file] of files) batch.put(fileIndexKey(fileId), encodeIndexedFile(file));
      for (const fileId of [...removedFiles, ...forgotten]) batch.del(fileIndexKey(fileId));
      batch.put(indexStateKey, encodeIndexState(state));
      await batch.write({ sync: true });
      for (const fileId of forgotten) this.#forgottenFiles.delete(fileId);
    } catch (error) {
      this.#failed = true;
      for (const [name, change] of this.#changes) this.#flushing.set(name, change);
      this.#changes = this.#flushing;
      throw error;
    } finally {
      this.#flushing = new Map();
    }
  }

  /** After a failed write the database accepts no more until it is opened anew. That takes some space itself. */
  async #reopen(): Promise<void> {
    const { freeBytes } = await this.#platform.disk.space(this.#path);
    if (freeBytes < 2 * WRITE_BUFFER_BYTES) throw new MachineError('ENOSPC', 'no space to reopen the index');
    await this.#database.close();
    await this.#database.open();
    this.#failed = false;
  }

  /** Fragments behind the given one in order, at most `limit`, all of one moment. */
  async list(afterSegmentId: number, afterPosition: number, limit: number): Promise<IndexEntry[]> {
    const after = (segmentId: number, position: number) =>
      segmentId > afterSegmentId || (segmentId === afterSegmentId && position > afterPosition);
    const changed = new Map<string, Change>();
    for (const changes of [this.#flushing, this.#changes]) {
      for (const [name, change] of changes) {
        if (after(change.segmentId, change.position)) changed.set(name, change);
      }
    }
    const iterator = this.#database.iterator({
      gt: fragmentIndexKey(afterSegmentId, afterPosition),
      lt: fragmentIndexEnd,
    });
    const found: IndexEntry[] = [];
    for (const { segmentId, position, value } of changed.values()) {
      if (value !== undefined) found.push({ segmentId, position, ...value });
    }
    let stored = 0;
    try {
      // Of the first `limit` unchanged ones and all changed ones, the smallest `limit` are the answer.
      while (stored < limit) {
        const page = await iterator.nextv(Math.min(1000, limit - stored));
        if (page.length === 0) break;
        for (const [key, value] of page) {
          const { segmentId, position } = decodeFragmentIndexKey(key);
          if (changed.has(`${segmentId}/${position}`)) continue;
          found.push({ segmentId, position, ...decodeIndexedFragment(value) });
          stored++;
        }
      }
    } finally {
      await iterator.close();
    }
    found.sort((a, b) => a.segmentId - b.segmentId || a.position - b.position);
    return found.slice(0, limit);
  }

  async close(): Promise<void> {
    await this.#database.close();
  }
}

function openDatabase(platform: Platform, path: string): Promise<Database> {
  return platform.databases.open(path, { cacheBytes: CACHE_BYTES, writeBufferBytes: WRITE_BUFFER_BYTES });
}

function isDamage(error: unknown): boolean {
  if (error instanceof FormatError) return true;
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return code === 'ECORRUPT' || code === 'LEVEL_CORRUPTION';
}

async function readState(
  database: Database,
  nonce: Buffer,
): Promise<{ state: IndexState; files: Map<number, IndexedFile> } | undefined> {
  const stored = database.getSync(indexStateKey);
  if (stored === undefined) return undefined;
  const state = decodeIndexState(stored);
  if (!state.nonce.equals(nonce)) return undefined;
  const files = new Map<number, IndexedFile>();
  for await (const [key, value] of database.iterator({ gte: fileIndexStart, lt: fileIndexEnd })) {
    files.set(decodeFileIndexKey(key), decodeIndexedFile(value));
  }
  return { state, files };
}
