/**
 * The calling side of remote calls: one authenticated connection, many calls in flight.
 *
 * Invariants: a call is answered once, by its reply, its time-out or the end of the connection. A late reply is dropped. Memory that was
 * lent to the server by reference (a slab range) counts as lent until the late reply or the end of the connection, which the server only brings
 * about when it no longer serves a call: see RpcError.settled. So closing says goodbye first, and waits for the server, if anything is lent.
 *
 * It does not reconnect: see node-links.ts.
 */
import { assert } from '../base/assert.ts';
import { MIB } from '../base/units.ts';
import { type BulkMode, bulkMode, emptyFrameHeader, type FrameHeader, frameKind } from '../format/frame.ts';
import type { Address, Connection, Platform, Slab, Timer } from '../platform/platform.ts';
import { type FrameReceiver, FrameStream } from './frame-stream.ts';
import type { FrameWriter } from './frame-writer.ts';
import { type CallOptions, type RpcClient, RpcError, type RpcReply, type RpcStatus } from './rpc.ts';

/** More than this in flight means that the server stands still: further calls are refused. */
const MAX_CALLS = 8192;
/** Descriptors that came before the rest of their frames. */
const MAX_WAITING_DESCRIPTORS = 16;
/** With the longest frame on top it stays under what a connection queues before it gives up. */
const MAX_QUEUED_BYTES = 48 * MIB;
const NOTHING = Buffer.alloc(0);

interface Call {
  readonly into: Uint8Array | undefined;
  readonly intoMode: BulkMode;
  readonly deadlineMs: number;
  /** The server may touch the caller's memory until the call has ended there. */
  readonly lent: boolean;
  /** undefined: timed out or closed; only the reply is awaited. */
  resolve: ((reply: RpcReply) => void) | undefined;
  reject: ((error: RpcError) => void) | undefined;
  /** Ends RpcError.settled. */
  settle: (() => void) | undefined;
}

export class ConnectedClient implements RpcClient, FrameReceiver {
  readonly address: Address;
  readonly local: boolean;
  onClose: (() => void) | undefined;

  readonly #platform: Platform;
  readonly #connection: Connection;
  readonly #writer: FrameWriter;
  readonly #stream: FrameStream;
  readonly #slab: Slab | undefined;
  readonly #calls = new Map<number, Call>();
  readonly #request: FrameHeader = emptyFrameHeader();
  #lastRequestId = 0;
  #closed = false;
  #disconnected = false;
  #descriptors: number[] = [];
  /** Whose inline payload is arriving. */
  #arriving: Call | undefined;
  #timer: Timer | undefined;
  #timerDeadlineMs = Number.POSITIVE_INFINITY;

  /** The connection has passed the handshake; `slab` was shared over it. */
  constructor(
    platform: Platform,
    address: Address,
    connection: Connection,
    writer: FrameWriter,
    slab: Slab | undefined,
    limits: { bodyBytes: number; payloadBytes: number },
  ) {
    this.#platform = platform;
    this.address = address;
    this.#connection = connection;
    this.#writer = writer;
    this.#slab = slab;
    this.local = connection.descriptors !== undefined;
    this.#stream = new FrameStream(platform.kernels, limits, this);
    connection.onClose = () => this.#onDisconnect();
    if (connection.descriptors !== undefined) {
      connection.descriptors.onReceive = (descriptor) => this.#onDescriptor(descriptor);
    }
    connection.onData = (bytes) => this.#stream.push(bytes);
  }

  get closed(): boolean {
    return this.#closed;
  }

  call(method: number, body: Uint8Array, options?: CallOptions): Promise<RpcReply> {
    if (this.#closed) return Promise.reject(new RpcError('closed', 'the connection is closed'));
    if (this.#calls.size >= MAX_CALLS || this.#connection.queuedBytes > MAX_QUEUED_BYTES) {
      return Promise.reject(new RpcError('refused', 'too many calls are waiting for this server'));
    }
    return new Promise((resolve, reject) => {
      const lent = this.#sendRequest(method, body, options);
      const timeoutMs = options?.timeoutMs;
      const deadlineMs =
        timeoutMs === undefined ? Number.POSITIVE_INFINITY : this.#platform.clock.monotonicMs() + timeoutMs;
      this.#calls.set(this.#lastRequestId, {
        into: options?.into,
        intoMode: this.#request.intoMode,
        deadlineMs,
        lent,
        resolve,
        reject,
        settle: undefined,
      });
      if (deadlineMs < this.#timerDeadlineMs) this.#arm(deadlineMs, timeoutMs ?? 0);
    });
  }

  close(): void {
    if (this.#closed) return;
    this.onClose = undefined;
    this.#sayGoodbye();
  }

  /** Ends the connection, when the server has let go of everything that was lent to it. */
  #sayGoodbye(): void {
    this.#closed = true;
    this.#abandonAll();
    if (this.#calls.size > 0) {
      const header = emptyFrameHeader();
      header.kind = frameKind.goodbye;
      this.#writer.add(header, NOTHING);
      this.#writer.flush();
    } else this.#connection.close();
  }

  /** Returns true if memory was lent by reference. */
  #sendRequest(method: number, body: Uint8Array, options: CallOptions | undefined): boolean {
    const header = this.#request;
    const payload = options?.payload;
    const into = options?.into;
    const payloadOffset = this.#slabOffset(payload);
    const intoOffset = this.#slabOffset(into);
    do {
      this.#lastRequestId = (this.#lastRequestId + 1) >>> 0;
    } while (this.#calls.has(this.#lastRequestId));
    header.kind = frameKind.request;
    header.requestId = this.#lastRequestId;
    header.code = method;
    header.payloadMode = bulk(payload, payloadOffset);
    header.payloadBytes = payload?.length ?? 0;
    header.payloadChecksum = 0;
    header.payloadOffset = payloadOffset ?? 0;
    header.intoMode = bulk(into, intoOffset);
    header.intoBytes = into?.length ?? 0;
    header.intoOffset = intoOffset ?? 0;
    this.#writer.add(header, body, header.payloadMode === bulkMode.inline ? payload : undefined);
    this.#writer.flush();
    return payloadOffset !== undefined || intoOffset !== undefined;
  }

  /** Where the view lies in the shared slab; undefined if it does not. */
  #slabOffset(view: Uint8Array | undefined): number | undefined {
    const slab = this.#slab;
    if (view === undefined || slab === undefined || view.buffer !== slab.buffer.buffer) return undefined;
    const offset = view.byteOffset - slab.buffer.byteOffset;
    return offset >= 0 && offset + view.length <= slab.lengthBytes ? offset : undefined;
  }

  #onDescriptor(descriptor: number): void {
    if (this.#stream.ended) this.#dropDescriptor(descriptor);
    else this.#descriptors.push(descriptor);
    if (this.#descriptors.length > MAX_WAITING_DESCRIPTORS) this.broken('too many descriptors');
  }

  admit(): boolean {
    return true;
  }

  payloadTarget(header: FrameHeader): Uint8Array | undefined {
    const call = this.#calls.get(header.requestId);
    if (call?.resolve === undefined || call.into === undefined) return undefined;
    // A reply that is too long is refused in frame(); until then its bytes are dropped.
    if (call.into.length < header.payloadBytes) return undefined;
    this.#arriving = call;
    return call.into;
  }

  frame(header: FrameHeader, body: Buffer): void {
    this.#arriving = undefined;
    const descriptor = header.hasDescriptor ? this.#descriptors.shift() : undefined;
    const call = header.kind === frameKind.reply ? this.#calls.get(header.requestId) : undefined;
    if (call === undefined || (header.hasDescriptor && descriptor === undefined)) {
      if (descriptor !== undefined) this.#dropDescriptor(descriptor);
      this.broken(call === undefined ? 'not the reply of a call' : 'a descriptor did not come');
      return;
    }
    const misplaced = header.payloadBytes > 0 && header.payloadMode !== call.intoMode;
    if (misplaced || header.payloadBytes > (call.into?.length ?? 0)) {
      if (descriptor !== undefined) this.#dropDescriptor(descriptor);
      this.broken('reply bytes that there is no room for');
      return;
    }
    this.#calls.delete(header.requestId);
    const { resolve } = call;
    if (resolve === undefined) {
      if (descriptor !== undefined) this.#dropDescriptor(descriptor);
      call.settle?.();
      if (this.#closed && this.#calls.size === 0) this.#connection.close();
      return;
    }
    const reply = {
      status: header.code as RpcStatus,
      body: body.length === 0 ? NOTHING : Buffer.from(body),
      payloadBytes: header.payloadBytes,
    };
    resolve(descriptor === undefined ? reply : { ...reply, descriptor });
  }

  broken(reason: string): void {
    this.#platform.log.warn('rpc-connection-broken', { peer: this.#connection.peer, reason });
    this.#stream.end();
    if (this.#closed) return;
    const { onClose } = this;
    this.onClose = undefined;
    this.#sayGoodbye();
    onClose?.();
  }

  #arm(deadlineMs: number, delayMs: number): void {
    this.#timer?.cancel();
    this.#timerDeadlineMs = deadlineMs;
    // Replies may already lie in the socket when this process stood still itself: they are read first.
    this.#timer = this.#platform.timers.after(delayMs, () =>
      this.#platform.timers.defer(() => this.#expire()),
    );
  }

  #expire(): void {
    const nowMs = this.#platform.clock.monotonicMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const call of this.#calls.values()) {
      if (call.resolve === undefined) continue;
      if (call.deadlineMs <= nowMs) this.#abandon(call, 'timeout', 'no answer in time');
      else nextMs = Math.min(nextMs, call.deadlineMs);
    }
    this.#timer = undefined;
    this.#timerDeadlineMs = Number.POSITIVE_INFINITY;
    if (nextMs !== Number.POSITIVE_INFINITY) this.#arm(nextMs, nextMs - nowMs);
  }

  /** The caller gets its error now; what it lent is settled later. */
  #abandon(call: Call, reason: RpcError['reason'], message: string): void {
    const { reject } = call;
    assert(reject !== undefined, 'a call is answered once');
    if (call === this.#arriving) this.#stream.dropPayload();
    call.resolve = undefined;
    call.reject = undefined;
    const settled =
      call.lent && !this.#disconnected
        ? new Promise<void>((resolve) => {
            call.settle = resolve;
          })
        : Promise.resolve();
    reject(new RpcError(reason, message, settled));
  }

  /** All calls end as closed. Those that lent nothing are forgotten. */
  #abandonAll(): void {
    this.#timer?.cancel();
    for (const [requestId, call] of this.#calls) {
      if (call.resolve !== undefined) this.#abandon(call, 'closed', 'the connection was closed');
      if (!call.lent) this.#calls.delete(requestId);
    }
  }

  #onDisconnect(): void {
    if (this.#disconnected) return;
    this.#disconnected = true;
    this.#closed = true;
    this.#stream.end();
    this.#abandonAll();
    for (const call of this.#calls.values()) call.settle?.();
    this.#calls.clear();
    for (const descriptor of this.#descriptors) this.#dropDescriptor(descriptor);
    this.#descriptors = [];
    const { onClose } = this;
    this.onClose = undefined;
    onClose?.();
  }

  #dropDescriptor(descriptor: number): void {
    this.#platform.memory
      .openDescriptor(descriptor, false)
      .close()
      .catch((error: unknown) => {
        this.#platform.log.warn('rpc-descriptor-not-closed', { error: String(error) });
      });
  }
}

function bulk(view: Uint8Array | undefined, slabOffset: number | undefined): FrameHeader['payloadMode'] {
  if (view === undefined) return bulkMode.none;
  return slabOffset === undefined ? bulkMode.inline : bulkMode.slab;
}
