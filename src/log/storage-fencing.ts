/**
 * Tells every node, whenever a connection to it is made, the term of this primary: from then on it refuses puts and frees of older
 * ones. A node that answers that it knows a newer term deposes this one.
 */
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { encodeTerm } from '../format/storage-messages.ts';
import type { Logger } from '../platform/platform.ts';

const FENCE_TIMEOUT_MS = 10_000;

export class StorageFencing {
  readonly #log: Logger;
  readonly #term: number;
  readonly #onFenced: () => void;
  readonly #told = new Map<number, RpcClient>();
  readonly #unsubscribe: () => void;

  constructor(links: NodeLinks, log: Logger, term: number, onFenced: () => void) {
    this.#log = log;
    this.#term = term;
    this.#onFenced = onFenced;
    this.#unsubscribe = links.onChange((link) => this.#check(link));
    for (const link of links.links.values()) this.#check(link);
  }

  close(): void {
    this.#unsubscribe();
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
      else if (reply.status !== rpcStatus.ok) this.#failed(nodeId, client, reply.status);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      this.#failed(nodeId, client, error.reason);
    }
  }

  /** The next change of the link tries again. */
  #failed(nodeId: number, client: RpcClient, why: string | number): void {
    this.#log.warn('storage-not-fenced', { node: nodeId, why });
    if (this.#told.get(nodeId) === client) this.#told.delete(nodeId);
  }
}
