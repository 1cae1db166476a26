/**
 * A sealed segment on its way to the nodes: lays it out, sends all fragments at once, and does not rest until every fragment of one
 * layout is durable. Then, and only then, it is done.
 *
 * When a node refuses, vanishes or does not answer in time, its fragments go to other live nodes; when there are none, the whole
 * segment is laid out anew for fewer data fragments, under a higher generation, with full parity again, or with less where the writer is content
 * with it (writable-nodes.ts). When even that is impossible it waits for nodes to return, and an answer that comes late still counts. Fragments of layouts that were given up are freed, best effort.
 *
 * The bytes stay in the segment's buffer until the commit; a flight never reads or writes them after it is done.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { replaceNodes, type SegmentLayout } from '../cluster/placement.ts';
import { RpcError, type RpcReply, type RpcStatus, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { decodePutReply, encodePutRequest, type PutReply } from '../format/storage-messages.ts';
import type { Kernels, Logger } from '../platform/platform.ts';
import type { FragmentFreeing } from './fragment-freeing.ts';
import type { FragmentLocations } from './fragment-locations.ts';
import type { SegmentBuffer } from './segment-buffer.ts';
import { fragmentBlocksFor } from './segment-layout.ts';
import { type Protection, storedFragmentBytes, type WritableNodes } from './writable-nodes.ts';

/** What flights share. */
export interface FlightContext {
  readonly links: NodeLinks;
  readonly nodes: WritableNodes;
  readonly leastProtection: Protection;
  readonly kernels: Kernels;
  readonly log: Logger;
  readonly locations: FragmentLocations;
  readonly freeing: FragmentFreeing;
  readonly term: number;
  readonly zeroBlockChecksum: number;
  tick: number;
  /** A fragment became durable. */
  onProgress(): void;
  onDone(flight: SegmentFlight): void;
  /** A node promised a newer term: this writer is deposed. */
  onFenced(): void;
}

/** Ticks without an answer after which a fragment is sent elsewhere. */
const OVERDUE_TICKS = 10;
/** Far beyond that: an answer that comes late is still welcome. */
const PUT_TIMEOUT_MS = 30_000;
const MAX_GENERATION = 255;

/** One fragment of the present layout. Replaced by a new object whenever it is sent again, so that old answers are told apart. */
interface Sending {
  readonly position: number;
  readonly nodeId: number;
  readonly generation: number;
  readonly storedBytes: number;
  sentTick: number;
  state: 'sent' | 'durable' | 'failed';
  overdue: boolean;
}

export class SegmentFlight {
  readonly buffer: SegmentBuffer;
  /** The buffer's, which gets another one while late answers may still arrive here. */
  readonly segmentId: number;
  readonly #context: FlightContext;
  readonly #dataBlocks: number;
  readonly #summaryBlocks: number;
  readonly #blocks: number;
  #layout: SegmentLayout | undefined;
  #fragmentBlocks = 0;
  #generation = 0;
  #sendings: Sending[] = [];
  /** Fragments of layouts given up, by node and position. */
  #strays: Sending[] = [];
  #done = false;
  #abandoned = false;
  #advancing = false;
  /** Why it waits: the nodes that answer have no room. */
  lacksRoom = false;

  constructor(buffer: SegmentBuffer, context: FlightContext) {
    this.buffer = buffer;
    this.segmentId = buffer.segmentId;
    this.#context = context;
    this.#dataBlocks = buffer.blockCount;
    this.#summaryBlocks = buffer.summaryBlocks;
    this.#blocks = this.#dataBlocks + this.#summaryBlocks;
  }

  get done(): boolean {
    return this.#done;
  }

  /** No nodes were found for it yet. */
  get unplaced(): boolean {
    return this.#layout === undefined;
  }

  get rewritten(): boolean {
    return this.#generation > 0 || this.#strays.length > 0;
  }

  get record(): SegmentRecord {
    const layout = this.#layout;
    assert(layout !== undefined && this.#done, 'only a durable segment has a record');
    return {
      segmentId: this.segmentId,
      generation: this.#generation,
      dataFragments: layout.dataFragments,
      parityFragments: layout.parityFragments,
      fragmentBlocks: this.#fragmentBlocks,
      dataBlocks: this.#dataBlocks,
      summaryBlocks: this.#summaryBlocks,
      nodes: layout.nodes,
      liveBlocks: this.buffer.liveBlocks,
    };
  }

  /** Sends what is not on its way, if nodes can be had. Called at first, after changes of the links, and every tick. */
  advance(): void {
    // Calling a node slow tells everybody who watches the links, this flight too: it is at it already.
    if (this.#done || this.#abandoned || this.#advancing) return;
    this.#advancing = true;
    if (this.#layout === undefined) this.#layOut(0);
    else this.#repair();
    this.#advancing = false;
  }

  /** The writer closes: answers are of no interest any more. */
  abandon(): void {
    this.#abandoned = true;
  }

  #layOut(generation: number): boolean {
    const { nodes, leastProtection: least } = this.#context;
    const layout = nodes.place(this.#blocks, this.segmentId % 2 ** 32, least);
    this.lacksRoom = layout === undefined && nodes.enoughAnswer(least);
    if (layout === undefined) return false;
    this.#strays.push(...this.#sendings);
    this.#layout = layout;
    this.#generation = generation;
    this.#encode(layout);
    this.#sendings = layout.nodes.map((nodeId, position) => this.#send(position, nodeId));
    return true;
  }

  /** Fills the data up to whole fragments, computes parity, and completes the checksums. */
  #encode(layout: SegmentLayout): void {
    const { kernels, zeroBlockChecksum } = this.#context;
    const { buffer } = this;
    const { dataFragments: k, parityFragments: m } = layout;
    const fragmentBlocks = fragmentBlocksFor(this.#blocks, k);
    this.#fragmentBlocks = fragmentBlocks;
    buffer.view(this.#blocks, k * fragmentBlocks - this.#blocks).fill(0);
    buffer.checksums.fill(zeroBlockChecksum, this.#blocks, k * fragmentBlocks);
    if (m === 0 || k === 1) return;
    const data = Array.from({ length: k }, (_, i) => buffer.view(i * fragmentBlocks, fragmentBlocks));
    const parity = Array.from({ length: m }, (_, i) => buffer.view(this.#offset(k + i), fragmentBlocks));
    kernels.encodeParity(parity, data);
    const offset = this.#offset(k);
    kernels.crc32cBlocks(buffer.view(offset, m * fragmentBlocks), BLOCK_BYTES, buffer.checksums, offset);
  }

  /** Where a fragment lies in the slot. With one data fragment all are its equals. */
  #offset(position: number): number {
    const k = this.#layout!.dataFragments;
    if (k === 1) return 0;
    if (position < k) return position * this.#fragmentBlocks;
    return this.buffer.geometry.parityOffset + (position - k) * this.#fragmentBlocks;
  }

  #send(position: number, nodeId: number): Sending {
    const { links, nodes, term, tick } = this.#context;
    const layout = this.#layout!;
    const fragmentBlocks = this.#fragmentBlocks;
    const storedBytes = storedFragmentBytes(fragmentBlocks, layout.nodes.length);
    const generation = this.#generation;
    const sending: Sending = {
      position,
      nodeId,
      generation,
      storedBytes,
      sentTick: tick,
      state: 'sent',
      overdue: false,
    };
    const client = links.links.get(nodeId)?.client;
    if (client === undefined || client.closed) {
      sending.state = 'failed';
      return sending;
    }
    const offset = this.#offset(position);
    const body = encodePutRequest({
      segmentId: this.segmentId,
      position,
      generation,
      term,
      dataFragments: layout.dataFragments,
      parityFragments: layout.parityFragments,
      fragmentBlocks,
      dataBlocks: this.#dataBlocks,
      summaryBlocks: this.#summaryBlocks,
      nodes: layout.nodes,
      checksums: this.buffer.checksums.subarray(offset, offset + fragmentBlocks),
    });
    const payload = this.buffer.view(offset, fragmentBlocks);
    nodes.sent(nodeId, storedBytes);
    client.call(rpcMethods.putFragment, body, { payload, timeoutMs: PUT_TIMEOUT_MS }).then(
      (reply) => this.#answered(sending, reply),
      (error: unknown) => this.#unanswered(sending, error),
    );
    return sending;
  }

  #answered(sending: Sending, reply: RpcReply): void {
    this.#ended(sending);
    const present = this.#sendings[sending.position] === sending;
    const put = reply.status === rpcStatus.ok ? parsePutReply(reply) : undefined;
    if (put !== undefined) {
      this.#context.links.links.get(sending.nodeId)?.noteFreeBytes(put.freeBytes);
      sending.state = 'durable';
      if (present) this.#stored(sending, put);
      else if (this.#done) this.#freeStray(sending);
      return;
    }
    sending.state = 'failed';
    if (reply.status === rpcStatus.fenced) this.#context.onFenced();
    else if (present) this.#refused(sending, reply.status);
  }

  #stored(sending: Sending, put: PutReply): void {
    const { segmentId } = this;
    const { generation, position, nodeId } = sending;
    this.#context.locations.note({ segmentId, generation, position, nodeId, location: put.location });
    this.#context.onProgress();
    this.#checkDone();
  }

  #refused(sending: Sending, status: RpcStatus): void {
    const { links, nodes, log } = this.#context;
    log.warn('fragment-refused', { segmentId: this.segmentId, node: sending.nodeId, status });
    if (status === rpcStatus.full) links.links.get(sending.nodeId)?.noteFreeBytes(0);
    else nodes.refused(sending.nodeId);
    this.advance();
  }

  #unanswered(sending: Sending, error: unknown): void {
    if (!(error instanceof RpcError)) throw error;
    this.#ended(sending);
    sending.state = 'failed';
    const { segmentId } = this;
    this.#context.log.warn('fragment-unanswered', { segmentId, node: sending.nodeId, reason: error.reason });
    if (this.#sendings[sending.position] !== sending) return;
    if (error.reason !== 'closed') this.#context.nodes.refused(sending.nodeId);
    this.advance();
  }

  #ended(sending: Sending): void {
    const { nodes } = this.#context;
    nodes.ended(sending.nodeId, sending.storedBytes);
    if (sending.overdue) nodes.overdueEnded(sending.nodeId);
    sending.overdue = false;
  }

  /** Sends failed and overdue fragments elsewhere, or all of them narrower, or leaves things as they are until nodes return. */
  #repair(): void {
    const { links, nodes, tick } = this.#context;
    const waiting = this.#sendings.filter((sending) => sending.state !== 'durable');
    for (const sending of waiting) {
      if (sending.state !== 'sent' || sending.overdue) continue;
      const link = links.links.get(sending.nodeId);
      const late = tick - sending.sentTick >= OVERDUE_TICKS;
      if (late) link?.noteSlow();
      if (!late && link?.state !== 'slow') continue;
      sending.overdue = true;
      nodes.overdue(sending.nodeId);
    }
    const failed = waiting.filter((sending) => sending.state === 'failed' || sending.overdue);
    if (failed.length === 0) return;
    if (!this.#resend(failed) && this.#generation < MAX_GENERATION) this.#layOut(this.#generation + 1);
  }

  #resend(failed: readonly Sending[]): boolean {
    const { nodes } = this.#context;
    const layout = this.#layout!;
    const live = nodes.live();
    const storedBytes = storedFragmentBytes(this.#fragmentBlocks, layout.nodes.length);
    const able = new Set(live.filter((node) => node.freeBytes >= storedBytes).map((node) => node.id));
    const unable = new Set(failed.map((sending) => sending.nodeId).filter((id) => !able.has(id)));
    const replaced = replaceNodes(layout.nodes, unable, live, storedBytes, nodes.groups);
    if (replaced === undefined) return false;
    this.lacksRoom = false;
    this.#layout = { ...layout, nodes: replaced };
    for (const { position } of failed) {
      const old = this.#sendings[position]!;
      if (old.nodeId !== replaced[position]) this.#strays.push(old);
      this.#sendings[position] = this.#send(position, replaced[position]!);
    }
    return true;
  }

  #checkDone(): void {
    if (this.#done || this.#abandoned) return;
    if (!this.#sendings.every((sending) => sending.state === 'durable')) return;
    this.#done = true;
    this.lacksRoom = false;
    for (const stray of this.#strays) this.#freeStray(stray);
    this.#context.onDone(this);
  }

  /** A fragment of a layout given up, unless one of the final layout took its very place. */
  #freeStray(stray: Sending): void {
    const { position, generation, nodeId } = stray;
    if (this.#layout!.nodes[position] === nodeId) return;
    this.#context.freeing.free(nodeId, { segmentId: this.segmentId, position, generation });
  }
}

/** undefined: the node talks nonsense, which is as good as a refusal. */
function parsePutReply(reply: RpcReply): PutReply | undefined {
  try {
    return decodePutReply(reply.body);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
