/** What every implementation of the network seam must do; here over the real one, on Unix sockets and TCP. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Address, Connection, Listener, MachineError } from '../../src/platform/platform.ts';
import { realPlatform } from '../../src/platform/real/real-platform.ts';
import { eventually } from './coordinator-suite.ts';

const platform = realPlatform();

/** Both ends of a connection, with all that arrives at each. */
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

  get bytes(): Buffer {
    return Buffer.concat(this.received);
  }
}

describe.each(['unix', 'tcp'] as const)('connections over %s', (kind) => {
  let directory: string;
  let listener: Listener;
  let accepted: Connection[];
  let client: End;
  let server: End;
  const address = (): Address =>
    kind === 'tcp'
      ? { kind, host: '127.0.0.1', port: 0 }
      : { kind, path: join(directory, 'a directory with a long name'.repeat(4), 'socket') };

  beforeEach(async () => {
    directory = mkdtempSync('/var/tmp/tartan-network-');
    await platform.disk.makeDirectory(join(directory, 'a directory with a long name'.repeat(4)));
    accepted = [];
    listener = await platform.network.listen(address(), (connection) => accepted.push(connection));
    client = new End(await platform.network.connect(listener.address, 1_000));
    await eventually(() => accepted.length === 1);
    server = new End(accepted[0]!);
  });
  afterEach(async () => {
    client.connection.close();
    server.connection.close();
    await listener.close();
    rmSync(directory, { recursive: true });
  });

  test('carry bytes in order both ways', async () => {
    client.listen();
    server.listen();
    client.connection.send([Buffer.from('one '), Buffer.from('two '), Buffer.from('three')]);
    server.connection.send([Buffer.from('answer')]);
    await eventually(() => server.bytes.length === 13 && client.bytes.length === 6);
    expect(server.bytes.toString()).toBe('one two three');
    expect(client.bytes.toString()).toBe('answer');
  });

  test('take the bytes before send returns, also more than the system takes at once', async () => {
    const sent = platform.random.bytes(5_000_000);
    const lent = Buffer.from(sent);
    client.connection.send([lent]);
    lent.fill(0);
    expect(client.connection.queuedBytes).toBeGreaterThan(0);
    server.listen();
    await eventually(() => server.bytes.length === sent.length);
    expect(server.bytes.equals(sent)).toBe(true);
    await eventually(() => client.connection.queuedBytes === 0);
  });

  test('keep what arrives until somebody listens, and while paused', async () => {
    client.connection.send([Buffer.from('early')]);
    await platform.timers.sleep(20);
    server.listen();
    await eventually(() => server.bytes.toString() === 'early');
    server.connection.pause();
    client.connection.send([Buffer.from(', late')]);
    await platform.timers.sleep(20);
    expect(server.bytes.toString()).toBe('early');
    server.connection.resume();
    await eventually(() => server.bytes.toString() === 'early, late');
  });

  test('push back on a sender whose peer is paused', async () => {
    server.listen();
    server.connection.pause();
    for (let round = 0; round < 16; round++) client.connection.send([Buffer.alloc(1_000_000)]);
    await platform.timers.sleep(20);
    expect(client.connection.queuedBytes).toBeGreaterThan(4_000_000);
    server.connection.resume();
    await eventually(() => server.bytes.length === 16_000_000);
  });

  test('tell the other end once when one is closed, after what was sent before', async () => {
    server.listen();
    client.listen();
    client.connection.send([Buffer.from('last words')]);
    client.connection.close();
    await eventually(() => server.closed.length === 1);
    expect(server.bytes.toString()).toBe('last words');
    server.connection.send([Buffer.from('nobody is there')]);
    await platform.timers.sleep(20);
    expect(server.closed.length).toBe(1);
    expect(client.closed.length).toBe(0);
  });

  test('go on when the listener is closed, and new ones are refused', async () => {
    await listener.close();
    await expect(platform.network.connect(listener.address, 500)).rejects.toMatchObject({
      name: 'MachineError',
      code: expect.stringMatching(/ECONNREFUSED|ENOENT/),
    });
    server.listen();
    client.connection.send([Buffer.from('still here')]);
    await eventually(() => server.bytes.toString() === 'still here');
  });

  test('can be had again at the same address after the listener is gone', async () => {
    await listener.close();
    listener = await platform.network.listen(listener.address, (connection) => accepted.push(connection));
    const again = await platform.network.connect(listener.address, 1_000);
    await eventually(() => accepted.length === 2);
    again.close();
  });
});

test('an address that is in use is refused to a second listener', async () => {
  const directory = mkdtempSync('/var/tmp/tartan-network-');
  for (const address of [
    { kind: 'unix', path: join(directory, 'socket') },
    { kind: 'tcp', host: '127.0.0.1', port: 0 },
  ] as const) {
    const listener = await platform.network.listen(address, () => {});
    await expect(platform.network.listen(listener.address, () => {})).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
    await listener.close();
  }
  rmSync(directory, { recursive: true });
});
