/**
 * One connection of a server: handshake, requests, replies.
 *
 * Invariants: nothing is answered before the peer has proved itself. The slab stays mapped, and the connection stays open on this side, until
 * no request of it is being served: so when the client sees the end of the connection, nothing touches its memory any more.
 *
 * Back-pressure: with too many requests in service, too many unread replies or no memory for inline payloads, reading stops.
 */
import { assert } from '../base/assert.ts';
import { bulkMode, emptyFrameHeader, type FrameHeader, frameKind } from '../format/frame.ts';
import { readSafeU64 } from '../format/integers.ts';
import type { Connection, MachineError, Platform, Slab, Timer } from '../platform/platform.ts';
import type { BufferPool } from './buffer-pool.ts';
import { type FrameLimits, type FrameReceiver, FrameStream } from './frame-stream.ts';
import { FrameWriter } from './frame-writer.ts';
import { HANDSHAKE_BODY_BYTES, NONCE_BYTES, PROOF_BYTES, proofOf, provesKey } from './handshake.ts';
import { type RpcHandler, type RpcRequest, type RpcResponse, rpcStatus } from './rpc.ts';

export interface ServerShared {
  readonly platform: Platform;
  readonly key: Uint8Array;
  readonly handler: RpcHandler;
  readonly maxBodyBytes: number;
  readonly maxPayloadBytes: number;
  readonly buffers: BufferPool;
}

export interface ServerConnectionOwner {
  authenticated(): void;
  /** Called once, when the connection is closed and its memory released. */
  ended(wasAuthenticated: boolean): void;
}

const HANDSHAKE_TIMEOUT_MS = 5_000;
const MAX_IN_SERVICE = 512;
const MAX_UNREAD_REPLY_BYTES = 4 * 1024 * 1024;
const UNREAD_RETRY_MS = 5;
/** Only the slab's is ever expected. */
const MAX_WAITING_DESCRIPTORS = 1;
/** How long a connection that is being closed may take to send what is queued. */
const LINGER_MS = 1_000;
const LINGER_RETRY_MS = 5;
const MAX_SLAB_BYTES = 1024 * 1024 * 1024;
const NOTHING = Buffer.alloc(0);

/** A request being served: what to give back and whom to answer. */
interface Service {
  readonly requestId: number;
  readonly intoSlab: boolean;
  readonly payloadBuffer: Buffer | undefined;
  readonly intoBuffer: Buffer | undefined;
  readonly intoBytes: number;
}

export class ServerConnection implements FrameReceiver {
  readonly #shared: ServerShared;
  readonly #connection: Connection;
  readonly #owner: ServerConnectionOwner;
  readonly #writer: FrameWriter;
  readonly #stream: FrameStream;
  readonly #limits: FrameLimits = { bodyBytes: HANDSHAKE_BODY_BYTES, payloadBytes: 0 };
  readonly #reply: FrameHeader = emptyFrameHeader();
  readonly #nonce: Buffer;
  #handshakeTimer: Timer | undefined;
  #authenticated = false;
  #slab: Slab | undefined;
  #descriptors: number[] = [];
  #inService = 0;
  /** The buffer that payloadTarget gave for the frame that is arriving. */
  #arriving: Buffer | undefined;
  #flushScheduled = false;
  #delivering = false;
  /** No more requests are taken: close when the last one is answered. */
  #draining = false;
  /** The peer is gone. */
  #disconnected = false;
  #ended = false;
  #whenEnded: (() => void)[] = [];

  constructor(shared: ServerShared, connection: Connection, owner: ServerConnectionOwner) {
    this.#shared = shared;
    this.#connection = connection;
    this.#owner = owner;
    this.#writer = new FrameWriter(connection, shared.platform.kernels);
    this.#stream = new FrameStream(shared.platform.kernels, this.#limits, this);
    this.#nonce = shared.platform.random.bytes(NONCE_BYTES);
  }

  start(): void {
    const connection = this.#connection;
    connection.onClose = (reason) => this.#onClose(reason);
    if (connection.descriptors !== undefined) {
      connection.descriptors.onReceive = (descriptor) => this.#onDescriptor(descriptor);
    }
    this.#handshakeTimer = this.#shared.platform.timers.after(HANDSHAKE_TIMEOUT_MS, () =>
      this.broken('no proof in time'),
    );
    this.#send(frameKind.hello, this.#nonce);
    connection.onData = (bytes) => {
      this.#delivering = true;
      this.#stream.push(bytes);
      this.#delivering = false;
      if (this.#stream.paused) connection.pause();
      if (!this.#disconnected) this.#writer.flush();
    };
  }

  /** Answers what was asked so far, then closes. */
  drain(): Promise<void> {
    if (this.#ended) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenEnded.push(resolve);
      this.#beginDrain();
    });
  }

  admit(header: FrameHeader): boolean {
    if (header.kind !== frameKind.request) return true;
    const inlinePayload = header.payloadMode === bulkMode.inline ? header.payloadBytes : 0;
    const inlineInto = header.intoMode === bulkMode.inline ? header.intoBytes : 0;
    if (this.#inService >= MAX_IN_SERVICE) return false;
    if (this.#connection.queuedBytes > MAX_UNREAD_REPLY_BYTES) {
      this.#shared.platform.timers.after(UNREAD_RETRY_MS, () => this.#resume());
      return false;
    }
    if (this.#shared.buffers.fits(inlinePayload, inlineInto)) return true;
    this.#shared.buffers.whenReleased(() => this.#resume());
    return false;
  }

  payloadTarget(header: FrameHeader): Uint8Array | undefined {
    if (header.payloadBytes === 0) return NOTHING;
    this.#arriving = this.#shared.buffers.take(header.payloadBytes);
    return this.#arriving;
  }

  frame(header: FrameHeader, body: Buffer, payload: Uint8Array | undefined): void {
    const descriptor = header.hasDescriptor ? this.#descriptors.shift() : undefined;
    if (header.hasDescriptor && descriptor === undefined) {
      this.broken('a descriptor was announced and did not come');
      return;
    }
    if (descriptor !== undefined && header.kind !== frameKind.slab) {
      this.#dropDescriptor(descriptor);
      this.broken('a descriptor came where none belongs');
    } else if (!this.#authenticated) {
      if (header.kind === frameKind.proof && body.length === HANDSHAKE_BODY_BYTES) this.#checkProof(body);
      else this.broken('not a proof');
    } else if (header.kind === frameKind.request) this.#serve(header, body, payload);
    else if (header.kind === frameKind.slab && descriptor !== undefined) this.#mapSlab(body, descriptor);
    else if (header.kind === frameKind.goodbye) this.#beginDrain();
    else this.broken(`frame kind ${header.kind} out of place`);
  }

  broken(reason: string): void {
    if (this.#draining) return;
    this.#shared.platform.log.warn('rpc-connection-broken', { peer: this.#connection.peer, reason });
    this.#beginDrain();
  }

  #onDescriptor(descriptor: number): void {
    if (this.#draining) this.#dropDescriptor(descriptor);
    else this.#descriptors.push(descriptor);
    if (this.#descriptors.length > MAX_WAITING_DESCRIPTORS) this.broken('too many descriptors');
  }

  #checkProof(body: Buffer): void {
    const clientNonce = body.subarray(0, NONCE_BYTES);
    const proof = body.subarray(NONCE_BYTES, NONCE_BYTES + PROOF_BYTES);
    const { key } = this.#shared;
    if (!provesKey(proof, 'client', key, this.#nonce, clientNonce)) {
      this.broken('wrong key');
      return;
    }
    this.#authenticated = true;
    this.#handshakeTimer?.cancel();
    this.#limits.bodyBytes = this.#shared.maxBodyBytes;
    this.#limits.payloadBytes = this.#shared.maxPayloadBytes;
    this.#owner.authenticated();
    this.#send(frameKind.welcome, proofOf('server', key, this.#nonce, clientNonce));
  }

  #mapSlab(body: Buffer, descriptor: number): void {
    const lengthBytes = body.length === 8 ? readSafeU64(body, 0) : undefined;
    if (this.#slab !== undefined || lengthBytes === undefined || lengthBytes > MAX_SLAB_BYTES) {
      this.#dropDescriptor(descriptor);
      this.broken('slab refused');
      return;
    }
    try {
      this.#slab = this.#shared.platform.memory.mapSlab(descriptor, lengthBytes);
    } catch (error) {
      this.broken(`slab cannot be mapped: ${String(error)}`);
    }
  }

  #serve(header: FrameHeader, body: Buffer, payload: Uint8Array | undefined): void {
    const payloadBuffer = this.#arriving;
    this.#arriving = undefined;
    const fromSlab = header.payloadMode === bulkMode.slab;
    const intoSlab = header.intoMode === bulkMode.slab;
    const payloadView = fromSlab ? this.#slabView(header.payloadOffset, header.payloadBytes) : payload;
    const intoBuffer =
      header.intoMode === bulkMode.inline && header.intoBytes > 0
        ? this.#shared.buffers.take(header.intoBytes)
        : undefined;
    const replyInto = intoSlab
      ? this.#slabView(header.intoOffset, header.intoBytes)
      : intoBuffer?.subarray(0, header.intoBytes);
    const service: Service = {
      requestId: header.requestId,
      intoSlab,
      payloadBuffer,
      intoBuffer,
      intoBytes: header.intoBytes,
    };
    this.#inService++;
    if ((fromSlab && payloadView === undefined) || (intoSlab && replyInto === undefined)) {
      this.broken('range outside the slab');
      this.#finish(service);
      return;
    }
    const local = this.#connection.descriptors !== undefined;
    this.#run({ method: header.code, body, payload: payloadView, replyInto, local }, service);
  }

  #run(request: RpcRequest, service: Service): void {
    try {
      const response = this.#shared.handler(request);
      if (!(response instanceof Promise)) {
        this.#answer(service, response);
        return;
      }
      response.then(
        (value) => this.#answer(service, value),
        (error: unknown) => this.#answerFailure(service, request.method, error),
      );
    } catch (error) {
      this.#answerFailure(service, request.method, error);
    }
  }

  #answerFailure(service: Service, method: number, error: unknown): void {
    this.#shared.platform.log.error('rpc-handler-failed', {
      method,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    this.#answer(service, { status: rpcStatus.ioError, body: Buffer.from('internal error') });
  }

  #answer(service: Service, response: RpcResponse): void {
    if (!this.#disconnected) {
      const header = this.#reply;
      const filledBytes = response.payloadBytes ?? 0;
      assert(filledBytes <= service.intoBytes, 'a handler fills no more than it was given');
      header.kind = frameKind.reply;
      header.requestId = service.requestId;
      header.code = response.status;
      header.hasDescriptor = false;
      header.payloadChecksum = 0;
      header.payloadBytes = filledBytes;
      header.payloadMode =
        filledBytes === 0 ? bulkMode.none : service.intoSlab ? bulkMode.slab : bulkMode.inline;
      const inline = filledBytes === 0 ? undefined : service.intoBuffer?.subarray(0, filledBytes);
      const body = response.body ?? NOTHING;
      if (response.descriptor === undefined) this.#writer.add(header, body, inline);
      else this.#writer.addWithDescriptor(header, body, response.descriptor);
      if (!this.#delivering) this.#flushSoon();
    }
    this.#finish(service);
  }

  /** Releases what the request held. */
  #finish(service: Service): void {
    this.#inService--;
    if (service.payloadBuffer !== undefined) this.#shared.buffers.release(service.payloadBuffer);
    if (service.intoBuffer !== undefined) this.#shared.buffers.release(service.intoBuffer);
    if (this.#draining || this.#disconnected) this.#endIfIdle();
    else if (this.#stream.paused) this.#flushSoon();
  }

  /** Replies that become ready in one turn leave together. */
  #flushSoon(): void {
    if (this.#flushScheduled) return;
    this.#flushScheduled = true;
    queueMicrotask(() => {
      this.#flushScheduled = false;
      if (!this.#disconnected && !this.#ended) this.#writer.flush();
      this.#resume();
    });
  }

  #resume(): void {
    if (!this.#stream.paused || this.#draining || this.#disconnected) return;
    this.#stream.resume();
    if (!this.#stream.paused) this.#connection.resume();
  }

  #slabView(offset: number, lengthBytes: number): Uint8Array | undefined {
    const slab = this.#slab;
    if (slab === undefined || lengthBytes > slab.lengthBytes || offset > slab.lengthBytes - lengthBytes) {
      return undefined;
    }
    return slab.buffer.subarray(offset, offset + lengthBytes);
  }

  #send(kind: FrameHeader['kind'], body: Uint8Array): void {
    const header = emptyFrameHeader();
    header.kind = kind;
    this.#writer.add(header, body);
    this.#writer.flush();
  }

  #beginDrain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.#stream.end();
    this.#connection.pause();
    this.#endIfIdle();
  }

  #onClose(reason: MachineError | undefined): void {
    this.#disconnected = true;
    this.#stream.end();
    if (reason !== undefined) {
      this.#shared.platform.log.info('rpc-connection-lost', {
        peer: this.#connection.peer,
        code: reason.code,
      });
    }
    this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (this.#inService > 0 || this.#ended) return;
    this.#ended = true;
    this.#handshakeTimer?.cancel();
    if (this.#arriving !== undefined) this.#shared.buffers.release(this.#arriving);
    this.#arriving = undefined;
    this.#slab?.close();
    this.#slab = undefined;
    for (const descriptor of this.#descriptors) this.#dropDescriptor(descriptor);
    this.#descriptors = [];
    if (this.#disconnected) this.#finished();
    else {
      this.#writer.flush();
      this.#connection.onData = undefined;
      this.#closeWhenSent(this.#shared.platform.clock.monotonicMs() + LINGER_MS);
    }
  }

  #closeWhenSent(latestMs: number): void {
    const { clock, timers } = this.#shared.platform;
    if (!this.#disconnected && this.#connection.queuedBytes > 0 && clock.monotonicMs() < latestMs) {
      timers.after(LINGER_RETRY_MS, () => this.#closeWhenSent(latestMs));
      return;
    }
    this.#connection.close();
    this.#finished();
  }

  #finished(): void {
    this.#owner.ended(this.#authenticated);
    for (const resolve of this.#whenEnded) resolve();
  }

  #dropDescriptor(descriptor: number): void {
    this.#shared.platform.memory
      .openDescriptor(descriptor, false)
      .close()
      .catch((error: unknown) => {
        this.#shared.platform.log.warn('rpc-descriptor-not-closed', { error: String(error) });
      });
  }
}
