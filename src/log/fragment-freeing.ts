/**
 * Tells nodes to free fragments: collects what is asked for in one turn and sends one call a node. Best effort: what cannot be
 * told now (node away, call lost) stays behind as an orphan, to be found when the node's fragments are compared with the segment table.
 */
import type { NodeLinks } from '../cluster/nodes.ts';
import { RpcError, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import {
  decodeFreeReply,
  encodeFreeRequest,
  type FragmentName,
  MAX_FREES_PER_CALL,
} from '../format/storage-messages.ts';
import type { Logger, Timers } from '../platform/platform.ts';

const FREE_TIMEOUT_MS = 30_000;

export class FragmentFreeing {
  readonly #links: NodeLinks;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #term: number;
  /** Names of this turn, by node. */
  #collected = new Map<number, FragmentName[]>();
  #closed = false;
  #unanswered = 0;
  /** A node has more room than before, and its link says so. */
  onFreed: () => void = () => undefined;

  constructor(links: NodeLinks, timers: Timers, log: Logger, term: number) {
    this.#links = links;
    this.#timers = timers;
    this.#log = log;
    this.#term = term;
  }

  /** Nodes that were asked, or are about to be, have not answered: there will be more room. */
  get isUnderWay(): boolean {
    return this.#unanswered > 0 || this.#collected.size > 0;
  }

  free(nodeId: number, name: FragmentName): void {
    if (this.#collected.size === 0) this.#timers.defer(() => this.#sendAll());
    const names = this.#collected.get(nodeId);
    if (names === undefined) this.#collected.set(nodeId, [name]);
    else names.push(name);
  }

  close(): void {
    this.#closed = true;
    this.#collected.clear();
  }

  #sendAll(): void {
    const collected = this.#collected;
    this.#collected = new Map();
    if (this.#closed) return;
    for (const [nodeId, names] of collected) {
      for (let from = 0; from < names.length; from += MAX_FREES_PER_CALL) {
        void this.#send(nodeId, names.slice(from, from + MAX_FREES_PER_CALL));
      }
    }
  }

  async #send(nodeId: number, names: FragmentName[]): Promise<void> {
    const link = this.#links.links.get(nodeId);
    if (link?.client === undefined) {
      this.#log.debug('free-postponed', { node: nodeId, fragments: names.length });
      return;
    }
    this.#unanswered++;
    try {
      const body = encodeFreeRequest({ term: this.#term, names });
      const reply = await link.client.call(rpcMethods.freeFragments, body, { timeoutMs: FREE_TIMEOUT_MS });
      if (reply.status === rpcStatus.ok) {
        link.noteFreeBytes(decodeFreeReply(reply.body).freeBytes);
        this.onFreed();
      } else this.#log.warn('free-refused', { node: nodeId, fragments: names.length, status: reply.status });
    } catch (error) {
      if (!(error instanceof RpcError) && !(error instanceof FormatError)) throw error;
      this.#log.warn('free-unanswered', { node: nodeId, fragments: names.length, cause: error.message });
    } finally {
      this.#unanswered--;
    }
  }
}
