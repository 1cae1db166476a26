/** What the embedded coordinator keeps over a restart, and how those who use it remotely get over one. */
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  type Coordinator,
  type CoordinatorEvent,
  CoordinatorUnavailable,
} from '../../../src/cluster/coordinator.ts';
import {
  type EmbeddedCoordinator,
  MAX_STORE_BYTES,
  openEmbeddedCoordinator,
} from '../../../src/cluster/coordinator-embedded.ts';
import { remoteCoordinator } from '../../../src/cluster/coordinator-remote.ts';
import { coordinatorHandler } from '../../../src/cluster/coordinator-service.ts';
import type { RpcServer } from '../../../src/cluster/rpc.ts';
import { serveRpc } from '../../../src/cluster/rpc-server.ts';
import type { Address } from '../../../src/platform/platform.ts';
import { eventually } from '../../conformance/coordinator-suite.ts';
import { RpcFixture } from './rpc-fixture.ts';

let fixture: RpcFixture;
let engine: EmbeddedCoordinator;
let server: RpcServer;
let remote: Coordinator;
let address: Address;

async function start(): Promise<void> {
  const database = await fixture.platform.databases.open(join(fixture.directory, 'database'));
  engine = await openEmbeddedCoordinator(fixture.platform, database);
  server = await serveRpc(fixture.platform, address, {
    key: fixture.key,
    handler: coordinatorHandler(engine),
  });
}

async function stop(): Promise<void> {
  await engine.close();
  await server.close();
}

beforeEach(async () => {
  fixture = new RpcFixture();
  address = fixture.address('unix');
  await start();
  remote = remoteCoordinator(fixture.platform, address, { key: fixture.key, callTimeoutMs: 1_000 });
});
afterEach(async () => {
  await remote.close();
  await stop();
  await fixture.close();
});

const describeEvent = (event: CoordinatorEvent): string =>
  event.kind === 'put' ? `${event.entry.key}=${event.entry.value}` : `${event.key} deleted`;

test('entries and their versions are there after a restart, and versions go on growing', async () => {
  await remote.put('a', Buffer.from('1'));
  const last = await remote.put('b', Buffer.from('2'));
  await remote.delete('a');
  await stop();
  await start();
  expect(await remote.list('')).toEqual([last]);
  expect((await remote.put('a', Buffer.from('3'))).version).toBeGreaterThan(last.version + 1);
  expect(await remote.compareAndSwap('b', last.version, Buffer.from('4'))).toBeDefined();
});

test('while nobody serves, calls are unavailable at once, and work again afterwards', async () => {
  await remote.put('a', Buffer.from('1'));
  await stop();
  await expect(remote.get('a')).rejects.toBeInstanceOf(CoordinatorUnavailable);
  await expect(remote.put('a', Buffer.from('2'))).rejects.toBeInstanceOf(CoordinatorUnavailable);
  await start();
  expect((await remote.get('a'))?.value.toString()).toBe('1');
});

test('a watch over a restart tells the differences, each once', async () => {
  await remote.put('kept', Buffer.from('1'));
  await remote.put('changed', Buffer.from('1'));
  await remote.put('deleted', Buffer.from('1'));
  const events: string[] = [];
  const unwatch = remote.watch('', (event) => events.push(describeEvent(event)));
  await eventually(() => events.length === 3);
  await stop();
  await start();
  await engine.put('changed', Buffer.from('2'));
  await engine.delete('deleted');
  await engine.put('new', Buffer.from('1'));
  await eventually(() => events.length === 6);
  expect(events.slice(3).sort()).toEqual(['changed=2', 'deleted deleted', 'new=1']);
  unwatch();
});

test('a watch that slept through more changes than are kept tells the outcome', async () => {
  await engine.put('key', Buffer.from('0'));
  const events: string[] = [];
  await server.close();
  const unwatch = remote.watch('', (event) => events.push(describeEvent(event)));
  for (let value = 1; value <= 1500; value++) await engine.put('key', Buffer.from(String(value)));
  await stop();
  await start();
  await eventually(() => events.length > 0);
  expect(events).toEqual(['key=1500']);
  unwatch();
});

test('a lease over a restart goes on when its holder renews it, and ends when nobody does', async () => {
  const held = await remote.lease(300);
  await remote.put('held', Buffer.from('1'), held);
  const orphan = await engine.grantLease(300);
  await engine.putLeased('orphan', Buffer.from('1'), orphan);
  await stop();
  await start();
  const events: string[] = [];
  const unwatch = engine.watch('', (event) => events.push(describeEvent(event)));
  await eventually(() => events.includes('orphan deleted'));
  expect(events.filter((event) => event.startsWith('held'))).toEqual(['held=1']);
  expect(await engine.grantLease(300)).toBeGreaterThan(orphan);
  unwatch();
});

test('the store is bounded', async () => {
  const value = Buffer.alloc(65536);
  const fits = Math.floor(MAX_STORE_BYTES / (value.length + 100));
  for (let index = 0; index < fits; index++) await engine.put(`key-${index}`, value);
  await expect(remote.put('one-more', value)).rejects.toBeInstanceOf(CoordinatorUnavailable);
  await remote.delete('key-0');
  await remote.put('one-more', value);
});

test('a corrupt entry is reported and not passed over', async () => {
  await remote.put('a', Buffer.from('1'));
  await stop();
  const path = join(fixture.directory, 'database');
  const database = await fixture.platform.databases.open(path);
  await database.put(Buffer.from('ea'), Buffer.from('damaged beyond recognition'));
  await expect(openEmbeddedCoordinator(fixture.platform, database)).rejects.toMatchObject({
    code: 'ECORRUPT',
  });
  await database.del(Buffer.from('ea'));
  await database.close();
  await start();
});
