import { afterEach, expect, test } from 'vitest';
import { rpcMethods } from '../../../src/cluster/rpc.ts';
import { FragmentClaims } from '../../../src/log/fragment-claims.ts';
import { OrphanSweep } from '../../../src/log/orphan-sweep.ts';
import { settle } from './fake-platform.ts';
import { LogFixture } from './log-fixture.ts';

const TERM = 3;
let log: LogFixture;
let sweep: OrphanSweep;
let claims: FragmentClaims;

/** A log with some segments, of which the table knows those in log.records. */
async function written(segments: number, nodes = 5): Promise<void> {
  log = new LogFixture({ segmentBlocks: 16, slotCount: 40, nodes });
  claims = new FragmentClaims();
  for (let segment = 0; segment < segments; segment++) {
    log.append(1, segment * 20, 10);
    await log.sealAndSettle();
  }
}

function startSweep(term = TERM): void {
  const pending = (segmentId: number) => log.writer.pendingBytes(segmentId, 0, 1) !== undefined;
  sweep = new OrphanSweep(log.platform, {
    links: log.cluster,
    claims,
    term,
    record: (segmentId) => log.records.get(segmentId),
    isKnown: (segmentId) => log.records.has(segmentId) || pending(segmentId),
    delayMs: 1000,
  });
}

function otherThan(nodes: readonly number[]): number {
  return [1, 2, 3, 4, 5, 6].find((nodeId) => !nodes.includes(nodeId))!;
}

afterEach(() => {
  sweep.close();
  log.close();
});

test('fragments of segments without a record are freed, others stay', async () => {
  await written(60);
  const doomed = log.durable.filter((_, index) => index % 3 === 0).map(({ record }) => record.segmentId);
  for (const segmentId of doomed) log.records.delete(segmentId);
  startSweep();
  await log.platform.time.pass(900);
  expect(sweep.freed).toBe(0);
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(doomed.length * 5);
  const left = new Set(log.cluster.everyFragment().map((name) => Number(name.split('/')[0])));
  expect([...left].sort((a, b) => a - b)).toEqual([...log.records.keys()].sort((a, b) => a - b));
  log.written.splice(
    0,
    log.written.length,
    ...log.written.filter(({ placement }) => left.has(placement.segmentId)),
  );
  await log.verifyAll();
});

test('a fragment whose place another node or generation took is freed', async () => {
  await written(2);
  const [first, second] = log.durable.map(({ record }) => record);
  log.records.set(first!.segmentId, { ...first!, generation: 1 });
  log.records.set(second!.segmentId, { ...second!, nodes: [99, ...second!.nodes.slice(1)] });
  startSweep();
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(5 + 1);
});

test('a copy that the record names stays, one that it does not is freed', async () => {
  await written(2, 6);
  const [first, second] = log.durable.map(({ record }) => record.segmentId);
  const before = log.records.get(second!)!;
  log.copy(first!, 0, otherThan(log.records.get(first!)!.nodes));
  log.copy(second!, 0, otherThan(before.nodes));
  log.records.set(second!, before);
  startSweep();
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(1);
  expect(log.cluster.everyFragment()).toHaveLength(2 * 5 + 1);
});

test('fragments of a segment that somebody works on are left alone until nobody does', async () => {
  await written(2);
  const [first, second] = log.durable.map(({ record }) => record);
  for (const record of [first!, second!]) log.records.delete(record.segmentId);
  expect(claims.hold(first!.segmentId)).toBe(true);
  startSweep();
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(5);
  const left = log.cluster.everyFragment().map((name) => Number(name.split('/')[0]));
  expect(left).toEqual(new Array(5).fill(first!.segmentId));
  claims.release(first!.segmentId);
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(10);
  expect(log.cluster.everyFragment()).toEqual([]);
});

test('a segment cannot be held while fragments of it are being freed, nor twice', () => {
  const own = new FragmentClaims();
  own.beginFree(7);
  own.beginFree(7);
  own.endFree(7);
  expect(own.hold(7)).toBe(false);
  own.endFree(7);
  expect(own.hold(7)).toBe(true);
  expect(own.hold(7)).toBe(false);
  own.release(7);
  expect(own.hold(7)).toBe(true);
});

test('segments on their way are left alone', async () => {
  await written(1);
  log.cluster.node(5).frozen = [];
  log.append(1, 100, 10);
  log.writer.seal(true);
  await settle();
  startSweep();
  await log.platform.time.pass(100);
  expect(log.durable).toHaveLength(1);
  log.cluster.node(5).thaw();
  await log.platform.time.pass(3000);
  expect(sweep.freed).toBe(0);
  await log.verifyAll();
});

test('a node that missed a free is swept when it returns', async () => {
  await written(1);
  startSweep();
  await log.platform.time.pass(2000);
  const { record } = log.durable[0]!;
  log.cluster.node(2).kill();
  log.writer.free(record);
  log.records.delete(record.segmentId);
  await settle();
  expect(log.cluster.everyFragment()).toHaveLength(1);
  log.cluster.node(2).restart();
  await log.platform.time.pass(2000);
  expect(log.cluster.everyFragment()).toEqual([]);
});

test('a deposed primary frees nothing', async () => {
  await written(3);
  log.records.clear();
  for (const node of log.cluster.nodes) node.term = TERM + 1;
  startSweep();
  await log.platform.time.pass(3000);
  expect(sweep.freed).toBe(0);
  expect(log.cluster.everyFragment()).toHaveLength(15);
});

test('a node that has forgotten its term is walked through when it knows it again', async () => {
  await written(3);
  log.records.clear();
  const node = log.cluster.node(2);
  node.challenge = 77;
  startSweep();
  await log.platform.time.pass(5000);
  expect(sweep.freed).toBe(12);
  node.challenge = undefined;
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(15);
});

test('a writer makes every node it connects to refuse older terms', async () => {
  await written(0);
  await settle();
  startSweep();
  expect(log.cluster.nodes.map(({ term }) => term)).toEqual([3, 3, 3, 3, 3]);
  const node = log.cluster.node(4);
  node.term = 0;
  node.kill();
  node.restart();
  await settle();
  expect(node.term).toBe(3);
  expect(node.calls.get(rpcMethods.fenceStorage)).toBe(2);
});

test('a node that could not be told to free something is walked again, though its connection lasted', async () => {
  await written(3);
  startSweep();
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(0);
  const [first] = log.durable.map(({ record }) => record);
  log.records.set(first!.segmentId, { ...first!, nodes: [99, ...first!.nodes.slice(1)] });
  claims.leftBehind(first!.nodes[0]!);
  claims.leftBehind(first!.nodes[0]!);
  await log.platform.time.pass(2000);
  expect(sweep.freed).toBe(1);
});
