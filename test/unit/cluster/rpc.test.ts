import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { RpcError, type RpcHandler, rpcStatus } from '../../../src/cluster/rpc.ts';
import type { Slab } from '../../../src/platform/platform.ts';
import { RpcFixture } from './rpc-fixture.ts';

/** Answers with the body, and copies the payload to where the reply's bytes go. */
const echo: RpcHandler = ({ method, body, payload, replyInto }) => {
  if (payload !== undefined && replyInto !== undefined) replyInto.set(payload.subarray(0, replyInto.length));
  return {
    status: method === 1 ? rpcStatus.ok : rpcStatus.missing,
    body: Buffer.from(body),
    payloadBytes: Math.min(payload?.length ?? 0, replyInto?.length ?? 0),
  };
};

let fixture: RpcFixture;
beforeEach(() => {
  fixture = new RpcFixture();
});
afterEach(() => fixture.close());

describe.each(['unix', 'tcp'] as const)('remote calls over %s', (kind) => {
  test('a call carries body and status both ways', async () => {
    const client = await fixture.connect(await fixture.serve(kind, echo));
    const ok = await client.call(1, Buffer.from('hello'));
    expect(ok.status).toBe(rpcStatus.ok);
    expect(ok.body.toString()).toBe('hello');
    expect((await client.call(2, Buffer.alloc(0))).status).toBe(rpcStatus.missing);
  });

  test('bulk bytes travel both ways inline', async () => {
    const client = await fixture.connect(await fixture.serve(kind, echo));
    const payload = fixture.platform.random.bytes(3_000_000);
    const into = Buffer.alloc(3_500_000);
    const reply = await client.call(1, Buffer.from('x'), { payload, into });
    expect(reply.payloadBytes).toBe(payload.length);
    expect(into.subarray(0, payload.length).equals(payload)).toBe(true);
  });

  test('bodies of every size around the collecting buffer arrive whole', async () => {
    const client = await fixture.connect(await fixture.serve(kind, echo));
    for (const lengthBytes of [1, 4095, 32 * 1024 - 49, 32 * 1024 - 48, 32 * 1024 - 47, 200_000, 2 ** 21]) {
      const body = fixture.platform.random.bytes(lengthBytes);
      expect((await client.call(1, body)).body.equals(body)).toBe(true);
    }
  });

  test('many calls at once are answered each with its own reply', async () => {
    const handler: RpcHandler = async (request) => {
      const body = Buffer.from(request.body);
      if (body.readUInt32LE() % 3 === 0) await fixture.platform.timers.sleep(1);
      return { status: rpcStatus.ok, body };
    };
    const client = await fixture.connect(await fixture.serve(kind, handler));
    const calls = Array.from({ length: 3000 }, async (_, index) => {
      const body = Buffer.alloc(4);
      body.writeUInt32LE(index);
      expect((await client.call(1, body)).body.readUInt32LE()).toBe(index);
    });
    await Promise.all(calls);
  });

  test('a handler that throws is logged and answered with an I/O error', async () => {
    const server = await fixture.serve(kind, () => {
      throw new Error('broken handler');
    });
    const client = await fixture.connect(server);
    expect((await client.call(1, Buffer.alloc(0))).status).toBe(rpcStatus.ioError);
    expect(fixture.events.some(({ event }) => event === 'rpc-handler-failed')).toBe(true);
  });

  test('a call that times out rejects, and its late reply is dropped', async () => {
    let answer: (() => void) | undefined;
    const server = await fixture.serve(kind, ({ method }) =>
      method === 1
        ? new Promise((resolve) => {
            answer = () => resolve({ status: rpcStatus.ok, body: Buffer.from('late') });
          })
        : { status: rpcStatus.ok, body: Buffer.from('prompt') },
    );
    const client = await fixture.connect(server);
    await expect(client.call(1, Buffer.alloc(0), { timeoutMs: 20 })).rejects.toMatchObject({
      reason: 'timeout',
    });
    answer?.();
    expect((await client.call(2, Buffer.alloc(0))).body.toString()).toBe('prompt');
    expect(client.closed).toBe(false);
  });

  test('calls in flight end as closed when the server goes away', async () => {
    const server = await fixture.serve(kind, ({ method }) =>
      method === 1 ? fixture.platform.timers.sleep(50).then(() => ({ status: rpcStatus.ok })) : echoNothing,
    );
    const client = await fixture.connect(server);
    const closed = new Promise<void>((resolve) => {
      client.onClose = resolve;
    });
    const answered = client.call(1, Buffer.alloc(0));
    await client.call(2, Buffer.alloc(0));
    await server.close();
    // What was being served is answered before the server closes.
    expect((await answered).status).toBe(rpcStatus.ok);
    await closed;
    await expect(client.call(2, Buffer.alloc(0))).rejects.toMatchObject({ reason: 'closed' });
  });

  test('a client with another key is refused and nothing is served to it', async () => {
    let served = 0;
    const server = await fixture.serve(kind, () => {
      served++;
      return { status: rpcStatus.ok };
    });
    await expect(fixture.connect(server, { key: Buffer.alloc(32, 8) })).rejects.toMatchObject({
      reason: 'refused',
    });
    expect(served).toBe(0);
    expect(fixture.events).toContainEqual(
      expect.objectContaining({ fields: expect.objectContaining({ reason: 'wrong key' }) }),
    );
  });

  test('an inline payload over the bound closes that connection only', async () => {
    const server = await fixture.serve(kind, echo, { maxPayloadBytes: 65536 });
    const first = await fixture.connect(server);
    const second = await fixture.connect(server);
    await expect(first.call(1, Buffer.alloc(0), { payload: Buffer.alloc(65537) })).rejects.toBeInstanceOf(
      RpcError,
    );
    expect((await second.call(1, Buffer.from('still here'))).body.toString()).toBe('still here');
  });

  test('little memory for inline payloads slows callers down and serves them all', async () => {
    const handler: RpcHandler = async ({ payload, replyInto }) => {
      await fixture.platform.timers.sleep(1);
      replyInto!.set(payload!);
      return { status: rpcStatus.ok, payloadBytes: payload!.length };
    };
    const server = await fixture.serve(kind, handler, { maxPayloadBytes: 65536, maxInlineBytes: 1 });
    const client = await fixture.connect(server);
    await Promise.all(
      Array.from({ length: 40 }, async (_, index) => {
        const payload = Buffer.alloc(60_000, index);
        const into = Buffer.alloc(60_000);
        await client.call(1, Buffer.alloc(0), { payload, into });
        expect(into.equals(payload)).toBe(true);
      }),
    );
  });
});

const echoNothing = { status: rpcStatus.ok };

describe('remote calls through a shared slab', () => {
  let slab: Slab;
  beforeEach(() => {
    slab = fixture.platform.memory.createSlab(1 << 20);
  });
  afterEach(() => slab.close());

  test('payload and reply bytes go by reference', async () => {
    const handler: RpcHandler = (request) => {
      // The server's view is another mapping of the same memory.
      request.payload![0] = 99;
      request.replyInto!.fill(5);
      return { status: rpcStatus.ok, payloadBytes: 10 };
    };
    const client = await fixture.connect(await fixture.serve('unix', handler), { slab });
    const payload = slab.buffer.subarray(4096, 8192);
    const into = slab.buffer.subarray(65536, 65546);
    const reply = await client.call(1, Buffer.alloc(0), { payload, into });
    expect(reply.payloadBytes).toBe(10);
    expect(payload[0]).toBe(99);
    expect([...into]).toEqual(Array(10).fill(5));
    expect(slab.buffer[65546]).toBe(0);
  });

  test('a payload outside the slab goes inline over the same connection', async () => {
    const client = await fixture.connect(await fixture.serve('unix', echo), { slab });
    const payload = Buffer.from('not in the slab');
    const into = slab.buffer.subarray(0, 64);
    const reply = await client.call(1, Buffer.alloc(0), { payload, into });
    expect(into.subarray(0, reply.payloadBytes).toString()).toBe('not in the slab');
  });

  test('what was lent stays lent after a time-out until the server is done', async () => {
    let finish: (() => void) | undefined;
    const server = await fixture.serve(
      'unix',
      ({ replyInto }) =>
        new Promise((resolve) => {
          finish = () => {
            replyInto!.fill(1);
            resolve({ status: rpcStatus.ok, payloadBytes: replyInto!.length });
          };
        }),
    );
    const client = await fixture.connect(server, { slab });
    const into = slab.buffer.subarray(0, 4096);
    const failure = await client.call(1, Buffer.alloc(0), { into, timeoutMs: 10 }).catch((error) => error);
    expect(failure).toMatchObject({ reason: 'timeout' });
    let settled = false;
    const whenSettled = failure.settled.then(() => {
      settled = true;
    });
    await fixture.platform.timers.sleep(20);
    expect(settled).toBe(false);
    // Closing does not give the memory back either: the server may still write to it.
    client.close();
    await fixture.platform.timers.sleep(20);
    expect(settled).toBe(false);
    finish?.();
    await whenSettled;
    expect(into[0]).toBe(1);
  });

  test('a descriptor comes back with a reply and is usable', async () => {
    const path = `${fixture.directory}/log`;
    await fixture.platform.disk.writeSmallFile(path, Buffer.from('contents of the log file'));
    const file = await fixture.platform.disk.open(path, {});
    const server = await fixture.serve('unix', ({ local }) => ({
      status: local && file.descriptor !== undefined ? rpcStatus.ok : rpcStatus.invalid,
      descriptor: file.descriptor!,
      body: Buffer.from('here it is'),
    }));
    const client = await fixture.connect(server, { slab });
    const reply = await client.call(1, Buffer.alloc(0));
    expect(reply.body.toString()).toBe('here it is');
    const received = fixture.platform.memory.openDescriptor(reply.descriptor!, false);
    const bytes = Buffer.alloc(64);
    const lengthBytes = await received.read([bytes], 0);
    expect(bytes.toString('utf8', 0, lengthBytes)).toBe('contents of the log file');
    await received.close();
    await file.close();
  });
});
