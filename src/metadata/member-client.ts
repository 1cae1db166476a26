/**
 * One node's journal and metadata replica, as the primary calls it. It adds nothing to the calls but types: outcomes other than ok are
 * MemberError.
 */

import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, type RpcReply, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError, readSafe } from '../format/fields.ts';
import {
  decodeJournalState,
  decodeReadReply,
  encodeReadRequest,
  encodeResetRequest,
  encodeTrimRequest,
  type JournalEntry,
  type JournalState,
  MAX_JOURNAL_BATCH_BYTES,
} from '../format/journal-messages.ts';
import {
  decodeReplicaState,
  decodeSnapshotPage,
  encodeSnapshotInstallRequest,
  encodeSnapshotReadRequest,
  type ReplicaState,
  type SnapshotInstallRequest,
  type SnapshotPage,
} from '../format/replica-messages.ts';
import { encodeTerm } from '../format/storage-messages.ts';

/** Longer than any append takes on a disk that works. */
const APPEND_TIMEOUT_MS = 1000;
/** Bulk calls, and those that may wait for a slow disk. */
const BULK_TIMEOUT_MS = 15_000;
const EMPTY = new Uint8Array(0);

export type MemberErrorReason =
  /** No connection, no answer, or an answer that makes no sense. */
  | 'unreachable'
  /** A primary of a newer term was here: `term`. */
  | 'fenced'
  /** What was sent does not follow what the member has. */
  | 'conflict'
  /** It does not hold what was asked for. */
  | 'missing'
  /** It cannot: full, I/O error, damaged. */
  | 'refused';

export class MemberError extends Error {
  override readonly name = 'MemberError';
  readonly reason: MemberErrorReason;
  readonly term: number;
  constructor(reason: MemberErrorReason, message: string, term = 0) {
    super(message);
    this.reason = reason;
    this.term = term;
  }
}

export class MemberClient {
  readonly nodeId: number;
  readonly #links: NodeLinks;
  /** The connection over which the node promised a term. */
  #promised: RpcClient | undefined;

  constructor(links: NodeLinks, nodeId: number) {
    this.#links = links;
    this.nodeId = nodeId;
  }

  get link(): NodeLink | undefined {
    return this.#links.links.get(this.nodeId);
  }

  get isUp(): boolean {
    return this.link?.state === 'up';
  }

  /**
   * Is the connection still the one over which the node promised a term? Behind another one may be a node that was restarted and lost what it promised
   * or held, or promised to another primary. So appends go over that connection only, and a new one has to begin with a fence.
   */
  get keepsPromise(): boolean {
    return this.#promised !== undefined && this.#promised === this.link?.client;
  }

  /** `body` is an encoded append request: the same bytes go to every member. */
  async append(body: Uint8Array): Promise<JournalState> {
    if (!this.keepsPromise) throw this.#unreachable('connected anew');
    return decodeJournalState(await this.#call(rpcMethods.journalAppend, body, APPEND_TIMEOUT_MS));
  }

  /** The same for the many: one promise in all. Exactly one of the two is called, in a later turn of promises. */
  appendThen(body: Uint8Array, done: (lastSequence: number) => void, failed: (error: unknown) => void): void {
    const sent = this.keepsPromise
      ? this.#send(rpcMethods.journalAppend, body, APPEND_TIMEOUT_MS)
      : Promise.reject(this.#unreachable('connected anew'));
    sent.then(
      (reply) => {
        let state: JournalState;
        try {
          state = decodeJournalState(this.#bodyOf(reply));
        } catch (error) {
          failed(error);
          return;
        }
        done(state.lastSequence);
      },
      (error: unknown) => failed(this.#failureOf(error)),
    );
  }

  async fence(term: number): Promise<JournalState> {
    this.#promised = this.link?.client;
    return decodeJournalState(await this.#call(rpcMethods.journalFence, encodeTerm(term), APPEND_TIMEOUT_MS));
  }

  async journalState(): Promise<JournalState> {
    return decodeJournalState(await this.#call(rpcMethods.journalState, EMPTY, APPEND_TIMEOUT_MS));
  }

  async read(fromSequence: number): Promise<JournalEntry[]> {
    const body = encodeReadRequest({ fromSequence, maxBytes: MAX_JOURNAL_BATCH_BYTES });
    return decodeReadReply(await this.#call(rpcMethods.journalRead, body, BULK_TIMEOUT_MS));
  }

  async trim(term: number, sequence: number): Promise<void> {
    await this.#call(rpcMethods.journalTrim, encodeTrimRequest({ term, sequence }), BULK_TIMEOUT_MS);
  }

  async reset(term: number, sequence: number, sequenceTerm: number): Promise<JournalState> {
    const body = encodeResetRequest({ term, sequence, sequenceTerm });
    return decodeJournalState(await this.#call(rpcMethods.journalReset, body, BULK_TIMEOUT_MS));
  }

  async replicaState(): Promise<ReplicaState> {
    return decodeReplicaState(await this.#call(rpcMethods.checkpointState, EMPTY, APPEND_TIMEOUT_MS));
  }

  /** `body` is an encoded checkpoint part. */
  async applyCheckpoint(body: Uint8Array): Promise<void> {
    await this.#call(rpcMethods.checkpointApply, body, BULK_TIMEOUT_MS);
  }

  async readSnapshot(viewId: number, afterKey: Uint8Array): Promise<SnapshotPage> {
    const body = encodeSnapshotReadRequest({ viewId, afterKey, maxBytes: MAX_JOURNAL_BATCH_BYTES });
    return decodeSnapshotPage(await this.#call(rpcMethods.snapshotRead, body, BULK_TIMEOUT_MS));
  }

  async installSnapshot(request: SnapshotInstallRequest): Promise<void> {
    await this.#call(rpcMethods.snapshotInstall, encodeSnapshotInstallRequest(request), BULK_TIMEOUT_MS);
  }

  async #call(method: number, body: Uint8Array, timeoutMs: number): Promise<Buffer> {
    let reply: RpcReply;
    try {
      reply = await this.#send(method, body, timeoutMs);
    } catch (error) {
      throw this.#failureOf(error);
    }
    return this.#bodyOf(reply);
  }

  #send(method: number, body: Uint8Array, timeoutMs: number): Promise<RpcReply> {
    const client = this.link?.client;
    if (client === undefined) return Promise.reject(this.#unreachable('no connection'));
    return client.call(method, body, { timeoutMs });
  }

  #failureOf(error: unknown): unknown {
    if (!(error instanceof RpcError)) return error;
    if (error.reason === 'timeout') this.link?.noteSlow();
    return this.#unreachable(error.message);
  }

  #bodyOf(reply: RpcReply): Buffer {
    if (reply.status === rpcStatus.ok) return reply.body;
    throw this.#refusal(reply);
  }

  #unreachable(why: string): MemberError {
    return new MemberError('unreachable', `node ${this.nodeId}: ${why}`);
  }

  #refusal(reply: RpcReply): MemberError {
    const { status, body } = reply;
    const what = `node ${this.nodeId} answered status ${status}`;
    switch (status) {
      case rpcStatus.fenced:
        return new MemberError('fenced', what, body.length >= 8 ? readSafe(body, 0) : 0);
      case rpcStatus.conflict:
        return new MemberError('conflict', what);
      case rpcStatus.missing:
        return new MemberError('missing', what);
      case rpcStatus.busy:
        return new MemberError('unreachable', what);
      default:
        return new MemberError('refused', what);
    }
  }
}

/** What may go wrong with a member without being a bug here. */
export function isMemberFailure(error: unknown): error is MemberError | FormatError {
  return error instanceof MemberError || error instanceof FormatError;
}
