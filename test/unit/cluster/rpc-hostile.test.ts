/** What a peer that breaks the rules can do: have its own connection closed, with a logged reason, and nothing else. */
import { readdirSync } from 'node:fs';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { NONCE_BYTES, proofOf } from '../../../src/cluster/handshake.ts';
import { type RpcClient, type RpcServer, rpcStatus } from '../../../src/cluster/rpc.ts';
import {
  bulkMode,
  emptyFrameHeader,
  encodeFrameHeader,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameKind,
} from '../../../src/format/frame.ts';
import type { Connection } from '../../../src/platform/platform.ts';
import { eventually } from '../../conformance/coordinator-suite.ts';
import { RpcFixture } from './rpc-fixture.ts';

let fixture: RpcFixture;
let server: RpcServer;
let bystander: RpcClient;
let served = 0;

beforeEach(async () => {
  fixture = new RpcFixture();
  served = 0;
  server = await fixture.serve('unix', () => {
    served++;
    return { status: rpcStatus.ok, body: Buffer.from('served') };
  });
  bystander = await fixture.connect(server);
});
afterEach(() => fixture.close());

function frame(fields: Partial<FrameHeader>, body: Uint8Array = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + body.length);
  encodeFrameHeader({ ...emptyFrameHeader(), bodyBytes: body.length, ...fields }, bytes, 0);
  bytes.set(body, FRAME_HEADER_BYTES);
  bytes.writeUInt32LE(fixture.platform.kernels.crc32c(bytes.subarray(4)), 0);
  return bytes;
}

/** A connection that speaks bytes. */
class RawPeer {
  received = Buffer.alloc(0);
  closed = false;
  connection!: Connection;

  async connect(): Promise<this> {
    this.connection = await fixture.platform.network.connect(server.address, 1_000);
    this.connection.onClose = () => {
      this.closed = true;
    };
    this.connection.onData = (bytes) => {
      this.received = Buffer.concat([this.received, bytes]);
    };
    await eventually(() => this.received.length >= FRAME_HEADER_BYTES + NONCE_BYTES);
    return this;
  }

  proof(): Buffer {
    const serverNonce = this.received.subarray(FRAME_HEADER_BYTES, FRAME_HEADER_BYTES + NONCE_BYTES);
    const clientNonce = Buffer.alloc(NONCE_BYTES, 1);
    const proof = proofOf('client', fixture.key, serverNonce, clientNonce);
    return frame({ kind: frameKind.proof }, Buffer.concat([clientNonce, proof]));
  }

  async authenticate(): Promise<this> {
    this.connection.send([this.proof()]);
    await eventually(() => this.received.length >= 2 * (FRAME_HEADER_BYTES + NONCE_BYTES));
    this.received = Buffer.alloc(0);
    return this;
  }
}

/** The peer is cut off, nothing was answered or served, and others do not notice. */
async function expectCutOff(peer: RawPeer, reason: RegExp): Promise<void> {
  await eventually(() => peer.closed);
  const reasons = fixture.events.filter(({ event }) => event === 'rpc-connection-broken');
  expect(reasons.map(({ fields }) => fields.reason)).toContainEqual(expect.stringMatching(reason));
  expect(served).toBe(0);
  expect((await bystander.call(1, Buffer.alloc(0))).body.toString()).toBe('served');
}

describe('a peer that has not proved itself', () => {
  test('gets a nonce and not a byte more for a request', async () => {
    const peer = await new RawPeer().connect();
    peer.connection.send([frame({ kind: frameKind.request, requestId: 1, code: 1 })]);
    await expectCutOff(peer, /not a proof/);
    expect(peer.received.length).toBe(FRAME_HEADER_BYTES + NONCE_BYTES);
  });

  test('is cut off for a wrong proof', async () => {
    const peer = await new RawPeer().connect();
    peer.connection.send([frame({ kind: frameKind.proof }, Buffer.alloc(64))]);
    await expectCutOff(peer, /wrong key/);
  });

  test('cannot use a proof that it heard on another connection', async () => {
    const heard = (await new RawPeer().connect()).proof();
    const peer = await new RawPeer().connect();
    peer.connection.send([heard]);
    await expectCutOff(peer, /wrong key/);
  });

  test('cannot make the server hold more than a handshake', async () => {
    const peer = await new RawPeer().connect();
    peer.connection.send([frame({ kind: frameKind.proof, bodyBytes: 65 })]);
    await expectCutOff(peer, /body of 65 bytes/);
  });

  test('does not keep others out, however many they are', async () => {
    const peers = await Promise.all(
      Array.from({ length: 80 }, async () => {
        const connection = await fixture.platform.network.connect(server.address, 1_000);
        connection.onData = () => {};
        return connection;
      }),
    );
    const refusals = () => fixture.events.filter(({ event }) => event === 'rpc-connection-refused');
    await eventually(() => refusals().length === 16);
    for (const connection of peers) connection.close();
    // The server learns one by one that they are gone, and refuses until the first is.
    let late: RpcClient | undefined;
    for (let attempt = 0; late === undefined && attempt < 200; attempt++) {
      late = await fixture.connect(server).catch(() => undefined);
    }
    expect((await late?.call(1, Buffer.alloc(0)))?.body.toString()).toBe('served');
  });
});

describe('a peer that has proved itself', () => {
  const breaches: [string, () => Buffer, RegExp][] = [
    ['bytes that are no frame', () => Buffer.alloc(48, 0x20), /not a frame/],
    [
      'a frame whose checksum is wrong',
      () => {
        const bytes = frame({ kind: frameKind.request, requestId: 1 }, Buffer.from('body'));
        bytes[50] = 0;
        return bytes;
      },
      /wrong checksum/,
    ],
    ['a body over the bound', () => frame({ bodyBytes: 2 ** 21 + 1 }), /body of 2097153/],
    [
      'a payload over the bound',
      () => frame({ payloadMode: bulkMode.inline, payloadBytes: 2 ** 24 }),
      /payload of 16777216/,
    ],
    [
      'an inline payload whose checksum is wrong',
      () =>
        Buffer.concat([
          frame({ payloadMode: bulkMode.inline, payloadBytes: 4, payloadChecksum: 1 }),
          Buffer.from('data'),
        ]),
      /wrong payload checksum/,
    ],
    [
      'a range of a slab that it never shared',
      () => frame({ payloadMode: bulkMode.slab, payloadBytes: 4096 }),
      /outside the slab/,
    ],
    ['a slab without its descriptor', () => frame({ kind: frameKind.slab }, Buffer.alloc(8)), /out of place/],
    [
      'a descriptor that is only announced',
      () => frame({ kind: frameKind.slab, hasDescriptor: true }, Buffer.alloc(8)),
      /did not come/,
    ],
    ['a reply', () => frame({ kind: frameKind.reply, requestId: 1 }), /out of place/],
    ['a second proof', () => frame({ kind: frameKind.proof }, Buffer.alloc(64)), /out of place/],
  ];
  test.each(breaches)('is cut off for %s', async (_, bytes, reason) => {
    const peer = await (await new RawPeer().connect()).authenticate();
    peer.connection.send([bytes()]);
    await expectCutOff(peer, reason);
    expect(peer.received.length).toBe(0);
  });

  test('is cut off for ranges that lie outside its slab by one byte', async () => {
    const slab = fixture.platform.memory.createSlab(65536);
    const length = Buffer.alloc(8);
    length.writeUInt32LE(slab.lengthBytes);
    const peer = await (await new RawPeer().connect()).authenticate();
    const share = frame({ kind: frameKind.slab, hasDescriptor: true }, length);
    peer.connection.descriptors!.send(slab.descriptor!, share);
    peer.connection.send([
      frame({ requestId: 1, intoMode: bulkMode.slab, intoBytes: 4096, intoOffset: 65536 - 4095 }),
    ]);
    await expectCutOff(peer, /outside the slab/);
    slab.close();
  });

  test('is cut off for a slab that is smaller than it says', async () => {
    const slab = fixture.platform.memory.createSlab(65536);
    const length = Buffer.alloc(8);
    length.writeUInt32LE(2 * slab.lengthBytes);
    const peer = await (await new RawPeer().connect()).authenticate();
    const share = frame({ kind: frameKind.slab, hasDescriptor: true }, length);
    peer.connection.descriptors!.send(slab.descriptor!, share);
    await expectCutOff(peer, /slab/);
    slab.close();
  });

  test('is understood however its bytes are cut up', async () => {
    const requests = Array.from({ length: 5 }, (_, index) =>
      Buffer.concat([
        frame(
          {
            requestId: index + 1,
            code: 1,
            payloadMode: bulkMode.inline,
            payloadBytes: 7,
            payloadChecksum: fixture.platform.kernels.crc32c(Buffer.from('payload')),
          },
          Buffer.from('some body'),
        ),
        Buffer.from('payload'),
      ]),
    );
    const stream = Buffer.concat(requests);
    const cuts = fc.array(fc.integer({ min: 1, max: stream.length - 1 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(cuts, async (positions) => {
        served = 0;
        const peer = await (await new RawPeer().connect()).authenticate();
        let from = 0;
        for (const to of [...new Set(positions), stream.length].sort((a, b) => a - b)) {
          peer.connection.send([stream.subarray(from, to)]);
          from = to;
          await new Promise((resolve) => setImmediate(resolve));
        }
        await eventually(() => served === 5);
        peer.connection.close();
      }),
      { numRuns: 30 },
    );
  });

  test('cannot upset the server with random changes to good frames', async () => {
    const good = frame({ requestId: 1, code: 1 }, Buffer.from('some body'));
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (offset, flip) => {
        const bytes = Buffer.from(good);
        bytes[offset] = bytes[offset]! ^ flip;
        if (offset >= 16 && offset < 20) return; // A longer body only waits for its rest.
        const peer = await (await new RawPeer().connect()).authenticate();
        peer.connection.send([bytes]);
        await eventually(() => peer.closed);
      }),
      { numRuns: 60 },
    );
    expect(served).toBe(0);
  });
});

test('a peer that asks and does not read is served only so far, and all of it when it reads again', async () => {
  const body = Buffer.alloc(256 * 1024, 1);
  let answered = 0;
  const generous = await fixture.serve('unix', () => {
    answered++;
    return { status: rpcStatus.ok, body };
  });
  server = generous;
  const peer = await (await new RawPeer().connect()).authenticate();
  peer.connection.pause();
  let receivedBytes = 0;
  peer.connection.onData = (bytes) => {
    receivedBytes += bytes.length;
  };
  for (let requestId = 1; requestId <= 500; requestId++)
    peer.connection.send([frame({ requestId, code: 1 })]);
  await fixture.platform.timers.sleep(100);
  expect(answered).toBeGreaterThan(0);
  expect(answered).toBeLessThan(100);
  peer.connection.resume();
  await eventually(() => receivedBytes === 500 * (FRAME_HEADER_BYTES + body.length));
});

test('a peer that floods a connection with descriptors is cut off, and they are closed', async () => {
  // Opening a file first makes the disk queue, which has descriptors of its own.
  await (await fixture.platform.disk.open('/dev/null', {})).close();
  const before = readdirSync('/proc/self/fd').length;
  const peer = await new RawPeer().connect();
  const slab = fixture.platform.memory.createSlab(4096);
  const start = frame({ kind: frameKind.proof }, Buffer.alloc(64));
  for (let index = 0; index < 8; index++) {
    peer.connection.descriptors!.send(slab.descriptor!, start.subarray(index, index + 1));
  }
  await expectCutOff(peer, /too many descriptors/);
  slab.close();
  await eventually(() => readdirSync('/proc/self/fd').length <= before);
});

test('a client whose server breaks the rules reports closed calls', async () => {
  const listener = await fixture.platform.network.listen(fixture.address('unix'), (connection) => {
    connection.onData = () => {};
    connection.send([frame({ kind: frameKind.hello }, Buffer.alloc(16))]);
  });
  const impostor = { address: listener.address, close: () => listener.close() };
  await expect(fixture.connect(impostor)).rejects.toMatchObject({ reason: 'refused' });
  await listener.close();
});

test('a client gives up on a server that accepts and says nothing', async () => {
  const listener = await fixture.platform.network.listen(fixture.address('unix'), () => {});
  const silent = { address: listener.address, close: () => listener.close() };
  await expect(fixture.connect(silent, { connectTimeoutMs: 30 })).rejects.toMatchObject({
    reason: 'unreachable',
  });
  await listener.close();
});
