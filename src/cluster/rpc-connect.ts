/**
 * Makes an authenticated connection: connects, proves that this side knows the volume's key, demands the same proof, and shares the slab.
 */
import { emptyFrameHeader, type FrameHeader, frameKind } from '../format/frame.ts';
import { writeSafeU64 } from '../format/integers.ts';
import {
  type Address,
  type Connection,
  MachineError,
  type Platform,
  type Slab,
} from '../platform/platform.ts';
import { type FrameReceiver, FrameStream } from './frame-stream.ts';
import { FrameWriter } from './frame-writer.ts';
import { HANDSHAKE_BODY_BYTES, NONCE_BYTES, proofOf, provesKey } from './handshake.ts';
import { type RpcClient, type RpcClientOptions, RpcError } from './rpc.ts';
import { ConnectedClient } from './rpc-client.ts';
import { DEFAULT_MAX_BODY_BYTES, DEFAULT_MAX_PAYLOAD_BYTES } from './rpc-server.ts';

const DEFAULT_CONNECT_TIMEOUT_MS = 2_000;

/** Rejects with RpcError: 'unreachable' when nobody answers, 'refused' when somebody without the key does. */
export async function connectRpc(
  platform: Platform,
  address: Address,
  options: RpcClientOptions,
): Promise<RpcClient> {
  const timeoutMs = options.connectTimeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS;
  const startMs = platform.clock.monotonicMs();
  let connection: Connection;
  try {
    connection = await platform.network.connect(address, timeoutMs);
  } catch (error) {
    if (error instanceof MachineError) throw new RpcError('unreachable', error.message);
    throw error;
  }
  const writer = new FrameWriter(connection, platform.kernels);
  const leftMs = Math.max(1, timeoutMs - (platform.clock.monotonicMs() - startMs));
  await new ClientHandshake(platform, connection, writer, options.key).finish(leftMs);
  const { slab } = options;
  const shared = slab?.descriptor !== undefined && connection.descriptors !== undefined;
  if (shared) shareSlab(writer, slab, slab.descriptor);
  return new ConnectedClient(platform, address, connection, writer, shared ? slab : undefined, {
    bodyBytes: DEFAULT_MAX_BODY_BYTES,
    payloadBytes: DEFAULT_MAX_PAYLOAD_BYTES,
  });
}

function shareSlab(writer: FrameWriter, slab: Slab, descriptor: number): void {
  const header = emptyFrameHeader();
  header.kind = frameKind.slab;
  const body = Buffer.alloc(8);
  writeSafeU64(body, slab.lengthBytes, 0);
  writer.addWithDescriptor(header, body, descriptor);
}

class ClientHandshake implements FrameReceiver {
  readonly #platform: Platform;
  readonly #connection: Connection;
  readonly #writer: FrameWriter;
  readonly #key: Uint8Array;
  readonly #stream: FrameStream;
  readonly #clientNonce: Buffer;
  #serverNonce: Buffer | undefined;
  #resolve: (() => void) | undefined;
  #reject: ((error: RpcError) => void) | undefined;

  constructor(platform: Platform, connection: Connection, writer: FrameWriter, key: Uint8Array) {
    this.#platform = platform;
    this.#connection = connection;
    this.#writer = writer;
    this.#key = key;
    this.#stream = new FrameStream(
      platform.kernels,
      { bodyBytes: HANDSHAKE_BODY_BYTES, payloadBytes: 0 },
      this,
    );
    this.#clientNonce = platform.random.bytes(NONCE_BYTES);
  }

  async finish(timeoutMs: number): Promise<void> {
    const connection = this.#connection;
    const timer = this.#platform.timers.after(timeoutMs, () =>
      this.#fail(new RpcError('unreachable', 'the server does not answer')),
    );
    try {
      await new Promise<void>((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
        connection.onClose = () =>
          this.#fail(new RpcError('refused', 'the server closed the connection: wrong key?'));
        connection.onData = (bytes) => this.#stream.push(bytes);
      });
    } finally {
      timer.cancel();
      this.#stream.end();
      connection.onData = undefined;
      connection.onClose = undefined;
    }
  }

  admit(): boolean {
    return true;
  }

  payloadTarget(): undefined {}

  frame(header: FrameHeader, body: Buffer): void {
    if (header.kind === frameKind.hello && this.#serverNonce === undefined && body.length === NONCE_BYTES) {
      this.#serverNonce = Buffer.from(body);
      const proof = proofOf('client', this.#key, this.#serverNonce, this.#clientNonce);
      const reply = emptyFrameHeader();
      reply.kind = frameKind.proof;
      this.#writer.add(reply, Buffer.concat([this.#clientNonce, proof]));
      this.#writer.flush();
    } else if (
      header.kind === frameKind.welcome &&
      this.#serverNonce !== undefined &&
      provesKey(body, 'server', this.#key, this.#serverNonce, this.#clientNonce)
    ) {
      this.#resolve?.();
    } else this.broken('the server does not know the key');
  }

  broken(reason: string): void {
    this.#fail(new RpcError('refused', reason));
  }

  #fail(error: RpcError): void {
    this.#connection.close();
    this.#reject?.(error);
  }
}
