/** A server and clients on the real platform, for tests of remote calls: cleaned up by `close`. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { RpcClient, RpcClientOptions, RpcHandler, RpcServer } from '../../../src/cluster/rpc.ts';
import { connectRpc } from '../../../src/cluster/rpc-connect.ts';
import { type RpcServerOptions, serveRpc } from '../../../src/cluster/rpc-server.ts';
import type { Address, LogFields, Logger, Platform } from '../../../src/platform/platform.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';

export interface LoggedEvent {
  readonly event: string;
  readonly fields: LogFields;
}

/** Keeps what is logged, for tests that look at it. */
export function recordingLogger(events: LoggedEvent[]): Logger {
  const record = (event: string, fields: LogFields = {}): void => {
    events.push({ event, fields });
  };
  const logger: Logger = { debug: record, info: record, warn: record, error: record, child: () => logger };
  return logger;
}

export class RpcFixture {
  readonly events: LoggedEvent[] = [];
  readonly platform: Platform = realPlatform({ log: recordingLogger(this.events) });
  readonly directory = mkdtempSync('/var/tmp/tartan-rpc-');
  readonly key: Uint8Array = Buffer.alloc(32, 7);
  readonly #servers: RpcServer[] = [];
  readonly #clients: RpcClient[] = [];

  address(kind: Address['kind']): Address {
    if (kind === 'tcp') return { kind, host: '127.0.0.1', port: 0 };
    return { kind, path: join(this.directory, `server-${this.#servers.length}.sock`) };
  }

  async serve(
    kind: Address['kind'],
    handler: RpcHandler,
    options: Partial<RpcServerOptions> = {},
  ): Promise<RpcServer> {
    const server = await serveRpc(this.platform, this.address(kind), { key: this.key, handler, ...options });
    this.#servers.push(server);
    return server;
  }

  async connect(server: RpcServer, options: Partial<RpcClientOptions> = {}): Promise<RpcClient> {
    const client = await connectRpc(this.platform, server.address, { key: this.key, ...options });
    this.#clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    for (const client of this.#clients) client.close();
    await Promise.all(this.#servers.map((server) => server.close()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
