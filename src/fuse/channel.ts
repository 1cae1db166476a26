/**
 * The typed face of the addon's /dev/fuse functions. Results below zero are errno numbers, negated.
 */
import { AssertionError, assert } from '../base/assert.ts';
import { nativeAddon } from '../platform/native/addon.ts';
import type { Reply } from './reply.ts';
import type { Request } from './request.ts';

/** What native-bindings/src/fuse_*.c export. */
export interface FuseAddon {
  fuseOpenDevice(): number;
  fuseMount(source: string, mountPoint: string, flags: number, options: string): number;
  fuseUnmount(mountPoint: string, flags: number): Promise<number>;
  fuseSocketPair(): [number, number] | number;
  fuseReceiveDescriptor(socket: number): number;
  fuseCloseDescriptor(descriptor: number): number;
  fuseSetIoFlusher(): number;
  fuseChannelCreate(
    descriptor: number,
    request: Buffer,
    reply: Buffer,
    onReadable: () => void,
  ): object | number;
  fuseChannelPoll(channel: object, wanted: boolean): number;
  /** Without a landing: the one of the last call. */
  fuseReceive(channel: object, landing: readonly Uint8Array[] | undefined, waitMicroseconds: number): number;
  fuseReply(channel: object, headBytes: number, parts: readonly Uint8Array[] | undefined): number;
  fuseNotify(channel: object, message: Uint8Array): Promise<number>;
  fuseChannelClose(channel: object): void;
}

/** The C side takes this many parts in one writev. */
const MAX_REPLY_PARTS = 512;

export function fuseAddon(): FuseAddon {
  return nativeAddon<FuseAddon>();
}

/** What a session talks through. */
export interface Transport {
  /** Whether onReadable is to be called when there is something to receive. */
  poll(wanted: boolean): void;
  /** Receives into the request's buffer, a WRITE's payload into the landing. Bytes received, or a negative errno. */
  receive(landing: readonly Uint8Array[], waitUs: number): number;
  /** Sends what is in the reply. 0, or a negative errno. */
  send(): number;
  notify(message: Uint8Array): Promise<number>;
  close(): void;
}

export type TransportFactory = (request: Request, reply: Reply, onReadable: () => void) => Transport;

/** The transport over a descriptor of /dev/fuse. Owns the descriptor from construction on. */
export class Channel implements Transport {
  readonly #addon = fuseAddon();
  readonly #handle: object;
  readonly #reply: Reply;
  #landing: readonly Uint8Array[] | undefined;
  #isClosed = false;

  constructor(descriptor: number, request: Request, reply: Reply, onReadable: () => void) {
    const handle = this.#addon.fuseChannelCreate(descriptor, request.buffer, reply.buffer, onReadable);
    if (typeof handle === 'number')
      throw new AssertionError(`no channel over descriptor ${descriptor}: ${handle}`);
    this.#handle = handle;
    this.#reply = reply;
  }

  poll(wanted: boolean): void {
    if (this.#isClosed) return;
    const result = this.#addon.fuseChannelPoll(this.#handle, wanted);
    assert(result === 0, `polling the channel: ${result}`);
  }

  /** EAGAIN when nothing came within the time, which is spent awake. */
  receive(landing: readonly Uint8Array[], waitUs: number): number {
    const isKnown = landing === this.#landing;
    this.#landing = landing;
    return this.#addon.fuseReceive(this.#handle, isKnown ? undefined : landing, waitUs);
  }

  send(): number {
    const { parts } = this.#reply;
    const few = parts !== undefined && parts.length > MAX_REPLY_PARTS ? [Buffer.concat(parts)] : parts;
    return this.#addon.fuseReply(this.#handle, this.#reply.headBytes, few);
  }

  notify(message: Uint8Array): Promise<number> {
    return this.#addon.fuseNotify(this.#handle, message);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#addon.fuseChannelClose(this.#handle);
  }
}
