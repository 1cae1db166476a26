import { cpSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { MAX_RESERVED_RANGES } from '../../../src/base/limits.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { BLOCKS_PER_TRANSACTION } from '../../../src/metadata/block-removal.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import { TestCluster } from './cluster.ts';
import { recordOf, runsOf } from './harness.ts';

let cluster: TestCluster;
const managers: PrimaryManager[] = [];
const TIME = { seconds: 1_700_000_000, nanoseconds: 1 };
const LATER = { seconds: 1_700_000_009, nanoseconds: 3 };
const FILE = { mode: 0o100644, uid: 1, gid: 1, rdev: 0, time: TIME };
const TWO_32 = 2 ** 32;

beforeEach(async () => {
  cluster = await TestCluster.start(3);
});

afterEach(async () => {
  for (const manager of managers.splice(0)) await manager.close();
  await cluster.remove();
});

async function open(directory = 'mount'): Promise<PrimaryManager> {
  const manager = await cluster.open({ directory });
  managers.push(manager);
  return manager;
}

let crashes = 0;
/** The mount is killed after what it synced, and started again. */
async function crash(): Promise<PrimaryManager> {
  crashes++;
  const directory = `crash-${crashes}`;
  cpSync(`${cluster.directory}/mount`, `${cluster.directory}/${directory}`, { recursive: true });
  rmSync(`${cluster.directory}/${directory}/LOCK`, { force: true });
  return open(directory);
}

/** Goes on until it is done, or until whoever is started after the crash takes over: whichever comes first. */
function interrupted(work: unknown): void {
  Promise.resolve(work).catch((error: unknown) => expect(error).toBeInstanceOf(MetadataUnavailable));
}

function blocksOf(...values: number[]): Buffer {
  return Buffer.concat(values.map((value) => Buffer.alloc(BLOCK_BYTES, value)));
}

function mapOf(manager: PrimaryManager, inode: number, firstBlock: number, count: number): number[][] {
  const out = {
    count: 0,
    segmentIds: new Float64Array(count),
    blockIndexes: new Uint32Array(count),
    checksums: new Uint32Array(count),
  };
  manager.mapBlocks(inode, firstBlock, count, out);
  return Array.from({ length: count }, (_, i) => [out.segmentIds[i]!, out.blockIndexes[i]!]);
}

test('inline blocks come back after a crash, from the journal and from a checkpoint, until their segment is committed', async () => {
  const first = await open();
  const { inode } = first.create(1, 'file', FILE);
  const segment = first.term * TWO_32 + 1;
  const size = { inode, sizeBytes: 3 * BLOCK_BYTES, mtime: LATER };
  // Block 1 of the segment is not among the runs: its bytes do not travel.
  const runs = runsOf(segment, [
    [inode, 0, 0, 1],
    [inode, 1, 2, 2],
  ]);
  first.commitInline(segment, 0, blocksOf(10, 11, 12, 13), runs, [size]);
  await first.sync();
  const second = await crash();
  expect(second.inode(inode)).toMatchObject({
    sizeBytes: 3 * BLOCK_BYTES,
    mappedBlocks: 3,
    mtimeSeconds: LATER.seconds,
  });
  const recovered = second.takeRecoveredInline();
  expect(recovered.map(({ fileBlock, blockIndex, bytes }) => [fileBlock, blockIndex, bytes[0]])).toEqual([
    [0, 0, 10],
    [1, 2, 12],
    [2, 3, 13],
  ]);
  expect(second.takeRecoveredInline()).toEqual([]);
  expect(second.isKnownSegment(segment)).toBe(false);

  // One block is overwritten; the others are in the checkpoint that closing takes.
  const next = second.term * TWO_32 + 1;
  second.commitSegment(recordOf(next, 1), runsOf(next, [[inode, 1, 0, 1]]), []);
  await managers.pop()!.close();
  const third = await open('crash-1');
  expect(third.takeRecoveredInline().map(({ fileBlock, bytes }) => [fileBlock, bytes[9]])).toEqual([
    [0, 10],
    [2, 13],
  ]);
  const last = third.term * TWO_32 + 1;
  third.commitSegment(
    recordOf(last, 2),
    runsOf(last, [
      [inode, 0, 0, 1],
      [inode, 2, 1, 1],
    ]),
    [],
  );
  await managers.pop()!.close();
  const fourth = await open('crash-1');
  expect(fourth.takeRecoveredInline()).toEqual([]);
  expect(mapOf(fourth, inode, 0, 4)).toEqual([
    [last, 0],
    [next, 0],
    [last, 1],
    [0, 0],
  ]);
});

test('a segment that was journaled inline first keeps its extents when it is committed', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'file', FILE);
  const segment = manager.term * TWO_32 + 1;
  const inline = runsOf(segment, [[inode, 0, 0, 1]]);
  manager.commitInline(segment, 0, blocksOf(1), inline, [{ inode, sizeBytes: 100 }]);
  expect(manager.segment(segment)).toBeUndefined();
  expect(manager.isKnownSegment(segment)).toBe(true);
  const all = runsOf(segment, [
    [inode, 0, 0, 1],
    [inode, 1, 1, 1],
  ]);
  manager.commitSegment(recordOf(segment, 2), all, [{ inode, sizeBytes: 5000 }]);
  expect(manager.segment(segment)).toMatchObject({ liveBlocks: 2 });
  expect(manager.totals()).toMatchObject({ mappedBlocks: 2, segments: 1, segmentBlocks: 3 });
  expect(await manager.segments(0, 10)).toHaveLength(1);
});

test('a segment on its way stays known when one with a higher number is committed before it', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'file', FILE);
  const earlier = manager.term * TWO_32 + 1;
  const later = earlier + 1;
  manager.isPending = (segmentId) => segmentId === earlier;
  manager.commitSegment(recordOf(later, 1), runsOf(later, [[inode, 0, 0, 1]]), []);
  expect(manager.isKnownSegment(later)).toBe(true);
  expect(manager.isKnownSegment(earlier)).toBe(true);
  expect(manager.isKnownSegment(later + 1)).toBe(false);
});

test('a segment whose last block goes is reported once that is durable, and at each start until it is forgotten', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'file', FILE);
  const segment = manager.term * TWO_32 + 1;
  manager.commitSegment(recordOf(segment, 4), runsOf(segment, [[inode, 0, 0, 4]]), [
    { inode, sizeBytes: 4 * BLOCK_BYTES },
  ]);
  await manager.sync();
  const dead: SegmentRecord[] = [];
  manager.onSegmentDead = (record) => dead.push({ ...record });
  manager.truncate(inode, 4097, {});
  expect(mapOf(manager, inode, 0, 3).map((each) => each[0])).toEqual([segment, segment, 0]);
  manager.unlink(1, 'file', TIME);
  manager.reclaim(inode);
  expect(manager.inode(inode)).toBeUndefined();
  expect(dead).toEqual([]);
  await manager.sync();
  expect(dead).toMatchObject([{ segmentId: segment, liveBlocks: 0 }]);

  const again = await crash();
  again.onSegmentDead = (record) => dead.push(record);
  expect(dead).toHaveLength(2);
  again.forgetSegment(segment);
  again.forgetSegment(segment); // twice is fine
  await again.sync();
  await managers.pop()!.close();
  const last = await open(`crash-${crashes}`);
  last.onSegmentDead = (record) => dead.push(record);
  expect(dead).toHaveLength(2);
  expect(last.isKnownSegment(segment)).toBe(false);
  expect(last.totals()).toMatchObject({ inodes: 1, mappedBlocks: 0, segments: 0, segmentBlocks: 0 });
});

test('a segment none of whose blocks is in use is dead on arrival', async () => {
  const manager = await open();
  const dead: number[] = [];
  manager.onSegmentDead = (record) => dead.push(record.segmentId);
  const segment = manager.term * TWO_32 + 1;
  manager.commitSegment(recordOf(segment, 1), runsOf(segment, [[4711, 0, 0, 1]]), [
    { inode: 4711, sizeBytes: 1 },
  ]);
  await manager.sync();
  expect(dead).toEqual([segment]);
});

test('an unlinked file that was open in a crash is gone after it, with its attributes', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'file', FILE);
  manager.setXattr(inode, 'user.a', Buffer.from('1'), 0, TIME);
  expect(manager.unlink(1, 'file', TIME)).toMatchObject({ inode, linkCount: 0 });
  expect(manager.inode(inode)).toBeDefined();
  await manager.sync();
  const again = await crash();
  expect(again.inode(inode)).toBeUndefined();
  expect(again.totals().inodes).toBe(1);
});

/** A file with one block in each of `count` stretches that a transaction takes. */
function spread(manager: PrimaryManager, count: number): number {
  const { inode } = manager.create(1, 'sparse', FILE);
  for (let i = 0; i < count; i++) {
    const segment = manager.term * TWO_32 + 100 + i;
    const block = i * 3 * BLOCKS_PER_TRANSACTION + 7;
    manager.commitSegment(recordOf(segment, 1), runsOf(segment, [[inode, block, 0, 1]]), [
      { inode, sizeBytes: (block + 1) * BLOCK_BYTES },
    ]);
  }
  return inode;
}

test('a large truncation has its size at once and its blocks gone when it resolves', async () => {
  const manager = await open();
  const inode = spread(manager, 5);
  const truncated = manager.truncate(inode, 8 * BLOCK_BYTES, { mtimeSeconds: 5, mtimeNanoseconds: 6 });
  expect(manager.inode(inode)!.sizeBytes).toBe(8 * BLOCK_BYTES);
  expect(await truncated).toMatchObject({ mappedBlocks: 1, mtimeSeconds: 5 });
  await manager.punch(inode, 0, 100);
  expect(manager.inode(inode)!.mappedBlocks).toBe(0);
});

test('a truncation that a crash interrupted is finished before the file can be used', async () => {
  const manager = await open();
  const inode = spread(manager, 5);
  interrupted(manager.truncate(inode, 0, {}));
  await manager.sync();
  const again = await crash();
  expect(again.inode(inode)).toMatchObject({ sizeBytes: 0, mappedBlocks: 0 });
  expect(again.totals().mappedBlocks).toBe(0);
});

test('a large file without a name is reclaimed in the background, also after a crash', async () => {
  const manager = await open();
  const inode = spread(manager, 5);
  manager.unlink(1, 'sparse', TIME);
  manager.reclaim(inode);
  await manager.sync();
  const again = await crash();
  while (again.inode(inode) !== undefined) await new Promise((done) => setTimeout(done, 10));
  expect(again.totals()).toMatchObject({ inodes: 1, mappedBlocks: 0 });
});

test('what is reserved of a large file goes where blocks go, in steps, also after a crash', async () => {
  const manager = await open();
  const inode = spread(manager, 5);
  const end = 13 * BLOCKS_PER_TRANSACTION;
  for (let from = 0; from < end; from += BLOCKS_PER_TRANSACTION)
    manager.reserve(inode, from, from + BLOCKS_PER_TRANSACTION);
  expect(manager.inode(inode)).toMatchObject({ mappedBlocks: 5, reservedBlocks: end - 5 });
  expect(manager.reservation(inode)).toEqual([0, end]);
  await manager.punch(inode, 10, 4 * BLOCKS_PER_TRANSACTION);
  expect(manager.inode(inode)).toMatchObject({
    mappedBlocks: 4,
    reservedBlocks: 9 * BLOCKS_PER_TRANSACTION + 10 - 4,
  });
  manager.zero(inode, 6 * BLOCKS_PER_TRANSACTION, 7 * BLOCKS_PER_TRANSACTION);
  expect(manager.totals()).toMatchObject({
    mappedBlocks: 3,
    reservedBlocks: 9 * BLOCKS_PER_TRANSACTION + 10 - 3,
  });
  await manager.sync();
  const again = await crash();
  expect(again.totals()).toMatchObject({
    mappedBlocks: 3,
    reservedBlocks: 9 * BLOCKS_PER_TRANSACTION + 10 - 3,
  });
  interrupted(again.truncate(inode, 8 * BLOCK_BYTES, {}));
  await again.sync();
  const last = await crash();
  expect(last.totals()).toMatchObject({ mappedBlocks: 1, reservedBlocks: 7 });
  expect(last.reservation(inode)).toEqual([0, 8]);
  last.unlink(1, 'sparse', TIME);
  last.reclaim(inode);
  expect(last.totals()).toMatchObject({ mappedBlocks: 0, reservedBlocks: 0 });
});

test('a reservation in more pieces than a record holds is refused, and a hole in it stays reserved', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'file', FILE);
  for (let i = 0; i < MAX_RESERVED_RANGES; i++) manager.reserve(inode, 5 * i, 5 * i + 3);
  expect(() => manager.reserve(inode, 2 ** 30, 2 ** 30 + 1)).toThrow(
    expect.objectContaining({ code: 'ENOSPC' }),
  );
  await manager.punch(inode, 6, 7);
  expect(manager.totals().reservedBlocks).toBe(3 * MAX_RESERVED_RANGES);
  await manager.punch(inode, 0, 4);
  await manager.punch(inode, 6, 7);
  expect(manager.totals().reservedBlocks).toBe(3 * MAX_RESERVED_RANGES - 4);
});

test('attributes, link targets and times are kept', async () => {
  const manager = await open();
  const target = Buffer.from('t\u00e4rget', 'latin1');
  const link = manager.create(1, 'link', { ...FILE, mode: 0o120777, target });
  const { inode } = manager.create(1, 'file', FILE);
  const value = Buffer.alloc(65_536, 7);
  manager.setXattr(inode, 'user.big', value, 1, LATER);
  manager.setXattr(inode, 'user.gone', Buffer.from('x'), 0, LATER);
  expect(() => manager.setXattr(inode, 'user.big', value, 1, TIME)).toThrow('EEXIST');
  expect(() => manager.setXattr(inode, 'user.new', value, 2, TIME)).toThrow('ENODATA');
  expect(() => manager.setXattr(inode, 'user.big', Buffer.alloc(65_537), 0, TIME)).toThrow('E2BIG');
  manager.removeXattr(inode, 'user.gone', LATER);
  expect(() => manager.removeXattr(inode, 'user.gone', LATER)).toThrow('ENODATA');
  manager.update(inode, { mode: 0o100600, uid: 7, atimeSeconds: -5, atimeNanoseconds: 9 });
  await manager.sync();
  const again = await crash();
  expect(again.readLink(link.inode)).toEqual(target);
  expect(again.inode(link.inode)!.sizeBytes).toBe(6);
  expect(again.listXattrs(inode)).toEqual(['user.big']);
  expect(again.getXattr(inode, 'user.big')).toEqual(value);
  expect(again.getXattr(inode, 'user.gone')).toBeUndefined();
  expect(again.inode(inode)).toMatchObject({
    ...{ mode: 0o100600, uid: 7, atimeSeconds: -5, atimeNanoseconds: 9 },
    ...{ ctimeSeconds: LATER.seconds, mtimeSeconds: TIME.seconds },
  });
});

test('data sets the times of modification and change, but never takes a change back', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'file', FILE);
  manager.update(inode, { mode: 0o100600, ctimeSeconds: LATER.seconds, ctimeNanoseconds: LATER.nanoseconds });
  const segment = manager.term * TWO_32 + 1;
  const between = { seconds: TIME.seconds + 1, nanoseconds: 0 };
  manager.commitSegment(recordOf(segment, 1), runsOf(segment, [[inode, 0, 0, 1]]), [
    { inode, sizeBytes: 1, mtime: between },
  ]);
  expect(manager.inode(inode)).toMatchObject({ mtimeSeconds: between.seconds, ctimeSeconds: LATER.seconds });
});

test('changes pile up no further than their bound, and checkpoints take them down', async () => {
  const manager = await open();
  for (let i = 0; i < 60_000; i++) {
    manager.create(1, `a file with a name that is rather long, number ${i}`, FILE);
    if (i % 500 === 499) {
      await manager.backlog();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  await manager.sync();
  await managers.pop()!.close();
  const again = await open();
  expect(again.totals().inodes).toBe(60_001);
  let count = 0;
  for (let cookie = 0n; ; ) {
    const page = await again.list(1, cookie, 1000);
    count += page.length;
    if (page.length < 1000) break;
    cookie = page[999]!.cookie;
  }
  expect(count).toBe(60_000);
});
