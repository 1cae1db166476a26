/**
 * The embedded engine of the coordinator: one process, one database, everything in memory beside it.
 *
 * Linearizable because every change passes one queue: it is decided against memory, written in a synced batch, and only then visible and
 * answered. A write that fails leaves the database in doubt, so the engine stops for good: it has to be opened again.
 *
 * Remote callers reach it through coordinator-service.ts, which also uses the calls beyond the Coordinator interface.
 */
import { assert } from '../base/assert.ts';
import { KIB, MIB } from '../base/units.ts';
import {
  decodeStoredEntry,
  decodeStoredNumber,
  encodeStoredEntry,
  encodeStoredNumber,
  storeKeys,
} from '../format/coordinator-store.ts';
import { type Database, MachineError, type Platform } from '../platform/platform.ts';
import {
  type Coordinator,
  type CoordinatorEntry,
  type CoordinatorEvent,
  CoordinatorUnavailable,
  LeaseGone,
} from './coordinator.ts';
import { ChangeHistory, type HistoryReply } from './coordinator-history.ts';
import { LeaseTable } from './coordinator-leases.ts';
import { type KeptLease, keepLease } from './lease-keeper.ts';

export const MAX_VALUE_BYTES = 64 * KIB;
export const MAX_KEY_BYTES = 1 * KIB;
/** All entries together: they live in memory and are listed in one reply. */
export const MAX_STORE_BYTES = 1 * MIB;
const ENTRY_OVERHEAD_BYTES = 64;

interface HeldEntry extends CoordinatorEntry {
  readonly leaseId: number;
}

type Operation =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'del'; readonly key: Buffer };

export function isCoordinatorKey(key: string): boolean {
  return key.length >= 1 && key.length <= MAX_KEY_BYTES && /^[\x21-\x7e]+$/.test(key);
}

/** Opens the engine on a database that is its own. Rejects with MachineError ECORRUPT if what is there cannot be read. */
export async function openEmbeddedCoordinator(
  platform: Platform,
  database: Database,
): Promise<EmbeddedCoordinator> {
  const checksum = platform.kernels.crc32c;
  const entries = new Map<string, HeldEntry>();
  const leases = new Map<number, number>();
  let revision = 0;
  let lastLeaseId = 0;
  for await (const [storedKey, bytes] of database.iterator()) {
    const name = storedKey.toString('latin1', 1);
    const kind = storedKey.toString('latin1', 0, 1);
    const entry = kind === 'e' ? decodeStoredEntry(bytes, checksum) : undefined;
    const number = kind === 'e' ? undefined : decodeStoredNumber(bytes, checksum);
    if (entry !== undefined) entries.set(name, { key: name, ...entry });
    else if (number !== undefined && kind === 'l') leases.set(Number(name), number);
    else if (number !== undefined && kind === 'r') revision = number;
    else if (number !== undefined && kind === 'i') lastLeaseId = number;
    else throw new MachineError('ECORRUPT', `coordinator entry ${JSON.stringify(name)} cannot be read`);
  }
  return new EmbeddedCoordinator(platform, database, entries, leases, revision, lastLeaseId);
}

export class EmbeddedCoordinator implements Coordinator {
  readonly #platform: Platform;
  readonly #database: Database;
  readonly #entries: Map<string, HeldEntry>;
  readonly #history: ChangeHistory;
  readonly #leases: LeaseTable;
  /** Leases that this process holds itself. */
  readonly #kept = new Set<KeptLease>();
  #revision: number;
  #lastLeaseId: number;
  #storeBytes = 0;
  #queue: Promise<unknown> = Promise.resolve();
  #failure: CoordinatorUnavailable | undefined;

  /** Use openEmbeddedCoordinator. */
  constructor(
    platform: Platform,
    database: Database,
    entries: Map<string, HeldEntry>,
    leases: Map<number, number>,
    revision: number,
    lastLeaseId: number,
  ) {
    this.#platform = platform;
    this.#database = database;
    this.#entries = entries;
    this.#revision = revision;
    this.#lastLeaseId = lastLeaseId;
    for (const entry of entries.values()) this.#storeBytes += sizeOf(entry.key, entry.value);
    this.#history = new ChangeHistory(platform, revision, () => [...this.#entries.values()]);
    this.#leases = new LeaseTable(platform, (leaseId) => {
      this.revokeLease(leaseId).catch((error: unknown) => {
        platform.log.warn('coordinator-lease-not-ended', { leaseId, error: String(error) });
      });
    });
    for (const [leaseId, ttlMs] of leases) this.#leases.add(leaseId, ttlMs);
  }

  async get(key: string): Promise<CoordinatorEntry | undefined> {
    this.#check();
    const entry = this.#entries.get(key);
    return entry && publicEntry(entry);
  }

  async list(prefix: string): Promise<CoordinatorEntry[]> {
    this.#check();
    return [...this.#entries.values()]
      .filter((entry) => entry.key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1))
      .map(publicEntry);
  }

  put(key: string, value: Uint8Array, lease?: { readonly id: string }): Promise<CoordinatorEntry> {
    return this.putLeased(key, value, Number(lease?.id ?? 0));
  }

  compareAndSwap(
    key: string,
    expectedVersion: number,
    value: Uint8Array,
    lease?: { readonly id: string },
  ): Promise<CoordinatorEntry | undefined> {
    return this.compareAndSwapLeased(key, expectedVersion, value, Number(lease?.id ?? 0));
  }

  async delete(key: string): Promise<boolean> {
    return this.#exclusively(async () => {
      if (!this.#entries.has(key)) return false;
      await this.#remove([key], []);
      return true;
    });
  }

  watch(prefix: string, listener: (event: CoordinatorEvent) => void): () => void {
    return this.#history.watch(prefix, listener);
  }

  async lease(ttlMs: number): Promise<KeptLease> {
    const leaseId = await this.grantLease(ttlMs);
    const kept = keepLease(this.#platform, {
      id: String(leaseId),
      ttlMs,
      renew: async () => this.renewLease(leaseId),
      revoke: async () => {
        await this.revokeLease(leaseId);
      },
      ended: () => this.#kept.delete(kept),
    });
    this.#kept.add(kept);
    return kept;
  }

  async close(): Promise<void> {
    await this.#queue;
    this.#failure ??= new CoordinatorUnavailable('the coordinator is closed');
    for (const kept of this.#kept) kept.stop();
    this.#leases.close();
    this.#history.close();
    await this.#database.close();
  }

  // What the service offers to remote callers, who hold leases by number.

  putLeased(key: string, value: Uint8Array, leaseId: number): Promise<CoordinatorEntry> {
    return this.#exclusively(() => this.#write(key, value, leaseId));
  }

  compareAndSwapLeased(
    key: string,
    expectedVersion: number,
    value: Uint8Array,
    leaseId: number,
  ): Promise<CoordinatorEntry | undefined> {
    return this.#exclusively(async () => {
      const version = this.#entries.get(key)?.version ?? 0;
      return version === expectedVersion ? this.#write(key, value, leaseId) : undefined;
    });
  }

  /** Answers when something under the prefix has changed since, or after `waitMs`. */
  async changesSince(prefix: string, sinceRevision: number, waitMs: number): Promise<HistoryReply> {
    this.#check();
    return this.#history.changesSince(prefix, sinceRevision, waitMs);
  }

  grantLease(ttlMs: number): Promise<number> {
    return this.#exclusively(async () => {
      const leaseId = this.#lastLeaseId + 1;
      const checksum = this.#platform.kernels.crc32c;
      await this.#commit([
        { type: 'put', key: storeKeys.lease(leaseId), value: encodeStoredNumber(ttlMs, checksum) },
        { type: 'put', key: storeKeys.lastLease, value: encodeStoredNumber(leaseId, checksum) },
      ]);
      this.#lastLeaseId = leaseId;
      this.#leases.add(leaseId, ttlMs);
      return leaseId;
    });
  }

  /** False: the lease has ended. */
  renewLease(leaseId: number): boolean {
    this.#check();
    return this.#leases.renew(leaseId);
  }

  /** Ends the lease and deletes its keys. False: it had ended. */
  revokeLease(leaseId: number): Promise<boolean> {
    return this.#exclusively(async () => {
      if (!this.#leases.remove(leaseId)) return false;
      const keys = [...this.#entries.values()].filter((entry) => entry.leaseId === leaseId);
      await this.#remove(
        keys.map((entry) => entry.key),
        [{ type: 'del', key: storeKeys.lease(leaseId) }],
      );
      return true;
    });
  }

  async #write(key: string, value: Uint8Array, leaseId: number): Promise<CoordinatorEntry> {
    assert(isCoordinatorKey(key) && value.length <= MAX_VALUE_BYTES, `coordinator entry ${key}`);
    if (leaseId !== 0 && !this.#leases.has(leaseId)) throw new LeaseGone(`lease ${leaseId} has ended`);
    const before = this.#entries.get(key);
    const grownBytes = sizeOf(key, value) - (before === undefined ? 0 : sizeOf(key, before.value));
    if (this.#storeBytes + grownBytes > MAX_STORE_BYTES)
      throw new CoordinatorUnavailable('the coordinator is full');
    const entry: HeldEntry = { key, value: Buffer.from(value), version: this.#revision + 1, leaseId };
    await this.#commit([
      {
        type: 'put',
        key: storeKeys.entry(key),
        value: encodeStoredEntry(entry, this.#platform.kernels.crc32c),
      },
      this.#revisionOperation(entry.version),
    ]);
    this.#revision = entry.version;
    this.#storeBytes += grownBytes;
    this.#entries.set(key, entry);
    this.#history.add({ key, version: entry.version, value: entry.value });
    return publicEntry(entry);
  }

  async #remove(keys: readonly string[], more: readonly Operation[]): Promise<void> {
    const last = this.#revision + keys.length;
    await this.#commit([
      ...keys.map((key) => ({ type: 'del' as const, key: storeKeys.entry(key) })),
      ...more,
      this.#revisionOperation(last),
    ]);
    for (const key of keys) {
      const entry = this.#entries.get(key);
      assert(entry !== undefined, 'a deleted entry was there');
      this.#storeBytes -= sizeOf(key, entry.value);
      this.#entries.delete(key);
      this.#history.add({ key, version: ++this.#revision, value: undefined });
    }
  }

  #revisionOperation(revision: number): Operation {
    const value = encodeStoredNumber(revision, this.#platform.kernels.crc32c);
    return { type: 'put', key: storeKeys.revision, value };
  }

  async #commit(operations: Operation[]): Promise<void> {
    try {
      await this.#database.batch(operations, { sync: true } as object);
    } catch (error) {
      this.#platform.log.error('coordinator-write-failed', { error: String(error) });
      this.#failure = new CoordinatorUnavailable('the coordinator cannot write its database');
      throw this.#failure;
    }
  }

  /** One change at a time. */
  #exclusively<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(() => {
      this.#check();
      return run();
    });
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #check(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}

function publicEntry({ key, value, version }: HeldEntry): CoordinatorEntry {
  return { key, value, version };
}

function sizeOf(key: string, value: Uint8Array): number {
  return ENTRY_OVERHEAD_BYTES + key.length + value.length;
}
