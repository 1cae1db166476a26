/**
 * The coordinator as other processes reach it: the embedded engine's calls over RPC. Connects when needed, reconnects after a loss.
 *
 * A write whose connection breaks has an unknown outcome and is reported as CoordinatorUnavailable: the caller reads again. Reads are asked
 * once more over a new connection, because the old one may have died long before.
 */
import { decodeLease, encodeLease, encodeWrite, leaseAction } from '../format/coordinator-messages.ts';
import type { Address, Platform } from '../platform/platform.ts';
import {
  type Coordinator,
  type CoordinatorEntry,
  type CoordinatorEvent,
  CoordinatorUnavailable,
  type Lease,
  LeaseGone,
} from './coordinator.ts';
import { changesOf, oneEntry, puts, unusable } from './coordinator-replies.ts';
import { type KeptLease, keepLease } from './lease-keeper.ts';
import { RemoteWatch } from './remote-watch.ts';
import { type RpcClient, RpcError, type RpcReply, rpcMethods, rpcStatus } from './rpc.ts';
import { connectRpc } from './rpc-connect.ts';

export interface RemoteCoordinatorOptions {
  /** The volume's key. */
  readonly key: Uint8Array;
  /** How long a call waits for its answer. */
  readonly callTimeoutMs?: number;
}

const DEFAULT_CALL_TIMEOUT_MS = 3_000;

export function remoteCoordinator(
  platform: Platform,
  address: Address,
  options: RemoteCoordinatorOptions,
): Coordinator {
  return new RemoteCoordinator(platform, address, options);
}

class RemoteCoordinator implements Coordinator {
  readonly #platform: Platform;
  readonly #address: Address;
  readonly #key: Uint8Array;
  readonly #callTimeoutMs: number;
  readonly #kept = new Set<KeptLease>();
  readonly #watches = new Set<RemoteWatch>();
  #client: Promise<RpcClient> | undefined;
  #closed = false;

  constructor(platform: Platform, address: Address, options: RemoteCoordinatorOptions) {
    this.#platform = platform;
    this.#address = address;
    this.#key = options.key;
    this.#callTimeoutMs = options.callTimeoutMs ?? DEFAULT_CALL_TIMEOUT_MS;
  }

  async get(key: string): Promise<CoordinatorEntry | undefined> {
    const reply = await this.#read(rpcMethods.coordinatorGet, Buffer.from(key, 'latin1'));
    return reply.status === rpcStatus.missing ? undefined : oneEntry(reply);
  }

  async list(prefix: string): Promise<CoordinatorEntry[]> {
    const reply = await this.#read(rpcMethods.coordinatorList, Buffer.from(prefix, 'latin1'));
    return puts(changesOf(reply).changes);
  }

  async put(key: string, value: Uint8Array, lease?: Lease): Promise<CoordinatorEntry> {
    return oneEntry(await this.#write(rpcMethods.coordinatorPut, key, 0, value, lease));
  }

  async compareAndSwap(
    key: string,
    expectedVersion: number,
    value: Uint8Array,
    lease?: Lease,
  ): Promise<CoordinatorEntry | undefined> {
    const reply = await this.#write(rpcMethods.coordinatorCompareAndSwap, key, expectedVersion, value, lease);
    return reply.status === rpcStatus.conflict ? undefined : oneEntry(reply);
  }

  async delete(key: string): Promise<boolean> {
    const reply = await this.#call(rpcMethods.coordinatorDelete, Buffer.from(key, 'latin1'));
    return reply.status === rpcStatus.ok;
  }

  watch(prefix: string, listener: (event: CoordinatorEvent) => void): () => void {
    const watch = new RemoteWatch(this.#platform, prefix, listener, (body, timeoutMs) =>
      this.#call(rpcMethods.coordinatorWatch, body, timeoutMs),
    );
    this.#watches.add(watch);
    void watch.run();
    return () => {
      watch.stop();
      this.#watches.delete(watch);
    };
  }

  async lease(ttlMs: number): Promise<Lease> {
    const { leaseId } = await this.#lease(leaseAction.grant, 0, Math.ceil(ttlMs));
    const kept = keepLease(this.#platform, {
      id: String(leaseId),
      ttlMs,
      renew: () => this.#leaseHeld(leaseAction.renew, leaseId),
      revoke: async () => {
        await this.#leaseHeld(leaseAction.revoke, leaseId);
      },
      ended: () => this.#kept.delete(kept),
    });
    this.#kept.add(kept);
    return kept;
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const kept of this.#kept) kept.stop();
    for (const watch of this.#watches) watch.stop();
    const client = await this.#client?.catch(() => undefined);
    client?.close();
  }

  async #write(
    method: number,
    key: string,
    expectedVersion: number,
    value: Uint8Array,
    lease: Lease | undefined,
  ): Promise<RpcReply> {
    const leaseId = Number(lease?.id ?? 0);
    const message = { key, value: Buffer.from(value), expectedVersion, leaseId };
    const reply = await this.#call(method, encodeWrite(message));
    if (reply.status === rpcStatus.missing) throw new LeaseGone(`lease ${leaseId} has ended`);
    return reply;
  }

  async #lease(action: (typeof leaseAction)[keyof typeof leaseAction], leaseId: number, ttlMs: number) {
    const reply = await this.#call(rpcMethods.coordinatorLease, encodeLease({ action, leaseId, ttlMs }));
    const lease = reply.status === rpcStatus.ok ? decodeLease(reply.body) : undefined;
    if (lease === undefined) throw unusable(reply);
    return lease;
  }

  async #leaseHeld(
    action: (typeof leaseAction)[keyof typeof leaseAction],
    leaseId: number,
  ): Promise<boolean> {
    const body = encodeLease({ action, leaseId, ttlMs: 0 });
    return (await this.#call(rpcMethods.coordinatorLease, body)).status === rpcStatus.ok;
  }

  async #read(method: number, body: Uint8Array): Promise<RpcReply> {
    try {
      return await this.#call(method, body);
    } catch (error) {
      const lostOnTheWay = error instanceof CoordinatorUnavailable && error.cause instanceof RpcError;
      if (!lostOnTheWay || (error.cause as RpcError).reason !== 'closed' || this.#closed) throw error;
      return this.#call(method, body);
    }
  }

  /** Statuses ok, missing and conflict come back; others, and no answer, are CoordinatorUnavailable. */
  async #call(method: number, body: Uint8Array, timeoutMs = this.#callTimeoutMs): Promise<RpcReply> {
    let reply: RpcReply;
    let client: RpcClient | undefined;
    try {
      client = await this.#connected();
      reply = await client.call(method, body, { timeoutMs });
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      // The other side may have forgotten the connection: the next call makes another.
      if (error.reason === 'timeout') client?.close();
      throw new CoordinatorUnavailable(`the coordinator does not answer: ${error.message}`, { cause: error });
    }
    if (reply.status === rpcStatus.busy) throw new CoordinatorUnavailable(reply.body.toString());
    if (
      reply.status !== rpcStatus.ok &&
      reply.status !== rpcStatus.missing &&
      reply.status !== rpcStatus.conflict
    ) {
      throw unusable(reply);
    }
    return reply;
  }

  async #connected(): Promise<RpcClient> {
    if (this.#closed) throw new RpcError('closed', 'closed here');
    const current = this.#client;
    if (current !== undefined) {
      const client = await current.catch(() => undefined);
      if (client !== undefined && !client.closed) return client;
      if (this.#client !== current) return this.#connected();
    }
    this.#client = connectRpc(this.#platform, this.#address, {
      key: this.#key,
      connectTimeoutMs: this.#callTimeoutMs,
    });
    return this.#client;
  }
}
