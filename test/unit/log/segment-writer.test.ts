import { afterEach, expect, test } from 'vitest';
import { MAX_REQUEST_BYTES } from '../../../src/base/limits.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { rpcMethods, rpcStatus } from '../../../src/cluster/rpc.ts';
import { decodeSummary } from '../../../src/format/segment-summary.ts';
import { LogUnwritable } from '../../../src/log/log.ts';
import { WIDEST_SHAPE } from '../../../src/log/segment-layout.ts';
import { settle } from './fake-platform.ts';
import { type FixtureOptions, LogFixture } from './log-fixture.ts';

const open: LogFixture[] = [];
function fixture(options: FixtureOptions = {}): LogFixture {
  const made = new LogFixture({ segmentBlocks: 16, slotCount: 40, ...options });
  open.push(made);
  return made;
}
afterEach(() => {
  for (const made of open.splice(0)) made.close();
});

test('an appended block can be read from memory until its segment is released', async () => {
  const log = fixture({ holdReleases: true });
  const [placement] = log.append(7, 100, 3);
  const { segmentId, blockIndex } = placement!;
  expect(placement).toEqual({ segmentId: 3 * 2 ** 32 + 1, blockIndex: 0, count: 3 });
  expect(log.writer.pendingBytes(segmentId, blockIndex, 3)).toEqual(log.written[0]!.bytes);
  await log.sealAndSettle();
  expect(log.durable).toHaveLength(1);
  expect(log.writer.pendingBytes(segmentId, blockIndex, 3)).toEqual(log.written[0]!.bytes);
  log.writer.release(segmentId);
  expect(log.writer.pendingBytes(segmentId, blockIndex, 3)).toBeUndefined();
});

test('a payload received into the landing is claimed without a copy, across the end of a segment', async () => {
  const log = fixture();
  log.append(1, 0, 10);
  const parts = log.writer.landing()!;
  const room = parts.reduce((sum, part) => sum + part.length, 0);
  expect(room).toBeGreaterThanOrEqual(MAX_REQUEST_BYTES);
  expect(parts.every((part) => part.byteOffset % BLOCK_BYTES === 0 && part.length % BLOCK_BYTES === 0)).toBe(
    true,
  );
  const bytes = log.bytes(8);
  const first = parts[0]!.length;
  expect(first).toBe(5 * BLOCK_BYTES);
  parts[0]!.set(bytes.subarray(0, first));
  parts[1]!.set(bytes.subarray(first));
  const placements = log.writer.appendLanded(2, 50, 8);
  expect(placements.map(({ blockIndex, count }) => [blockIndex, count])).toEqual([
    [10, 5],
    [0, 3],
  ]);
  expect(placements[1]!.segmentId).toBe(placements[0]!.segmentId + 1);
  await log.sealAndSettle();
  const read = [
    await log.read(placements[0]!.segmentId, 10, 5),
    await log.read(placements[1]!.segmentId, 0, 3),
  ];
  expect(Buffer.concat(read)).toEqual(bytes);
});

test('the landing stays the same until something is appended', () => {
  const log = fixture();
  const landing = log.writer.landing();
  expect(log.writer.landing() === landing).toBe(true);
  log.append(1, 0, 1);
  expect(log.writer.landing() === landing).toBe(false);
});

test('a segment full of single blocks keeps room for its summary, which lists them in order', async () => {
  const log = fixture({ segmentBlocks: 1024, slotCount: 4 });
  const blocks = 1021; // 1021 runs of 12 bytes and a header are three blocks
  for (let block = 0; block < blocks; block++) log.append(block + 1, block * 3, 1);
  await settle();
  expect(log.durable).toHaveLength(1);
  const { record, contents } = log.durable[0]!;
  expect(record.dataBlocks + record.summaryBlocks).toBe(1024);
  expect(record.dataBlocks).toBe(blocks);
  expect([...contents.inodes.subarray(0, 3)]).toEqual([1, 2, 3]);
  const parts = record.nodes
    .slice(0, 4)
    .map((node, position) => log.cluster.node(node).payload(record.segmentId, position));
  const summaryBytes = Buffer.concat(parts).subarray(blocks * BLOCK_BYTES);
  const summary = decodeSummary(summaryBytes, log.platform.kernels.crc32c);
  expect(summary.runCount).toBe(blocks);
  expect(summary.inodes[1020]).toBe(1021);
  expect(summary.fileBlocks[1020]).toBe(3060);
});

test('a short segment is striped with short fragments, parity included', async () => {
  const log = fixture();
  log.append(1, 0, 4);
  await log.sealAndSettle();
  const { record } = log.durable[0]!;
  expect(record).toMatchObject({ dataFragments: 4, parityFragments: 1, fragmentBlocks: 2, dataBlocks: 4 });
  expect(new Set(record.nodes).size).toBe(5);
  for (const [position, node] of record.nodes.entries()) {
    expect(log.cluster.node(node).payload(record.segmentId, position)).toHaveLength(2 * BLOCK_BYTES);
  }
});

test('which node holds the parity changes from segment to segment', async () => {
  const log = fixture();
  for (let segment = 0; segment < 10; segment++) {
    log.append(1, segment, 1);
    await log.sealAndSettle();
  }
  expect(new Set(log.durable.map(({ record }) => record.nodes[4])).size).toBe(5);
});

test('segments are handed over in the order of their ids, however late the first one is', async () => {
  const log = fixture({ nodes: 10 });
  log.append(1, 0, 1);
  log.writer.seal(true);
  const slow = log.cluster.nodes.slice(0, 5);
  for (const node of slow) node.frozen = []; // frozen before the first is served, unnoticed by the links
  for (let segment = 0; segment < 6; segment++) {
    log.append(1, segment, 1);
    log.writer.seal(true);
  }
  await settle();
  for (const node of slow) node.thaw();
  await settle();
  const ids = log.durable.map(({ record }) => record.segmentId);
  expect(ids).toHaveLength(7);
  expect(ids).toEqual([...ids].sort((a, b) => a - b));
});

test('with every slot in use there is no landing, and it comes back with the first release', async () => {
  const log = fixture({ segmentBlocks: 1024, slotCount: 4, holdReleases: true });
  let appended = 0;
  while (log.writer.landing() !== undefined) {
    log.append(1, appended, 256);
    appended += 256;
    expect(appended).toBeLessThanOrEqual(4 * 1024);
  }
  await settle();
  expect(log.writer.statistics().freeSlots).toBe(0);
  let resumed = false;
  const room = log.writer.whenRoom().then(() => {
    resumed = true;
  });
  await settle();
  expect(resumed).toBe(false);
  log.writer.release(log.durable[0]!.record.segmentId);
  await room;
  expect(log.writer.landing()).toBeDefined();
});

test('a pinned segment keeps its memory after its release until it is unpinned', async () => {
  const log = fixture({ holdReleases: true });
  const [placement] = log.append(1, 0, 1);
  const { segmentId } = placement!;
  await log.sealAndSettle();
  const before = log.writer.statistics().freeSlots;
  const bytes = log.writer.pendingBytes(segmentId, 0, 1)!;
  log.writer.pin(segmentId);
  log.writer.release(segmentId);
  expect(log.writer.statistics().freeSlots).toBe(before);
  expect(bytes).toEqual(log.written[0]!.bytes);
  log.writer.unpin(segmentId);
  expect(log.writer.statistics().freeSlots).toBe(before + 1);
});

test('blocks that die before sealing are handed over as dead, and a segment of dead blocks is not written', async () => {
  const log = fixture();
  const [placement] = log.append(9, 0, 3);
  log.writer.markDead(placement!.segmentId, 1);
  expect(log.writer.openDirtyBytes).toBe(2 * BLOCK_BYTES);
  const seen: number[] = [];
  log.writer.forEachPendingBlock(9, (_, blockIndex, fileBlock) => seen.push(blockIndex, fileBlock));
  expect(seen).toEqual([0, 0, 2, 2]);
  log.writer.seal(true);
  const [doomed] = log.append(9, 8, 1);
  log.writer.markDead(doomed!.segmentId, 0);
  expect(log.writer.seal(true)).toBeUndefined();
  await settle();
  expect(log.durable).toHaveLength(1);
  expect([...log.durable[0]!.contents.inodes]).toEqual([9, 0, 9]);
  expect(log.durable[0]!.record.liveBlocks).toBe(2);
  expect(log.writer.pendingBytes(doomed!.segmentId, 0, 1)).toBeUndefined();
});

test('inline blocks come once, with their checksums, and do not count as dirty afterwards', async () => {
  const log = fixture();
  log.append(5, 0, 2);
  const first = log.writer.takeInline()!;
  expect([first.firstIndex, first.endIndex]).toEqual([0, 2]);
  expect(first.bytes).toEqual(log.written[0]!.bytes);
  expect(log.writer.openDirtyBytes).toBe(0);
  expect(log.writer.takeInline()).toBeUndefined();
  expect(log.writer.seal()).toBeUndefined();
  log.append(5, 9, 1);
  const second = log.writer.takeInline()!;
  expect([second.firstIndex, second.endIndex]).toEqual([2, 3]);
  expect(second.contents.checksums[2]).toBe(log.platform.kernels.crc32c(log.written[1]!.bytes));
  expect(log.writer.seal(true)).toBe(first.segmentId);
  await settle();
  await log.verifyAll();
});

test('a node that dies with a fragment on its way is replaced by one outside of the segment', async () => {
  const log = fixture({ nodes: 6 });
  for (const node of log.cluster.nodes) node.frozen = [];
  log.append(1, 0, 8);
  log.writer.seal(true);
  await settle();
  const victim = log.cluster.nodes.find((node) => node.frozen!.length > 0)!;
  victim.kill();
  for (const node of log.cluster.nodes) if (node !== victim) node.thaw();
  await settle();
  const { record } = log.durable[0]!;
  expect(record).toMatchObject({ dataFragments: 4, parityFragments: 1, generation: 0 });
  expect(record.nodes).not.toContain(victim.id);
  expect(log.writer.statistics().segmentsRewritten).toBe(1);
  await log.verifyAll();
});

test('without a spare node the segment is laid out narrower with full parity, and nothing of the old layout stays', async () => {
  const log = fixture();
  const victim = log.cluster.node(2);
  victim.frozen = [];
  log.append(1, 0, 12);
  log.writer.seal(true);
  await settle();
  expect(log.durable).toHaveLength(0);
  victim.kill();
  await settle();
  const { record } = log.durable[0]!;
  expect(record).toMatchObject({ dataFragments: 3, parityFragments: 1, generation: 1 });
  expect(record.nodes).not.toContain(2);
  const { segmentId } = record;
  const expected = record.nodes.map((node, position) => `${segmentId}/${position}@${node}`).sort();
  expect(log.cluster.everyFragment()).toEqual(expected);
  await log.verifyAll();
  log.cluster.node(record.nodes[0]!).kill();
  await log.verifyAll();
});

test('a volume with one data fragment writes copies, and survives down to the last node but one that parity needs', async () => {
  const log = fixture({ nodes: 3, data: 1, parity: 2 });
  log.append(1, 0, 5);
  await log.sealAndSettle();
  const { record } = log.durable[0]!;
  expect(record).toMatchObject({ dataFragments: 1, parityFragments: 2, fragmentBlocks: 6 });
  log.cluster.node(record.nodes[0]!).kill();
  log.cluster.node(record.nodes[1]!).kill();
  await log.verifyAll();
});

test('a frozen node delays a segment by at most two seconds and its late fragment is freed', async () => {
  const log = fixture();
  log.cluster.node(3).freeze();
  log.append(1, 0, 12);
  log.writer.seal(true);
  await log.platform.time.pass(2000);
  expect(log.durable).toHaveLength(1);
  expect(log.durable[0]!.record.nodes).not.toContain(3);
  log.cluster.node(3).thaw();
  await settle();
  expect(log.cluster.node(3).fragments.size).toBe(0);
  expect(log.troubles).toEqual([]);
  await log.verifyAll();
});

test('a node that answers pings but stores nothing is called slow after a second, passed over, and used again', async () => {
  const log = fixture();
  const stuck = log.cluster.node(3);
  stuck.slowAfterMs = 3_600_000;
  stuck.freeze();
  for (let segment = 0; segment < 5; segment++) {
    log.append(1, segment * 20, 12);
    log.writer.seal(true);
  }
  await log.platform.time.pass(1500);
  expect(stuck.state).toBe('slow');
  const layouts = log.durable.map(({ record }) => [record.dataFragments, record.generation]);
  expect(layouts).toEqual(Array.from({ length: 5 }, () => [3, 1]));
  stuck.thaw();
  await settle();
  log.append(1, 200, 12);
  await log.sealAndSettle();
  expect(log.durable[5]!.record).toMatchObject({ dataFragments: 4, generation: 0 });
  await log.verifyAll();
});

test('new segments avoid a node with an unanswered fragment and use it again once it answers', async () => {
  const log = fixture();
  log.cluster.node(1).freeze();
  log.append(1, 0, 1);
  log.writer.seal(true);
  await log.platform.time.pass(2000);
  log.append(1, 1, 1);
  await log.sealAndSettle();
  expect(log.durable[1]!.record.dataFragments).toBe(3);
  log.cluster.node(1).thaw();
  await settle();
  log.append(1, 2, 1);
  await log.sealAndSettle();
  expect(log.durable[2]!.record.dataFragments).toBe(4);
});

test('a node that refuses a fragment is passed over', async () => {
  const log = fixture({ nodes: 6 });
  log.cluster.node(4).refusePuts = rpcStatus.ioError;
  for (let segment = 0; segment < 6; segment++) {
    log.append(1, segment * 10, 10);
    await log.sealAndSettle();
  }
  expect(log.durable).toHaveLength(6);
  expect(log.durable.every(({ record }) => !record.nodes.includes(4))).toBe(true);
  expect(log.durable.every(({ record }) => record.dataFragments === 4)).toBe(true);
});

test('with fewer than m+1 nodes writers learn it after some seconds, and everything goes on when nodes return', async () => {
  const log = fixture();
  for (const id of [1, 2, 3, 4]) log.cluster.node(id).kill();
  log.append(1, 0, 3);
  log.writer.seal(true);
  await log.platform.time.pass(2500);
  expect(log.writer.trouble).toBeUndefined();
  await log.platform.time.pass(1500);
  expect(log.writer.trouble?.reason).toBe('unavailable');
  expect(() => log.append(1, 3, 1)).toThrow(LogUnwritable);
  await expect(log.writer.whenRoom()).rejects.toThrow(LogUnwritable);
  await expect(log.writer.drain()).rejects.toThrow(LogUnwritable);
  for (const id of [1, 2, 3, 4]) log.cluster.node(id).restart();
  await log.platform.time.pass(1500);
  expect(log.durable).toHaveLength(1);
  expect(log.troubles.map((trouble) => trouble?.reason)).toEqual(['unavailable', undefined]);
  log.written.pop();
  await log.verifyAll();
});

test('a failed fragment goes to the same node again when that is back before another can take it', async () => {
  const log = fixture({ nodes: 2, data: 1, parity: 1 });
  log.cluster.node(2).frozen = [];
  log.append(1, 0, 2);
  log.writer.seal(true);
  await settle();
  log.cluster.node(2).kill();
  await log.platform.time.pass(500);
  expect(log.durable).toHaveLength(0);
  log.cluster.node(2).restart();
  await log.platform.time.pass(200);
  expect(log.durable[0]!.record).toMatchObject({ generation: 0, dataFragments: 1 });
  await log.verifyAll();
});

test('with as many nodes away as the parity bears, what is written gets the parity that the others can give', async () => {
  for (const { nodes, data, parity, lost, left } of [
    { nodes: 2, data: 1, parity: 1, lost: [2], left: { dataFragments: 1, parityFragments: 0 } },
    { nodes: 4, data: 2, parity: 2, lost: [1, 4], left: { dataFragments: 1, parityFragments: 1 } },
    { nodes: 3, data: 1, parity: 2, lost: [1, 3], left: { dataFragments: 1, parityFragments: 0 } },
  ]) {
    const log = fixture({ nodes, data, parity, leastProtection: 'degraded' });
    log.append(1, 0, 3);
    for (const id of lost) log.cluster.node(id).kill();
    log.writer.seal(true);
    // A node that vanishes is mostly back at once.
    await log.platform.time.pass(300);
    expect(log.durable).toHaveLength(0);
    await log.platform.time.pass(700);
    expect(log.durable[0]!.record).toMatchObject(left);
    expect(log.troubles).toEqual([]);
    log.append(1, 10, 3);
    log.writer.seal(true);
    await settle();
    expect(log.durable[1]!.record).toMatchObject(left);
    await log.verifyAll();
    for (const id of lost) log.cluster.node(id).restart();
    await log.platform.time.pass(200);
    log.append(1, 20, 3);
    await log.sealAndSettle();
    expect(log.durable[2]!.record).toMatchObject({ dataFragments: data, parityFragments: parity });
  }
});

test('a node that does not answer is as good as away: the segment in flight is written with the parity that is left', async () => {
  const log = fixture({ nodes: 2, data: 1, parity: 1, leastProtection: 'degraded' });
  log.cluster.node(2).frozen = [];
  log.append(1, 0, 2);
  log.writer.seal(true);
  await log.platform.time.pass(1_800);
  expect(log.durable[0]!.record).toMatchObject({ dataFragments: 1, parityFragments: 0, nodes: [1] });
  expect(log.troubles).toEqual([]);
});

test('with more nodes away than the parity bears, or one that refuses, nothing is written with less parity', async () => {
  const beyond = fixture({ nodes: 4, data: 2, parity: 2, leastProtection: 'degraded' });
  for (const id of [1, 2, 3]) beyond.cluster.node(id).kill();
  const refusing = fixture({ nodes: 2, data: 1, parity: 1, leastProtection: 'degraded' });
  refusing.cluster.node(2).refusePuts = rpcStatus.ioError;
  const strict = fixture({ nodes: 2, data: 1, parity: 1 });
  strict.cluster.node(2).kill();
  for (const log of [beyond, refusing, strict]) {
    log.append(1, 0, 2);
    log.writer.seal(true);
    await log.platform.time.pass(4_000);
    expect(log.durable).toHaveLength(0);
    expect(log.writer.trouble?.reason).toBe('unavailable');
  }
});

test('appends are refused as full while what was accepted still fits', async () => {
  const log = fixture({ segmentBlocks: 64, slotCount: 8 });
  for (const node of log.cluster.nodes) node.capacityBytes = 40 * BLOCK_BYTES * 4;
  let accepted = 0;
  const refused = await (async () => {
    for (;;) {
      try {
        await log.appendWaiting(1, accepted, 4);
      } catch (error) {
        return error;
      }
      accepted += 4;
      expect(accepted).toBeLessThan(4 * 40 * 4);
    }
  })();
  expect(refused).toBeInstanceOf(LogUnwritable);
  expect((refused as LogUnwritable).reason).toBe('full');
  await log.sealAndSettle();
  expect(log.troubles).toEqual([]);
  expect(accepted).toBeGreaterThan(2 * 40 * 4);
  await log.verifyAll();
});

test('space that is freed can be written again', async () => {
  const log = fixture({ segmentBlocks: 64, slotCount: 8 });
  for (const node of log.cluster.nodes) node.capacityBytes = 30 * BLOCK_BYTES;
  const before = log.writer.availableBytes();
  log.append(1, 0, 62);
  await log.sealAndSettle();
  expect(log.writer.availableBytes()).toBeLessThan(before);
  expect(() => log.append(1, 100, 62)).toThrow(/no room/);
  log.writer.free(log.durable[0]!.record);
  await settle();
  expect(log.cluster.everyFragment()).toEqual([]);
  expect(log.writer.availableBytes()).toBe(before);
  log.append(1, 100, 62);
});

test('a writer without room counts on what it is about to commit, and on what is being freed', async () => {
  const room = { reserveSegments: () => 0, mayWait: (isMoreComing: boolean) => isMoreComing };
  const log = fixture({ segmentBlocks: 64, slotCount: 8, holdReleases: true, room });
  for (const node of log.cluster.nodes) node.capacityBytes = 30 * BLOCK_BYTES;
  log.append(1, 0, 62);
  await log.sealAndSettle();
  const { record } = log.durable[0]!;
  expect([log.writer.landing(), log.writer.awaitsRoom]).toEqual([undefined, true]);
  log.writer.release(record.segmentId);
  log.writer.free(record);
  expect([log.writer.landing(), log.writer.awaitsRoom]).toEqual([undefined, true]);
  await settle();
  expect(log.writer.landing()).toBeDefined();
  log.append(1, 100, 62);
  await log.sealAndSettle();
  log.writer.release(log.durable[1]!.record.segmentId);
  expect(() => log.append(1, 200, 62)).toThrow(/no room/);
});

test('while too few nodes answer, the room of those that are away still counts', async () => {
  const log = fixture();
  const before = log.writer.availableBytes();
  for (const node of log.cluster.nodes.slice(1)) node.kill();
  expect(log.writer.availableBytes()).toBe(before);
});

test('a node that was away from the beginning is taken for one like the others', async () => {
  const log = fixture({ nodes: 2, data: 1, parity: 1, leastProtection: 'degraded' });
  const { writer, cluster } = log;
  const [available, total] = [writer.availableBytes(), writer.totalBytes()];
  cluster.node(2).kill();
  // What nobody has heard of it yet.
  cluster.node(2).capacityBytes = 0;
  expect(writer.availableBytes()).toBe(available);
  expect(writer.totalBytes()).toBe(total);
  cluster.node(1).kill();
  cluster.node(1).capacityBytes = 0;
  expect(writer.totalBytes()).toBe(0);
});

test('nodes that fill up unexpectedly bring trouble at once, and room brings the end of it', async () => {
  const log = fixture();
  log.append(1, 0, 4);
  for (const node of log.cluster.nodes) node.refusePuts = rpcStatus.full;
  log.writer.seal(true);
  await log.platform.time.pass(300);
  expect(log.writer.trouble?.reason).toBe('full');
  for (const node of log.cluster.nodes) {
    node.refusePuts = undefined;
    log.cluster.links.get(node.id)!.refresh();
  }
  await log.platform.time.pass(300);
  expect(log.durable).toHaveLength(1);
  expect(log.writer.trouble).toBeUndefined();
});

test('waiting for room, however long, is never taken for nodes that are away', async () => {
  let mayWait = true;
  const room = { reserveSegments: () => 0, mayWait: () => mayWait };
  const log = fixture({ room });
  log.append(1, 0, 4);
  for (const node of log.cluster.nodes) node.refusePuts = rpcStatus.full;
  log.writer.seal(true);
  await log.platform.time.pass(10_000);
  expect(log.writer.trouble).toBeUndefined();
  mayWait = false;
  await log.platform.time.pass(300);
  expect(log.writer.trouble?.reason).toBe('full');
  for (const node of log.cluster.nodes) {
    node.refusePuts = undefined;
    log.cluster.links.get(node.id)!.refresh();
  }
  await log.platform.time.pass(300);
  expect(log.writer.trouble).toBeUndefined();
  expect(log.troubles.filter((trouble) => trouble?.reason === 'unavailable')).toEqual([]);
});

test('a writer of an older term is told off and stays so', async () => {
  const log = fixture();
  for (const node of log.cluster.nodes) node.term = 4;
  log.append(1, 0, 1);
  await log.sealAndSettle();
  expect(log.durable).toHaveLength(0);
  expect(log.writer.trouble?.reason).toBe('unavailable');
  await log.platform.time.pass(10_000);
  expect(log.writer.trouble?.reason).toBe('unavailable');
});

test('draining seals and waits for the last release', async () => {
  const log = fixture({ holdReleases: true });
  log.append(1, 0, 1);
  let drained = false;
  const draining = log.writer.drain().then(() => {
    drained = true;
  });
  await settle();
  expect(log.durable).toHaveLength(1);
  expect(drained).toBe(false);
  log.writer.release(log.durable[0]!.record.segmentId);
  await draining;
});

test('frees of one turn go to each node in one call', async () => {
  const log = fixture();
  for (let segment = 0; segment < 5; segment++) {
    log.append(1, segment, 1);
    await log.sealAndSettle();
  }
  for (const { record } of log.durable) log.writer.free(record);
  await settle();
  for (const node of log.cluster.nodes) expect(node.calls.get(rpcMethods.freeFragments)).toBe(1);
  expect(log.cluster.everyFragment()).toEqual([]);
});

test('an idle writer has no timer running', async () => {
  const log = fixture();
  log.append(1, 0, 1);
  await log.sealAndSettle();
  await log.platform.time.pass(40_000);
  expect(log.platform.time.pendingTimers).toBe(0);
});

test('a segment takes the shape of the moment in which it gets its nodes, and all can be read', async () => {
  const log = fixture({ nodes: 6, data: 5, parity: 1, widest: WIDEST_SHAPE });
  const totalBytes = log.writer.totalBytes();
  const shapes = [
    { dataFragments: 5, parityFragments: 1 },
    { dataFragments: 3, parityFragments: 3 },
    { dataFragments: 1, parityFragments: 2 },
    { dataFragments: 2, parityFragments: 3 },
    { dataFragments: 4, parityFragments: 2 },
  ];
  for (const [index, shape] of shapes.entries()) {
    log.shape.change(shape);
    log.append(1, 20 * index, 12);
    await log.sealAndSettle();
    expect(log.durable.at(-1)!.record).toMatchObject(shape);
  }
  log.shape.change({ dataFragments: 1, parityFragments: 2 });
  expect(log.writer.totalBytes() / totalBytes).toBeLessThan(0.7);
  for (const nodeId of [2, 5]) log.cluster.node(nodeId).kill();
  for (const { placement, bytes } of log.written.slice(1)) {
    expect(await log.read(placement.segmentId, placement.blockIndex, placement.count)).toEqual(bytes);
  }
});
