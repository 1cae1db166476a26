import { expect, test } from 'vitest';
import type { Connection } from '../../../src/platform/platform.ts';
import { createMachine } from '../../../src/simulator/machine/machine.ts';
import type { MachineProcess } from '../../../src/simulator/machine/process.ts';
import { createWorld, type SimulatedWorld } from '../../../src/simulator/machine/world.ts';
import { noDisk } from './no-disk.ts';

const address = { kind: 'tcp', host: 'server', port: 7_000 } as const;

interface Pair {
  readonly world: SimulatedWorld;
  readonly client: MachineProcess;
  readonly server: MachineProcess;
  connect(): Promise<[near: Connection, far: Connection]>;
}

async function pair(seed: number): Promise<Pair> {
  const world = createWorld(seed);
  const [client, server] = ['client', 'server'].map((name) =>
    createMachine(world, { name, disk: noDisk }).start('program'),
  ) as [MachineProcess, MachineProcess];
  const accepted: Connection[] = [];
  await world.complete(server.platform.network.listen(address, (connection) => accepted.push(connection)));
  return {
    world,
    client,
    server,
    async connect() {
      const near = await world.complete(client.platform.network.connect(address, 1_000));
      const count = accepted.length + 1;
      await world.run({ until: () => accepted.length === count });
      return [near, accepted.at(-1)!];
    },
  };
}

/** Sends many messages of all sizes at moments of the dice, while the receiver pauses now and then. */
async function stream(seed: number): Promise<{ hash: string; chunks: number[]; messages: number[] }> {
  const { world, connect } = await pair(seed);
  const [near, far] = await connect();
  const dice = world.dice.fork('messages');
  const sent: Buffer[] = [];
  const received: Buffer[] = [];
  far.onData = (bytes) => {
    received.push(Buffer.from(bytes));
    if (!dice.chance(0.05)) return;
    far.pause();
    world.scheduler.after(dice.below(5), () => far.resume());
  };
  for (let i = 0; i < 400; i++) {
    const size = dice.chance(0.03) ? dice.below(700_000) : dice.below(600);
    world.scheduler.after(dice.below(200), () => {
      const message = dice.bytes(size);
      const middle = dice.below(size + 1);
      sent.push(Buffer.from(message));
      near.send([message.subarray(0, middle), Buffer.alloc(0), message.subarray(middle)]);
      message.fill(0);
    });
  }
  expect(await world.run()).toBe('idle');
  expect(Buffer.concat(received).equals(Buffer.concat(sent))).toBe(true);
  const lengths = (buffers: Buffer[]): number[] => buffers.map((buffer) => buffer.length);
  return { hash: world.trace.hash, chunks: lengths(received), messages: lengths(sent) };
}

test('bytes arrive whole and in order, cut otherwise than they were sent', async () => {
  const { chunks, messages } = await stream(1);
  const ends = (lengths: number[]): Set<number> => {
    let end = 0;
    return new Set(lengths.map((length) => (end += length)));
  };
  const [sentEnds, readEnds] = [ends(messages), ends(chunks)];
  const split = [...readEnds].filter((end) => !sentEnds.has(end));
  const joined = [...sentEnds].filter((end) => !readEnds.has(end));
  expect(split.length).toBeGreaterThan(20);
  expect(joined.length).toBeGreaterThan(20);
  expect(Math.max(...chunks)).toBeLessThanOrEqual(65_536);
});

test('one seed cuts the bytes in one way', async () => {
  const [one, again, other] = [await stream(2), await stream(2), await stream(3)];
  expect(again).toEqual(one);
  expect(other.hash).not.toBe(one.hash);
});

test('messages on two connections overtake each other', async () => {
  const { world, connect } = await pair(4);
  const order: string[] = [];
  const ends: Connection[] = [];
  for (const name of ['a', 'b']) {
    const [near, far] = await connect();
    far.onData = () => order.push(name);
    ends.push(near);
  }
  for (let i = 0; i < 50; i++) {
    world.scheduler.after(i * 10, () => {
      for (const end of ends) end.send([Buffer.from('x')]);
    });
  }
  await world.run();
  let overtaken = 0;
  for (let i = 0; i < 100; i += 2) if (order[i] === 'b') overtaken++;
  expect(overtaken).toBeGreaterThan(10);
  expect(overtaken).toBeLessThan(40);
});

test('bytes that are kept beyond their call change', async () => {
  const { world, connect } = await pair(5);
  const [near, far] = await connect();
  let kept: Uint8Array | undefined;
  far.onData = (bytes) => {
    kept = bytes;
    expect(Buffer.from(bytes).toString()).toBe('mine for a moment');
  };
  near.send([Buffer.from('mine for a moment')]);
  await world.run();
  expect(Buffer.from(kept!).toString()).not.toContain('m');
});

test('a connection that is closed while it delivers lets its reader finish', async () => {
  const { world, connect } = await pair(6);
  const [near, far] = await connect();
  let seen = '';
  far.onData = (bytes) => {
    far.close();
    seen += Buffer.from(bytes).toString();
  };
  near.send([Buffer.alloc(100_000, 'a')]);
  await world.run();
  expect(seen.length).toBeGreaterThan(0);
  expect(seen).toMatch(/^a+$/);
});

test('a closed connection sends what its system had taken, and lingers for the rest', async () => {
  const { world, connect } = await pair(7);
  const [near, far] = await connect();
  let received = 0;
  let closed = 0;
  far.onData = (bytes) => {
    received += bytes.length;
  };
  far.onClose = () => closed++;
  near.send([Buffer.alloc(5_000_000)]);
  near.close();
  await world.run();
  expect([received, closed]).toEqual([5_000_000, 1]);
  const [again, slow] = await connect();
  again.send([Buffer.alloc(5_000_000)]);
  again.close();
  await world.run({ untilMs: world.scheduler.nowMs + 1_500 });
  received = 0;
  slow.onData = (bytes) => {
    received += bytes.length;
  };
  slow.onClose = () => closed++;
  await world.run();
  expect(received).toBeGreaterThan(900_000);
  expect(received).toBeLessThan(2_000_000);
  expect(closed).toBe(2);
});

test('connections and listeners that are closed are no longer counted, and leave nothing behind', async () => {
  const { world, client, server, connect } = await pair(8);
  const [near, far] = await connect();
  await connect();
  expect([client.openConnections, server.openConnections, server.listeners]).toEqual([2, 2, 1]);
  let ended = 0;
  far.onClose = () => ended++;
  far.onData = () => {};
  near.close();
  expect(client.openConnections).toBe(1);
  await world.run();
  expect([ended, server.openConnections]).toEqual([1, 1]);
  expect(world.scheduler.pendingEvents).toBe(0);
});

test('an end that nobody listened for is told to the first who asks', async () => {
  const { world, client, connect } = await pair(9);
  const [near, far] = await connect();
  far.onData = () => {};
  near.close();
  await world.run();
  client.kill();
  let told = 0;
  far.onClose = () => told++;
  expect(told).toBe(0);
  await world.run();
  expect(told).toBe(1);
});

test('hosts may use one address each, and ports are chosen where none is given', async () => {
  const { world, client, server } = await pair(10);
  const listen = (process: MachineProcess, host: string, port: number) =>
    world.complete(process.platform.network.listen({ kind: 'tcp', host, port }, () => {}));
  await listen(client, 'client', 7_000);
  const one = await listen(server, 'server', 0);
  const two = await listen(server, 'server', 0);
  expect(one.address).not.toEqual(two.address);
  await expect(listen(server, '0.0.0.0', 7_000)).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
