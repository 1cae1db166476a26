/** Fragments that are missing, damaged, wrong or left over are found, and put right from the rest of their stripe. */
import { afterEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { deadSegmentKey } from '../../../src/format/metadata-keys.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import type { Finding } from '../../../src/fsck/findings.ts';
import { type CheckWorld, populated } from './world.ts';

let world: CheckWorld;
afterEach(() => world.close());

const kinds = (findings: readonly Finding[]) => findings.map(({ kind }) => kind);

/** A segment with live blocks in its first data fragment. */
async function someSegment(): Promise<SegmentRecord> {
  const [segment] = await world.segments();
  return segment!;
}

describe.each(['mounted', 'at rest'] as const)('%s', (how) => {
  async function open(): Promise<void> {
    ({ world } = await populated());
    if (how === 'at rest') await world.rest();
  }

  test('a volume is clean when every byte is read', async () => {
    await open();
    const { findings, summary } = await world.check({ data: true });
    expect(findings).toEqual([]);
    expect(summary.bytesRead).toBeGreaterThan(500_000);
  });

  test('a missing fragment is found and put back', async () => {
    await open();
    const { segmentId, nodes } = await someSegment();
    await world.freeFragment(nodes[0]!, segmentId, 0);
    const found = await world.check();
    expect(kinds(found.findings)).toEqual(['fragment-missing']);
    expect(found.findings[0]).toMatchObject({ ids: { segmentId, position: 0, nodeId: nodes[0] } });
    expect(found.summary).toMatchObject({ errors: 1, repaired: 0 });
    const repaired = await world.check({ repair: true });
    expect(repaired.findings).toMatchObject([{ kind: 'fragment-missing', repaired: true }]);
    expect(repaired.summary).toMatchObject({ errors: 0, repaired: 1 });
    expect((await world.check({ data: true })).findings).toEqual([]);
  });

  test('damaged data and parity are found by reading, and replaced', async () => {
    await open();
    const { segmentId, nodes } = await someSegment();
    for (const position of [1, 2]) {
      await world.corrupt(nodes[position]!, segmentId, position);
      expect((await world.check()).findings).toEqual([]);
      expect(kinds((await world.check({ data: true })).findings)).toEqual(['fragment-corrupt']);
      const { summary } = await world.check({ data: true, repair: true });
      expect(summary).toMatchObject({ errors: 0, repaired: 1 });
      expect((await world.check({ data: true })).findings).toEqual([]);
    }
  });

  test('a fragment that no segment needs is found and freed', async () => {
    await open();
    const segment = await someSegment();
    const stranger = [1, 2, 3, 4].find((id) => !segment.nodes.includes(id))!;
    await world.copyFragment(segment, 0, stranger);
    expect((await world.check()).findings).toMatchObject([
      { kind: 'fragment-orphan', severity: 'note', ids: { segmentId: segment.segmentId, nodeId: stranger } },
    ]);
    expect((await world.check({ repair: true })).summary).toMatchObject({ repaired: 1, notes: 0 });
    expect((await world.check()).findings).toEqual([]);
  });

  test('what lies on a node that is down is told apart from what is missing', async () => {
    await open();
    const { nodes } = await someSegment();
    await world.stopNode(nodes[0]!);
    const { findings, summary } = await world.check({ repair: true });
    expect(kinds(findings)).toContain('node-unreachable');
    expect(kinds(findings)).not.toContain('fragment-missing');
    expect(summary).toMatchObject({ errors: 0, repaired: 0 });
    await world.startNode(nodes[0]!);
    expect((await world.check({ data: true })).findings).toEqual([]);
  });

  test('more lost than there is parity is an error that nothing repairs', async () => {
    await open();
    const { segmentId, nodes } = await someSegment();
    await world.freeFragment(nodes[0]!, segmentId, 0);
    await world.freeFragment(nodes[2]!, segmentId, 2);
    const { findings, summary } = await world.check({ repair: true });
    expect(kinds(findings).sort()).toEqual(['fragment-missing', 'fragment-missing', 'segment-unreadable']);
    expect(summary).toMatchObject({ errors: 3, repaired: 0 });
  });
});

test('a fragment whose node does not take it back moves to another one', async () => {
  ({ world } = await populated());
  await world.rest();
  const segment = await someSegment();
  const holder = segment.nodes[0]!;
  await world.freeFragment(holder, segment.segmentId, 0); // the node remembers, and refuses it from now on
  expect((await world.check({ repair: true })).summary).toMatchObject({ errors: 0, repaired: 1 });
  const now = world.metadata.segment(segment.segmentId)!;
  expect(now.nodes[0]).not.toBe(holder);
  expect(new Set(now.nodes).size).toBe(now.nodes.length);
  await world.remount();
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a node that lost the state of its store goes on with what it holds, and frees again', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  const segment = await someSegment();
  const nodeId = segment.nodes[0]!;
  const before = await world.readFile(sample.a, 300_000);
  await world.stopNode(nodeId);
  world.loseStoreState(nodeId);
  await world.startNode(nodeId);
  const { fragments } = world.nodes.get(nodeId)!;
  expect(fragments.statistics().fragments).toBeGreaterThan(0);
  while (fragments.term !== world.metadata.term) await world.platform.timers.sleep(5);
  expect((await world.readFile(sample.a, 300_000)).equals(before)).toBe(true);
  await world.writeFile('later', 200_000);
  expect((await world.check({ data: true, repair: true })).findings).toEqual([]);
  await world.freeFragment(nodeId, segment.segmentId, 0);
  expect((await world.check({ repair: true })).summary).toMatchObject({ repaired: 1, errors: 0 });
});

test('parity that is whole and does not fit the data is found by computing it, and replaced', async () => {
  ({ world } = await populated());
  await world.rest();
  await world.forgeFragment(await someSegment(), 2, (description, payload) => {
    payload[5000]! ^= 1;
    return description;
  });
  expect((await world.check()).findings).toEqual([]);
  expect(kinds((await world.check({ data: true })).findings)).toEqual(['parity-wrong']);
  expect((await world.check({ data: true, repair: true })).summary).toMatchObject({ repaired: 1, errors: 0 });
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a fragment of another shape than the segment is found by its header, and replaced', async () => {
  ({ world } = await populated());
  await world.rest();
  const segment = await someSegment();
  await world.forgeFragment(segment, 1, (description) => ({
    ...description,
    dataBlocks: description.dataBlocks - 1,
    summaryBlocks: description.summaryBlocks + 1,
  }));
  expect(kinds((await world.check()).findings)).toEqual(['fragment-wrong']);
  expect((await world.check({ repair: true })).summary).toMatchObject({ repaired: 1, errors: 0 });
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test.each([
  [
    'is damaged',
    (bytes: Buffer): unknown => bytes.writeUInt8(bytes.readUInt8(40) ^ 1, 40),
    'checksum of a summary',
  ],
  [
    'names other owners than the extents',
    (bytes: Buffer): void => {
      bytes.writeUInt32LE(bytes.readUInt32LE(32) + 100, 32); // the first run's inode
      bytes.writeUInt32LE(world.platform.kernels.crc32c(bytes.subarray(4)), 0);
    },
    'it names other owners than the extents',
  ],
] as const)(
  'a summary that %s is found by reading, and the files are as good as before',
  async (_, forge, why) => {
    const { world: opened, sample } = await populated();
    world = opened;
    const before = await world.readFile(sample.a, 300_000);
    await world.rest();
    const segment = await someSegment();
    await forgeSummary(segment, forge);
    const { segmentId } = segment;
    expect((await world.check()).findings).toEqual([]);
    const found = await world.check({ data: true, repair: true });
    expect(found.findings).toMatchObject([
      { kind: 'summary-wrong', ids: { segmentId }, detail: expect.stringContaining(why), repairable: false },
    ]);
    expect(found.summary).toMatchObject({ errors: 1, repaired: 0 });
    await world.remount();
    expect((await world.readFile(sample.a, 300_000)).equals(before)).toBe(true);
  },
);

/** The blocks of the summary become others, and the parity fits them. */
async function forgeSummary(segment: SegmentRecord, forge: (summary: Buffer) => unknown): Promise<void> {
  const { dataBlocks, summaryBlocks, fragmentBlocks, dataFragments } = segment;
  const start = (dataBlocks % fragmentBlocks) * BLOCK_BYTES;
  const position = Math.floor(dataBlocks / fragmentBlocks);
  const end = start + summaryBlocks * BLOCK_BYTES;
  expect(end).toBeLessThanOrEqual(fragmentBlocks * BLOCK_BYTES);
  const change = Buffer.alloc(end - start);
  await world.forgeFragment(segment, position, (description, payload) => {
    const summary = payload.subarray(start, end);
    summary.copy(change);
    forge(summary);
    for (let at = 0; at < change.length; at++) change[at]! ^= summary[at]!;
    return description;
  });
  await world.forgeFragment(segment, dataFragments, (description, payload) => {
    for (let at = 0; at < change.length; at++) payload[start + at]! ^= change[at]!; // of a single parity
    return description;
  });
}

test('data that is whole and not what the file holds is found by the sums of its checksums, with the range', async () => {
  ({ world } = await populated());
  await world.rest();
  await world.forgeFragment(await someSegment(), 0, (description, payload) => {
    payload[100]! ^= 1;
    return description;
  });
  const { findings } = await world.check();
  expect(findings).toMatchObject([
    { kind: 'extent-mismatch', detail: expect.stringMatching(/^bytes \d+ to \d+ are not/) },
  ]);
  expect(findings[0]!.subject).toMatch(/^\/sample\//);
});

test('dead segments are told from those that would never be freed, and both are freed', async () => {
  const { world: opened, sample } = await populated();
  world = opened;
  await world.rest();
  world.damage((redo, state) => {
    for (const inode of [sample.a, sample.b, sample.deep]) {
      redo.unmapBlocks(inode, 0, 1000);
      redo.changeInode(inode, { sizeBytes: 0 });
    }
    const [first] = state.segments.dead;
    redo.setRecord(deadSegmentKey(first!), undefined);
  });
  const found = kinds((await world.check()).findings);
  expect(found.filter((kind) => kind === 'segment-dead-unlisted')).toHaveLength(1);
  expect(found.filter((kind) => kind === 'segment-not-freed').length).toBeGreaterThan(1);
  expect((await world.check({ repair: true })).summary).toMatchObject({ errors: 0, notes: 0 });
  expect(world.metadata.totals()).toMatchObject({ segments: 0 });
  for (const { fragments } of world.nodes.values()) expect(fragments.statistics().fragments).toBe(0);
  expect((await world.check()).findings).toEqual([]);
});
