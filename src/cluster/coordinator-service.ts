/**
 * The coordinator's remote calls, served: methods 48 to 54 (docs/format/coordinator-messages.md).
 */
import {
  type Change,
  decodeLease,
  decodeWatch,
  decodeWrite,
  encodeChanges,
  encodeLease,
  leaseAction,
  type WriteMessage,
} from '../format/coordinator-messages.ts';
import { type CoordinatorEntry, CoordinatorUnavailable, LeaseGone } from './coordinator.ts';
import { type EmbeddedCoordinator, isCoordinatorKey, MAX_VALUE_BYTES } from './coordinator-embedded.ts';
import { type RpcHandler, type RpcRequest, type RpcResponse, rpcMethods, rpcStatus } from './rpc.ts';

/** Longest wait of a watch, and longest time to live of a lease. */
const MAX_WAIT_MS = 30_000;
const MAX_TTL_MS = 3_600_000;
const MIN_TTL_MS = 10;

const INVALID: RpcResponse = { status: rpcStatus.invalid };
const MISSING: RpcResponse = { status: rpcStatus.missing };

export function isCoordinatorMethod(method: number): boolean {
  return method >= rpcMethods.coordinatorGet && method <= rpcMethods.coordinatorLease;
}

export function coordinatorHandler(engine: EmbeddedCoordinator): RpcHandler {
  return async (request) => {
    try {
      return await answer(engine, request);
    } catch (error) {
      if (error instanceof LeaseGone) return MISSING;
      if (!(error instanceof CoordinatorUnavailable)) throw error;
      return { status: rpcStatus.busy, body: Buffer.from(error.message) };
    }
  };
}

async function answer(engine: EmbeddedCoordinator, { method, body }: RpcRequest): Promise<RpcResponse> {
  const text = body.toString('latin1');
  switch (method) {
    case rpcMethods.coordinatorGet: {
      const entry = await engine.get(text);
      return entry === undefined ? MISSING : changes([entry]);
    }
    case rpcMethods.coordinatorList:
      return changes(await engine.list(text));
    case rpcMethods.coordinatorDelete:
      return (await engine.delete(text)) ? { status: rpcStatus.ok } : MISSING;
    case rpcMethods.coordinatorPut:
    case rpcMethods.coordinatorCompareAndSwap:
      return write(engine, method, decodeWrite(body));
    case rpcMethods.coordinatorWatch: {
      const message = decodeWatch(body);
      if (message === undefined) return INVALID;
      const waitMs = Math.min(message.waitMs, MAX_WAIT_MS);
      const reply = await engine.changesSince(message.prefix, message.sinceRevision, waitMs);
      return { status: rpcStatus.ok, body: encodeChanges(reply) };
    }
    case rpcMethods.coordinatorLease:
      return lease(engine, body);
    default:
      return INVALID;
  }
}

async function write(
  engine: EmbeddedCoordinator,
  method: number,
  message: WriteMessage | undefined,
): Promise<RpcResponse> {
  if (message === undefined || !isCoordinatorKey(message.key) || message.value.length > MAX_VALUE_BYTES) {
    return INVALID;
  }
  const { key, value, expectedVersion, leaseId } = message;
  if (method === rpcMethods.coordinatorPut) return changes([await engine.putLeased(key, value, leaseId)]);
  const entry = await engine.compareAndSwapLeased(key, expectedVersion, value, leaseId);
  return entry === undefined ? { status: rpcStatus.conflict } : changes([entry]);
}

async function lease(engine: EmbeddedCoordinator, body: Buffer): Promise<RpcResponse> {
  const message = decodeLease(body);
  if (message === undefined) return INVALID;
  const { action, leaseId, ttlMs } = message;
  switch (action) {
    case leaseAction.grant: {
      if (ttlMs < MIN_TTL_MS || ttlMs > MAX_TTL_MS) return INVALID;
      const granted = { ...message, leaseId: await engine.grantLease(ttlMs) };
      return { status: rpcStatus.ok, body: encodeLease(granted) };
    }
    case leaseAction.renew:
      return engine.renewLease(leaseId) ? { status: rpcStatus.ok, body: encodeLease(message) } : MISSING;
    case leaseAction.revoke:
      return (await engine.revokeLease(leaseId))
        ? { status: rpcStatus.ok, body: encodeLease(message) }
        : MISSING;
  }
}

function changes(entries: readonly CoordinatorEntry[]): RpcResponse {
  const all: readonly Change[] = entries;
  return { status: rpcStatus.ok, body: encodeChanges({ complete: true, revision: 0, changes: all }) };
}
