import { afterEach, expect, test } from 'vitest';
import { rpcMethods } from '../../../src/cluster/rpc.ts';
import { settle } from './fake-platform.ts';
import { type FixtureOptions, LogFixture } from './log-fixture.ts';

const open: LogFixture[] = [];
afterEach(() => {
  for (const made of open.splice(0)) made.close();
});

/** A segment of three blocks a fragment on four of five nodes, and a copy of its first fragment on the fifth. */
async function copied(options: FixtureOptions = {}) {
  const log = new LogFixture({ segmentBlocks: 16, slotCount: 40, nodes: 5, data: 3, parity: 1, ...options });
  open.push(log);
  log.append(1, 0, 8);
  await log.sealAndSettle();
  const { segmentId, nodes } = log.durable[0]!.record;
  const copyId = log.cluster.nodes.map(({ id }) => id).find((id) => !nodes.includes(id))!;
  log.copy(segmentId, 0, copyId);
  const bytesOf = (nodeId: number) => log.reader.use!.node(nodeId).readBytes;
  return { log, segmentId, ownId: nodes[0]!, copyId, bytesOf };
}

test('reads share the load between the fragment and its copy', async () => {
  const { log, segmentId, ownId, copyId, bytesOf } = await copied();
  for (let read = 0; read < 10; read++) await log.read(segmentId, 0, 1);
  expect(bytesOf(ownId)).toBe(bytesOf(copyId));
  expect(log.reader.use!.node(copyId).outstandingBytes).toBe(0);
  expect([...log.reader.use!.takeSegments()]).toEqual([[segmentId, 10]]);
  expect([...log.reader.use!.takeSegments()]).toEqual([]);
});

test('what was read before there was a copy is not made up for', async () => {
  const { log, segmentId, ownId, copyId, bytesOf } = await copied();
  log.reader.use!.node(ownId).begin(2 ** 30);
  log.reader.use!.node(ownId).end(2 ** 30);
  for (let look = 0; look < 30; look++) log.reader.use!.takeSegments();
  const before = bytesOf(ownId);
  for (let read = 0; read < 10; read++) await log.read(segmentId, 0, 1);
  expect(bytesOf(ownId) - before).toBe(5 * 4096);
  expect(bytesOf(copyId)).toBe(5 * 4096);
});

test('the one that still has a read to answer is spared', async () => {
  const { log, segmentId, ownId, copyId, bytesOf } = await copied();
  await log.read(segmentId, 0, 1);
  await log.read(segmentId, 0, 1);
  const release = log.cluster.node(ownId).stickDisk();
  const reads = [0, 1, 2, 3].map(() => log.read(segmentId, 0, 1));
  await settle();
  expect(bytesOf(copyId) + bytesOf(ownId)).toBe(6 * 4096);
  release();
  await Promise.all(reads);
});

test.each(['fragment', 'copy'] as const)(
  'while the node of the %s is down the other one serves',
  async (which) => {
    const { log, ownId, copyId } = await copied();
    log.cluster.node(which === 'fragment' ? ownId : copyId).kill();
    for (let read = 0; read < 4; read++) await log.verifyAll();
    expect(log.reader.statistics()).toMatchObject({ blocksRebuilt: 0 });
  },
);

test.each(['fragment', 'copy'] as const)(
  'a corrupt %s is reported, and read from the other one',
  async (which) => {
    const { log, segmentId, ownId, copyId } = await copied();
    const found: number[] = [];
    log.reader.onCorrupt = (_record, nodeId) => found.push(nodeId);
    const bad = which === 'fragment' ? ownId : copyId;
    log.cluster.node(bad).corrupt(segmentId, 0, 1);
    for (let read = 0; read < 4; read++) await log.verifyAll();
    expect(new Set(found)).toEqual(new Set([bad]));
    expect(log.reader.statistics()).toMatchObject({ blocksRebuilt: 0 });
  },
);

test.each(['fragment', 'copy'] as const)('a disk of the %s that hangs is not waited for', async (which) => {
  const { log, ownId, copyId } = await copied();
  const release = log.cluster.node(which === 'fragment' ? ownId : copyId).stickDisk();
  for (let read = 0; read < 4; read++) await log.verifyAll();
  expect(log.reader.statistics()).toMatchObject({ blocksRebuilt: 0 });
  release();
  await settle();
  await log.verifyAll();
});

test('a copy that is gone does not make the segment seem to be', async () => {
  const { log, segmentId, copyId } = await copied();
  log.cluster.node(copyId).fragments.clear();
  log.locations.forgetSegment(segmentId);
  for (let read = 0; read < 4; read++) await log.verifyAll();
  expect(log.reader.statistics()).toMatchObject({ blocksRebuilt: 0 });
});

test('a copy stands for its fragment when others are rebuilt', async () => {
  const { log, ownId } = await copied();
  const { nodes } = log.durable[0]!.record;
  log.cluster.node(ownId).kill();
  log.cluster.node(nodes[1]!).kill();
  await log.verifyAll();
  expect(log.reader.statistics().blocksRebuilt).toBe(3);
});

test('without parity a copy is all that is left', async () => {
  const { log, ownId } = await copied({ parity: 0, nodes: 4 });
  log.cluster.node(ownId).kill();
  await log.verifyAll();
});

test('places of both are remembered on this machine', async () => {
  const { log, segmentId, copyId } = await copied();
  log.locations.forgetSegment(segmentId);
  for (let read = 0; read < 6; read++) await log.verifyAll();
  const located = log.cluster.nodes.reduce(
    (sum, node) => sum + (node.calls.get(rpcMethods.locateFragment) ?? 0),
    0,
  );
  expect(located).toBe(4);
  expect(log.cluster.node(copyId).calls.get(rpcMethods.locateFragment)).toBe(1);
});

test('a segment is freed with its copies', async () => {
  const { log, segmentId } = await copied();
  log.writer.free(log.records.get(segmentId)!);
  await settle();
  expect(log.cluster.everyFragment()).toEqual([]);
});
