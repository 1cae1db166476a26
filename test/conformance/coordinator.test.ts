import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Coordinator, CoordinatorUnavailable } from '../../src/cluster/coordinator.ts';
import { type EmbeddedCoordinator, openEmbeddedCoordinator } from '../../src/cluster/coordinator-embedded.ts';
import { etcdCoordinator } from '../../src/cluster/coordinator-etcd.ts';
import { remoteCoordinator } from '../../src/cluster/coordinator-remote.ts';
import { coordinatorHandler } from '../../src/cluster/coordinator-service.ts';
import { serveRpc } from '../../src/cluster/rpc-server.ts';
import type { Address } from '../../src/platform/platform.ts';
import { realHttp } from '../../src/platform/real/http.ts';
import { realLogger } from '../../src/platform/real/logger.ts';
import { realPlatform } from '../../src/platform/real/real-platform.ts';
import { type CoordinatorHarness, coordinatorSuite, eventually } from './coordinator-suite.ts';
import { type EtcdServer, etcdIsInstalled, startEtcd } from './etcd-server.ts';

const platform = realPlatform({ log: realLogger({ level: 'error' }) });
const key = Buffer.alloc(32, 3);
const EMBEDDED_LEASE_MS = 600;

async function startEngine(): Promise<{ directory: string; engine: EmbeddedCoordinator }> {
  const directory = mkdtempSync('/var/tmp/tartan-coordinator-');
  const database = await platform.databases.open(join(directory, 'database'));
  return { directory, engine: await openEmbeddedCoordinator(platform, database) };
}

/** Two users in the engine's own process. Their `close` must not end the engine, and must stop their leases. */
function userOf(engine: EmbeddedCoordinator): Coordinator {
  const stops: (() => void)[] = [];
  return {
    get: (name) => engine.get(name),
    list: (prefix) => engine.list(prefix),
    put: (name, value, lease) => engine.put(name, value, lease),
    delete: (name) => engine.delete(name),
    compareAndSwap: (name, version, value, lease) => engine.compareAndSwap(name, version, value, lease),
    watch: (prefix, listener) => engine.watch(prefix, listener),
    async lease(ttlMs) {
      const lease = await engine.lease(ttlMs);
      stops.push(() => lease.stop());
      return lease;
    },
    async close() {
      for (const stop of stops) stop();
    },
  };
}

async function embedded(): Promise<CoordinatorHarness> {
  const { directory, engine } = await startEngine();
  return {
    leaseMs: EMBEDDED_LEASE_MS,
    connect: async () => userOf(engine),
    async revoke(leaseId) {
      await engine.revokeLease(Number(leaseId));
    },
    async close() {
      await engine.close();
      rmSync(directory, { recursive: true });
    },
  };
}

async function overRpc(): Promise<CoordinatorHarness> {
  const { directory, engine } = await startEngine();
  const address: Address = { kind: 'unix', path: join(directory, 'coordinator.sock') };
  const server = await serveRpc(platform, address, { key, handler: coordinatorHandler(engine) });
  return {
    leaseMs: EMBEDDED_LEASE_MS,
    connect: async () => remoteCoordinator(platform, address, { key }),
    async revoke(leaseId) {
      await engine.revokeLease(Number(leaseId));
    },
    async close() {
      await engine.close();
      await server.close();
      rmSync(directory, { recursive: true });
    },
  };
}

/** One server for all tests; each has keys of its own. */
let etcd: EtcdServer | undefined;
let volumes = 0;

async function onEtcd(): Promise<CoordinatorHarness> {
  const { endpoint } = etcd!;
  const http = realHttp();
  const prefix = `tartan/test-${volumes++}/`;
  return {
    leaseMs: 2_000,
    // The first endpoint is one that nobody answers on.
    connect: async () =>
      etcdCoordinator(platform, http, { endpoints: ['http://127.0.0.1:1', endpoint], prefix }),
    async revoke(leaseId) {
      await http.post(`${endpoint}/v3/lease/revoke`, JSON.stringify({ ID: leaseId }), 1_000);
    },
    async close() {
      http.close();
    },
  };
}

describe('the embedded coordinator in its own process', () => coordinatorSuite(embedded));
describe('the embedded coordinator over remote calls', () => coordinatorSuite(overRpc));
describe.skipIf(!etcdIsInstalled())('the coordinator on etcd (skipped when etcd-server is missing)', () => {
  beforeAll(async () => {
    etcd = await startEtcd();
  });
  afterAll(() => etcd?.close());
  coordinatorSuite(onEtcd);

  test('is unavailable when no endpoint answers', async () => {
    const http = realHttp();
    const coordinator = etcdCoordinator(platform, http, { endpoints: ['http://127.0.0.1:1'], prefix: 'x/' });
    await expect(coordinator.get('key')).rejects.toBeInstanceOf(CoordinatorUnavailable);
    await expect(coordinator.put('key', Buffer.alloc(0))).rejects.toBeInstanceOf(CoordinatorUnavailable);
    http.close();
  });

  test('tells a watcher the differences after etcd was away', async () => {
    const harness = await onEtcd();
    const coordinator = await harness.connect();
    await coordinator.put('kept', Buffer.from('1'));
    await coordinator.put('deleted', Buffer.from('1'));
    const events: string[] = [];
    const unwatch = coordinator.watch('', (event) => {
      events.push(event.kind === 'put' ? `${event.entry.key}=${event.entry.value}` : `${event.key} deleted`);
    });
    await eventually(() => events.length === 2);
    await etcd!.restart();
    await coordinator.delete('deleted');
    await coordinator.put('new', Buffer.from('1'));
    await eventually(() => events.length === 4);
    expect(events.slice(2).sort()).toEqual(['deleted deleted', 'new=1']);
    unwatch();
    await coordinator.close();
    await harness.close();
  });
});
