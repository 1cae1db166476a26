import fc from 'fast-check';
import { expect, test } from 'vitest';
import { blockCount, hasBlock } from '../../../src/base/block-ranges.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { ExtentSearch } from '../../../src/metadata/extent-search.ts';
import * as namespace from '../../../src/metadata/namespace.ts';
import { checksumOf, dump, newDatabase, platform, recordOf, runsOf, StateHarness, TIME } from './harness.ts';

const FILES = 4;
const SEGMENT_BLOCKS = 12;
const SEGMENT = 2 ** 32;

/** Extents as plain maps. */
class Model {
  readonly files = new Map<number, Map<number, readonly [number, number]>>();
  /** What is set aside, written or not. */
  readonly aside = new Map<number, Set<number>>();
  readonly committed = new Map<number, number>();
  readonly forgotten = new Set<number>();

  reservedBlocks(inode: number): number {
    const mapped = this.files.get(inode)!;
    let reserved = 0;
    for (const block of this.aside.get(inode)!) if (!mapped.has(block)) reserved++;
    return reserved;
  }

  /** A file that has used all that was set aside for it is as one without. */
  settle(): void {
    for (const [inode, blocks] of this.aside) if (this.reservedBlocks(inode) === 0) blocks.clear();
  }

  liveBlocks(segmentId: number): number {
    let live = 0;
    for (const blocks of this.files.values()) {
      for (const [segment] of blocks.values()) if (segment === segmentId) live++;
    }
    return live;
  }
}

const run = fc.tuple(
  fc.nat(FILES), // one of them does not exist
  fc.oneof(fc.nat(40), fc.nat(600), fc.constantFrom(255, 256, 70_000, 2 ** 31 - 20)),
  fc.integer({ min: 1, max: 4 }),
);
const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('commit' as const),
      runs: fc.array(run, { maxLength: 5 }),
      inlineFirst: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('inline' as const),
      runs: fc.array(run, { minLength: 1, maxLength: 2 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('unmap' as const),
      run,
      length: fc.integer({ min: 1, max: 700 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constantFrom('reserve' as const, 'release' as const),
      run,
      length: fc.integer({ min: 1, max: 700 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), file: fc.nat(FILES - 1) }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'forget' as const }) },
  { weight: 2, arbitrary: fc.constant({ kind: 'checkpoint' as const }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Drives state and model through the same steps. */
class Driver {
  readonly harness: StateHarness;
  readonly model = new Model();
  readonly inodes: number[] = [];
  #nextSegment = SEGMENT;
  /** A segment with inline blocks that is still open, and its next index. */
  #open: { segmentId: number; index: number; runs: [number, number, number, number][] } | undefined;
  #checkpoint: ReturnType<StateHarness['beginCheckpoint']> | undefined;

  constructor(harness: StateHarness) {
    this.harness = harness;
  }

  makeFiles(): void {
    const { state, redo } = this.harness;
    for (let i = 0; i < FILES; i++) {
      const made = { mode: 0o100644, uid: 0, gid: 0, rdev: 0, time: TIME };
      const { inode } = namespace.create(state, redo, 1, `file ${this.inodes.length} ${i}`, made);
      this.inodes.push(inode);
      this.model.files.set(inode, new Map());
      this.model.aside.set(inode, new Set());
    }
  }

  /** Indexes follow each other; runs that do not fit are left out. */
  #place(
    runs: readonly (readonly [number, number, number])[],
    from: number,
  ): [number, number, number, number][] {
    let index = from;
    const placed: [number, number, number, number][] = [];
    for (const [file, block, count] of runs) {
      if (index + count > SEGMENT_BLOCKS) break;
      placed.push([this.inodes[file] ?? 999_999, block, index, count]);
      index += count;
    }
    return placed;
  }

  #map(segmentId: number, runs: readonly (readonly [number, number, number, number])[]): void {
    for (const [inode, block, index, count] of runs) {
      for (let i = 0; i < count; i++) this.model.files.get(inode)?.set(block + i, [segmentId, index + i]);
    }
  }

  async apply(step: Step): Promise<void> {
    const { redo, state } = this.harness;
    switch (step.kind) {
      case 'inline': {
        this.#open ??= { segmentId: ++this.#nextSegment, index: 0, runs: [] };
        const { segmentId, index } = this.#open;
        const runs = this.#place(step.runs, index);
        const blocks = runs.reduce((sum, each) => sum + each[3], 0);
        if (blocks === 0) return;
        redo.commitInline(
          segmentId,
          Buffer.alloc(blocks * BLOCK_BYTES, segmentId % 251),
          runsOf(segmentId, runs),
        );
        this.#map(segmentId, runs);
        this.#open.index += blocks;
        this.#open.runs.push(...runs);
        break;
      }
      case 'commit': {
        // Blocks that were journaled inline come again, except those that something newer took the place of.
        const { segmentId, index, runs } = this.#open ?? {
          segmentId: ++this.#nextSegment,
          index: 0,
          runs: [],
        };
        this.#open = undefined;
        const still = runs.flatMap(([inode, block, at, count]) =>
          Array.from({ length: count }, (_, i) => [inode, block + i, at + i, 1] as const).filter((each) => {
            const now = this.model.files.get(inode)?.get(each[1]);
            return now?.[0] === segmentId && now[1] === each[2];
          }),
        );
        const all = [...still, ...this.#place(step.runs, index)];
        const dataBlocks = Math.max(1, ...all.map((each) => each[2] + each[3]), index);
        redo.commitSegment(recordOf(segmentId, dataBlocks), runsOf(segmentId, all));
        this.#map(segmentId, all);
        this.model.committed.set(segmentId, dataBlocks);
        break;
      }
      case 'unmap': {
        const inode = this.inodes[step.run[0]];
        if (inode === undefined || !this.model.files.has(inode)) return;
        redo.unmapBlocks(inode, step.run[1], step.run[1] + step.length);
        for (let i = 0; i < step.length; i++) this.model.files.get(inode)!.delete(step.run[1] + i);
        break;
      }
      case 'reserve':
      case 'release': {
        const inode = this.inodes[step.run[0]];
        if (inode === undefined || !this.model.files.has(inode)) return;
        const first = Math.min(step.run[1], 2 ** 31 - step.length);
        const aside = this.model.aside.get(inode)!;
        if (step.kind === 'reserve') redo.reserveBlocks(inode, first, first + step.length);
        else redo.releaseBlocks(inode, first, first + step.length);
        for (let i = 0; i < step.length; i++)
          if (step.kind === 'reserve') aside.add(first + i);
          else aside.delete(first + i);
        break;
      }
      case 'remove': {
        const inode = this.inodes[step.file]!;
        const blocks = this.model.files.get(inode);
        if (blocks === undefined) return;
        for (const block of blocks.keys()) redo.unmapBlocks(inode, block, block + 1);
        redo.changeInode(inode, { linkCount: 0 });
        redo.deleteInode(inode);
        this.model.files.delete(inode);
        this.model.aside.delete(inode);
        break;
      }
      case 'forget':
        for (const segmentId of [...state.segments.dead]) {
          redo.forgetSegment(segmentId);
          this.model.forgotten.add(segmentId);
        }
        break;
      case 'checkpoint':
        if (this.#checkpoint === undefined) {
          this.#checkpoint = this.harness.beginCheckpoint();
        } else {
          await this.endCheckpoint();
        }
        break;
    }
    this.model.settle();
    this.harness.closeGroup();
  }

  async endCheckpoint(): Promise<void> {
    await this.#checkpoint?.write();
    this.#checkpoint?.finish();
    this.#checkpoint = undefined;
  }

  check(): void {
    const { state } = this.harness;
    const out = {
      count: 0,
      segmentIds: new Float64Array(700),
      blockIndexes: new Uint32Array(700),
      checksums: new Uint32Array(700),
    };
    let mapped = 0;
    let reserved = 0;
    for (const [inode, blocks] of this.model.files) {
      mapped += blocks.size;
      const aside = this.model.aside.get(inode)!;
      reserved += this.model.reservedBlocks(inode);
      expect(state.inodes.get(inode)!.reservedBlocks).toBe(this.model.reservedBlocks(inode));
      expect(blockCount(state.reservations.ranges(inode))).toBe(aside.size);
      for (const block of aside) if (!hasBlock(state.reservations.ranges(inode), block)) expect.fail();
      expect(state.inodes.get(inode)!.mappedBlocks).toBe(blocks.size);
      for (const start of [0, 250, 69_990, 2 ** 31 - 25]) {
        state.extents.look(inode, start, start === 0 ? 700 : 25, out);
        for (let i = 0; i < out.count; i++) {
          const [segmentId, index] = blocks.get(start + i) ?? [0, 0];
          const checksum = segmentId === 0 ? 0 : checksumOf(segmentId, index);
          const found = [out.segmentIds[i], out.blockIndexes[i], out.checksums[i]];
          // Not by expect: that is what would take the time.
          if (found[0] !== segmentId || found[1] !== index || found[2] !== checksum) {
            expect.fail(`block ${start + i} maps to ${found}, not ${[segmentId, index, checksum]}`);
          }
        }
      }
    }
    expect(state.extents.mappedBlocks).toBe(mapped);
    expect(state.reservedBlocks).toBe(reserved);
    for (const segmentId of this.model.committed.keys()) {
      const record = state.segments.records.get(segmentId);
      const live = this.model.liveBlocks(segmentId);
      if (this.model.forgotten.has(segmentId)) {
        expect(record).toBeUndefined();
        continue;
      }
      expect(record!.liveBlocks).toBe(live);
      expect(state.segments.dead.has(segmentId)).toBe(live === 0);
    }
    expect(state.segments.segments).toBe(this.model.committed.size - this.model.forgotten.size);
    // Inline blocks are exactly kept for segments that are not committed; those in use have their bytes.
    const inline = new Map(
      state.segments.inlineBlocks().map((each) => [`${each.segmentId}/${each.blockIndex}`, each]),
    );
    for (const blocks of this.model.files.values()) {
      for (const [segmentId, index] of blocks.values()) {
        expect(inline.has(`${segmentId}/${index}`)).toBe(!this.model.committed.has(segmentId));
      }
    }
  }
}

test('extents, live blocks and inline blocks are those of a plain map, whatever is checkpointed when', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const driver = new Driver(await StateHarness.format());
      driver.makeFiles();
      for (const each of steps) {
        await driver.apply(each);
        driver.check();
      }
      await driver.harness.database.close();
    }),
    { numRuns: 60 },
  );
});

test('replaying groups on any earlier checkpoint gives the same records as the primary wrote', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 2, maxLength: 25 }),
      fc.array(step, { minLength: 2, maxLength: 25 }),
      async (before, after) => {
        const driver = new Driver(await StateHarness.format());
        const { harness } = driver;
        driver.makeFiles();
        for (const each of before) await driver.apply(each);
        await driver.endCheckpoint();
        await harness.checkpoint();
        const base = await newDatabase();
        const cut = harness.sequence;
        for (const [key, value] of await harness.database.iterator().all()) await base.put(key, value);
        for (const each of after) await driver.apply(each);
        await driver.endCheckpoint();
        await harness.checkpoint();
        const replayed = await StateHarness.recover(base, cut, harness.groups.slice(cut));
        await replayed.checkpoint();
        expect(await dump(base)).toEqual(await dump(harness.database));
        expect(replayed.state.inodeCount).toBe(harness.state.inodeCount);
        await base.close();
        await harness.database.close();
      },
    ),
    { numRuns: 40 },
  );
});

test('data and holes are found across gaps, dense stretches and checkpoints', async () => {
  const harness = await StateHarness.format();
  const driver = new Driver(harness);
  driver.makeFiles();
  const inode = driver.inodes[0]!;
  const search = new ExtentSearch(harness.state, harness.reader, platform.timers);
  expect(search.nextMapped(inode, 0)).toBeUndefined();
  expect(search.nextHole(inode, 7)).toBe(7);
  const map = (segmentId: number, block: number, count: number) =>
    harness.redo.commitSegment(recordOf(segmentId, 1000), runsOf(segmentId, [[inode, block, 0, count]]));
  map(SEGMENT + 1, 3, 2);
  map(SEGMENT + 2, 300 * 256 + 5, 1);
  await harness.checkpoint();
  map(SEGMENT + 3, 20_000 * 256 + 9, 1);
  expect(search.nextMapped(inode, 0)).toBe(3);
  expect(search.nextMapped(inode, 4)).toBe(4);
  expect(await search.nextMapped(inode, 5)).toBe(300 * 256 + 5);
  expect(await search.nextMapped(inode, 300 * 256 + 6)).toBe(20_000 * 256 + 9);
  expect(await search.nextMapped(inode, 20_000 * 256 + 10)).toBeUndefined();
  expect(search.nextHole(inode, 3)).toBe(5);
  for (let i = 0; i < 40; i++) map(SEGMENT + 10 + i, i * 1000, 1000);
  expect(await search.nextHole(inode, 1)).toBe(40_000);
  expect(await search.nextHole(inode, 39_999)).toBe(40_000);
  await harness.database.close();
});
