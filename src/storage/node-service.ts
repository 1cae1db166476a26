/**
 * The calls that a storage node answers: ping, the storage service and the journal and replica service. Decodes, calls, encodes; and the one
 * place where refusals become statuses.
 */
import { ReplicaConflict } from '../cluster/replica-store.ts';
import {
  type RpcHandler,
  type RpcRequest,
  type RpcResponse,
  type RpcStatus,
  rpcMethods,
  rpcStatus,
} from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import * as journalMessages from '../format/journal-messages.ts';
import { encodePingReply } from '../format/ping.ts';
import * as replicaMessages from '../format/replica-messages.ts';
import * as messages from '../format/storage-messages.ts';
import type { Logger } from '../platform/platform.ts';
import type { FragmentStore } from './fragment-store.ts';
import type { JournalStore } from './journal-store.ts';
import type { ReplicaService } from './replica-service.ts';
import { StorageError } from './storage-error.ts';

export interface NodeParts {
  readonly nodeId: number;
  readonly log: Logger;
  readonly fragments: FragmentStore;
  readonly journal: JournalStore;
  readonly replica: ReplicaService;
}

type Method = (parts: NodeParts, request: RpcRequest) => RpcResponse | Promise<RpcResponse>;

const ok = (body?: Uint8Array): RpcResponse => (body === undefined ? { status: 0 } : { status: 0, body });

async function putFragment({ fragments }: NodeParts, { body, payload }: RpcRequest): Promise<RpcResponse> {
  if (payload === undefined) throw new FormatError('a put has a payload');
  return ok(messages.encodePutReply(await fragments.put(messages.decodePutRequest(body), payload)));
}

async function getFragment({ fragments }: NodeParts, { body, replyInto }: RpcRequest): Promise<RpcResponse> {
  const request = messages.decodeGetRequest(body);
  if (replyInto === undefined) throw new FormatError('a get says where its bytes go');
  const payloadBytes = await fragments.get(request, request.firstBlock, request.blockCount, replyInto);
  return { status: rpcStatus.ok, payloadBytes };
}

async function freeFragments({ fragments }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const { term, names } = messages.decodeFreeRequest(body);
  const freed = await fragments.free(term, names);
  return ok(messages.encodeFreeReply({ freed, freeBytes: fragments.freeBytes }));
}

async function listFragments({ fragments }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const { afterSegmentId, afterPosition, limit } = messages.decodeListRequest(body);
  const bound = Math.min(Math.max(limit, 1), messages.MAX_LIST_ENTRIES);
  return ok(messages.encodeListReply(await fragments.list(afterSegmentId, afterPosition, bound)));
}

async function describeFragment({ fragments }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  return ok(messages.encodeDescribeReply(await fragments.describe(messages.decodeDescribeRequest(body))));
}

async function fenceStorage({ fragments }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  await fragments.fence(messages.decodeTerm(body));
  return ok(messages.encodeTerm(fragments.term));
}

async function pledgeStorage({ fragments }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const { term, challenge } = messages.decodePledgeRequest(body);
  await fragments.pledge(term, challenge);
  return ok(messages.encodeTerm(fragments.term));
}

async function openLogFile({ fragments }: NodeParts, { body, local }: RpcRequest): Promise<RpcResponse> {
  const fileId = messages.decodeOpenLogFileRequest(body);
  const file = local ? await fragments.shareLogFile(fileId) : undefined;
  if (file?.descriptor === undefined) throw new FormatError('descriptors cannot be passed here');
  const reply = messages.encodeOpenLogFileReply({ direct: file.direct });
  return { status: rpcStatus.ok, body: reply, descriptor: file.descriptor };
}

function appendJournal({ journal }: NodeParts, { body }: RpcRequest): RpcResponse | Promise<RpcResponse> {
  const request = journalMessages.decodeAppendRequest(body);
  const state = journal.appendInTurn(request);
  if (state !== undefined) return ok(journalMessages.encodeJournalState(state));
  return journal.append(request).then((later) => ok(journalMessages.encodeJournalState(later)));
}

async function readJournal({ journal }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const { fromSequence, maxBytes } = journalMessages.decodeReadRequest(body);
  return ok(journalMessages.encodeReadReply(await journal.read(fromSequence, maxBytes)));
}

async function trimJournal({ journal }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const { term, sequence } = journalMessages.decodeTrimRequest(body);
  return ok(journalMessages.encodeJournalState(await journal.trim(term, sequence)));
}

async function resetJournal({ journal }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const { term, sequence, sequenceTerm } = journalMessages.decodeResetRequest(body);
  return ok(journalMessages.encodeJournalState(await journal.reset(term, sequence, sequenceTerm)));
}

async function fenceJournal({ journal }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  return ok(journalMessages.encodeJournalState(await journal.fence(messages.decodeTerm(body))));
}

async function applyCheckpoint({ journal, replica }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const part = replicaMessages.decodeCheckpointPart(Buffer.from(body)); // its operations are needed after an await
  journal.mustReign(part.term);
  await replica.checkpoint(part);
  return ok(replicaMessages.encodeReplicaState(replica.state));
}

async function readSnapshot({ replica }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const request = replicaMessages.decodeSnapshotReadRequest(Buffer.from(body));
  return ok(replicaMessages.encodeSnapshotPage(await replica.readSnapshot(request)));
}

async function installSnapshot({ journal, replica }: NodeParts, { body }: RpcRequest): Promise<RpcResponse> {
  const request = replicaMessages.decodeSnapshotInstallRequest(Buffer.from(body));
  journal.mustReign(request.term);
  await replica.install(request);
  return ok(replicaMessages.encodeReplicaState(replica.state));
}

const methods = new Map<number, Method>([
  [rpcMethods.ping, ({ nodeId, fragments }) => ok(encodePingReply({ nodeId, ...fragments.space() }))],
  [rpcMethods.putFragment, putFragment],
  [rpcMethods.getFragment, getFragment],
  [rpcMethods.freeFragments, freeFragments],
  [rpcMethods.listFragments, listFragments],
  [rpcMethods.describeFragment, describeFragment],
  [rpcMethods.fenceStorage, fenceStorage],
  [
    rpcMethods.storageStatistics,
    ({ fragments }) => ok(messages.encodeStatisticsReply(fragments.statistics())),
  ],
  [
    rpcMethods.locateFragment,
    ({ fragments }, { body }) =>
      ok(messages.encodeLocateReply(fragments.locate(messages.decodeLocateRequest(body)))),
  ],
  [rpcMethods.openLogFile, openLogFile],
  [rpcMethods.pledgeStorage, pledgeStorage],
  [rpcMethods.journalState, ({ journal }) => ok(journalMessages.encodeJournalState(journal.state()))],
  [rpcMethods.journalFence, fenceJournal],
  [rpcMethods.journalAppend, appendJournal],
  [rpcMethods.journalRead, readJournal],
  [rpcMethods.journalTrim, trimJournal],
  [rpcMethods.journalReset, resetJournal],
  [rpcMethods.checkpointState, ({ replica }) => ok(replicaMessages.encodeReplicaState(replica.state))],
  [rpcMethods.checkpointApply, applyCheckpoint],
  [rpcMethods.snapshotRead, readSnapshot],
  [rpcMethods.snapshotInstall, installSnapshot],
]);

const journalMethods = new Set<number>([
  rpcMethods.journalState,
  rpcMethods.journalFence,
  rpcMethods.journalAppend,
  rpcMethods.journalRead,
  rpcMethods.journalTrim,
  rpcMethods.journalReset,
]);

/** One handler for everything that a node serves. */
export function nodeHandler(parts: NodeParts): RpcHandler {
  return (request) => {
    const method = methods.get(request.method);
    if (method === undefined) return refused(rpcStatus.invalid, `unknown method ${request.method}`);
    try {
      const response = method(parts, request);
      if (!(response instanceof Promise)) return response;
      return response.catch((error: unknown) => refusal(parts, request.method, error));
    } catch (error) {
      return refusal(parts, request.method, error);
    }
  };
}

function refused(status: RpcStatus, message: string): RpcResponse {
  return { status, body: Buffer.from(message) };
}

/** Anything that is not an expected refusal goes on to the server, which logs it and answers ioError. */
function refusal(parts: NodeParts, method: number, error: unknown): RpcResponse {
  if (error instanceof FormatError) return refused(rpcStatus.invalid, error.message);
  if (error instanceof ReplicaConflict) {
    return { status: rpcStatus.conflict, body: replicaMessages.encodeReplicaState(parts.replica.state) };
  }
  if (!(error instanceof StorageError)) throw error;
  const { refusal: why, message } = error;
  switch (why.reason) {
    case 'fenced':
      return { status: rpcStatus.fenced, body: messages.encodeTerm(why.term) };
    case 'forgotten':
      return { status: rpcStatus.conflict, body: messages.encodeTerm(why.challenge) };
    case 'corrupt':
      return journalMethods.has(method)
        ? { status: rpcStatus.corrupt, body: journalMessages.encodeJournalState(parts.journal.state()) }
        : { status: rpcStatus.corrupt, body: messages.encodeCorruptBlock(why.blockIndex) };
    case 'conflict':
      return journalMethods.has(method)
        ? { status: rpcStatus.conflict, body: journalMessages.encodeJournalState(parts.journal.state()) }
        : refused(rpcStatus.conflict, message);
    case 'ioError':
      parts.log.error('request-failed', { method, why: message });
      return refused(rpcStatus.ioError, message);
    default:
      return refused(rpcStatus[why.reason], message);
  }
}
