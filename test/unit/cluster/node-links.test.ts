import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { formatAddress } from '../../../src/cluster/address.ts';
import { coordinatorKeys } from '../../../src/cluster/coordinator.ts';
import {
  type EmbeddedCoordinator,
  openEmbeddedCoordinator,
} from '../../../src/cluster/coordinator-embedded.ts';
import { nodeLinks } from '../../../src/cluster/node-links.ts';
import { encodeRecord } from '../../../src/cluster/node-record.ts';
import type { NodeLinks, NodeState } from '../../../src/cluster/nodes.ts';
import { type RpcHandler, type RpcResponse, type RpcServer, rpcStatus } from '../../../src/cluster/rpc.ts';
import { encodePingReply } from '../../../src/format/ping.ts';
import { eventually } from '../../conformance/coordinator-suite.ts';
import { RpcFixture } from './rpc-fixture.ts';

const FREE_BYTES = 5_000_000;

/** A node that answers pings, and can stand still. */
class TestNode {
  server!: RpcServer;
  freeBytes = FREE_BYTES;
  frozen = false;
  #waiting: (() => void)[] = [];
  readonly id: number;

  constructor(id: number) {
    this.id = id;
  }

  readonly handler: RpcHandler = () => {
    if (!this.frozen) return this.#answer();
    return new Promise((resolve) => {
      this.#waiting.push(() => resolve(this.#answer()));
    });
  };

  thaw(): void {
    this.frozen = false;
    for (const answer of this.#waiting) answer();
    this.#waiting = [];
  }

  #answer(): RpcResponse {
    const { id, freeBytes } = this;
    const body = encodePingReply({ nodeId: id, freeBytes, capacityBytes: 9_000_000, usedBytes: 4_000_000 });
    return { status: rpcStatus.ok, body };
  }
}

let fixture: RpcFixture;
let coordinator: EmbeddedCoordinator;
let links: NodeLinks;

async function register(node: TestNode, domain?: string): Promise<void> {
  node.server = await fixture.serve('unix', node.handler);
  const address = formatAddress(node.server.address);
  const record = { id: node.id, address, ...(domain === undefined ? {} : { domain }) };
  await coordinator.put(coordinatorKeys.node(node.id), encodeRecord(record));
}

const stateOf = (id: number): NodeState | undefined => links.links.get(id)?.state;

beforeEach(async () => {
  fixture = new RpcFixture();
  const database = await fixture.platform.databases.open(join(fixture.directory, 'coordinator'));
  coordinator = await openEmbeddedCoordinator(fixture.platform, database);
  links = nodeLinks(fixture.platform, coordinator, {
    key: fixture.key,
    pingIntervalMs: 20,
    slowAfterMs: 100,
  });
});

afterEach(async () => {
  links.close();
  await coordinator.close();
  await fixture.close();
});

test('registered nodes come up with what their pings say', async () => {
  await register(new TestNode(1), 'rack-a');
  await register(new TestNode(2));
  await links.settle(5_000);
  const link = links.links.get(1)!;
  expect([stateOf(1), stateOf(2)]).toEqual(['up', 'up']);
  expect(link.client?.local).toBe(true);
  expect([link.domain, links.links.get(2)!.domain]).toEqual(['rack-a', '2']);
  expect([link.freeBytes, link.capacityBytes, link.usedBytes]).toEqual([FREE_BYTES, 9_000_000, 4_000_000]);
});

test('a node gets another label over the same connection, and whoever listens hears of it', async () => {
  const node = new TestNode(1);
  await register(node, 'rack-a');
  await links.settle(5_000);
  const { client } = links.links.get(1)!;
  const heard: string[] = [];
  links.onChange(({ id, domain, state }) => heard.push(`${id} ${domain} ${state}`));
  const address = formatAddress(node.server.address);
  await coordinator.put(coordinatorKeys.node(1), encodeRecord({ id: 1, address, domain: 'rack-b' }));
  await eventually(() => links.links.get(1)!.domain === 'rack-b');
  await coordinator.put(coordinatorKeys.node(1), encodeRecord({ id: 1, address }));
  await eventually(() => links.links.get(1)!.domain === '1');
  expect(heard).toEqual(['1 rack-b up', '1 1 up']);
  expect(links.links.get(1)!.client).toBe(client);
});

test('settle gives up on nodes that are not there', async () => {
  const record = { id: 7, address: 'unix:/nowhere/at/all.sock' };
  await coordinator.put(coordinatorKeys.node(7), encodeRecord(record));
  await links.settle(50);
  expect(stateOf(7)).toBe('down');
  expect(links.links.get(7)?.client).toBeUndefined();
});

test('a node that stops answering turns slow, and up again when it answers', async () => {
  const node = new TestNode(1);
  await register(node);
  await links.settle(5_000);
  node.frozen = true;
  await eventually(() => stateOf(1) === 'slow');
  expect(links.links.get(1)!.client).toBeDefined();
  node.thaw();
  await eventually(() => stateOf(1) === 'up');
});

test('a frozen node turns slow also when timers run early', async () => {
  const { platform } = fixture;
  const early = {
    ...platform.timers,
    after: (delayMs: number, run: () => void) => platform.timers.after(delayMs - 20, run),
  };
  const node = new TestNode(1);
  await register(node);
  const impatient = nodeLinks({ ...platform, timers: early }, coordinator, {
    key: fixture.key,
    pingIntervalMs: 20,
    slowAfterMs: 100,
  });
  await impatient.settle(5_000);
  node.frozen = true;
  await eventually(() => impatient.links.get(1)?.state === 'slow');
  impatient.close();
  node.thaw();
});

test('a node that a caller found slow stays so for a while although its pings are answered', async () => {
  const node = new TestNode(1);
  await register(node);
  await links.settle(5_000);
  const states: NodeState[] = [];
  links.onChange((link) => states.push(link.state));
  links.links.get(1)!.noteSlow();
  expect(stateOf(1)).toBe('slow');
  await eventually(() => stateOf(1) === 'up');
  expect(states).toEqual(['slow', 'up']);
});

test('a node whose connection ends is down at once, and comes up when it is back', async () => {
  const node = new TestNode(1);
  await register(node);
  await links.settle(5_000);
  const { client } = links.links.get(1)!;
  const states: NodeState[] = [];
  links.onChange((link) => states.push(link.state));
  await node.server.close();
  await eventually(() => states.length > 0);
  expect(states).toEqual(['down']);
  expect(client!.closed).toBe(true);
  await register(node);
  await eventually(() => stateOf(1) === 'up');
});

test('a node that is back is reached at once by who insists, whatever the pace of retries', async () => {
  // Where the next server listens.
  const address = fixture.address('unix');
  await coordinator.put(coordinatorKeys.node(1), encodeRecord({ id: 1, address: formatAddress(address) }));
  await eventually(() => links.links.has(1));
  expect(await links.reach([1, 7])).toBe(false);
  const node = new TestNode(1);
  node.server = await fixture.serve('unix', node.handler);
  expect(await links.reach([1, 7])).toBe(true);
  expect(stateOf(1)).toBe('up');
});

test('a connection that another node answers is not taken for the node', async () => {
  const impostor = new TestNode(2);
  await register(impostor);
  const address = formatAddress(impostor.server.address);
  await coordinator.put(coordinatorKeys.node(1), encodeRecord({ id: 1, address }));
  await eventually(() => stateOf(2) === 'up');
  await eventually(() => fixture.events.some(({ event }) => event === 'node-ping-refused'));
  expect(stateOf(1)).toBe('down');
});

test('a node that is taken out of the list disappears', async () => {
  await register(new TestNode(1));
  await register(new TestNode(2));
  await links.settle(5_000);
  const { client } = links.links.get(2)!;
  await coordinator.delete(coordinatorKeys.node(2));
  await eventually(() => !links.links.has(2));
  expect(client!.closed).toBe(true);
  expect(stateOf(1)).toBe('up');
});

test('records that make no sense are passed over', async () => {
  await coordinator.put(coordinatorKeys.node(3), Buffer.from('{"id":4,"address":"unix:/x"}'));
  await coordinator.put(coordinatorKeys.node(5), Buffer.from('not JSON'));
  await register(new TestNode(1));
  await links.settle(5_000);
  expect([...links.links.keys()]).toEqual([1]);
});

test('this process standing still does not make nodes slow', async () => {
  await register(new TestNode(1));
  await links.settle(5_000);
  const states: NodeState[] = [];
  links.onChange((link) => states.push(link.state));
  for (let round = 0; round < 3; round++) {
    const endMs = performance.now() + 250;
    while (performance.now() < endMs) {
      // The event loop stands still for longer than the limit.
    }
    await fixture.platform.timers.sleep(30);
  }
  expect(states).toEqual([]);
});
