/**
 * The coordinator on an etcd cluster that the user runs: keys live under a prefix of the volume, versions are etcd's modification revisions, leases
 * are etcd's. Consensus, durability and fail-over are etcd's work; see docs/decisions/etcd-by-json-gateway.md.
 *
 * etcd counts leases in whole seconds and never less than about two.
 */
import type { HttpTransport } from '../platform/http.ts';
import type { Platform } from '../platform/platform.ts';
import {
  type Coordinator,
  type CoordinatorEntry,
  type CoordinatorEvent,
  CoordinatorUnavailable,
  type Lease,
  LeaseGone,
} from './coordinator.ts';
import { EtcdGateway, EtcdNotFound, type Json } from './etcd-gateway.ts';
import { base64, decodeEntries, objectAt, rangeEnd, revisionOf } from './etcd-messages.ts';
import { EtcdWatch } from './etcd-watch.ts';
import { type KeptLease, keepLease } from './lease-keeper.ts';

export interface EtcdCoordinatorOptions {
  /** Base addresses, such as `http://10.0.0.1:2379`. */
  readonly endpoints: readonly string[];
  /** Separates volumes that share a cluster: ends with '/'. */
  readonly prefix: string;
  readonly callTimeoutMs?: number;
}

const DEFAULT_CALL_TIMEOUT_MS = 3_000;

export function etcdCoordinator(
  platform: Platform,
  http: HttpTransport,
  options: EtcdCoordinatorOptions,
): Coordinator {
  return new EtcdCoordinator(platform, http, options);
}

class EtcdCoordinator implements Coordinator {
  readonly #platform: Platform;
  readonly #gateway: EtcdGateway;
  readonly #prefix: string;
  readonly #kept = new Set<KeptLease>();
  readonly #watches = new Set<EtcdWatch>();

  constructor(platform: Platform, http: HttpTransport, options: EtcdCoordinatorOptions) {
    this.#platform = platform;
    this.#gateway = new EtcdGateway(
      http,
      options.endpoints,
      options.callTimeoutMs ?? DEFAULT_CALL_TIMEOUT_MS,
    );
    this.#prefix = options.prefix;
  }

  async get(key: string): Promise<CoordinatorEntry | undefined> {
    const answer = await this.#gateway.call('/v3/kv/range', { key: this.#key(key) }, 'read');
    return decodeEntries(answer, this.#prefix)[0];
  }

  async list(prefix: string): Promise<CoordinatorEntry[]> {
    const range = { key: this.#key(prefix), range_end: rangeEnd(this.#prefix + prefix) };
    return decodeEntries(await this.#gateway.call('/v3/kv/range', range, 'read'), this.#prefix);
  }

  async put(key: string, value: Uint8Array, lease?: Lease): Promise<CoordinatorEntry> {
    const answer = await this.#write('/v3/kv/put', this.#putRequest(key, value, lease));
    return { key, value: Buffer.from(value), version: revisionOf(answer) };
  }

  async delete(key: string): Promise<boolean> {
    const answer = await this.#write('/v3/kv/deleterange', { key: this.#key(key) });
    return Number(answer.deleted ?? 0) > 0;
  }

  async compareAndSwap(
    key: string,
    expectedVersion: number,
    value: Uint8Array,
    lease?: Lease,
  ): Promise<CoordinatorEntry | undefined> {
    const answer = await this.#write('/v3/kv/txn', {
      compare: [
        { key: this.#key(key), target: 'MOD', result: 'EQUAL', mod_revision: String(expectedVersion) },
      ],
      success: [{ request_put: this.#putRequest(key, value, lease) }],
    });
    if (answer.succeeded !== true) return undefined;
    return { key, value: Buffer.from(value), version: revisionOf(answer) };
  }

  watch(prefix: string, listener: (event: CoordinatorEvent) => void): () => void {
    const watch = new EtcdWatch(this.#platform, this.#gateway, this.#prefix, prefix, listener);
    this.#watches.add(watch);
    void watch.run();
    return () => {
      watch.stop();
      this.#watches.delete(watch);
    };
  }

  async lease(ttlMs: number): Promise<Lease> {
    const answer = await this.#gateway.call('/v3/lease/grant', { TTL: Math.ceil(ttlMs / 1000) }, 'write');
    const { ID: id } = answer;
    if (typeof id !== 'string') throw new CoordinatorUnavailable('etcd granted no lease');
    const kept = keepLease(this.#platform, {
      id,
      ttlMs: Number(answer.TTL) * 1000,
      renew: async () => {
        const renewed = await this.#gateway.call('/v3/lease/keepalive', { ID: id }, 'read');
        return Number(objectAt(renewed, 'result')?.TTL ?? 0) > 0;
      },
      revoke: () => this.#revoke(id),
      ended: () => this.#kept.delete(kept),
    });
    this.#kept.add(kept);
    return kept;
  }

  async close(): Promise<void> {
    for (const kept of this.#kept) kept.stop();
    for (const watch of this.#watches) watch.stop();
  }

  async #revoke(id: string): Promise<void> {
    try {
      await this.#gateway.call('/v3/lease/revoke', { ID: id }, 'write');
    } catch (error) {
      if (!(error instanceof EtcdNotFound)) throw error;
    }
  }

  /** The only thing that a write can miss is its lease. */
  async #write(path: string, request: Json): Promise<Json> {
    try {
      return await this.#gateway.call(path, request, 'write');
    } catch (error) {
      if (error instanceof EtcdNotFound) throw new LeaseGone('the lease has ended');
      throw error;
    }
  }

  #putRequest(key: string, value: Uint8Array, lease: Lease | undefined): Json {
    const put = { key: this.#key(key), value: base64(value) };
    return lease === undefined ? put : { ...put, lease: lease.id };
  }

  #key(key: string): string {
    return base64(this.#prefix + key);
  }
}
