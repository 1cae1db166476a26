/** A writer and a reader over fake nodes, with a committer that keeps records, extents and what was written. */
import { assert } from '../../../src/base/assert.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { rpcMethods, rpcStatus } from '../../../src/cluster/rpc.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { encodePutRequest } from '../../../src/format/storage-messages.ts';
import { copiesOf, withCopies } from '../../../src/log/fragment-holders.ts';
import { FragmentLocations } from '../../../src/log/fragment-locations.ts';
import type {
  DurableSegment,
  LogUnwritable,
  Placement,
  SegmentReader,
  SegmentWriter,
} from '../../../src/log/log.ts';
import { createSegmentReader } from '../../../src/log/segment-reader.ts';
import type { RoomRule } from '../../../src/log/segment-room.ts';
import { createSegmentWriter } from '../../../src/log/segment-writer.ts';
import { TargetShape } from '../../../src/log/target-shape.ts';
import type { Protection } from '../../../src/log/writable-nodes.ts';
import { createWriteSlab, type WriteSlab, type WriteSlabOptions } from '../../../src/log/write-slab.ts';
import { FakeCluster } from './fake-cluster.ts';
import { type FakePlatform, fakePlatform, settle } from './fake-platform.ts';

export interface FixtureOptions extends WriteSlabOptions {
  readonly nodes?: number;
  readonly data?: number;
  readonly parity?: number;
  /** Leave it to the test to release segments. */
  readonly holdReleases?: boolean;
  readonly poolBytes?: number;
  readonly room?: RoomRule;
  readonly leastProtection?: Protection;
}

export interface Written {
  readonly placement: Placement;
  readonly inode: number;
  readonly firstFileBlock: number;
  readonly bytes: Buffer;
}

export class LogFixture {
  readonly platform: FakePlatform;
  readonly cluster: FakeCluster;
  readonly shape: TargetShape;
  readonly slab: WriteSlab;
  readonly locations = new FragmentLocations();
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  readonly durable: DurableSegment[] = [];
  readonly records = new Map<number, SegmentRecord>();
  /** Checksums of all data blocks, by segment. */
  readonly checksums = new Map<number, Uint32Array>();
  readonly written: Written[] = [];
  readonly troubles: (LogUnwritable | undefined)[] = [];
  #seed = 1;

  constructor(options: FixtureOptions = {}) {
    const { nodes = 5, data = 4, parity = 1 } = options;
    this.platform = fakePlatform();
    this.cluster = new FakeCluster(this.platform, nodes);
    this.shape = new TargetShape({ dataFragments: data, parityFragments: parity });
    this.slab = createWriteSlab(this.platform.memory, this.shape, options);
    const { cluster: links, slab, locations } = this;
    const room = options.room === undefined ? {} : { room: options.room };
    const { leastProtection = 'full' } = options;
    this.writer = createSegmentWriter(this.platform, {
      ...{ links, slab, locations, term: 3, leastProtection, ...room },
    });
    this.reader = createSegmentReader(this.platform, {
      links,
      locations,
      poolBytes: options.poolBytes ?? 4 * 2 ** 20,
    });
    this.writer.onTrouble = (trouble) => this.troubles.push(trouble);
    this.writer.onDurable = (segment) => {
      this.durable.push(segment);
      this.records.set(segment.record.segmentId, segment.record);
      this.checksums.set(segment.record.segmentId, segment.contents.checksums.slice());
      if (options.holdReleases !== true) this.writer.release(segment.record.segmentId);
    };
  }

  /** Blocks of bytes that differ from all others. */
  bytes(blockCount: number): Buffer {
    const bytes = Buffer.alloc(blockCount * BLOCK_BYTES);
    for (let block = 0; block < blockCount; block++) {
      let state = this.#seed++ * 2654435761;
      for (let at = block * BLOCK_BYTES; at < (block + 1) * BLOCK_BYTES; at += 4) {
        state = (Math.imul(state, 1664525) + 1013904223) | 0;
        bytes.writeInt32LE(state, at);
      }
    }
    return bytes;
  }

  append(inode: number, firstFileBlock: number, blockCount: number): readonly Placement[] {
    const bytes = this.bytes(blockCount);
    const placements = this.writer.append(inode, firstFileBlock, bytes);
    let done = 0;
    for (const placement of placements) {
      this.written.push({
        placement,
        inode,
        firstFileBlock: firstFileBlock + done,
        bytes: bytes.subarray(done * BLOCK_BYTES, (done + placement.count) * BLOCK_BYTES),
      });
      done += placement.count;
    }
    return placements;
  }

  /** Appends like a writer that waits for room. */
  async appendWaiting(inode: number, firstFileBlock: number, blockCount: number): Promise<void> {
    while (this.writer.landing() === undefined) {
      await Promise.race([this.writer.whenRoom(), this.platform.time.pass(50)]);
    }
    this.append(inode, firstFileBlock, blockCount);
  }

  async sealAndSettle(): Promise<void> {
    this.writer.seal(true);
    await settle();
  }

  async read(segmentId: number, blockIndex: number, count: number): Promise<Buffer> {
    const record = this.records.get(segmentId);
    assert(record !== undefined, `segment ${segmentId} is durable`);
    const into = Buffer.alloc(count * BLOCK_BYTES, 0xee);
    const reading = this.reader.readBlocks(
      record,
      blockIndex,
      count,
      this.checksums.get(segmentId)!,
      blockIndex,
      into,
    );
    let settled = false;
    const done = reading.finally(() => {
      settled = true;
    });
    done.catch(() => {});
    for (let step = 0; !settled && step < 400; step++) await this.platform.time.pass(50);
    assert(settled, 'a read never hangs');
    await reading;
    return into;
  }

  /** A copy of a fragment on another node, as the record says from then on. */
  copy(segmentId: number, position: number, nodeId: number): SegmentRecord {
    const record = this.records.get(segmentId)!;
    const { fragments } = this.cluster.node(record.nodes[position]!);
    const { description } = fragments.get(`${segmentId}/${position}`)!;
    const payload = this.cluster.node(record.nodes[position]!).payload(segmentId, position);
    const put = encodePutRequest(description);
    const { status } = this.cluster.node(nodeId).serve(rpcMethods.putFragment, put, { payload });
    assert(status === rpcStatus.ok, 'a node takes a copy');
    const copied = withCopies(record, [...copiesOf(record), { position, nodeId }]);
    this.records.set(segmentId, copied);
    return copied;
  }

  /** Throws unless every block written reads back. */
  async verifyAll(): Promise<void> {
    for (const { placement, bytes } of this.written) {
      const { segmentId, blockIndex, count } = placement;
      const found = await this.read(segmentId, blockIndex, count);
      assert(found.equals(bytes), `blocks ${blockIndex}+${count} of segment ${segmentId}`);
    }
  }

  close(): void {
    this.writer.close();
    this.reader.close();
  }
}
