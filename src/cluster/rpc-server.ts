/**
 * The serving side of remote calls: accepts connections, and bounds what they may hold together.
 *
 * Bounds: connections whose peer has not proved itself, memory for inline payloads, and for each connection the requests being served
 * and the bytes of unread replies (see rpc-server-connection.ts).
 */
import { assert } from '../base/assert.ts';
import { KIB, MIB } from '../base/units.ts';
import type { Address, Connection, Platform } from '../platform/platform.ts';
import { BufferPool } from './buffer-pool.ts';
import type { RpcHandler, RpcServer } from './rpc.ts';
import { ServerConnection } from './rpc-server-connection.ts';

export interface RpcServerOptions {
  /** The volume's key. */
  readonly key: Uint8Array;
  readonly handler: RpcHandler;
  readonly maxBodyBytes?: number;
  /** Longest payload, in a frame or in a slab. */
  readonly maxPayloadBytes?: number;
  /** Memory for payloads that travel in frames, all connections together. */
  readonly maxInlineBytes?: number;
}

export const DEFAULT_MAX_BODY_BYTES = 2 * MIB;
export const DEFAULT_MAX_PAYLOAD_BYTES = 8 * MIB;
const DEFAULT_MAX_INLINE_BYTES = 32 * MIB;
const MAX_UNAUTHENTICATED = 64;
assert(DEFAULT_MAX_BODY_BYTES >= 64 * KIB, 'a body holds a coordinator value');

export async function serveRpc(
  platform: Platform,
  address: Address,
  options: RpcServerOptions,
): Promise<RpcServer> {
  const maxPayloadBytes = options.maxPayloadBytes ?? DEFAULT_MAX_PAYLOAD_BYTES;
  // One call with the longest payload and the longest reply always fits, so that every connection gets on.
  const leastInlineBytes = 2 * BufferPool.sizeOf(maxPayloadBytes);
  const shared = {
    platform,
    key: options.key,
    handler: options.handler,
    maxBodyBytes: options.maxBodyBytes ?? DEFAULT_MAX_BODY_BYTES,
    maxPayloadBytes,
    buffers: new BufferPool(
      platform.memory,
      Math.max(leastInlineBytes, options.maxInlineBytes ?? DEFAULT_MAX_INLINE_BYTES),
    ),
  };
  const connections = new Set<ServerConnection>();
  let unauthenticated = 0;
  let closing = false;

  const accept = (connection: Connection): void => {
    if (closing || unauthenticated >= MAX_UNAUTHENTICATED) {
      platform.log.warn('rpc-connection-refused', { peer: connection.peer, unauthenticated });
      connection.close();
      return;
    }
    unauthenticated++;
    const served = new ServerConnection(shared, connection, {
      authenticated: () => {
        unauthenticated--;
      },
      ended: (wasAuthenticated) => {
        if (!wasAuthenticated) unauthenticated--;
        connections.delete(served);
      },
    });
    connections.add(served);
    served.start();
  };

  const listener = await platform.network.listen(address, accept);
  return {
    address: listener.address,
    async close() {
      closing = true;
      await listener.close();
      await Promise.all([...connections].map((connection) => connection.drain()));
    },
  };
}
