/** Parity that is added to segments, or dropped, where they are. */
import { afterEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { encodeAvailabilityState } from '../../../src/format/availability-state.ts';
import { maintenanceKey, segmentKey } from '../../../src/format/metadata-keys.ts';
import { encodePlain } from '../../../src/format/metadata-records.ts';
import { encodeSegmentRecord, type SegmentRecord } from '../../../src/format/segment-record.ts';
import { rebuildSegmentTable } from '../../../src/log/segment-table.ts';
import type { RepairParts } from '../../../src/maintenance/fragment-repair.ts';
import { NodeCalls } from '../../../src/maintenance/node-calls.ts';
import { addParity, dropParity } from '../../../src/maintenance/parity-change.ts';
import { RepairMemory } from '../../../src/maintenance/repair-memory.ts';
import { SegmentSources } from '../../../src/maintenance/segment-source.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import { NO_AVAILABILITY } from '../../../src/replicator/adapt/adapter.ts';
import { CheckWorld } from '../fsck/world.ts';

/** Of a file that fills one segment. */
const SHORT_BYTES = 39 * BLOCK_BYTES;
const LENGTH_BYTES = 3 * SHORT_BYTES;
const GIB = 2 ** 30;
let world: CheckWorld;
let file: number;
let lengthBytes: number;
let opened: SegmentSources[] = [];

afterEach(async () => {
  for (const sources of opened) sources.close();
  opened = [];
  await world.close();
});

function contents(): Buffer {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < lengthBytes; offset += 64 * 1024) {
    pieces.push(Buffer.alloc(Math.min(64 * 1024, lengthBytes - offset), `file ${offset} `));
  }
  return Buffer.concat(pieces);
}

/** A volume of so many nodes, with segments of 3+1. */
async function filled(nodes: number, bytes = LENGTH_BYTES): Promise<SegmentRecord> {
  world = await CheckWorld.open(GIB, nodes, 3);
  lengthBytes = bytes;
  file = await world.writeFile('file', bytes);
  await world.volume!.fileSystem.syncAll();
  const [segment] = await world.segments();
  expect(segment).toMatchObject({ dataFragments: 3, parityFragments: 1, generation: 0 });
  return segment!;
}

function parts(metadata: PrimaryManager = world.metadata): RepairParts {
  const { platform, links } = world;
  const calls = new NodeCalls(links);
  const sources = new SegmentSources(platform, links, calls);
  opened.push(sources);
  const memory = new RepairMemory(platform.memory);
  return { platform, metadata, calls, sources, memory, claims: world.volume!.claims };
}

/** The primary stops in the midst of it. */
function stoppingAt(method: 'repair' | 'sync'): PrimaryManager {
  return new Proxy(world.metadata, {
    get(target, name) {
      if (name === method) {
        return () => {
          throw new MetadataUnavailable('stopped');
        };
      }
      const value = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const idsOf = () => [...world.links.links.keys()];
const spare = (nodes: readonly number[], refused: ReadonlySet<number> = new Set()) =>
  idsOf().find((id) => !nodes.includes(id) && !refused.has(id));
const now = ({ segmentId }: SegmentRecord) => world.metadata.segment(segmentId)!;
const held = (nodeId: number, segmentId: number, position: number) =>
  world.nodes.get(nodeId)!.fragments.describe({ segmentId, position });

/** Whatever is left over stays until it is looked at. */
function keepFromSweep({ segmentId }: SegmentRecord): void {
  expect(world.volume!.claims.hold(segmentId)).toBe(true);
}

function release({ segmentId }: SegmentRecord): void {
  world.volume!.claims.release(segmentId);
}

function add(record: SegmentRecord, parityFragments = 2, options: { parts?: RepairParts } = {}) {
  const damaged = new Set<number>();
  const outcome = addParity(options.parts ?? parts(), { record, parityFragments, damaged, nextNode: spare });
  return outcome.then((what) => ({ what, damaged: [...damaged] }));
}

function drop(record: SegmentRecord, parityFragments = 1, with_ = parts()) {
  const damaged = new Set<number>();
  return dropParity(with_, record, parityFragments, damaged).then((what) => ({
    what,
    damaged: [...damaged],
  }));
}

/** What new and old segments are to be, as if it had been chosen before. */
async function choose(dataFragments: number, parityFragments: number): Promise<void> {
  const { crc32c } = world.platform.kernels;
  const shape = { dataFragments, parityFragments };
  const state = encodeAvailabilityState({ ...NO_AVAILABILITY, shape, changedMs: 1 });
  world.damage((redo) => redo.setRecord(maintenanceKey('availability'), encodePlain(state, crc32c)));
  await world.remount();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(10);
}

async function adapted(): Promise<void> {
  const report = () => world.volume!.upkeep.availability();
  await until(() => report().segmentsKnown && report().segmentsLeft === 0 && report().state === 'idle');
}

async function expectSound(): Promise<void> {
  expect((await world.check({ data: true })).findings).toEqual([]);
  expect((await world.readFile(file, lengthBytes)).equals(contents())).toBe(true);
}

async function loseAny(count: number): Promise<void> {
  const [segment] = await world.segments();
  for (const nodeId of segment!.nodes.slice(0, count)) await world.stopNode(nodeId);
  expect((await world.readFile(file, lengthBytes)).equals(contents())).toBe(true);
}

const written = () =>
  [...world.nodes.values()].reduce((sum, { fragments }) => sum + fragments.statistics().bytesWritten, 0);

describe('the volume', () => {
  test('adds one fragment to each segment, writes no more than that, and bears the loss of two nodes', async () => {
    await filled(6);
    const before = await world.segments();
    const bytes = written();
    await choose(3, 2);
    await adapted();
    const after = await world.segments();
    expect(after.map(({ generation, parityFragments }) => [generation, parityFragments])).toEqual(
      before.map(() => [0, 2]),
    );
    expect(after.map(({ nodes }) => nodes.slice(0, 4))).toEqual(before.map(({ nodes }) => nodes));
    const parity = before.reduce((sum, { fragmentBlocks }) => sum + fragmentBlocks * BLOCK_BYTES, 0);
    expect(written() - bytes).toBe(parity + before.length * BLOCK_BYTES);
    await expectSound();
    await loseAny(2);
  });

  test('drops it again without writing a fragment, and gives the room back', async () => {
    await filled(6);
    const used = () =>
      [...world.nodes.values()].reduce((sum, { fragments }) => sum + fragments.statistics().usedBytes, 0);
    const usedBefore = used();
    await choose(3, 2);
    await adapted();
    const bytes = written();
    await choose(3, 1);
    await adapted();
    const after = await world.segments();
    expect(after.every((each) => each.generation === 0 && each.parityFragments === 1)).toBe(true);
    expect(written()).toBe(bytes);
    await until(() => used() === usedBefore);
    await expectSound();
    await loseAny(1);
  });

  test('lays out anew what no node takes another fragment of', async () => {
    await filled(5);
    await choose(3, 2);
    await adapted();
    await choose(3, 1);
    await adapted();
    // The only node without a fragment freed one of this generation, and remembers it.
    await choose(3, 2);
    await adapted();
    const after = await world.segments();
    expect(after.every((each) => each.generation > 0 && each.parityFragments === 2)).toBe(true);
    await expectSound();
  });

  test('adds it around a damaged fragment, which is repaired after that', async () => {
    const segment = await filled(6);
    await world.corrupt(segment.nodes[1]!, segment.segmentId, 1);
    await choose(3, 2);
    await adapted();
    expect(now(segment)).toMatchObject({ parityFragments: 2, generation: 0 });
    await until(() => world.volume!.upkeep.heal().healedSegments > 0);
    await until(() => world.volume!.upkeep.heal().degradedSegments === 0);
    await expectSound();
  });

  test('does not drop the parity of a segment one of whose other fragments is missing before that is rebuilt', async () => {
    const segment = await filled(6);
    await choose(3, 2);
    await adapted();
    const { nodes } = now(segment);
    world.volume!.upkeep.changeHealing({ paused: true });
    await world.freeFragment(nodes[0]!, segment.segmentId, 0);
    expect(await drop(now(segment))).toEqual({ what: 'unreadable', damaged: [0] });
    expect(now(segment).parityFragments).toBe(2);
    await choose(3, 1);
    world.volume!.upkeep.changeHealing({ paused: false });
    await adapted();
    expect(world.volume!.upkeep.heal().healedSegments).toBeGreaterThan(0);
    await expectSound();
  });

  test('scrubs, rebuilds and moves segments whose fragments know of different numbers of parity', async () => {
    const segment = await filled(6);
    await choose(3, 2);
    await adapted();
    const { upkeep } = world.volume!;
    const { segmentId, nodes } = now(segment);
    for (const position of [1, 4]) await world.corrupt(nodes[position]!, segmentId, position);
    upkeep.scrubNow();
    await until(() => !upkeep.scrub().underWay);
    expect(upkeep.scrub()).toMatchObject({ found: 2, repaired: 2 });
    await world.stopNode(nodes[0]!);
    upkeep.healNow();
    await until(() => upkeep.heal().degradedSegments === 0);
    await world.startNode(nodes[0]!);
    upkeep.drain([nodes[4]!]);
    await until(() => upkeep.balance().draining[0]!.bytesLeft === 0);
    expect(now(segment)).toMatchObject({ generation: 0, parityFragments: 2 });
    upkeep.drain([]);
    await world.check({ repair: true });
    await expectSound();
    await loseAny(2);
  });

  test('is repaired by the check where an added fragment is missing, damaged or does not fit the data', async () => {
    const segment = await filled(6);
    await choose(3, 2);
    await adapted();
    await world.rest();
    const { segmentId, nodes } = now(segment);
    await world.corrupt(nodes[4]!, segmentId, 4);
    const damaged = await world.check({ data: true, repair: true });
    expect(damaged.findings).toMatchObject([
      { kind: 'fragment-corrupt', ids: { position: 4 }, repaired: true },
    ]);
    await world.forgeFragment(now(segment), 4, (description, payload) => {
      payload.fill(7);
      return description;
    });
    const wrong = await world.check({ data: true, repair: true });
    expect(wrong.findings).toMatchObject([{ kind: 'parity-wrong', ids: { position: 4 }, repaired: true }]);
    await world.freeFragment(now(segment).nodes[4]!, segmentId, 4);
    const missing = await world.check({ repair: true });
    expect(missing.findings).toMatchObject([
      { kind: 'fragment-missing', ids: { position: 4 }, repaired: true },
    ]);
    await world.remount();
    await expectSound();
    await loseAny(2);
  });

  test('holds that a fragment of another cut is wrong, and one that knows of another parity is not', async () => {
    const segment = await filled(6);
    await world.rest();
    await world.forgeFragment(segment, 0, (description) => ({
      ...description,
      parityFragments: 3,
      nodes: [...description.nodes, 5, 6],
    }));
    expect((await world.check({ data: true })).findings).toEqual([]);
    await world.forgeFragment(segment, 0, (description) => ({
      ...description,
      ...{ dataFragments: 4, parityFragments: 0, nodes: description.nodes.slice(0, 4) },
    }));
    const { findings } = await world.check({ repair: true });
    expect(findings).toMatchObject([{ kind: 'fragment-wrong', ids: { position: 0 }, repaired: true }]);
    await world.remount();
    await expectSound();
  });
});

describe('adding parity', () => {
  test('stopped before its transaction leaves an orphan, which is as good when it is tried again', async () => {
    const segment = await filled(7, SHORT_BYTES);
    keepFromSweep(segment);
    await expect(add(segment, 3, { parts: parts(stoppingAt('repair')) })).rejects.toThrow('stopped');
    expect(now(segment)).toEqual(segment);
    await world.rest();
    const orphans = await world.check();
    expect(orphans.findings.map(({ kind }) => kind)).toEqual(['fragment-orphan', 'fragment-orphan']);
    const first = spare(segment.nodes)!;
    expect(await held(first, segment.segmentId, 4)).toMatchObject({ parityFragments: 2 });
    // Another primary, which wants one fragment more and not two.
    const bytes = written();
    await world.remount();
    keepFromSweep(segment);
    expect(await add(now(segment), 2)).toEqual({ what: 'changed', damaged: [] });
    release(segment);
    expect(now(segment)).toMatchObject({ parityFragments: 2, nodes: [...segment.nodes, first] });
    expect(written()).toBe(bytes);
    await world.check({ repair: true });
    await expectSound();
    await loseAny(2);
  });

  test('replaces what another layout left under the same name', async () => {
    const segment = await filled(6, SHORT_BYTES);
    const first = spare(segment.nodes)!;
    const payload = world.platform.memory.allocate(BLOCK_BYTES);
    const checksums = Uint32Array.of(world.platform.kernels.crc32c(payload));
    await world.nodes.get(first)!.fragments.put(
      {
        ...{ segmentId: segment.segmentId, position: 4, generation: 0, term: world.metadata.term, checksums },
        ...{ dataFragments: 4, parityFragments: 1, fragmentBlocks: 1, dataBlocks: 1, summaryBlocks: 1 },
        nodes: [1, 2, 3, 4, 5],
      },
      payload,
    );
    expect((await add(segment)).what).toBe('changed');
    expect(now(segment).nodes[4]).toBe(first);
    await expectSound();
    await loseAny(2);
  });

  test('goes to another node where one refuses, and leaves nothing where none takes it', async () => {
    const segment = await filled(6, SHORT_BYTES);
    const [first, second] = idsOf().filter((id) => !segment.nodes.includes(id));
    const forget = (nodeId: number) =>
      world.nodes
        .get(nodeId)!
        .fragments.free(world.metadata.term, [{ segmentId: segment.segmentId, position: 4, generation: 0 }]);
    await forget(first!);
    expect((await add(segment)).what).toBe('changed');
    expect(now(segment).nodes[4]).toBe(second);
    expect(await drop(now(segment))).toEqual({ what: 'changed', damaged: [] });
    expect(await add(now(segment))).toEqual({ what: 'refused', damaged: [] });
    expect(now(segment)).toEqual(segment);
    await expectSound();
  });

  test('frees what it put where one of two cannot be put', async () => {
    const segment = await filled(6, SHORT_BYTES);
    const [first, second] = idsOf().filter((id) => !segment.nodes.includes(id));
    await world.nodes
      .get(second!)!
      .fragments.free(world.metadata.term, [{ segmentId: segment.segmentId, position: 5, generation: 0 }]);
    expect((await add(segment, 3)).what).toBe('refused');
    await expect(held(first!, segment.segmentId, 4)).rejects.toThrow();
    expect(now(segment)).toEqual(segment);
    await expectSound();
  });

  test('by a primary that was deposed changes nothing', async () => {
    const segment = await filled(6, SHORT_BYTES);
    const first = spare(segment.nodes)!;
    await world.nodes.get(first)!.fragments.fence(world.metadata.term + 1);
    expect((await add(segment)).what).toBe('unreachable');
    expect(now(segment)).toEqual(segment);
    await expect(held(first, segment.segmentId, 4)).rejects.toThrow();
  });

  test('to a segment one of whose fragments has moved meanwhile leaves nothing', async () => {
    const segment = await filled(6, SHORT_BYTES);
    const [first, second] = idsOf().filter((id) => !segment.nodes.includes(id));
    const { crc32c } = world.platform.kernels;
    const outcome = await addParity(parts(), {
      ...{ record: segment, parityFragments: 2, damaged: new Set<number>() },
      nextNode: () => {
        const moved = { ...segment, nodes: [second!, ...segment.nodes.slice(1)] };
        world.damage((redo) =>
          redo.setRecord(segmentKey(segment.segmentId), encodeSegmentRecord(moved, crc32c)),
        );
        return first;
      },
    });
    expect(outcome).toBe('outdated');
    await expect(held(first!, segment.segmentId, 4)).rejects.toThrow();
    expect(now(segment).parityFragments).toBe(1);
  });

  test('with more fragments unreadable than there is parity says so', async () => {
    const segment = await filled(6, SHORT_BYTES);
    for (const position of [0, 2]) await world.corrupt(segment.nodes[position]!, segment.segmentId, position);
    expect((await add(segment)).what).toBe('unreadable');
    expect(now(segment)).toEqual(segment);
  });
});

describe('dropping parity', () => {
  test('stopped after its transaction leaves an orphan, which is taken again when parity is added', async () => {
    const segment = await filled(6, SHORT_BYTES);
    keepFromSweep(segment);
    expect((await add(segment)).what).toBe('changed');
    const { nodes } = now(segment);
    await expect(drop(now(segment), 1, parts(stoppingAt('sync')))).rejects.toThrow('stopped');
    expect(now(segment)).toEqual(segment);
    await world.rest();
    expect(now(segment)).toEqual(segment);
    expect((await world.check()).findings.map(({ kind }) => kind)).toEqual(['fragment-orphan']);
    const bytes = written();
    await world.remount();
    keepFromSweep(segment);
    expect((await add(segment)).what).toBe('changed');
    release(segment);
    expect(now(segment).nodes).toEqual(nodes);
    expect(written()).toBe(bytes);
    await expectSound();
    await loseAny(2);
  });
});

describe('the segment table from the nodes alone', () => {
  async function table(): Promise<Map<number, { record: SegmentRecord; missing: readonly number[] }>> {
    const found = new Map<number, { record: SegmentRecord; missing: readonly number[] }>();
    for await (const each of rebuildSegmentTable(world.links, world.platform.kernels)) {
      expect(each.summary).toBeDefined();
      found.set(each.record.segmentId, each);
    }
    return found;
  }

  test('has the parity that was added, wherever it is missing', async () => {
    const segment = await filled(6, SHORT_BYTES);
    await add(segment);
    const after = now(segment);
    expect((await table()).get(segment.segmentId)).toMatchObject({
      record: { nodes: after.nodes, parityFragments: 2 },
      missing: [],
    });
    await world.stopNode(after.nodes[1]!);
    expect((await table()).get(segment.segmentId)).toMatchObject({
      record: { parityFragments: 2 },
      missing: [1],
    });
  });

  test('counts an addition that was never committed as parity: it is made of the same data', async () => {
    const segment = await filled(6, SHORT_BYTES);
    keepFromSweep(segment);
    await expect(add(segment, 2, { parts: parts(stoppingAt('repair')) })).rejects.toThrow('stopped');
    const found = (await table()).get(segment.segmentId)!;
    expect(found).toMatchObject({ record: { parityFragments: 2 }, missing: [] });
    expect(found.record.nodes.slice(0, 4)).toEqual(segment.nodes);
    // What it tells holds: read from the added fragment instead of two that are lost.
    const { record } = found;
    world.damage((redo) =>
      redo.setRecord(
        segmentKey(segment.segmentId),
        encodeSegmentRecord(record, world.platform.kernels.crc32c),
      ),
    );
    await loseAny(2);
  });

  test('gives parity back that was dropped where fragments still know of it', async () => {
    world = await CheckWorld.open(GIB, 6, 3);
    await choose(3, 2);
    lengthBytes = SHORT_BYTES;
    file = await world.writeFile('file', lengthBytes);
    await world.volume!.fileSystem.syncAll();
    const [segment] = await world.segments();
    expect((await drop(segment!)).what).toBe('changed');
    expect((await table()).get(segment!.segmentId)).toMatchObject({
      record: { parityFragments: 2 },
      missing: [4],
    });
    await expectSound();
  });

  test('takes each node once, also where a crash left two fragments on one', async () => {
    const segment = await filled(6, SHORT_BYTES);
    const first = spare(segment.nodes)!;
    keepFromSweep(segment);
    await expect(add(segment, 2, { parts: parts(stoppingAt('repair')) })).rejects.toThrow('stopped');
    await world.copyFragment(segment, 2, first);
    await world.stopNode(segment.nodes[2]!);
    const found = (await table()).get(segment.segmentId)!;
    expect(found.record.nodes[2]).toBe(first);
    expect(new Set(found.record.nodes).size).toBe(5);
    expect(found.missing).toEqual([4]);
  });
});
