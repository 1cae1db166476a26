/**
 * Reads blocks of one fragment from its node: straight from the disk where the node's log files are at hand, through the node
 * otherwise. Bytes are checked against the checksums of the read, if it has any; what does not match is fetched once more through
 * the node before it is called corrupt, since a fragment may have moved or gone. Knows one node at a time; rebuilding is rebuild.ts.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { NodeLink, NodeLinks } from '../cluster/nodes.ts';
import { type RpcClient, RpcError, rpcMethods, rpcStatus } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import {
  decodeLocateReply,
  encodeGetRequest,
  encodeLocateRequest,
  type FragmentLocation,
} from '../format/storage-messages.ts';
import type { Platform } from '../platform/platform.ts';
import { BounceBuffers } from './bounce-buffers.ts';
import { copyHolder } from './fragment-holders.ts';
import type { FragmentLocations } from './fragment-locations.ts';
import type { FragmentRead, ReadOutcome } from './fragment-read.ts';
import type { LocalFile, LocalFiles } from './local-files.ts';
import { ReadUse } from './read-use.ts';

const LOCATE_TIMEOUT_MS = 2000;
const GET_TIMEOUT_MS = 10_000;

export class FragmentReader {
  /** What is read from whom. */
  readonly use = new ReadUse();
  readonly #platform: Platform;
  readonly #links: NodeLinks;
  readonly #locations: FragmentLocations;
  readonly #files: LocalFiles;
  readonly #bounces: BounceBuffers;
  readonly #locating = new Map<string, Promise<FragmentLocation | ReadOutcome>>();
  /** Disk reads that were given up and have not ended, by node: its disk is left alone meanwhile. */
  readonly #stuckReads = new Map<number, number>();
  #found = new Uint32Array(256);

  constructor(platform: Platform, links: NodeLinks, locations: FragmentLocations, files: LocalFiles) {
    this.#platform = platform;
    this.#links = links;
    this.#locations = locations;
    this.#files = files;
    this.#bounces = new BounceBuffers((lengthBytes) => Buffer.allocUnsafeSlow(lengthBytes));
  }

  /** 0: answers; 1: connected, but slow or with a stuck disk; 2: not connected. */
  reluctance(nodeId: number): 0 | 1 | 2 {
    const link = this.#links.links.get(nodeId);
    if (link?.client === undefined) return 2;
    return link.state === 'up' && !this.#stuckReads.has(nodeId) ? 0 : 1;
  }

  /** Who is best asked for a fragment: of two that answer alike, the one with less to do. */
  holderOf(record: SegmentRecord, position: number): number {
    const own = record.nodes[position]!;
    const copy = record.copies === undefined ? undefined : copyHolder(record, position);
    if (copy === undefined) return own;
    const difference = this.reluctance(copy) - this.reluctance(own);
    if (difference !== 0) return difference < 0 ? copy : own;
    return this.use.isLess(copy, own) ? copy : own;
  }

  async read(read: FragmentRead): Promise<ReadOutcome> {
    const link = this.#links.links.get(read.nodeId);
    const client = link?.client;
    if (link === undefined || client === undefined) return 'unreachable';
    if (client.local && !read.throughNode) {
      if (this.#stuckReads.has(link.id)) return 'unreachable';
      const location =
        this.#locations.find(read.record, read.position, link.id)?.location ??
        (await this.#locate(link, read));
      if (typeof location === 'string') return location;
      const file = this.#files.find(link, location.fileId) ?? (await this.#open(link, location));
      if (file !== undefined && !read.cancelled) {
        const ok = await new Promise<boolean>((resolve) => this.#readFile(read, file, location, resolve));
        if (ok) return 'ok';
      }
      this.#locations.forget(read.record.segmentId, read.position, link.id);
    }
    if (read.cancelled || (link.state !== 'up' && !read.throughNode)) return 'unreachable';
    return this.#readThroughNode(read, link, client);
  }

  /** The read was given up while the disk still works on it. Returns when that is over. */
  async outlast(read: FragmentRead, ending: Promise<unknown>): Promise<void> {
    const { nodeId } = read;
    this.#stuckReads.set(nodeId, (this.#stuckReads.get(nodeId) ?? 0) + 1);
    await ending;
    const left = this.#stuckReads.get(nodeId)! - 1;
    if (left === 0) this.#stuckReads.delete(nodeId);
    else this.#stuckReads.set(nodeId, left);
  }

  /** Whether `bytes` are the blocks with the given checksums. */
  matches(bytes: Uint8Array, checksums: Uint32Array, checksumIndex: number): boolean {
    const { kernels } = this.#platform;
    if (bytes.length === BLOCK_BYTES) return kernels.crc32c(bytes) === checksums[checksumIndex];
    const count = bytes.length / BLOCK_BYTES;
    if (count > this.#found.length) this.#found = new Uint32Array(count);
    kernels.crc32cBlocks(bytes, BLOCK_BYTES, this.#found, 0);
    for (let i = 0; i < count; i++) {
      if (this.#found[i] !== checksums[checksumIndex + i]) return false;
    }
    return true;
  }

  /**
   * The way of nearly all reads: where the fragment lies is known and its file is open, so the transfer starts in this turn, without a
   * promise. `done` tells whether the blocks are there and match. False: not possible, take `read`.
   */
  startLocal(read: FragmentRead, done: (ok: boolean) => void): boolean {
    const link = this.#links.links.get(read.nodeId);
    if (link?.client?.local !== true) return false;
    if (this.#stuckReads.size > 0 && this.#stuckReads.has(link.id)) return false;
    const noted = this.#locations.find(read.record, read.position, link.id);
    if (noted === undefined) return false;
    let { file } = noted;
    if (file === undefined || file.isRetired) {
      file = this.#files.find(link, noted.location.fileId);
      if (file === undefined) return false;
      noted.file = file;
    }
    this.#readFile(read, file, noted.location, done);
    return true;
  }

  #readFile(
    read: FragmentRead,
    file: LocalFile,
    location: FragmentLocation,
    done: (ok: boolean) => void,
  ): void {
    if (location.fragmentBlocks !== read.record.fragmentBlocks) {
      done(false);
      return;
    }
    read.transferring = true;
    const use = this.use.node(read.nodeId);
    use.begin(read.lengthBytes);
    file.read(read.into, location.payloadOffset + read.firstBlock * BLOCK_BYTES, (result) => {
      read.transferring = false;
      use.end(read.lengthBytes);
      if (result < 0) {
        this.#platform.log.warn('fragment-read-failed', { node: read.nodeId, errno: -result });
      }
      done(result === read.lengthBytes && this.#verify(read, read.into));
    });
  }

  #verify(read: FragmentRead, bytes: Uint8Array): boolean {
    return read.checksums === undefined || this.matches(bytes, read.checksums, read.checksumIndex);
  }

  #locate(link: NodeLink, read: FragmentRead): Promise<FragmentLocation | ReadOutcome> {
    if (link.state !== 'up') return Promise.resolve('unreachable');
    const { segmentId, generation } = read.record;
    const key = `${segmentId}/${read.position}/${generation}/${link.id}`;
    let locating = this.#locating.get(key);
    if (locating === undefined) {
      locating = this.#askLocation(link, read).finally(() => this.#locating.delete(key));
      this.#locating.set(key, locating);
    }
    return locating;
  }

  async #askLocation(link: NodeLink, read: FragmentRead): Promise<FragmentLocation | ReadOutcome> {
    const { segmentId, generation } = read.record;
    const { position } = read;
    try {
      const body = encodeLocateRequest({ segmentId, position, generation });
      const reply = await link.client!.call(rpcMethods.locateFragment, body, {
        timeoutMs: LOCATE_TIMEOUT_MS,
      });
      if (reply.status === rpcStatus.missing) return 'missing';
      if (reply.status !== rpcStatus.ok) return 'unreachable';
      const location = decodeLocateReply(reply.body);
      this.#locations.note({ segmentId, generation, position, nodeId: link.id, location });
      return location;
    } catch (error) {
      return this.#unanswered(error, link, 'locate');
    }
  }

  #open(link: NodeLink, location: FragmentLocation): Promise<LocalFile | undefined> {
    return link.state === 'up' ? this.#files.open(link, location.fileId) : Promise.resolve(undefined);
  }

  async #readThroughNode(read: FragmentRead, link: NodeLink, client: RpcClient): Promise<ReadOutcome> {
    const { segmentId, generation } = read.record;
    const { position, firstBlock, count, lengthBytes } = read;
    const bounce = this.#bounces.take(lengthBytes);
    const into = bounce.subarray(0, lengthBytes);
    const body = encodeGetRequest({ segmentId, position, generation, firstBlock, blockCount: count });
    let settled = Promise.resolve();
    const use = this.use.node(link.id);
    use.begin(lengthBytes);
    try {
      const reply = await client.call(rpcMethods.getFragment, body, { into, timeoutMs: GET_TIMEOUT_MS });
      if (reply.status === rpcStatus.missing) return 'missing';
      if (reply.status === rpcStatus.corrupt) return 'corrupt';
      if (reply.status !== rpcStatus.ok || reply.payloadBytes !== lengthBytes) return 'unreachable';
      if (!this.#verify(read, into)) return 'corrupt';
      if (!read.cancelled) read.into.set(into);
      return 'ok';
    } catch (error) {
      if (error instanceof RpcError) settled = error.settled;
      return this.#unanswered(error, link, 'get');
    } finally {
      use.end(lengthBytes);
      void settled.then(() => this.#bounces.give(bounce));
    }
  }

  #unanswered(error: unknown, link: NodeLink, call: string): ReadOutcome {
    if (!(error instanceof RpcError) && !(error instanceof FormatError)) throw error;
    this.#platform.log.warn('read-unanswered', { node: link.id, call, cause: error.message });
    if (error instanceof RpcError && error.reason === 'timeout') link.noteSlow();
    return 'unreachable';
  }
}
