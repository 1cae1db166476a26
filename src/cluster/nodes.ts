/**
 * The storage nodes of a volume as one process sees them: the contract. NodeLinks keeps an authenticated connection to every
 * registered node, reconnects when it is lost (backing off up to 1 s), and tells what is up. It does not decide placement.
 */
import type { PlacementNode } from './placement.ts';
import type { RpcClient } from './rpc.ts';

export type NodeState =
  /** Connected and answering. */
  | 'up'
  /** Connected, but a call or ping has been unanswered for longer than `slowAfterMs` (a frozen process, a stuck disk). */
  | 'slow'
  /** No connection. */
  | 'down';

export interface NodeLink {
  readonly id: number;
  readonly state: NodeState;
  /** Failure domain label; the node's own id as text when none was given. */
  readonly domain: string;
  /** Present while connected (up or slow). */
  readonly client: RpcClient | undefined;
  /** As the node last reported: bytes it may still take. */
  readonly freeBytes: number;
  /** 0: it has not answered yet. */
  readonly capacityBytes: number;
  readonly usedBytes: number;
  /** Users of the link report what put replies said, so that freeBytes stays fresh between pings. */
  noteFreeBytes(freeBytes: number): void;
  /** A user of the link saw a call unanswered: the link turns slow at once and is probed until it answers. */
  noteSlow(): void;
}

export interface NodeLinks {
  readonly links: ReadonlyMap<number, NodeLink>;
  /** Called after any link's state changed or a node appeared. Returns the unsubscribe function. */
  onChange(listener: (link: NodeLink) => void): () => void;
  /** Resolves when every registered node is up or does not answer at its address again and again, or after `timeoutMs`. */
  settle(timeoutMs: number): Promise<void>;
  /**
   * Tries to connect to those of these nodes that are down, at once, whatever the pace of retries is. True if one of them is connected by now:
   * for who would have to give up otherwise.
   */
  reach(nodeIds: readonly number[]): Promise<boolean>;
  close(): void;
}

/** Those that are up, as placement takes them. */
export function upNodes({ links }: Pick<NodeLinks, 'links'>): PlacementNode[] {
  const nodes: PlacementNode[] = [];
  for (const { id, state, domain, freeBytes, capacityBytes } of links.values()) {
    if (state === 'up') nodes.push({ id, domain, freeBytes, capacityBytes });
  }
  return nodes;
}
