/**
 * Tells every node, whenever a connection to it is made, the term of this primary: from then on it refuses puts and frees of older
 * ones. A node that answers that it knows a newer term deposes this one.
 *
 * A node that lost what it promised asks for more, since a deposed primary may be the first to come: to be told again after the coordinator
 * was asked who reigns.
 */
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import { decodeTerm, encodePledgeRequest, encodeTerm } from '../format/storage-messages.ts';
import type { Platform, Timer } from '../platform/platform.ts';

const FENCE_TIMEOUT_MS = 10_000;
const RETRY_MS = 1_000;

/** Asks the coordinator whether this primary still reigns; 'unknown' when it does not answer. */
export type Reigns = () => Promise<boolean | 'unknown'>;

export class StorageFencing {
  readonly #platform: Platform;
  readonly #links: NodeLinks;
  readonly #term: number;
  readonly #reigns: Reigns;
  readonly #onFenced: () => void;
  readonly #told = new Map<number, RpcClient>();
  /** Nodes that could not be told and are still connected, such as one whose disk is full. */
  readonly #again = new Map<number, Timer>();
  readonly #unsubscribe: () => void;
  #closed = false;

  constructor(platform: Platform, links: NodeLinks, term: number, reigns: Reigns, onFenced: () => void) {
    this.#platform = platform;
    this.#term = term;
    this.#reigns = reigns;
    this.#onFenced = onFenced;
    this.#links = links;
    this.#unsubscribe = links.onChange((link) => this.#check(link));
    for (const link of links.links.values()) this.#check(link);
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    for (const timer of this.#again.values()) timer.cancel();
  }

  #check(link: NodeLink): void {
    const { client } = link;
    if (client === undefined || this.#told.get(link.id) === client) return;
    this.#told.set(link.id, client);
    void this.#tell(link.id, client);
  }

  async #tell(nodeId: number, client: RpcClient): Promise<void> {
    try {
      const body = encodeTerm(this.#term);
      const reply = await client.call(rpcMethods.fenceStorage, body, { timeoutMs: FENCE_TIMEOUT_MS });
      if (reply.status === rpcStatus.fenced) this.#onFenced();
      else if (reply.status === rpcStatus.conflict)
        await this.#pledge(nodeId, client, decodeTerm(reply.body));
      else if (reply.status !== rpcStatus.ok) this.#failed(nodeId, client, reply.status);
    } catch (error) {
      if (!(error instanceof RpcError) && !(error instanceof FormatError)) throw error;
      this.#failed(nodeId, client, error.message);
    }
  }

  /** The order is what makes it safe: the challenge is of the node's present start, and who reigns is asked after it was received. */
  async #pledge(nodeId: number, client: RpcClient, challenge: number): Promise<void> {
    for (;;) {
      const reigns = await this.#reigns();
      if (this.#closed || client.closed) return;
      if (reigns === true) break;
      if (reigns === false) {
        this.#onFenced();
        return;
      }
      await new Promise<void>((resolve) => this.#platform.timers.after(RETRY_MS, resolve));
    }
    const body = encodePledgeRequest({ term: this.#term, challenge });
    const reply = await client.call(rpcMethods.pledgeStorage, body, { timeoutMs: FENCE_TIMEOUT_MS });
    if (reply.status === rpcStatus.fenced) this.#onFenced();
    else if (reply.status === rpcStatus.ok) this.#platform.log.info('storage-pledged', { node: nodeId });
    else this.#failed(nodeId, client, reply.status);
  }

  /** The next change of the link tries again; without one, time does. */
  #failed(nodeId: number, client: RpcClient, why: string | number): void {
    if (this.#closed || this.#told.get(nodeId) !== client) return;
    this.#platform.log.warn('storage-not-fenced', { node: nodeId, why });
    this.#told.delete(nodeId);
    this.#again.get(nodeId)?.cancel();
    const retry = (): void => {
      this.#again.delete(nodeId);
      const link = this.#links.links.get(nodeId);
      if (link !== undefined) this.#check(link);
    };
    this.#again.set(nodeId, this.#platform.timers.after(RETRY_MS, retry));
  }
}
