/**
 * Remote calls between the processes of a volume: the contract. Frames are the same over Unix sockets and TCP
 * (docs/format/frame.md). Bulk bytes travel as `payload`: by reference (offset and length in a slab that the client shared
 * with the server) where both map it, in the frame otherwise; handlers and callers see no difference.
 *
 * A connection is authenticated by the volume's key in both directions before anything else is answered. A malformed,
 * oversized or unauthenticated frame closes that connection with a logged reason and nothing else.
 */
import type { Address, Slab } from '../platform/platform.ts';

/** Outcome of a call as the server stated it. Codes are on the wire: never renumber. */
export const rpcStatus = {
  ok: 0,
  /** The thing asked for is not here. */
  missing: 1,
  /** It is here and its checksum does not match. */
  corrupt: 2,
  /** No room: capacity limit or full disk. */
  full: 3,
  /** The caller's term is older than the server's. Body: u64 current term. */
  fenced: 4,
  ioError: 5,
  /** The request makes no sense to this server (unknown method, bad argument). */
  invalid: 6,
  /** Compare-and-swap lost, or a batch that does not follow. */
  conflict: 7,
  /** Starting, stopping or overloaded: try again. */
  busy: 8,
} as const;
export type RpcStatus = (typeof rpcStatus)[keyof typeof rpcStatus];

export interface RpcReply {
  readonly status: RpcStatus;
  /** Owned by the receiver. For a status other than ok it may hold a UTF-8 message (fenced: the term). */
  readonly body: Buffer;
  /** Bytes of payload that came back into `into`. */
  readonly payloadBytes: number;
  /** A descriptor that came with the reply; the receiver owns it. */
  readonly descriptor?: number;
}

export interface CallOptions {
  /** Bulk bytes for the server. Must stay untouched until the reply. One contiguous view. */
  readonly payload?: Uint8Array;
  /** Where the reply's bulk bytes go. One contiguous view; untouched by the caller until the reply. */
  readonly into?: Uint8Array;
  /** After this the call rejects with RpcError 'timeout'; the late reply is dropped (into must not be reused before `settled`). */
  readonly timeoutMs?: number;
}

/** The call did not get an answer. 'closed': the connection ended; 'timeout'; 'unreachable': none could be made. */
export class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly reason: 'closed' | 'timeout' | 'unreachable' | 'refused';
  /**
   * Resolves when the server can no longer touch the call's payload and into: at the late reply, or when the server's side of the connection is
   * closed, which it does once it serves none of its calls (or when its process ends). Closing the client does not bring that about by itself: a
   * frozen server that wakes up again still finds the request. A payload whose checksums the server verifies may be
   * reused earlier (the server then refuses it); `into` never.
   */
  readonly settled: Promise<void>;
  constructor(reason: RpcError['reason'], message: string, settled: Promise<void> = Promise.resolve()) {
    super(message);
    this.reason = reason;
    this.settled = settled;
  }
}

export interface RpcClient {
  readonly address: Address;
  readonly closed: boolean;
  /** True if payloads go by reference and descriptors can be passed: the server is on this machine. */
  readonly local: boolean;
  call(method: number, body: Uint8Array, options?: CallOptions): Promise<RpcReply>;
  onClose: (() => void) | undefined;
  close(): void;
}

export interface RpcRequest {
  readonly method: number;
  /** Valid until the handler's first await: copy what is kept. */
  readonly body: Buffer;
  /** Bulk bytes sent by the caller, if any; valid until the reply. Page-aligned memory in either transport. */
  readonly payload: Uint8Array | undefined;
  /** Where bulk bytes of the reply may be put (the caller's slab, or a page-aligned pooled buffer); length is the caller's `into`. */
  readonly replyInto: Uint8Array | undefined;
  /** True if a descriptor can be attached to the reply. */
  readonly local: boolean;
}

export interface RpcResponse {
  readonly status: RpcStatus;
  readonly body?: Uint8Array;
  /** Bytes filled in `replyInto`. */
  readonly payloadBytes?: number;
  /** Descriptor to attach (stays the server's). Only if request.local. */
  readonly descriptor?: number;
}

/** Answers in the same turn or later. A thrown error is logged and answered with ioError. */
export type RpcHandler = (request: RpcRequest) => RpcResponse | Promise<RpcResponse>;

export interface RpcServer {
  readonly address: Address;
  close(): Promise<void>;
}

export interface RpcClientOptions {
  readonly key: Uint8Array;
  /** Shared with a server on this machine, so that payload and into inside it go by reference. */
  readonly slab?: Slab;
  readonly connectTimeoutMs?: number;
}

/**
 * Method numbers, by service. On the wire: never renumber. Bodies are defined by the codecs in src/format.
 */
export const rpcMethods = {
  ping: 1,
  // storage service
  putFragment: 16,
  getFragment: 17,
  freeFragments: 18,
  listFragments: 19,
  describeFragment: 20,
  fenceStorage: 21,
  storageStatistics: 22,
  locateFragment: 23,
  openLogFile: 24,
  pledgeStorage: 25,
  // journal and metadata replica service
  journalState: 32,
  journalFence: 33,
  journalAppend: 34,
  journalRead: 35,
  journalTrim: 36,
  checkpointState: 37,
  checkpointApply: 38,
  snapshotRead: 39,
  snapshotInstall: 40,
  journalReset: 41,
  // coordinator service
  coordinatorGet: 48,
  coordinatorPut: 49,
  coordinatorCompareAndSwap: 50,
  coordinatorDelete: 51,
  coordinatorList: 52,
  coordinatorWatch: 53,
  coordinatorLease: 54,
  // control service of supervisor and mount
  control: 64,
} as const;
