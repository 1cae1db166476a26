import { afterEach, expect, test } from 'vitest';
import { CheckWorld } from '../fsck/world.ts';

const LENGTH_BYTES = 500_000;
const GIB = 2 ** 30;
let world: CheckWorld;

afterEach(() => world.close());

function contents(name: string): Buffer {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < LENGTH_BYTES; offset += 64 * 1024) {
    pieces.push(Buffer.alloc(Math.min(64 * 1024, LENGTH_BYTES - offset), `${name} ${offset} `));
  }
  return Buffer.concat(pieces);
}

/** A volume of so many nodes with segments of 2+1 and two files in it. */
async function filled(nodes = 5): Promise<Map<string, number>> {
  world = await CheckWorld.open(GIB, nodes);
  const files = new Map<string, number>();
  for (const name of ['one', 'two']) files.set(name, await world.writeFile(name, LENGTH_BYTES));
  await world.volume!.fileSystem.syncAll();
  return files;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(10);
}

const report = () => world.volume!.upkeep.availability();
const adapter = () => world.volume!.upkeep.adapter;
const isDone = () => report().segmentsKnown && report().segmentsLeft === 0;

async function shapes(): Promise<string[]> {
  const segments = await world.segments();
  return [...new Set(segments.map((each) => `${each.dataFragments}+${each.parityFragments}`))];
}

async function expectReadable(files: ReadonlyMap<string, number>): Promise<void> {
  for (const [name, inode] of files) {
    expect((await world.readFile(inode, LENGTH_BYTES)).equals(contents(name))).toBe(true);
  }
}

async function expectSound(): Promise<void> {
  const { findings } = await world.check({ data: true });
  expect(findings.filter(({ kind }) => kind !== 'node-unreachable')).toEqual([]);
}

test('without a target nothing changes, and what is predicted is said', async () => {
  await filled();
  await until(isDone);
  adapter().planNow();
  expect(report()).toMatchObject({ targetUnavailability: null, state: 'idle', next: null, remedies: [] });
  // Two or more of five nodes away at once: 10 p^2 (1 - p)^3 + ...
  expect(report().predictedUnavailability).toBeGreaterThan(9e-6);
  expect(report().predictedUnavailability).toBeLessThan(1.1e-5);
  expect(report().nodes.map(({ id }) => id)).toEqual([1, 2, 3, 4, 5]);
  expect(await shapes()).toEqual(['2+1']);
});

test('a target that asks for more parity gives every segment more, and as many nodes may be lost', async () => {
  const files = await filled();
  adapter().setTarget(1e-6);
  await until(() => report().layout.parityFragments === 2 && isDone());
  const { dataFragments } = report().layout;
  expect(await shapes()).toEqual([`${dataFragments}+2`]);
  expect(report().predictedUnavailability).toBeLessThan(1e-6);
  files.set('three', await world.writeFile('three', LENGTH_BYTES));
  await world.volume!.fileSystem.syncAll();
  expect(await shapes()).toEqual([`${dataFragments}+2`]);
  await expectSound();
  await world.stopNode(2);
  await world.stopNode(4);
  await expectReadable(files);
});

test('what was chosen holds over a restart, and so does a pause', async () => {
  const files = await filled();
  adapter().setPaused(true);
  adapter().setTarget(1e-6);
  expect(report()).toMatchObject({ paused: true, layout: { dataFragments: 2, parityFragments: 1 } });
  await world.remount();
  expect(report()).toMatchObject({ paused: true, targetUnavailability: 1e-6 });
  adapter().setPaused(false);
  adapter().planNow();
  await until(() => report().layout.parityFragments === 2);
  adapter().setPaused(true);
  const { layout } = report();
  await world.remount();
  expect(report().layout).toEqual(layout);
  adapter().setPaused(false);
  await until(isDone);
  expect(await shapes()).toEqual([`${layout.dataFragments}+2`]);
  await expectReadable(files);
  await expectSound();
  await world.rest();
  await expectSound();
});

test('parity that the target does not need any more is dropped, down to what the volume was made with', async () => {
  const files = await filled();
  adapter().setTarget(1e-6);
  await until(() => report().layout.parityFragments === 2 && isDone());
  adapter().setTarget(1e-3);
  await until(() => report().layout.parityFragments === 1 && isDone());
  expect((await shapes()).every((shape) => shape.endsWith('+1'))).toBe(true);
  await expectSound();
  await expectReadable(files);
  adapter().setTarget(0);
  expect(report()).toMatchObject({ targetUnavailability: null, layout: { parityFragments: 1 } });
});

test('a target that no layout meets is said with what would, and the best is done', async () => {
  const files = await filled();
  adapter().setTarget(1e-15);
  await until(() => report().remedies.length > 0);
  await until(() => report().layout.parityFragments === 2 && isDone());
  expect(report().remedies.map(({ kind }) => kind)).toEqual(['better-nodes']);
  await expectSound();
  for (const nodeId of [1, 5]) await world.stopNode(nodeId);
  await expectReadable(files);
});

test('a segment with a node away is left to rebuilding, and taken when all is whole', async () => {
  const files = await filled();
  await world.stopNode(3);
  adapter().setTarget(1e-6);
  await until(() => report().layout.parityFragments === 2);
  expect(report().segmentsLeft).toBeGreaterThan(0);
  world.volume!.upkeep.healNow();
  // Four nodes are left: as wide as they allow, with full parity.
  await until(() => world.volume!.upkeep.heal().degradedSegments === 0);
  adapter().planNow();
  await until(isDone);
  for (const { nodes, parityFragments } of await world.segments()) {
    expect(nodes).not.toContain(3);
    expect(parityFragments).toBe(2);
  }
  await world.startNode(3);
  await expectReadable(files);
  await world.check({ repair: true });
  await expectSound();
});

test('a node that comes back has nothing laid out wider before nodes have settled', async () => {
  const files = await filled();
  adapter().setTarget(1e-6);
  await until(() => report().layout.parityFragments === 2 && isDone());
  expect(await shapes()).toEqual(['3+2']);
  await world.stopNode(3);
  world.volume!.upkeep.healNow();
  await until(() => world.volume!.upkeep.heal().degradedSegments === 0);
  expect(await shapes()).toEqual(['2+2']);
  await world.startNode(3);
  await until(() => world.volume!.links.links.get(3)?.state === 'up');
  expect(report()).toMatchObject({ state: 'waiting', layout: { dataFragments: 3 } });
  expect(report().segmentsLeft).toBeGreaterThan(0);
  world.volume!.upkeep.balanceNow();
  await until(isDone);
  expect(await shapes()).toEqual(['3+2']);
  await expectReadable(files);
  // What the node still held when it came back may not have been looked through yet.
  const { findings } = await world.check({ data: true });
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
}, 60_000);
