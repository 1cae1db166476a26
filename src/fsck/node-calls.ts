/** The calls that a check makes to storage nodes, with what may come of them said in words. Nothing here is tried twice. */
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { type CallOptions, RpcError, type RpcReply, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import {
  decodeDescribeReply,
  decodeFreeReply,
  encodeDescribeRequest,
  encodeFreeRequest,
  encodeGetRequest,
  encodePutRequest,
  type FragmentKey,
  type FragmentName,
} from '../format/storage-messages.ts';

const CALL_TIMEOUT_MS = 15_000;

/** missing: not there, or of another generation. corrupt: there, and not what was put. unreachable: nobody says. refused: it does not want to. */
export type CallFailure = 'missing' | 'corrupt' | 'unreachable' | 'refused';

export class NodeCalls {
  readonly #links: NodeLinks;

  constructor(links: NodeLinks) {
    this.#links = links;
  }

  /** Nodes that answer now. */
  get up(): number[] {
    return [...this.#links.links.values()].filter(({ state }) => state === 'up').map(({ id }) => id);
  }

  isUp(nodeId: number): boolean {
    return this.#links.links.get(nodeId)?.state === 'up';
  }

  freeBytes(nodeId: number): number {
    return this.#links.links.get(nodeId)?.freeBytes ?? 0;
  }

  async describe(nodeId: number, fragment: FragmentKey): Promise<FragmentDescription | CallFailure> {
    const reply = await this.#call(nodeId, rpcMethods.describeFragment, encodeDescribeRequest(fragment));
    if (typeof reply === 'string') return reply;
    try {
      return decodeDescribeReply(reply.body);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return 'corrupt';
    }
  }

  /** Fills `into`; the node checks the bytes. After 'unreachable' the memory may still be written to. */
  async get(
    nodeId: number,
    fragment: FragmentName,
    firstBlock: number,
    into: Uint8Array,
  ): Promise<'ok' | CallFailure> {
    const body = encodeGetRequest({ ...fragment, firstBlock, blockCount: into.length / BLOCK_BYTES });
    const reply = await this.#call(nodeId, rpcMethods.getFragment, body, { into });
    if (typeof reply === 'string') return reply;
    return reply.payloadBytes === into.length ? 'ok' : 'corrupt';
  }

  async put(
    nodeId: number,
    description: FragmentDescription,
    payload: Uint8Array,
  ): Promise<'ok' | CallFailure> {
    const body = encodePutRequest(description);
    const reply = await this.#call(nodeId, rpcMethods.putFragment, body, { payload });
    return typeof reply === 'string' ? reply : 'ok';
  }

  async free(nodeId: number, term: number, names: readonly FragmentName[]): Promise<boolean> {
    const reply = await this.#call(nodeId, rpcMethods.freeFragments, encodeFreeRequest({ term, names }));
    if (typeof reply === 'string') return false;
    this.#links.links.get(nodeId)?.noteFreeBytes(decodeFreeReply(reply.body).freeBytes);
    return true;
  }

  async #call(
    nodeId: number,
    method: number,
    body: Uint8Array,
    options: CallOptions = {},
  ): Promise<RpcReply | CallFailure> {
    const client = this.#links.links.get(nodeId)?.client;
    if (client === undefined) return 'unreachable';
    try {
      const reply = await client.call(method, body, { timeoutMs: CALL_TIMEOUT_MS, ...options });
      if (reply.status === rpcStatus.ok) return reply;
      if (reply.status === rpcStatus.missing) return 'missing';
      if (reply.status === rpcStatus.corrupt || reply.status === rpcStatus.ioError) return 'corrupt';
      return reply.status === rpcStatus.busy ? 'unreachable' : 'refused';
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      return 'unreachable';
    }
  }
}
