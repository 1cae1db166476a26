import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe } from 'vitest';
import type { Coordinator } from '../../src/cluster/coordinator.ts';
import { type EmbeddedCoordinator, openEmbeddedCoordinator } from '../../src/cluster/coordinator-embedded.ts';
import { remoteCoordinator } from '../../src/cluster/coordinator-remote.ts';
import { coordinatorHandler } from '../../src/cluster/coordinator-service.ts';
import { serveRpc } from '../../src/cluster/rpc-server.ts';
import type { Address } from '../../src/platform/platform.ts';
import { realLogger } from '../../src/platform/real/logger.ts';
import { realPlatform } from '../../src/platform/real/real-platform.ts';
import { type CoordinatorHarness, coordinatorSuite } from './coordinator-suite.ts';

const platform = realPlatform({ log: realLogger({ level: 'error' }) });
const key = Buffer.alloc(32, 3);
const EMBEDDED_LEASE_MS = 150;

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

describe('the embedded coordinator in its own process', () => coordinatorSuite(embedded));
describe('the embedded coordinator over remote calls', () => coordinatorSuite(overRpc));
