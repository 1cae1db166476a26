/**
 * The segment reader: splits reads over fragments, checks every block, and rebuilds what is missing, slow or corrupt. See log.ts for the
 * contract. Where a node's disk can be read directly, nothing but the disk is involved.
 *
 * A block is delivered only if it matches the caller's checksum, wherever it came from.
 */
import { assert } from '../base/assert.ts';
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { Platform } from '../platform/platform.ts';
import type { FragmentLocations } from './fragment-locations.ts';
import { FragmentRead, type ReadOutcome } from './fragment-read.ts';
import { FragmentReader } from './fragment-reader.ts';
import { LocalFiles } from './local-files.ts';
import { LogUnreadable, type ReadBuffer, type ReaderStatistics, type SegmentReader } from './log.ts';
import { ReadPool } from './read-pool.ts';
import type { ReadUse } from './read-use.ts';
import { ReadWatch } from './read-watch.ts';
import { type RebuildOutcome, type RebuildParts, rebuildStrip, rebuildStripBlocks } from './rebuild.ts';
import { StripeCache } from './stripe-cache.ts';

export interface SegmentReaderOptions {
  readonly links: NodeLinks;
  readonly locations: FragmentLocations;
  /** Memory of takeBuffer: a multiple of MAX_REQUEST_BYTES. */
  readonly poolBytes?: number;
}

const POOL_BYTES = 48 * MIB;
const SCRATCH_BYTES = 8 * MIB;
const LOST_TOLD_EVERY_MS = 1_000;

export function createSegmentReader(platform: Platform, options: SegmentReaderOptions): SegmentReader {
  return new LogReader(platform, options);
}

class LogReader implements SegmentReader {
  readonly #platform: Platform;
  readonly #links: NodeLinks;
  readonly #poolBytes: number;
  readonly #pool: ReadPool;
  readonly #files: LocalFiles;
  readonly #fragments: FragmentReader;
  readonly #watch: ReadWatch;
  readonly #rebuild: RebuildParts;
  readonly #stripes: StripeCache;
  #blocksRead = 0;
  #blocksRebuilt = 0;
  #corruptBlocks = 0;
  #slowReads = 0;
  #lostToldMs = Number.NEGATIVE_INFINITY;
  /** Lost reads since that were not told. */
  #lostUntold = 0;
  onCorrupt: ((record: SegmentRecord, nodeId: number) => void) | undefined;

  constructor(platform: Platform, options: SegmentReaderOptions) {
    const { links, locations } = options;
    const poolBytes = options.poolBytes ?? POOL_BYTES;
    assert(poolBytes % MAX_REQUEST_BYTES === 0, `read pool of ${poolBytes} bytes`);
    this.#platform = platform;
    this.#links = links;
    this.#poolBytes = poolBytes;
    const allocate = (lengthBytes: number) => platform.memory.allocate(lengthBytes);
    this.#pool = new ReadPool(poolBytes, allocate);
    this.#files = new LocalFiles(links, platform.memory, platform.log);
    this.#fragments = new FragmentReader(platform, links, locations, this.#files);
    this.#watch = new ReadWatch(platform.timers);
    let scratch: ReadPool | undefined;
    this.#rebuild = {
      fragments: this.#fragments,
      watch: this.#watch,
      kernels: platform.kernels,
      // A volume that never lost a node never needs it.
      get scratch() {
        scratch ??= new ReadPool(SCRATCH_BYTES, allocate);
        return scratch;
      },
    };
    this.#stripes = new StripeCache(this.#rebuild, allocate, (blocks) => {
      this.#blocksRebuilt += blocks;
    });
  }

  get use(): ReadUse {
    return this.#fragments.use;
  }

  takeBuffer(lengthBytes: number): ReadBuffer | undefined {
    return this.#pool.take(lengthBytes);
  }

  whenBuffer(lengthBytes: number): Promise<ReadBuffer> {
    return this.#pool.whenBuffer(lengthBytes);
  }

  readBlocks(
    record: SegmentRecord,
    blockIndex: number,
    count: number,
    checksums: Uint32Array,
    checksumIndex: number,
    into: Uint8Array,
  ): Promise<void> {
    assert(count > 0 && into.length === count * BLOCK_BYTES, `${into.length} bytes for ${count} blocks`);
    assert(blockIndex + count <= record.dataBlocks + record.summaryBlocks, 'blocks within the segment');
    const firstBlock = blockIndex % record.fragmentBlocks;
    const position = (blockIndex - firstBlock) / record.fragmentBlocks;
    this.#blocksRead += count;
    this.use.noteSegment(record.segmentId, count);
    if (this.#stripes.suits(record, count)) {
      return this.#readStriped(record, blockIndex, count, checksums, checksumIndex, into);
    }
    if (firstBlock + count <= record.fragmentBlocks) {
      const read = new FragmentRead(record, position, firstBlock, count, into, checksums, checksumIndex);
      if (record.copies !== undefined) read.nodeId = this.#fragments.holderOf(record, position);
      return this.#readPiece(read);
    }
    return this.#readPieces(record, blockIndex, count, checksums, checksumIndex, into);
  }

  async #readStriped(
    record: SegmentRecord,
    blockIndex: number,
    count: number,
    checksums: Uint32Array,
    checksumIndex: number,
    into: Uint8Array,
  ): Promise<void> {
    if (await this.#stripes.read(record, blockIndex, count, checksums, checksumIndex, into)) return;
    await this.#readPieces(record, blockIndex, count, checksums, checksumIndex, into);
  }

  /** All pieces at once. Settles when the last one has, since the others would still write to `into`. */
  async #readPieces(
    record: SegmentRecord,
    blockIndex: number,
    count: number,
    checksums: Uint32Array,
    checksumIndex: number,
    into: Uint8Array,
  ): Promise<void> {
    const pieces: Promise<void>[] = [];
    for (let done = 0; done < count; ) {
      const position = Math.floor((blockIndex + done) / record.fragmentBlocks);
      const firstBlock = (blockIndex + done) % record.fragmentBlocks;
      const length = Math.min(count - done, record.fragmentBlocks - firstBlock);
      const view = into.subarray(done * BLOCK_BYTES, (done + length) * BLOCK_BYTES);
      const index = checksumIndex + done;
      const read = new FragmentRead(record, position, firstBlock, length, view, checksums, index);
      if (record.copies !== undefined) read.nodeId = this.#fragments.holderOf(record, position);
      pieces.push(this.#readPiece(read));
      done += length;
    }
    const results = await Promise.allSettled(pieces);
    for (const result of results) if (result.status === 'rejected') throw result.reason;
  }

  #readPiece(read: FragmentRead): Promise<void> {
    return new Promise((resolve, reject) => {
      const recover = (reading: Promise<ReadOutcome>, outcome: ReadOutcome | 'slow') =>
        this.#recover(read, reading, outcome).then(resolve, reject);
      // Told of the transfer's end once somebody else has taken over.
      let late: ((outcome: ReadOutcome) => void) | undefined;
      const watched = this.#watch.begin(() => {
        const reading = new Promise<ReadOutcome>((ended) => {
          late = ended;
        });
        void recover(reading, 'slow');
      });
      const started = this.#fragments.startLocal(read, (ok) => {
        this.#watch.end(watched);
        if (late !== undefined) late(ok ? 'ok' : 'unreachable');
        else if (ok) resolve();
        else this.#readSlowly(read, resolve, reject);
      });
      if (started) return;
      this.#watch.end(watched);
      this.#readSlowly(read, resolve, reject);
    });
  }

  #readSlowly(read: FragmentRead, resolve: () => void, reject: (reason: unknown) => void): void {
    const reading = this.#fragments.read(read);
    this.#watch
      .watch(reading)
      .then((outcome) => (outcome === 'ok' ? undefined : this.#recover(read, reading, outcome)))
      .then(resolve, reject);
  }

  /** Whoever was asked did not deliver: rebuild, else take what the node may still say. */
  async #recover(
    read: FragmentRead,
    reading: Promise<ReadOutcome>,
    outcome: ReadOutcome | 'slow',
  ): Promise<void> {
    const { segmentId } = read.record;
    if (outcome === 'slow') this.#slowReads++;
    if (outcome === 'corrupt') {
      this.#corruptBlocks += read.count;
      this.#platform.log.warn('fragment-corrupt', {
        segmentId,
        position: read.position,
        node: read.nodeId,
        firstBlock: read.firstBlock,
        blocks: read.count,
      });
      this.onCorrupt?.(read.record, read.nodeId);
    }
    const answering = this.#answering(read.record);
    const rebuilt = await this.#rebuildPiece(read, outcome, reading);
    if (rebuilt === 'ok') return;
    if (outcome === 'slow' && !read.cancelled && (await reading) === 'ok') return;
    const last = await this.#fragments.read(read.throughItsNode());
    if (last === 'ok') return;
    const stale = rebuilt === 'stale' || (outcome === 'missing' && !read.isOfCopy) || last === 'missing';
    if (!stale && !read.transferring && (await this.#isOneBack(read.record, answering))) {
      // Each return is counted on once.
      const again = read.again();
      const rereading = this.#fragments.read(again);
      const reread = await this.#watch.watch(rereading);
      return reread === 'ok' ? undefined : this.#recover(again, rereading, reread);
    }
    const what = `blocks ${read.firstBlock} to ${read.firstBlock + read.count - 1} of fragment ${read.position}`;
    if (stale) throw new LogUnreadable('stale', `segment ${segmentId} is gone`);
    this.#noteLost(read);
    throw new LogUnreadable('lost', `too few fragments of segment ${segmentId} can be read for ${what}`);
  }

  #answering({ nodes }: SegmentRecord): readonly number[] {
    return nodes.filter((id) => this.#links.links.get(id)?.state === 'up');
  }

  /** A node that did not answer before the fragments were looked for does now, or does once it is connected. */
  async #isOneBack(record: SegmentRecord, before: readonly number[]): Promise<boolean> {
    if (this.#answering(record).some((id) => !before.includes(id))) return true;
    return this.#links.reach(record.nodes);
  }

  /** Whoever reads a lost file reads it to its end: one line a second is enough. */
  #noteLost({ record, position, firstBlock, count }: FragmentRead): void {
    const nowMs = this.#platform.clock.monotonicMs();
    if (nowMs - this.#lostToldMs < LOST_TOLD_EVERY_MS) {
      this.#lostUntold++;
      return;
    }
    this.#platform.log.error('read-lost', {
      ...{ segmentId: record.segmentId, position, firstBlock, blocks: count },
      nodes: record.nodes.map((id) => `${id} ${this.#links.links.get(id)?.state ?? 'unknown'}`).join(', '),
      ...(this.#lostUntold === 0 ? {} : { othersSince: this.#lostUntold }),
    });
    this.#lostToldMs = nowMs;
    this.#lostUntold = 0;
  }

  async #rebuildPiece(
    read: FragmentRead,
    outcome: ReadOutcome | 'slow',
    reading: Promise<ReadOutcome>,
  ): Promise<RebuildOutcome> {
    let finished: ReadOutcome | undefined;
    if (outcome === 'slow') void reading.then((late) => (finished = late));
    const stripBlocks = rebuildStripBlocks(read.record);
    for (let done = 0; done < read.count; done += stripBlocks) {
      const range = {
        record: read.record,
        position: read.position,
        firstBlock: read.firstBlock + done,
        count: Math.min(stripBlocks, read.count - done),
        checksums: read.checksums!,
        checksumIndex: read.checksumIndex + done,
        notFrom: read.nodeId,
      };
      const result = await rebuildStrip(this.#rebuild, range, (bytes, rebuiltBlocks) => {
        if (finished === 'ok' && !read.cancelled) return;
        if (!read.cancelled) this.#giveUp(read, reading);
        read.into.set(bytes, done * BLOCK_BYTES);
        this.#blocksRebuilt += rebuiltBlocks;
      });
      if (finished === 'ok' && !read.cancelled) return 'ok';
      if (result !== 'ok') return result;
    }
    return 'ok';
  }

  /** The node's own answer is not wanted any more; memory that its disk still writes to is kept. */
  #giveUp(read: FragmentRead, reading: Promise<ReadOutcome>): void {
    read.cancelled = true;
    if (read.transferring) void this.#fragments.outlast(read, reading).then(this.#pool.hold(read.into));
  }

  statistics(): ReaderStatistics {
    return {
      usedPoolBytes: this.#poolBytes - this.#pool.freeBytes,
      blocksRead: this.#blocksRead,
      blocksRebuilt: this.#blocksRebuilt,
      corruptBlocks: this.#corruptBlocks,
      slowReads: this.#slowReads,
    };
  }

  close(): void {
    this.#watch.close();
    this.#files.close();
  }
}
