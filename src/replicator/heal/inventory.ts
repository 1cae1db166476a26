/**
 * Compares what a node holds with what it is to hold, in the background, whenever a connection to it was made: a disk that was emptied or exchanged is
 * noticed before anybody reads from it. One node at a time; a page of its list and of the segment table in memory.
 *
 * What seems to be missing is asked for once more by name, since segments come and go meanwhile.
 */
import type { NodeLink, NodeLinks } from '../../cluster/nodes.ts';
import { type RpcClient, RpcError } from '../../cluster/rpc.ts';
import { FormatError } from '../../format/fields.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import { positionOn } from '../../log/fragment-holders.ts';
import { NodeWalk } from '../../log/segment-table.ts';
import type { NodeCalls } from '../../maintenance/node-calls.ts';
import type { PrimaryManager } from '../../metadata/manager.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Platform } from '../../platform/platform.ts';

export interface InventoryParts {
  readonly links: NodeLinks;
  readonly metadata: PrimaryManager;
  readonly calls: NodeCalls;
  /** The node does not have the fragment, or copy, that the record says it has. */
  readonly onMissing: (record: SegmentRecord, nodeId: number) => void;
  /** From a connection to its comparison. */
  readonly delayMs?: number;
}

const DELAY_MS = 1_000;
const PAGE_SEGMENTS = 256;
const PAUSE_MS = 10;

export class Inventory {
  readonly #platform: Platform;
  readonly #parts: InventoryParts;
  readonly #seen = new Map<number, RpcClient>();
  readonly #waiting: { link: NodeLink; client: RpcClient }[] = [];
  readonly #unsubscribe: () => void;
  #working = false;
  #closed = false;

  constructor(platform: Platform, parts: InventoryParts) {
    this.#platform = platform;
    this.#parts = parts;
    this.#unsubscribe = parts.links.onChange((link) => this.#check(link));
    for (const link of parts.links.links.values()) this.#check(link);
  }

  /** Every node that answers was compared since its connection was made. */
  get isDone(): boolean {
    return !this.#working && this.#waiting.length === 0;
  }

  close(): void {
    this.#closed = true;
    this.#waiting.length = 0;
    this.#unsubscribe();
  }

  #check(link: NodeLink): void {
    const { client } = link;
    if (link.state !== 'up' || client === undefined || this.#seen.get(link.id) === client) return;
    this.#seen.set(link.id, client);
    this.#waiting.push({ link, client });
    if (!this.#working) void this.#work();
  }

  async #work(): Promise<void> {
    this.#working = true;
    // No sleep: a command that has closed the volume need not wait for it.
    await new Promise<void>((resolve) => {
      this.#platform.timers.after(this.#parts.delayMs ?? DELAY_MS, resolve);
    });
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      await this.#compareOrRetry(next.link, next.client);
    }
    this.#working = false;
  }

  async #compareOrRetry(link: NodeLink, client: RpcClient): Promise<void> {
    try {
      await this.#compare(link.id, client);
    } catch (error) {
      // The metadata may be closed by now, too.
      if (this.#closed) return;
      const isExpected =
        error instanceof RpcError || error instanceof FormatError || error instanceof MetadataUnavailable;
      if (!isExpected) throw error;
      this.#platform.log.warn('inventory-ended', { node: link.id, cause: error.message });
      // The next change of the link begins again.
      if (this.#seen.get(link.id) === client) this.#seen.delete(link.id);
    }
  }

  async #compare(nodeId: number, client: RpcClient): Promise<void> {
    const walk = new NodeWalk(nodeId, client);
    let missing = 0;
    for (let after = 0; !this.#closed && !client.closed; ) {
      const page = await this.#parts.metadata.segments(after, PAGE_SEGMENTS);
      const suspects: SegmentRecord[] = [];
      for (const record of page) {
        if (record.liveBlocks === 0 || positionOn(record, nodeId) === undefined) continue;
        if (!(await holds(walk, nodeId, record))) suspects.push(record);
      }
      const confirmed = await Promise.all(suspects.map((record) => this.#isMissing(nodeId, record)));
      missing += confirmed.filter((isMissing) => isMissing).length;
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_SEGMENTS) break;
      after = last.segmentId;
      await this.#platform.timers.sleep(PAUSE_MS);
    }
    if (missing > 0) this.#platform.log.warn('fragments-missing', { node: nodeId, fragments: missing });
  }

  async #isMissing(nodeId: number, before: SegmentRecord): Promise<boolean> {
    const { segmentId } = before;
    const position = positionOn(before, nodeId)!;
    const found = await this.#parts.calls.describe(nodeId, { segmentId, position });
    if (this.#closed || found === 'unreachable') return false;
    const record = this.#parts.metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0) return false;
    if (record.generation !== before.generation || positionOn(record, nodeId) !== position) return false;
    if (typeof found !== 'string' && found.generation === record.generation) return false;
    this.#parts.onMissing(record, nodeId);
    return true;
  }
}

/** Steps the walk past the segment. */
async function holds(walk: NodeWalk, nodeId: number, record: SegmentRecord): Promise<boolean> {
  const { segmentId, generation } = record;
  const position = positionOn(record, nodeId);
  let found = false;
  for (;;) {
    const head = await walk.head();
    if (head === undefined || head.segmentId > segmentId) return found;
    if (head.segmentId === segmentId && head.position === position && head.generation === generation) {
      found = true;
    }
    walk.advance();
  }
}
