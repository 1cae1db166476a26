/**
 * The segment table from the disks alone: walks the lists of all nodes that answer, in step, and puts the fragments of each segment together
 * again, with its summary. For when the metadata is lost, and to check it against.
 *
 * What it tells is what lies there: segments whose commit never happened, or whose last block died, look like others. A segment has as much parity as any of
 * its headers says: fragments of one generation and the same lengths are made of the same data, so one whose addition was never committed
 * is as good as others, and one that was dropped is missing, which rebuilding mends. Memory does not grow with the volume: one page of each
 * node's list, one segment.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { FragmentDescription } from '../format/fragment-header.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { decodeSummary, type SegmentSummary } from '../format/segment-summary.ts';
import {
  decodeDescribeReply,
  decodeListReply,
  encodeDescribeRequest,
  encodeGetRequest,
  encodeListRequest,
  type ListedFragment,
} from '../format/storage-messages.ts';
import type { Kernels } from '../platform/platform.ts';

export interface FoundSegment {
  /** Of the newest layout that can be read. Live blocks are all data blocks: only extents know better. */
  readonly record: SegmentRecord;
  /** Positions that no node which answers holds; the record names the node that is said to. */
  readonly missing: readonly number[];
  /** undefined: too few fragments, or damaged beyond repair. */
  readonly summary: SegmentSummary | undefined;
}

const PAGE_FRAGMENTS = 512;
const CALL_TIMEOUT_MS = 10_000;

/** A layout's fragments, as far as they can be asked for. */
interface ReadableLayout {
  readonly description: Omit<SegmentRecord, 'liveBlocks' | 'nodes'>;
  readonly holders: ReadonlyMap<number, RpcClient>;
}

/** Where the fragments of one layout of a segment were found. */
interface Layout extends ReadableLayout {
  /** Of the fragment that knows of the most parity. */
  readonly description: FragmentDescription;
  readonly nodes: ReadonlyMap<number, number>;
}

interface FoundFragment {
  readonly description: FragmentDescription;
  readonly walk: NodeWalk;
}

/**
 * The summary of a segment whose record is known, from the nodes that answer; undefined if too few do. Throws RpcError when one stops answering in
 * the middle.
 */
export function readSegmentSummary(
  links: NodeLinks,
  kernels: Kernels,
  record: SegmentRecord,
): Promise<SegmentSummary | undefined> {
  const holders = new Map<number, RpcClient>();
  record.nodes.forEach((nodeId, position) => {
    const link = links.links.get(nodeId);
    if (link?.state === 'up' && link.client !== undefined) holders.set(position, link.client);
  });
  return readSummary({ description: record, holders }, kernels);
}

/** In order of segment ids. Throws RpcError when a node stops answering in the middle. */
export async function* rebuildSegmentTable(links: NodeLinks, kernels: Kernels): AsyncGenerator<FoundSegment> {
  const walks: NodeWalk[] = [];
  for (const { id, state, client } of links.links.values()) {
    if (state === 'up' && client !== undefined) walks.push(new NodeWalk(id, client));
  }
  for (;;) {
    const heads = await Promise.all(walks.map((walk) => walk.head()));
    const ids = heads.flatMap((head) => (head === undefined ? [] : [head.segmentId]));
    if (ids.length === 0) return;
    const segmentId = Math.min(...ids);
    const found: { fragment: ListedFragment; walk: NodeWalk }[] = [];
    for (const walk of walks) {
      for (let head = await walk.head(); head?.segmentId === segmentId; head = await walk.head()) {
        found.push({ fragment: head, walk });
        walk.advance();
      }
    }
    const layout = await newestReadable(found);
    if (layout !== undefined) yield await foundSegment(layout, kernels);
  }
}

/** One node's list, read page by page. */
export class NodeWalk {
  readonly nodeId: number;
  readonly client: RpcClient;
  #page: readonly ListedFragment[] = [];
  #at = 0;
  #more = true;

  constructor(nodeId: number, client: RpcClient) {
    this.nodeId = nodeId;
    this.client = client;
  }

  async head(): Promise<ListedFragment | undefined> {
    while (this.#at === this.#page.length && this.#more) {
      const last = this.#page.at(-1);
      const body = encodeListRequest({
        afterSegmentId: last?.segmentId ?? 0,
        afterPosition: last?.position ?? 0,
        limit: PAGE_FRAGMENTS,
      });
      const reply = await this.client.call(rpcMethods.listFragments, body, { timeoutMs: CALL_TIMEOUT_MS });
      if (reply.status !== rpcStatus.ok) throw new RpcError('refused', `list refused with ${reply.status}`);
      const { fragments, more } = decodeListReply(reply.body);
      this.#page = fragments;
      this.#at = 0;
      this.#more = more;
    }
    return this.#page[this.#at];
  }

  advance(): void {
    this.#at++;
  }
}

/** The layout of the highest generation of which enough is there; if there is none, the highest. undefined: all gone meanwhile. */
async function newestReadable(
  found: readonly { fragment: ListedFragment; walk: NodeWalk }[],
): Promise<Layout | undefined> {
  const byLayout = new Map<string, FoundFragment[]>();
  for (const { fragment, walk } of found) {
    const description = await describe(walk.client, fragment);
    if (description === undefined) continue;
    const key = layoutKey(description);
    const known = byLayout.get(key);
    if (known === undefined) byLayout.set(key, [{ description, walk }]);
    else known.push({ description, walk });
  }
  const layouts = [...byLayout.values()]
    .map(layoutOf)
    .sort((a, b) => b.description.generation - a.description.generation || b.holders.size - a.holders.size);
  return layouts.find(({ description, holders }) => holders.size >= description.dataFragments) ?? layouts[0];
}

/** Fragments with the same are of one layout, however much parity there was when each was written. */
function layoutKey(description: FragmentDescription): string {
  const { generation, dataFragments, fragmentBlocks, dataBlocks, summaryBlocks } = description;
  return `${generation}/${dataFragments}/${fragmentBlocks}/${dataBlocks}/${summaryBlocks}`;
}

function layoutOf(fragments: readonly FoundFragment[]): Layout {
  const holders = new Map<number, RpcClient>();
  const nodes = new Map<number, number>();
  const taken = new Set<number>();
  const inOrder = [...fragments].sort((a, b) => a.description.position - b.description.position);
  for (const { description, walk } of inOrder) {
    // What was left over from a crash may be there twice, or beside another one: a node stands once in a record.
    if (nodes.has(description.position) || taken.has(walk.nodeId)) continue;
    holders.set(description.position, walk.client);
    nodes.set(description.position, walk.nodeId);
    taken.add(walk.nodeId);
  }
  const [first, ...others] = fragments.map(({ description }) => description);
  const description = others.reduce(
    (most, each) => (each.parityFragments > most.parityFragments ? each : most),
    first!,
  );
  return { description, holders, nodes };
}

async function describe(
  client: RpcClient,
  fragment: ListedFragment,
): Promise<FragmentDescription | undefined> {
  const body = encodeDescribeRequest(fragment);
  const reply = await client.call(rpcMethods.describeFragment, body, { timeoutMs: CALL_TIMEOUT_MS });
  if (reply.status !== rpcStatus.ok) return undefined;
  const description = decodeDescribeReply(reply.body);
  return description.generation === fragment.generation ? description : undefined;
}

async function foundSegment(layout: Layout, kernels: Kernels): Promise<FoundSegment> {
  const { description, nodes } = layout;
  const { segmentId, generation, dataFragments, parityFragments } = description;
  const { fragmentBlocks, dataBlocks, summaryBlocks } = description;
  const holderNodes = recordNodes(description.nodes, nodes);
  return {
    record: {
      segmentId,
      generation,
      dataFragments,
      parityFragments,
      fragmentBlocks,
      dataBlocks,
      summaryBlocks,
      nodes: holderNodes,
      liveBlocks: dataBlocks,
    },
    missing: holderNodes.map((_, position) => position).filter((position) => !nodes.has(position)),
    summary: await readSummary(layout, kernels),
  };
}

/** Who holds each position; for those that nobody does, who was to, or any number not taken: no node stands twice. */
function recordNodes(intended: readonly number[], holders: ReadonlyMap<number, number>): number[] {
  const taken = new Set(holders.values());
  return intended.map((node, position) => {
    const holder = holders.get(position);
    if (holder !== undefined) return holder;
    let absent = node;
    for (let other = 1; taken.has(absent); other++) absent = other;
    taken.add(absent);
    return absent;
  });
}

async function readSummary(layout: ReadableLayout, kernels: Kernels): Promise<SegmentSummary | undefined> {
  const { fragmentBlocks, dataBlocks, summaryBlocks, segmentId } = layout.description;
  const pieces: Buffer[] = [];
  for (let index = dataBlocks; index < dataBlocks + summaryBlocks; ) {
    const position = Math.floor(index / fragmentBlocks);
    const first = index % fragmentBlocks;
    const count = Math.min(fragmentBlocks - first, dataBlocks + summaryBlocks - index);
    const piece =
      (await fetchRange(layout, position, first, count)) ??
      (await rebuildRange(layout, kernels, position, first, count));
    if (piece === undefined) return undefined;
    pieces.push(piece);
    index += count;
  }
  try {
    const summary = decodeSummary(Buffer.concat(pieces), (bytes) => kernels.crc32c(bytes));
    return summary.segmentId === segmentId && summary.dataBlocks === dataBlocks ? summary : undefined;
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** Through the node, which checks the bytes. */
async function fetchRange(
  layout: ReadableLayout,
  position: number,
  firstBlock: number,
  blockCount: number,
): Promise<Buffer | undefined> {
  const { segmentId, generation } = layout.description;
  const into = Buffer.alloc(blockCount * BLOCK_BYTES);
  const body = encodeGetRequest({ segmentId, position, generation, firstBlock, blockCount });
  const client = layout.holders.get(position);
  const reply = await client?.call(rpcMethods.getFragment, body, { into, timeoutMs: CALL_TIMEOUT_MS });
  return reply?.status === rpcStatus.ok && reply.payloadBytes === into.length ? into : undefined;
}

async function rebuildRange(
  layout: ReadableLayout,
  kernels: Kernels,
  position: number,
  firstBlock: number,
  blockCount: number,
): Promise<Buffer | undefined> {
  const { dataFragments, parityFragments } = layout.description;
  const shards = new Array<Uint8Array | undefined>(dataFragments + parityFragments).fill(undefined);
  let have = 0;
  for (const source of layout.holders.keys()) {
    if (source === position || have === dataFragments) continue;
    shards[source] = await fetchRange(layout, source, firstBlock, blockCount);
    if (shards[source] !== undefined) have++;
  }
  if (have < dataFragments) return undefined;
  const out = Buffer.alloc(blockCount * BLOCK_BYTES);
  kernels.reconstruct(shards, dataFragments, parityFragments, [{ index: position, out }]);
  return out;
}
