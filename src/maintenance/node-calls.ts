/**
 * The calls that checks and background work make to storage nodes, with what may come of them said in words. Nothing here is tried twice. Whoever lends memory
 * to a call that gets no answer in time is told until when the node may touch it.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import {
  type CallOptions,
  type RpcClient,
  RpcError,
  type RpcReply,
  rpcMethods,
  rpcStatus,
} from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import {
  decodeDescribeReply,
  decodeFreeReply,
  decodePutReply,
  encodeDescribeRequest,
  encodeFreeRequest,
  encodeGetRequest,
  encodePutRequest,
  encodeTerm,
  type FragmentKey,
  type FragmentName,
} from '../format/storage-messages.ts';
import type { FragmentClaims } from '../log/fragment-claims.ts';
import type { Lender } from './repair-memory.ts';

const CALL_TIMEOUT_MS = 15_000;

/** missing: not there, or of another generation. corrupt: there, and not what was put. unreachable: nobody says. refused: it does not want to. */
export type CallFailure = 'missing' | 'corrupt' | 'unreachable' | 'refused';

interface NodeCallOptions extends CallOptions {
  /** Called when the node has done it, or can do it no more. */
  readonly ended?: () => void;
  readonly lender?: Lender;
}

export class NodeCalls {
  readonly #links: NodeLinks;
  /** The connections over which a node was told the term. */
  readonly #fenced = new Map<number, RpcClient>();

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

  /** Before anything is put or freed: from then on the node refuses what earlier primaries asked for and it has not done yet. */
  async fence(nodeId: number, term: number): Promise<boolean> {
    const client = this.#links.links.get(nodeId)?.client;
    if (client === undefined) return false;
    if (this.#fenced.get(nodeId) === client) return true;
    const reply = await this.#call(nodeId, rpcMethods.fenceStorage, encodeTerm(term));
    if (typeof reply === 'string') return false;
    this.#fenced.set(nodeId, client);
    return true;
  }

  /** Fills `into`, which is the lender's; the node checks the bytes. */
  async get(
    nodeId: number,
    fragment: FragmentName,
    firstBlock: number,
    into: Uint8Array,
    lender: Lender,
  ): Promise<'ok' | CallFailure> {
    const body = encodeGetRequest({ ...fragment, firstBlock, blockCount: into.length / BLOCK_BYTES });
    const options = { into, lender };
    const reply = await this.#call(nodeId, rpcMethods.getFragment, body, options);
    if (typeof reply === 'string') return reply;
    return reply.payloadBytes === into.length ? 'ok' : 'corrupt';
  }

  /** `payload` is the lender's. */
  async put(
    nodeId: number,
    description: FragmentDescription,
    payload: Uint8Array,
    lender: Lender,
  ): Promise<'ok' | CallFailure> {
    const body = encodePutRequest(description);
    const reply = await this.#call(nodeId, rpcMethods.putFragment, body, { payload, lender });
    if (typeof reply === 'string') return reply;
    try {
      this.#links.links.get(nodeId)?.noteFreeBytes(decodePutReply(reply.body).freeBytes);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return 'refused';
    }
    return 'ok';
  }

  /** `claims` know of it until the node can do it no more. */
  async free(
    nodeId: number,
    term: number,
    names: readonly FragmentName[],
    claims?: FragmentClaims,
  ): Promise<boolean> {
    for (const { segmentId } of names) claims?.beginFree(segmentId);
    const ended = (): void => {
      for (const { segmentId } of names) claims?.endFree(segmentId);
    };
    const body = encodeFreeRequest({ term, names });
    const reply = await this.#call(nodeId, rpcMethods.freeFragments, body, { ended });
    if (typeof reply === 'string') {
      claims?.leftBehind(nodeId);
      return false;
    }
    this.#links.links.get(nodeId)?.noteFreeBytes(decodeFreeReply(reply.body).freeBytes);
    return true;
  }

  async #call(
    nodeId: number,
    method: number,
    body: Uint8Array,
    { ended = () => undefined, lender, ...options }: NodeCallOptions = {},
  ): Promise<RpcReply | CallFailure> {
    const client = this.#links.links.get(nodeId)?.client;
    if (client === undefined) {
      ended();
      return 'unreachable';
    }
    try {
      const reply = await client.call(method, body, { timeoutMs: CALL_TIMEOUT_MS, ...options });
      ended();
      if (reply.status === rpcStatus.ok) return reply;
      if (reply.status === rpcStatus.missing) return 'missing';
      if (reply.status === rpcStatus.corrupt || reply.status === rpcStatus.ioError) return 'corrupt';
      return reply.status === rpcStatus.busy ? 'unreachable' : 'refused';
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      void error.settled.then(ended);
      lender?.giveUp(error.settled);
      return 'unreachable';
    }
  }
}
