/** Local channels: order and completeness, descriptors, back-pressure, addresses, and every way a connection ends. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, connect as netConnect } from 'node:net';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import {
  type ChannelOptions,
  connectUnix,
  listenUnix,
  type UnixChannel,
  type UnixListener,
} from '../../../src/platform/native/unix-channel.ts';
import type { MachineError } from '../../../src/platform/platform.ts';
import { openDescriptors } from './descriptors.ts';

const directory = mkdtempSync('/var/tmp/tartan-channel-');
afterAll(() => rmSync(directory, { recursive: true }));

let counter = 0;
const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

function freshPath(): string {
  return join(directory, `socket-${counter++}`);
}

function childScript(name: string): string {
  return new URL(`./children/${name}`, import.meta.url).pathname;
}

function startChild(name: string, ...args: string[]): ChildProcess {
  const child = spawn(process.execPath, [childScript(name), ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  cleanups.push(() => child.kill('SIGKILL'));
  return child;
}

function listen(
  path: string,
  onConnection: (channel: UnixChannel) => void,
  options: ChannelOptions = {},
): UnixListener {
  const onError = (reason: MachineError): void => {
    throw reason;
  };
  const listener = listenUnix(path, {
    ...options,
    onError,
    onConnection: (channel) => {
      cleanups.push(() => channel.close());
      onConnection(channel);
    },
  });
  cleanups.push(() => listener.close());
  return listener;
}

/** Two connected ends in this process. */
async function pair(options: ChannelOptions = {}): Promise<[UnixChannel, UnixChannel]> {
  const path = freshPath();
  const accepted = new Promise<UnixChannel>((resolve) => listen(path, resolve, options));
  const client = connectUnix(path, options);
  cleanups.push(() => client.close());
  return [client, await accepted];
}

function received(channel: UnixChannel, lengthBytes: number): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let total = 0;
  return new Promise((resolve, reject) => {
    channel.onClose = (reason) => reject(reason ?? new Error('ended early'));
    channel.onData = (bytes) => {
      pieces.push(Buffer.from(bytes));
      total += bytes.length;
      if (total >= lengthBytes) resolve(Buffer.concat(pieces));
    };
  });
}

function closed(channel: UnixChannel): Promise<MachineError | undefined> {
  return new Promise((resolve) => {
    channel.onClose = resolve;
  });
}

function numbered(lengthBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at + 4 <= lengthBytes; at += 4) bytes.writeUInt32LE(at, at);
  return bytes;
}

describe('a stream', () => {
  it('arrives whole and in order, however it was cut into parts', async () => {
    const [client, server] = await pair();
    const bytes = numbered(100_000);
    const arrived = received(server, 2 * bytes.length);
    const parts = Array.from({ length: 200 }, (_, index) => bytes.subarray(index * 500, (index + 1) * 500));
    client.send(parts);
    client.send(bytes);
    expect((await arrived).equals(Buffer.concat([bytes, bytes]))).toBe(true);
  });

  it('takes a copy of what the socket does not take at once, and says when all is gone', async () => {
    const [client, server] = await pair();
    const bytes = numbered(8 << 20);
    const sent = Buffer.from(bytes);
    client.send([sent.subarray(0, 100), sent.subarray(100)]);
    expect(client.queuedBytes).toBeGreaterThan(0);
    client.send(Buffer.from('end'));
    sent.fill(0);
    const drained = new Promise<void>((resolve) => {
      client.onDrain = resolve;
    });
    const arrived = await received(server, bytes.length + 3);
    await drained;
    expect(client.queuedBytes).toBe(0);
    expect(arrived.subarray(0, bytes.length).equals(bytes)).toBe(true);
    expect(arrived.subarray(bytes.length).toString()).toBe('end');
  });

  it('cuts off a peer that does not read, at the bound of the queue', async () => {
    const [client] = await pair({ queueLimitBytes: 1 << 20 });
    const reason = closed(client);
    const message = Buffer.alloc(300_000);
    for (let round = 0; round < 20; round++) {
      client.send(message);
      expect(client.queuedBytes).toBeLessThanOrEqual(1 << 20);
    }
    expect((await reason)?.code).toBe('ENOBUFS');
  });

  it('never continues behind a message that was refused', async () => {
    const [client] = await pair({ queueLimitBytes: 1 << 20 });
    const reason = closed(client);
    let queuedBytes = -1;
    while (client.queuedBytes !== queuedBytes) {
      queuedBytes = client.queuedBytes;
      client.send(Buffer.alloc(700_000));
    }
    client.send(Buffer.from('this would fit'));
    expect(client.queuedBytes).toBe(queuedBytes);
    await reason;
  });

  it('waits for onData, and while it is paused', async () => {
    const [client, server] = await pair();
    client.send(Buffer.from('one'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await received(server, 3)).toString()).toBe('one');
    server.pause();
    let seen = 0;
    server.onData = (bytes) => {
      seen += bytes.length;
    };
    client.send(Buffer.from('two'));
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(seen).toBe(0);
    const arrived = received(server, 3);
    server.resume();
    expect((await arrived).toString()).toBe('two');
  });

  it('lets two that send at each other make progress', async () => {
    const [client, server] = await pair();
    const bytes = numbered(4 << 20);
    const arrivals = [received(client, bytes.length), received(server, bytes.length)];
    client.send(bytes);
    server.send(bytes);
    for (const arrived of await Promise.all(arrivals)) expect(arrived.equals(bytes)).toBe(true);
  });

  it('speaks plainly with other sockets', async () => {
    const path = freshPath();
    listen(path, (channel) => {
      channel.onData = (bytes) => channel.send(bytes);
    });
    const socket = netConnect(path);
    socket.write('hello');
    const answer = await new Promise<Buffer>((resolve) => socket.once('data', resolve));
    expect(answer.toString()).toBe('hello');
    socket.destroy();
  });

  it.each([0, 50])(
    'carries many messages to and fro between processes, busyPollUs %s',
    async (busyPollUs) => {
      const path = freshPath();
      const rounds = busyPollUs === 0 ? 100_000 : 1000;
      const accepted = new Promise<UnixChannel>((resolve) => listen(path, resolve, { busyPollUs }));
      startChild('echo.mjs', path, String(busyPollUs));
      const channel = await accepted;
      const message = Buffer.alloc(16);
      await new Promise<void>((resolve, reject) => {
        let round = 0;
        const next = (): void => {
          message.writeUInt32LE(round, 0);
          channel.send(message);
        };
        channel.onClose = () => reject(new Error('the echo ended'));
        channel.onData = (bytes) => {
          if (bytes.length !== 16 || Buffer.from(bytes).readUInt32LE(0) !== round)
            reject(new Error(`round ${round}`));
          else if (++round === rounds) resolve();
          else next();
        };
        next();
      });
    },
  );
});

describe('descriptors', () => {
  it('arrive in order, before the bytes they were sent with', async () => {
    const [client, server] = await pair();
    const log: string[] = [];
    server.descriptors.onReceive = (descriptor) => {
      const content = Buffer.alloc(10);
      log.push(`descriptor ${content.toString('utf8', 0, readSync(descriptor, content, 0, 10, 0))}`);
      closeSync(descriptor);
    };
    const arrived = new Promise<void>((resolve) => {
      server.onData = (bytes) => {
        log.push(Buffer.from(bytes).toString());
        if (log.join('').endsWith('b')) resolve();
      };
    });
    for (const name of ['a', 'b']) {
      const path = join(directory, name);
      writeFileSync(path, name);
      const descriptor = openSync(path, 'r');
      client.descriptors.send(descriptor, Buffer.from(name));
      closeSync(descriptor);
    }
    await arrived;
    expect(log).toEqual(['descriptor a', 'a', 'descriptor b', 'b']);
  });

  it('keep their place behind queued bytes', async () => {
    const [client, server] = await pair();
    const bytes = numbered(4 << 20);
    client.send(bytes);
    const path = join(directory, 'late');
    writeFileSync(path, 'late');
    const descriptor = openSync(path, 'r');
    client.descriptors.send(descriptor, Buffer.from('x'));
    closeSync(descriptor);
    let descriptorAt = -1;
    let total = 0;
    await new Promise<void>((resolve) => {
      server.descriptors.onReceive = (passed) => {
        descriptorAt = total;
        closeSync(passed);
      };
      server.onData = (data) => {
        total += data.length;
        if (total === bytes.length + 1) resolve();
      };
    });
    expect(descriptorAt).toBeGreaterThan(0);
    expect(descriptorAt).toBeLessThanOrEqual(bytes.length);
  });

  it('are closed when nobody expects them, and when they never left', async () => {
    const before = openDescriptors('unwanted');
    const [client, server] = await pair();
    const path = join(directory, 'unwanted');
    writeFileSync(path, '');
    const descriptor = openSync(path, 'r');
    const arrived = received(server, 1);
    client.descriptors.send(descriptor, Buffer.from('x'));
    await arrived;
    server.pause();
    client.send(Buffer.alloc(4 << 20));
    client.descriptors.send(descriptor, Buffer.from('x'));
    client.close();
    closeSync(descriptor);
    expect(openDescriptors('unwanted')).toBe(before);
  });
});

describe('the end', () => {
  it('of an orderly close is reported once, without a reason, after the last bytes', async () => {
    const [client, server] = await pair();
    const reasons: unknown[] = [];
    const arrived = received(server, 4);
    server.onClose = (reason) => reasons.push(reason);
    client.send(Buffer.from('last'));
    client.close();
    expect((await arrived).toString()).toBe('last');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(reasons).toEqual([undefined]);
    server.send(Buffer.from('nobody hears this'));
  });

  it('comes with a reason when the peer threw bytes away, and what it had sent still arrives', async () => {
    const [client, server] = await pair();
    server.send(Buffer.from('unread'));
    client.send(Buffer.from('last words'));
    client.close();
    let words = '';
    server.onData = (bytes) => {
      words += Buffer.from(bytes).toString();
    };
    expect((await closed(server))?.code).toBe('ECONNRESET');
    expect(words).toBe('last words');
  });

  it('is noticed by a sender that does not read', async () => {
    const [client, server] = await pair();
    server.close();
    const reason = closed(client);
    client.send(Buffer.from('x'));
    expect((await reason)?.code).toBe('EPIPE');
  });

  it('of a killed process is reported', async () => {
    const path = freshPath();
    const accepted = new Promise<UnixChannel>((resolve) => listen(path, resolve));
    const child = startChild('echo.mjs', path);
    const channel = await accepted;
    channel.onData = () => child.kill('SIGKILL');
    const reason = closed(channel);
    channel.send(Buffer.from('x'));
    await reason;
  });

  it('of a process is what an error in a delivery leads to, as in any event handler', () => {
    const run = spawnSync(process.execPath, [childScript('throwing.mjs'), freshPath()], { encoding: 'utf8' });
    expect(run.stdout).toBe('caught: thrown in a delivery\nstill delivering\n');
    expect(run.status).toBe(0);
  });

  it('by close() within a delivery delivers nothing more', async () => {
    const [client, server] = await pair();
    let deliveries = 0;
    server.onClose = () => {
      deliveries += 100;
    };
    client.send(Buffer.alloc(200_000));
    await new Promise<void>((resolve) => {
      server.onData = () => {
        deliveries++;
        server.close();
        resolve();
      };
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(deliveries).toBe(1);
  });

  it('leaves no descriptor behind', async () => {
    const before = openDescriptors('socket:');
    for (let round = 0; round < 20; round++) {
      const [client, server] = await pair();
      client.send(Buffer.alloc(4 << 20));
      client.close();
      server.close();
      for (const cleanup of cleanups.splice(0)) cleanup();
    }
    expect(openDescriptors('socket:')).toBe(before);
  });

  it.each(['exit', 'worker'])('of a process or thread with everything open is clean: %s', (mode) => {
    const run = spawnSync(process.execPath, [childScript('open-channel.mjs'), freshPath(), mode], {
      encoding: 'utf8',
    });
    expect(run).toMatchObject({ status: 0, signal: null, stderr: '' });
    expect(run.stdout).toBe(mode === 'worker' ? 'ended\n' : '');
  });
});

describe('an address', () => {
  it('has the asked permissions while it is listened on and is gone afterwards', () => {
    const path = freshPath();
    const listener = listenUnix(path, { mode: 0o666, onConnection: () => {}, onError: () => {} });
    expect(statSync(path).mode & 0o777).toBe(0o666);
    listener.close();
    expect(existsSync(path)).toBe(false);
  });

  it('is taken over when nobody answers on it', async () => {
    const path = freshPath();
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    spawnSync(process.execPath, ['-e', script]);
    expect(existsSync(path)).toBe(true);
    listen(path, () => {});
    connectUnix(path).close();
  });

  it('is left to whoever answers on it', async () => {
    const path = freshPath();
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(path, resolve));
    expect(() => listen(path, () => {})).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    server.close();
  });

  it('that is a file is left alone', () => {
    const path = freshPath();
    writeFileSync(path, 'precious');
    expect(() => listen(path, () => {})).toThrow(expect.objectContaining({ code: 'EADDRINUSE' }));
    expect(readFileSync(path, 'utf8')).toBe('precious');
  });

  it('is not removed at the end when it has become somebody else’s', () => {
    const path = freshPath();
    const first = listen(path, () => {});
    rmSync(path);
    listen(path, () => {});
    first.close();
    connectUnix(path).close();
  });

  it('may be longer than a socket address', async () => {
    const folder = join(directory, 'x'.repeat(120), 'y'.repeat(120));
    mkdirSync(folder, { recursive: true });
    const path = join(folder, 'socket');
    const accepted = new Promise<UnixChannel>((resolve) => listen(path, resolve));
    const client = connectUnix(path);
    client.send(Buffer.from('far'));
    expect((await received(await accepted, 3)).toString()).toBe('far');
    client.close();
  });

  it('without a listener is refused, and without a file not found', () => {
    expect(() => connectUnix(freshPath())).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    const path = freshPath();
    writeFileSync(path, '');
    expect(() => connectUnix(path)).toThrow(expect.objectContaining({ code: 'ECONNREFUSED' }));
  });

  it('tells who is at the other end', async () => {
    const [client, server] = await pair();
    const me = { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() };
    expect(server.peerCredentials()).toEqual(me);
    expect(client.peerCredentials()).toEqual(me);
  });
});
