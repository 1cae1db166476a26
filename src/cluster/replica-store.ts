/**
 * A copy of the checkpointed metadata state in a `level` database, together with the journal sequence it stands for. Journal members keep one,
 * and so does the mount for its own view: the class is the same.
 *
 * Invariant: when `state.complete`, the database holds exactly the state after entry appliedSequence; a checkpoint moves both in one durable
 * batch. While a snapshot is being installed, and after a crash in the middle of that, it is not complete.
 *
 * It knows nothing of what keys and values mean. Readers use `database` directly; only this class writes.
 */
import type { AbstractIterator } from 'abstract-level';
import { assert } from '../base/assert.ts';
import { MIB } from '../base/units.ts';
import { asBuffer, FormatError, UnknownVersion } from '../format/fields.ts';
import { MAX_REPLICA_PART_BYTES } from '../format/journal-messages.ts';
import {
  type ReplicaOperation,
  type ReplicaState,
  replicaOperationBytes,
} from '../format/replica-messages.ts';
import {
  decodeStoredReplicaState,
  encodeStoredReplicaState,
  replicaStateKey,
} from '../format/replica-state.ts';
import { type Database, MachineError, type Platform } from '../platform/platform.ts';

/** A checkpoint or a page that does not follow what is there. */
export class ReplicaConflict extends Error {
  override readonly name = 'ReplicaConflict';
}

export interface ReplicaStoreOptions {
  readonly directory: string;
  readonly cacheBytes?: number;
  readonly writeBufferBytes?: number;
}

/** One moment of the state, however the store goes on. Closed exactly once. */
export interface ReplicaView {
  readonly appliedSequence: number;
  /** Pairs behind `afterKey` (empty: from the start), about maxBytes of them. `end`: no more follow. */
  read(afterKey: Uint8Array, maxBytes: number): Promise<{ operations: ReplicaOperation[]; end: boolean }>;
  close(): Promise<void>;
}

export interface GatheredCheckpoint {
  add(operations: Iterable<ReplicaOperation>): void;
  /** Rejects with ReplicaConflict when the state is another one; nothing is changed then. */
  apply(fromSequence: number, toSequence: number): Promise<void>;
  close(): Promise<void>;
}

type Batch = ReturnType<Database['batch']>;

function addTo(batch: Batch, { key, value }: ReplicaOperation): void {
  assert(key[0] !== 0, 'keys that start with a zero byte are the store’s own');
  if (value === undefined) batch.del(asBuffer(key));
  else batch.put(asBuffer(key), asBuffer(value));
}

const WRITE_BUFFER_BYTES = 2 * MIB;
const NOTHING: ReplicaState = { complete: false, appliedSequence: 0 };
/** Operations that are put into a batch before other work gets its turn. */
const SLICE = 1000;

export class ReplicaStore {
  readonly database: Database;
  readonly #platform: Platform;
  readonly #directory: string;
  #state: ReplicaState;
  /** Next page of the snapshot being installed. */
  #nextPage: number | undefined;
  #busy = false;
  #damaged = false;
  #failed = false;

  private constructor(platform: Platform, directory: string, database: Database, state: ReplicaState) {
    this.#platform = platform;
    this.#directory = directory;
    this.database = database;
    this.#state = state;
  }

  /** A damaged database is replaced by an empty, incomplete one. Rejects with UnknownVersion. */
  static async open(platform: Platform, options: ReplicaStoreOptions): Promise<ReplicaStore> {
    const { directory } = options;
    const open = () =>
      platform.databases.open(directory, {
        cacheBytes: options.cacheBytes ?? 4 * MIB,
        writeBufferBytes: options.writeBufferBytes ?? WRITE_BUFFER_BYTES,
      });
    let database: Database | undefined;
    try {
      database = await open();
      return new ReplicaStore(platform, directory, database, storedState(platform, database));
    } catch (error) {
      if (error instanceof UnknownVersion) {
        await database?.close();
        throw error;
      }
      const damaged =
        error instanceof FormatError || (error instanceof MachineError && error.code === 'ECORRUPT');
      if (!damaged) throw error;
      platform.log.warn('replica-damaged', { directory, why: error.message });
      await database?.close();
      await platform.databases.destroy(directory);
      return new ReplicaStore(platform, directory, await open(), NOTHING);
    }
  }

  get crc32c(): (bytes: Uint8Array) => number {
    return this.#platform.kernels.crc32c;
  }

  get state(): ReplicaState {
    return this.#state;
  }

  /** A write failed, so all others fail as well until `mend`. Reads go on. */
  get failed(): boolean {
    return this.#failed;
  }

  /**
   * Opens the database anew, which is what makes it take writes again after one that failed. That takes some space itself: rejects without.
   * Nothing may be reading; views and gathered checkpoints are closed by it.
   */
  async mend(): Promise<void> {
    await this.#exclusively(async () => {
      const { freeBytes } = await this.#platform.disk.space(this.#directory);
      if (freeBytes < 2 * WRITE_BUFFER_BYTES)
        throw new MachineError('ENOSPC', 'no space to reopen the replica');
      await this.database.close();
      await this.database.open();
      // The write that failed may be there all the same.
      this.#state = storedState(this.#platform, this.database);
      this.#nextPage = undefined;
      this.#failed = false;
    });
  }

  /**
   * Applies final values of keys, taking the state from one sequence to another: all or nothing, durably. Rejects with ReplicaConflict when the
   * state is another one.
   */
  async applyCheckpoint(
    fromSequence: number,
    toSequence: number,
    operations: Iterable<ReplicaOperation>,
  ): Promise<void> {
    assert(toSequence >= fromSequence, 'a checkpoint goes forward');
    this.#mustStandAt(fromSequence);
    await this.#exclusively(() => this.#write(operations, { complete: true, appliedSequence: toSequence }));
  }

  /**
   * A checkpoint that arrives in parts: each goes into a batch of the database as it comes, so nothing else has to keep it. Applied as applyCheckpoint
   * does it, or closed; once.
   */
  gatherCheckpoint(): GatheredCheckpoint {
    const batch = this.database.batch();
    return {
      add: (operations) => {
        for (const operation of operations) addTo(batch, operation);
      },
      apply: async (fromSequence, toSequence) => {
        try {
          this.#mustStandAt(fromSequence);
        } catch (error) {
          await batch.close();
          throw error;
        }
        await this.#exclusively(() => this.#finish(batch, { complete: true, appliedSequence: toSequence }));
      },
      close: () => batch.close(),
    };
  }

  #mustStandAt(fromSequence: number): void {
    const { complete, appliedSequence } = this.#state;
    if (complete && appliedSequence === fromSequence && !this.#busy) return;
    throw new ReplicaConflict(`at ${complete ? appliedSequence : 'nothing'}, not at ${fromSequence}`);
  }

  /** Something in it was found damaged: it is incomplete until a snapshot is installed, also after a restart. */
  async markDamaged(): Promise<void> {
    this.#damaged = true;
    if (!this.#busy) await this.#exclusively(() => this.#write([], NOTHING));
  }

  /** From here to endInstall the store is incomplete. */
  async beginInstall(): Promise<void> {
    await this.#exclusively(async () => {
      this.#damaged = false;
      await this.#write([], NOTHING);
      this.#nextPage = undefined;
      await this.#removeAll();
      this.#nextPage = 0;
    });
  }

  async installPage(page: number, operations: Iterable<ReplicaOperation>): Promise<void> {
    if (this.#nextPage !== page || this.#busy)
      throw new ReplicaConflict(`page ${page} of a snapshot is out of order`);
    await this.#exclusively(async () => {
      await this.#write(operations, NOTHING);
      this.#nextPage = page + 1;
    });
  }

  async endInstall(appliedSequence: number): Promise<void> {
    if (this.#nextPage === undefined || this.#busy)
      throw new ReplicaConflict('no snapshot is being installed');
    await this.#exclusively(async () => {
      await this.#write([], { complete: true, appliedSequence });
      this.#nextPage = undefined;
    });
  }

  /** Unlike clear(), synced: see #write. What came back after a power loss would be in a state that never was. */
  async #removeAll(): Promise<void> {
    const iterator = this.database.keys({ gt: replicaStateKey });
    try {
      for (;;) {
        const keys = await iterator.nextv(SLICE);
        if (keys.length === 0) return;
        const removals = keys.map((key) => ({ type: 'del' as const, key }));
        await this.database.batch(removals, { sync: true } as object);
      }
    } finally {
      await iterator.close();
    }
  }

  async #exclusively(run: () => Promise<void>): Promise<void> {
    if (this.#busy) throw new ReplicaConflict('another change is under way');
    this.#busy = true;
    try {
      await run();
      if (this.#damaged && this.#state.complete) await this.#write([], NOTHING);
    } catch (error) {
      this.#failed = true;
      throw error;
    } finally {
      this.#busy = false;
    }
  }

  async #write(operations: Iterable<ReplicaOperation>, state: ReplicaState): Promise<void> {
    const batch = this.database.batch();
    try {
      let count = 0;
      for (const operation of operations) {
        addTo(batch, operation);
        count++;
        if (count % SLICE === 0) await new Promise<void>((resolve) => this.#platform.timers.defer(resolve));
      }
    } catch (error) {
      await batch.close();
      throw error;
    }
    await this.#finish(batch, state);
  }

  async #finish(batch: Batch, state: ReplicaState): Promise<void> {
    batch.put(replicaStateKey, encodeStoredReplicaState(state, this.#platform.kernels.crc32c));
    // A later synced write does not make earlier unsynced ones durable in `level`, so each is synced.
    await batch.write({ sync: true });
    this.#state = state;
  }

  /** The state as it is now; undefined when it is not complete. */
  openView(): ReplicaView | undefined {
    const { complete, appliedSequence } = this.#state;
    if (!complete || this.#busy || this.database.status !== 'open') return undefined;
    const snapshot = this.database.snapshot();
    return {
      appliedSequence,
      read: async (afterKey, maxBytes) => {
        const gt = afterKey.length === 0 ? replicaStateKey : asBuffer(afterKey);
        const bound = Math.min(maxBytes, MAX_REPLICA_PART_BYTES);
        const iterator = this.database.iterator({ gt, snapshot });
        try {
          return await readPage(iterator, bound);
        } finally {
          await iterator.close();
        }
      },
      close: () => snapshot.close(),
    };
  }

  async close(): Promise<void> {
    await this.database.close();
  }
}

/** Throws FormatError for a damaged one, and UnknownVersion. */
function storedState(platform: Platform, database: Database): ReplicaState {
  const stored = database.getSync(replicaStateKey);
  return stored === undefined ? NOTHING : decodeStoredReplicaState(stored, platform.kernels.crc32c);
}

async function readPage(
  iterator: AbstractIterator<Database, Buffer, Buffer>,
  bound: number,
): Promise<{ operations: ReplicaOperation[]; end: boolean }> {
  const operations: ReplicaOperation[] = [];
  let total = 0;
  for (;;) {
    const pairs = await iterator.nextv(SLICE);
    if (pairs.length === 0) return { operations, end: true };
    for (const [key, value] of pairs) {
      const operation = { key, value };
      total += replicaOperationBytes(operation);
      if (total > bound && operations.length > 0) return { operations, end: false };
      operations.push(operation);
    }
  }
}
