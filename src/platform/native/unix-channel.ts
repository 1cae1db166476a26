/**
 * Connections between processes of one machine over Unix sockets: an ordered byte stream with descriptors beside it.
 * It is the seam's Connection with little else around it, and much cheaper a message than Node's net streams.
 *
 * All channels read into one buffer, which is why what onData gets is valid during the call only. A peer that
 * stops reading while its owner goes on sending is cut off at the queue's limit (ENOBUFS).
 */
import { closeSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { KIB, MIB } from '../../base/units.ts';
import type { Connection, MachineError } from '../platform.ts';
import { checked, machineError, type NativeHandle, nativeAddon } from './addon.ts';

const RECEIVE_BYTES = 64 * KIB;
const DEFAULT_QUEUE_LIMIT_BYTES = 64 * MIB;
const MAX_PARTS = 64;
const EVENT_DESCRIPTOR = 1;
const EVENT_DRAINED = 2;
const EVENT_ERROR = 4;

let receiveBuffer: Buffer | undefined;

export interface ChannelOptions {
  /** The most that waits in memory for a peer that does not read. */
  readonly queueLimitBytes?: number;
  /** Looks for the next bytes for so long before the event loop sleeps. Costs processor time; off by default. */
  readonly busyPollUs?: number;
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

class ChannelDescriptors {
  onReceive: ((descriptor: number) => void) | undefined;
  readonly #sendWith: (bytes: Uint8Array, descriptor: number) => void;

  constructor(sendWith: (bytes: Uint8Array, descriptor: number) => void) {
    this.#sendWith = sendWith;
  }

  send(descriptor: number, bytes: Uint8Array): void {
    assert(descriptor >= 0 && bytes.length > 0, 'a descriptor travels with at least one byte');
    this.#sendWith(bytes, descriptor);
  }
}

export class UnixChannel implements Connection {
  readonly peer: string;
  readonly descriptors: ChannelDescriptors;
  onClose: ((reason: MachineError | undefined) => void) | undefined;
  /** Called when all that was queued has gone to the kernel. */
  onDrain: (() => void) | undefined;
  readonly #addon = nativeAddon();
  readonly #handle: NativeHandle;
  readonly #received: Buffer;
  #onData: ((bytes: Uint8Array) => void) | undefined;
  #paused = false;
  #reading = false;
  #sendFailed = false;
  #closed = false;

  /** Takes ownership of a connected socket. */
  constructor(descriptor: number, peer: string, options: ChannelOptions = {}) {
    receiveBuffer ??= Buffer.alloc(RECEIVE_BYTES);
    this.peer = peer;
    this.#received = receiveBuffer;
    this.descriptors = new ChannelDescriptors((bytes, attached) => this.#send(bytes, attached));
    const handle = this.#addon.channelOpen(
      descriptor,
      receiveBuffer,
      options.queueLimitBytes ?? DEFAULT_QUEUE_LIMIT_BYTES,
      options.busyPollUs ?? 0,
      (lengthBytes) => this.#onData?.(this.#received.subarray(0, lengthBytes)),
      (kind, value) => this.#onEvent(kind, value),
    );
    this.#handle = checked<NativeHandle>(handle, `open a channel to ${peer}`);
  }

  /** Setting it starts delivery; undefined stops it, and nothing is lost. */
  get onData(): ((bytes: Uint8Array) => void) | undefined {
    return this.#onData;
  }

  set onData(onData: ((bytes: Uint8Array) => void) | undefined) {
    this.#onData = onData;
    this.#updateReading();
  }

  pause(): void {
    this.#paused = true;
    this.#updateReading();
  }

  resume(): void {
    this.#paused = false;
    this.#updateReading();
  }

  /** Bytes in memory that the socket has not taken yet. */
  get queuedBytes(): number {
    return this.#addon.channelQueued(this.#handle);
  }

  /** Sends what the socket takes now and queues the rest. On a closed channel it does nothing: see onClose. */
  send(parts: Uint8Array | readonly Uint8Array[]): void {
    if (!Array.isArray(parts) || parts.length <= MAX_PARTS) {
      this.#send(parts, undefined);
      return;
    }
    for (let from = 0; from < parts.length; from += MAX_PARTS) {
      this.#send(parts.slice(from, from + MAX_PARTS), undefined);
    }
  }

  /** Who was at the other end when the connection was made, as the kernel knows it. */
  peerCredentials(): PeerCredentials {
    const list = checked<number[]>(this.#addon.channelPeer(this.#handle), `credentials of ${this.peer}`);
    return { pid: list[0]!, uid: list[1]!, gid: list[2]! };
  }

  /** Whether the channel keeps the process running while it is open, as it does at first. */
  keepAlive(enabled: boolean): void {
    this.#addon.channelKeepAlive(this.#handle, enabled);
  }

  /** At once: what is queued is dropped. onClose is not called. */
  close(): void {
    this.#closed = true;
    this.#addon.channelClose(this.#handle);
  }

  #updateReading(): void {
    const reading = this.#onData !== undefined && !this.#paused;
    if (reading === this.#reading || this.#closed) return;
    this.#reading = reading;
    this.#addon.channelRead(this.#handle, reading);
  }

  #send(parts: Uint8Array | readonly Uint8Array[], descriptor: number | undefined): void {
    if (this.#closed || this.#sendFailed) return;
    const queued = this.#addon.channelSend(this.#handle, parts, descriptor);
    if (queued >= 0) return;
    const reason = machineError(queued, `send to ${this.peer}`);
    assert(reason.code !== 'EINVAL' && reason.code !== 'EBADF', reason.message);
    // Nothing may follow what was not sent.
    this.#sendFailed = true;
    // When the other end is gone, its last words may still be there to be read, and the end of the stream follows them.
    const endIsRead = (reason.code === 'EPIPE' || reason.code === 'ECONNRESET') && this.#onData !== undefined;
    if (!endIsRead) setImmediate(() => this.#finish(reason));
  }

  #onEvent(kind: number, value: number): void {
    if (kind === EVENT_DRAINED) this.onDrain?.();
    else if (kind === EVENT_DESCRIPTOR) this.#onDescriptor(value);
    else this.#finish(kind === EVENT_ERROR ? machineError(value, `connection to ${this.peer}`) : undefined);
  }

  #onDescriptor(descriptor: number): void {
    if (this.descriptors.onReceive === undefined) closeSync(descriptor);
    else this.descriptors.onReceive(descriptor);
  }

  #finish(reason: MachineError | undefined): void {
    if (this.#closed) return;
    this.close();
    this.onClose?.(reason);
  }
}

/** Fails with ECONNREFUSED or ENOENT when nobody listens, and with EAGAIN when the listener is behind. */
export function connectUnix(path: string, options: ChannelOptions = {}): UnixChannel {
  const descriptor = checked<number>(nativeAddon().connectUnix(path), `connect to ${path}`);
  return new UnixChannel(descriptor, `unix:${path}`, options);
}

export interface UnixListener {
  readonly path: string;
  /** Stops listening and removes the socket file; connections stay. */
  close(): void;
}

export interface ListenOptions extends ChannelOptions {
  /** Permissions of the socket file. */
  readonly mode?: number;
  readonly onConnection: (channel: UnixChannel) => void;
  /** A connection had to be refused (no descriptors left), or listening failed. */
  readonly onError: (reason: MachineError) => void;
}

/** Listens on the path. A socket file that nobody answers on is replaced; anything else there is EADDRINUSE. */
export function listenUnix(path: string, options: ListenOptions): UnixListener {
  const addon = nativeAddon();
  const onResult = (result: number): void => {
    if (result < 0) options.onError(machineError(result, `accept on ${path}`));
    else options.onConnection(new UnixChannel(result, `a client of unix:${path}`, options));
  };
  const handle = checked<NativeHandle>(
    addon.listenerOpen(path, options.mode ?? 0o600, onResult),
    `listen on ${path}`,
  );
  return { path, close: () => addon.listenerClose(handle) };
}
