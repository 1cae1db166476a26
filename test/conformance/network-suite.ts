/** What every implementation of the network seam must do: one body of tests, run over each (network.test.ts). */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Address, Connection, Listener, MachineError, Platform } from '../../src/platform/platform.ts';

export interface NetworkHarness {
  readonly platform: Platform;
  /** An address that nobody uses. A port is 0. */
  address(): Address;
  /** Lets time go on until the promise has settled. */
  complete<T>(promise: Promise<T>): Promise<T>;
  /** Lets time go on until the condition holds. */
  eventually(condition: () => boolean): Promise<void>;
  close(): Promise<void>;
}

/** One end of a connection, with all that arrives there. */
class End {
  received: Buffer[] = [];
  closed: { reason: MachineError | undefined }[] = [];
  readonly connection: Connection;

  constructor(connection: Connection) {
    this.connection = connection;
    connection.onClose = (reason) => this.closed.push({ reason });
  }

  listen(): this {
    this.connection.onData = (bytes) => this.received.push(Buffer.from(bytes));
    return this;
  }

  get lengthBytes(): number {
    return this.received.reduce((sum, bytes) => sum + bytes.length, 0);
  }

  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }
}

export function networkSuite(start: () => Promise<NetworkHarness>): void {
  let harness: NetworkHarness;
  let listener: Listener;
  let accepted: Connection[];
  let client: End;
  let server: End;
  const pause = () => harness.complete(harness.platform.timers.sleep(20));

  beforeEach(async () => {
    harness = await start();
    const { network } = harness.platform;
    accepted = [];
    listener = await harness.complete(
      network.listen(harness.address(), (connection) => accepted.push(connection)),
    );
    client = new End(await harness.complete(network.connect(listener.address, 1_000)));
    await harness.eventually(() => accepted.length === 1);
    server = new End(accepted[0]!);
  });
  afterEach(async () => {
    client.connection.close();
    server.connection.close();
    await harness.complete(listener.close());
    await harness.close();
  });

  test('carry bytes in order both ways', async () => {
    client.listen();
    server.listen();
    client.connection.send([Buffer.from('one '), Buffer.from('two '), Buffer.from('three')]);
    server.connection.send([Buffer.from('answer')]);
    await harness.eventually(() => server.lengthBytes === 13 && client.lengthBytes === 6);
    expect(server.bytes.toString()).toBe('one two three');
    expect(client.bytes.toString()).toBe('answer');
  });

  test('take the bytes before send returns, also more than the system takes at once', async () => {
    const sent = harness.platform.random.bytes(5_000_000);
    const lent = Buffer.from(sent);
    client.connection.send([lent]);
    lent.fill(0);
    expect(client.connection.queuedBytes).toBeGreaterThan(0);
    server.listen();
    await harness.eventually(() => server.lengthBytes === sent.length);
    expect(server.bytes.equals(sent)).toBe(true);
    await harness.eventually(() => client.connection.queuedBytes === 0);
  });

  test('keep what arrives until somebody listens, and while paused', async () => {
    client.connection.send([Buffer.from('early')]);
    await pause();
    server.listen();
    await harness.eventually(() => server.bytes.toString() === 'early');
    server.connection.pause();
    client.connection.send([Buffer.from(', late')]);
    await pause();
    expect(server.bytes.toString()).toBe('early');
    server.connection.resume();
    await harness.eventually(() => server.bytes.toString() === 'early, late');
  });

  test('push back on a sender whose peer is paused', async () => {
    server.listen();
    server.connection.pause();
    for (let round = 0; round < 16; round++) client.connection.send([Buffer.alloc(1_000_000)]);
    await pause();
    expect(client.connection.queuedBytes).toBeGreaterThan(4_000_000);
    server.connection.resume();
    await harness.eventually(() => server.lengthBytes === 16_000_000);
  });

  test('tell the other end once when one is closed, after what was sent before', async () => {
    server.listen();
    client.listen();
    client.connection.send([Buffer.from('last words')]);
    client.connection.close();
    await harness.eventually(() => server.closed.length === 1);
    expect(server.bytes.toString()).toBe('last words');
    server.connection.send([Buffer.from('nobody is there')]);
    await pause();
    expect(server.closed.length).toBe(1);
    expect(client.closed.length).toBe(0);
  });

  test('go on when the listener is closed, and new ones are refused', async () => {
    await harness.complete(listener.close());
    await expect(
      harness.complete(harness.platform.network.connect(listener.address, 500)),
    ).rejects.toMatchObject({
      name: 'MachineError',
      code: expect.stringMatching(/ECONNREFUSED|ENOENT/),
    });
    server.listen();
    client.connection.send([Buffer.from('still here')]);
    await harness.eventually(() => server.bytes.toString() === 'still here');
  });

  test('can be had again at the same address after the listener is gone', async () => {
    const { network } = harness.platform;
    await harness.complete(listener.close());
    listener = await harness.complete(
      network.listen(listener.address, (connection) => accepted.push(connection)),
    );
    const again = await harness.complete(network.connect(listener.address, 1_000));
    await harness.eventually(() => accepted.length === 2);
    again.close();
  });

  test('leave an address that is in use to its listener', async () => {
    const { network } = harness.platform;
    await expect(harness.complete(network.listen(listener.address, () => {}))).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
  });
}
