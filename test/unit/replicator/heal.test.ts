import { afterEach, expect, test } from 'vitest';
import { CheckWorld } from '../fsck/world.ts';

const LENGTH_BYTES = 500_000;
let world: CheckWorld;

afterEach(() => world.close());

function contents(name: string): Buffer {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < LENGTH_BYTES; offset += 64 * 1024) {
    pieces.push(Buffer.alloc(Math.min(64 * 1024, LENGTH_BYTES - offset), `${name} ${offset} `));
  }
  return Buffer.concat(pieces);
}

/** A volume of four nodes with segments of 2+1 and two files in it. */
async function filled(): Promise<readonly number[]> {
  world = await CheckWorld.open();
  const inodes = [await world.writeFile('one', LENGTH_BYTES), await world.writeFile('two', LENGTH_BYTES)];
  await world.volume!.fileSystem.syncAll();
  return inodes;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(10);
}

const heal = () => world.volume!.upkeep.heal();
const isWhole = () => heal().degradedSegments === 0 && heal().state === 'idle';
const isCompared = () => heal().inventoryDone;

async function healNow(): Promise<void> {
  world.volume!.upkeep.healNow();
  await until(isWhole);
}

async function expectReadable([one, two]: readonly number[]): Promise<void> {
  expect((await world.readFile(one!, LENGTH_BYTES)).equals(contents('one'))).toBe(true);
  expect((await world.readFile(two!, LENGTH_BYTES)).equals(contents('two'))).toBe(true);
}

/** Nothing is wrong but nodes that are away, and what only they could free. */
async function expectSound(): Promise<void> {
  const { findings } = await world.check({ data: true });
  const kinds = findings.map(({ kind }) => kind);
  expect(kinds.filter((kind) => kind !== 'node-unreachable' && kind !== 'fragment-orphan')).toEqual([]);
}

const segmentsOn = async (nodeId: number) =>
  (await world.segments()).filter(({ nodes }) => nodes.includes(nodeId));

test('what lies on a node that is gone is rebuilt elsewhere, and another node may be lost then', async () => {
  const files = await filled();
  const [first] = await world.segments();
  const lost = first!.nodes[0]!;
  await world.stopNode(lost);
  expect(heal().state).toBe('waiting');
  await healNow();
  expect(await segmentsOn(lost)).toEqual([]);
  expect((await world.segments()).every(({ nodes }) => nodes.length === 3)).toBe(true);
  await expectSound();
  const next = first!.nodes[1]!;
  await world.stopNode(next);
  await expectReadable(files);
  expect(heal().goneNodes).toEqual([lost]);
});

test('a node that returns is not given back what was rebuilt, and what it still holds of it is freed', async () => {
  await filled();
  const lost = (await world.segments())[0]!.nodes[0]!;
  await world.stopNode(lost);
  await healNow();
  const { healedSegments } = heal();
  expect(healedSegments).toBeGreaterThan(0);
  await world.startNode(lost);
  await until(isCompared);
  expect(isWhole()).toBe(true);
  expect(heal().healedSegments).toBe(healedSegments);
  expect(await segmentsOn(lost)).toEqual([]);
  const { findings } = await world.check({ repair: true });
  expect(findings.filter(({ kind }) => kind === 'fragment-orphan').length).toBeGreaterThan(0);
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('where there is no spare node, segments become narrower with full parity', async () => {
  const files = await filled();
  await world.stopNode(4);
  await healNow();
  await world.stopNode(3);
  await healNow();
  for (const { nodes, dataFragments, parityFragments, generation } of await world.segments()) {
    expect([...nodes].sort()).toEqual([1, 2]);
    expect([dataFragments, parityFragments]).toEqual([1, 1]);
    expect(generation).toBeGreaterThan(0);
  }
  await expectSound();
  await expectReadable(files);
  await world.stopNode(2);
  await expectReadable(files);
});

test.each([
  [2, 1, 1],
  [4, 2, 2],
])(
  'what %i nodes of %i+%i write while as many are away as the parity bears gets the rest of its parity when they return',
  async (nodes, data, parity) => {
    world = await CheckWorld.open(undefined, nodes, data, parity);
    for (let id = nodes; id > nodes - parity; id--) await world.stopNode(id);
    const files = [await world.writeFile('one', LENGTH_BYTES), await world.writeFile('two', LENGTH_BYTES)];
    await world.volume!.fileSystem.syncAll();
    const left = nodes - parity;
    for (const { dataFragments, parityFragments } of await world.segments()) {
      expect([dataFragments, parityFragments]).toEqual([1, left - 1]);
    }
    expect(heal()).toMatchObject({ state: 'waiting', atRisk: left === 1 });
    expect(heal().degradedSegments).toBe((await world.segments()).length);
    await expectReadable(files);
    for (let id = nodes; id > nodes - parity; id--) await world.startNode(id);
    await until(isWhole);
    // Those that got it as soon as the first was back keep their one data fragment.
    for (const { parityFragments } of await world.segments()) expect(parityFragments).toBe(parity);
    expect((await world.check({ data: true })).findings).toEqual([]);
    for (let id = 1; id <= parity; id++) await world.stopNode(id);
    await expectReadable(files);
  },
);

test('a node that freed a fragment gets it again in a new layout', async () => {
  const files = await filled();
  for (const lost of [1, 2, 1, 2]) {
    await world.stopNode(lost);
    await healNow();
    await world.startNode(lost);
    await world.check({ repair: true });
  }
  await expectReadable(files);
  expect((await world.check({ data: true })).findings).toEqual([]);
});

test('a node that returns with an empty disk is noticed and filled again', async () => {
  const files = await filled();
  const held = (await segmentsOn(1)).length;
  expect(held).toBeGreaterThan(0);
  await world.emptyNode(1);
  await until(isCompared);
  await until(isWhole);
  expect(await segmentsOn(1)).toHaveLength(held);
  await until(() => world.metadata.journalReport().replicas.every(({ state }) => state === 'current'));
  await expectSound();
  await world.stopNode(2);
  await expectReadable(files);
});

test('rebuilding begins by itself after the grace period', async () => {
  await filled();
  world.volume!.upkeep.changeHealing({ graceMs: 200 });
  await world.stopNode(2);
  await until(isWhole);
  expect(await segmentsOn(2)).toEqual([]);
});

test('a pause holds over a restart, as does what was given up', async () => {
  await filled();
  world.volume!.upkeep.changeHealing({ paused: true, limitBytesPerSecond: 50_000_000 });
  await world.stopNode(2);
  await world.remount();
  await until(isCompared);
  expect(heal()).toMatchObject({ state: 'paused', limitBytesPerSecond: 50_000_000 });
  expect((await segmentsOn(2)).length).toBeGreaterThan(0);
  await healNow();
  expect(await segmentsOn(2)).toEqual([]);
  expect(heal().limitBytesPerSecond).toBe(50_000_000);
});

test('a damaged block that a reader meets is repaired on its node', async () => {
  const files = await filled();
  await world.remount();
  for (const { segmentId, nodes } of await world.segments()) await world.corrupt(nodes[0]!, segmentId, 0);
  await expectReadable(files);
  await until(() => heal().healedSegments > 0 && isWhole());
  await expectSound();
});

test('damage that is told of by a record from before the repair counts for nothing', async () => {
  await filled();
  const [before] = await world.segments();
  const lost = before!.nodes[0]!;
  await world.stopNode(lost);
  await healNow();
  world.volume!.reader.onCorrupt!(before!, lost);
  expect(heal().degradedSegments).toBe(0);
  await expectSound();
});

test('files that are written and deleted while segments are rebuilt stay what they are', async () => {
  const files = await filled();
  await world.stopNode(1);
  world.volume!.upkeep.healNow();
  const third = await world.writeFile('three', LENGTH_BYTES);
  await world.volume!.fileSystem.unlink(1, 'three', { uid: 0, gid: 0, pid: 1 });
  await world.volume!.fileSystem.syncAll();
  await until(isWhole);
  expect(third).toBeGreaterThan(0);
  await expectReadable(files);
  await expectSound();
});
