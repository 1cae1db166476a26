/** Replies of the coordinator's remote calls, checked. What makes no sense counts as no answer. */
import { type Change, type ChangesMessage, decodeChanges } from '../format/coordinator-messages.ts';
import { type CoordinatorEntry, CoordinatorUnavailable } from './coordinator.ts';
import { type RpcReply, rpcStatus } from './rpc.ts';

export function changesOf(reply: RpcReply): ChangesMessage {
  const changes = reply.status === rpcStatus.ok ? decodeChanges(reply.body) : undefined;
  if (changes === undefined) throw unusable(reply);
  return changes;
}

export function puts(changes: readonly Change[]): CoordinatorEntry[] {
  return changes.flatMap(({ key, version, value }) => (value === undefined ? [] : [{ key, version, value }]));
}

export function oneEntry(reply: RpcReply): CoordinatorEntry {
  const entry = puts(changesOf(reply).changes)[0];
  if (entry === undefined) throw unusable(reply);
  return entry;
}

export function unusable(reply: RpcReply): CoordinatorUnavailable {
  return new CoordinatorUnavailable(`the coordinator's answer makes no sense (status ${reply.status})`);
}
