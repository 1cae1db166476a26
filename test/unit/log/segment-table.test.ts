import { afterEach, expect, test } from 'vitest';
import { type FoundSegment, rebuildSegmentTable } from '../../../src/log/segment-table.ts';
import { type FixtureOptions, LogFixture } from './log-fixture.ts';

let log: LogFixture;
afterEach(() => log.close());

async function written(segments: number, options: FixtureOptions = {}): Promise<void> {
  log = new LogFixture({ segmentBlocks: 16, slotCount: 40, ...options });
  for (let segment = 0; segment < segments; segment++) {
    log.append(segment + 1, segment * 20, 5 + (segment % 7));
    log.append(77, segment, 1);
    await log.sealAndSettle();
  }
}

async function scan(): Promise<FoundSegment[]> {
  const found: FoundSegment[] = [];
  for await (const segment of rebuildSegmentTable(log.cluster, log.platform.kernels)) found.push(segment);
  return found;
}

function mustHaveSummaries(found: readonly FoundSegment[]): void {
  found.forEach(({ summary }, segment) => {
    expect([...summary!.inodes]).toEqual([segment + 1, 77]);
    expect([...summary!.fileBlocks]).toEqual([segment * 20, segment]);
    expect([...summary!.counts]).toEqual([5 + (segment % 7), 1]);
  });
}

test('the records and summaries of all segments come back from the nodes alone, in order', async () => {
  await written(200, { nodes: 7 });
  const found = await scan();
  expect(found.map(({ record }) => record)).toEqual(log.durable.map(({ record }) => record));
  expect(found.every(({ missing }) => missing.length === 0)).toBe(true);
  mustHaveSummaries(found);
});

test('with m nodes away the table is whole, and says what is missing', async () => {
  await written(30, { nodes: 6, parity: 2 });
  log.cluster.node(1).kill();
  log.cluster.node(4).kill();
  const found = await scan();
  expect(found.map(({ record }) => record)).toEqual(log.durable.map(({ record }) => record));
  for (const { record, missing } of found)
    expect(missing.map((at) => record.nodes[at]).sort()).toEqual([1, 4]);
  mustHaveSummaries(found);
});

test('a segment that was laid out anew is found in its newest layout', async () => {
  log = new LogFixture({ segmentBlocks: 16, slotCount: 40 });
  const victim = log.cluster.node(2);
  victim.frozen = [];
  log.append(1, 0, 9);
  log.writer.seal(true);
  await log.platform.time.pass(10);
  victim.kill();
  await log.platform.time.pass(10);
  victim.restart();
  const [found] = await scan();
  expect(found!.record).toEqual(log.durable[0]!.record);
  expect(found!.record.generation).toBe(1);
  expect(found!.summary).toBeDefined();
});

test('a segment of which too little is left is reported with what is missing', async () => {
  await written(3);
  const { record } = log.durable[1]!;
  log.cluster.node(record.nodes[0]!).fragments.delete(`${record.segmentId}/0`);
  log.cluster.node(record.nodes[1]!).fragments.delete(`${record.segmentId}/1`);
  log.cluster.node(record.nodes[3]!).fragments.delete(`${record.segmentId}/3`);
  const found = await scan();
  expect(found.map(({ missing }) => missing)).toEqual([[], [0, 1, 3], []]);
  expect(found[0]!.summary).toBeDefined();
  expect(found[2]!.summary).toBeDefined();
});
