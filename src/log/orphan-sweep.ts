/**
 * Finds fragments that no segment record names, and frees them: left over from segments that were on their way in a crash, from layouts that
 * were given up, and from frees that a node missed while it was away.
 *
 * Each connection to a node is followed, after a while, by one walk through the node's list, in small pages with pauses; so is word that a node could not
 * be told to free something, and a walk that met what it could not judge yet. A fragment is an
 * orphan if its segment is neither known nor still to be committed, or if the record says that other nodes or another generation hold its
 * place. The node must know this primary's term first: it refuses the frees of one that was deposed and does not know it yet.
 */
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, type RpcReply, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import {
  decodeFreeReply,
  decodeListReply,
  encodeFreeRequest,
  encodeListRequest,
  encodeTerm,
  type FragmentName,
  type ListReply,
} from '../format/storage-messages.ts';
import type { Platform } from '../platform/platform.ts';
import type { FragmentClaims } from './fragment-claims.ts';
import { isHolder } from './fragment-holders.ts';

export interface OrphanSweepOptions {
  readonly links: NodeLinks;
  /** Of this primary. */
  readonly term: number;
  /** The segment table. */
  readonly record: (segmentId: number) => SegmentRecord | undefined;
  /** Whether a segment has a record or may still get one from this primary. */
  readonly isKnown: (segmentId: number) => boolean;
  /** Shared with whoever puts fragments that no record names yet. */
  readonly claims: FragmentClaims;
  /** From a connection to its walk. */
  readonly delayMs?: number;
}

const DELAY_MS = 5_000;
const PAGE_FRAGMENTS = 128;
const PAUSE_MS = 20;
const CALL_TIMEOUT_MS = 10_000;
const TWO_32 = 2 ** 32;

export class OrphanSweep {
  readonly #platform: Platform;
  readonly #options: OrphanSweepOptions;
  /** The connection that each node was walked through, or will be, on. */
  readonly #seen = new Map<number, RpcClient>();
  /** Nodes whose walk has not begun. */
  readonly #waiting = new Set<number>();
  readonly #unsubscribe: () => void;
  #closed = false;
  #freed = 0;

  constructor(platform: Platform, options: OrphanSweepOptions) {
    this.#platform = platform;
    this.#options = options;
    this.#unsubscribe = options.links.onChange((link) => this.#check(link));
    for (const link of options.links.links.values()) this.#check(link);
    options.claims.onLeftBehind = (nodeId) => this.#again(nodeId);
  }

  /** Orphans freed so far. */
  get freed(): number {
    return this.#freed;
  }

  close(): void {
    this.#closed = true;
    this.#unsubscribe();
    this.#options.claims.onLeftBehind = () => undefined;
  }

  #check(link: NodeLink): void {
    const { client } = link;
    if (link.state !== 'up' || client === undefined || this.#seen.get(link.id) === client) return;
    this.#seen.set(link.id, client);
    void this.#walkLater(link, client);
  }

  #again(nodeId: number): void {
    const link = this.#options.links.links.get(nodeId);
    if (this.#closed || link === undefined || this.#waiting.has(nodeId)) return;
    this.#seen.delete(nodeId);
    this.#check(link);
  }

  async #walkLater(link: NodeLink, client: RpcClient): Promise<void> {
    this.#waiting.add(link.id);
    // No sleep: a command that has closed the volume need not wait for it.
    await new Promise<void>((resolve) => {
      this.#platform.timers.after(this.#options.delayMs ?? DELAY_MS, resolve);
    });
    this.#waiting.delete(link.id);
    try {
      if (!(await this.#walk(link, client))) await this.#walkLater(link, client);
    } catch (error) {
      if (!(error instanceof RpcError) && !(error instanceof FormatError)) throw error;
      this.#platform.log.warn('orphan-sweep-ended', { node: link.id, cause: error.message });
      // The next change of the link begins again.
      if (this.#seen.get(link.id) === client) this.#seen.delete(link.id);
    }
  }

  /**
   * False: to be walked through once more. The node has forgotten its term, and frees nothing until it was told again (storage-fencing.ts); or
   * something seemed to be an orphan of a segment that somebody has in hand, and nobody else would come back to it.
   */
  async #walk(link: NodeLink, client: RpcClient): Promise<boolean> {
    const { term } = this.#options;
    if (this.#stopped(client)) return true;
    const fenced = await client.call(rpcMethods.fenceStorage, encodeTerm(term), {
      timeoutMs: CALL_TIMEOUT_MS,
    });
    if (fenced.status !== rpcStatus.ok) return fenced.status !== rpcStatus.conflict;
    let freed = 0;
    let isUndecided = false;
    let after: FragmentName = { segmentId: 0, position: 0, generation: 0 };
    for (let more = true; more && !this.#stopped(client); ) {
      const page = await this.#list(client, after);
      const seeming = page.fragments.filter((fragment) => this.#isOrphan(link.id, fragment));
      const orphans = seeming.filter(({ segmentId }) => !this.#options.claims.isHeld(segmentId));
      if (orphans.length < seeming.length) isUndecided = true;
      if (orphans.length > 0) freed += await this.#free(link, client, orphans);
      after = page.fragments.at(-1) ?? after;
      more = page.more;
      if (more) await this.#platform.timers.sleep(PAUSE_MS);
    }
    this.#freed += freed;
    if (freed > 0) this.#platform.log.info('orphans-freed', { node: link.id, fragments: freed });
    return !isUndecided;
  }

  #stopped(client: RpcClient): boolean {
    return this.#closed || client.closed;
  }

  #isOrphan(nodeId: number, fragment: FragmentName): boolean {
    const { segmentId, position, generation } = fragment;
    if (Math.floor(segmentId / TWO_32) > this.#options.term) return false; // not ours to judge
    const record = this.#options.record(segmentId);
    if (record === undefined) return !this.#options.isKnown(segmentId);
    return !isHolder(record, { position, nodeId }) || record.generation !== generation;
  }

  async #list(client: RpcClient, after: FragmentName): Promise<ListReply> {
    const { segmentId: afterSegmentId, position: afterPosition } = after;
    const body = encodeListRequest({ afterSegmentId, afterPosition, limit: PAGE_FRAGMENTS });
    const reply = await client.call(rpcMethods.listFragments, body, { timeoutMs: CALL_TIMEOUT_MS });
    if (reply.status !== rpcStatus.ok) throw new RpcError('refused', `list refused with ${reply.status}`);
    return decodeListReply(reply.body);
  }

  async #free(link: NodeLink, client: RpcClient, orphans: readonly FragmentName[]): Promise<number> {
    const { term, claims } = this.#options;
    const ended = (): void => {
      for (const { segmentId } of orphans) claims.endFree(segmentId);
    };
    for (const { segmentId } of orphans) claims.beginFree(segmentId);
    let reply: RpcReply;
    try {
      const body = encodeFreeRequest({ term, names: orphans });
      reply = await client.call(rpcMethods.freeFragments, body, { timeoutMs: CALL_TIMEOUT_MS });
      ended();
    } catch (error) {
      if (error instanceof RpcError) void error.settled.then(ended);
      throw error;
    }
    if (reply.status !== rpcStatus.ok) throw new RpcError('refused', `free refused with ${reply.status}`);
    const { freed, freeBytes } = decodeFreeReply(reply.body);
    link.noteFreeBytes(freeBytes);
    return freed;
  }
}
