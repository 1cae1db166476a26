import { afterEach, expect, test } from 'vitest';
import { CheckWorld } from '../fsck/world.ts';

const LENGTH_BYTES = 500_000;
const GIB = 2 ** 30;
/** Six nodes as one group of 2+1 are away more often than that, two groups of three less often. */
const TARGET = 1e-5;
let world: CheckWorld;

afterEach(() => world.close());

function contents(name: string): Buffer {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < LENGTH_BYTES; offset += 64 * 1024) {
    pieces.push(Buffer.alloc(Math.min(64 * 1024, LENGTH_BYTES - offset), `${name} ${offset} `));
  }
  return Buffer.concat(pieces);
}

async function write(files: Map<string, number>, ...names: string[]): Promise<void> {
  for (const name of names) files.set(name, await world.writeFile(name, LENGTH_BYTES));
  await world.volume!.fileSystem.syncAll();
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(10);
}

const upkeep = () => world.volume!.upkeep;
const report = () => upkeep().availability();
const isDone = () => report().segmentsKnown && report().segmentsLeft === 0;
const isEven = () => upkeep().balance().state === 'idle' && upkeep().balance().reason === undefined;

/** Six nodes with segments of 2+1 across all of them, and then what is asked for. */
async function grouped(): Promise<Map<string, number>> {
  world = await CheckWorld.open(GIB, 6);
  const files = new Map<string, number>();
  await write(files, 'one', 'two', 'three');
  const across = (await world.segments()).filter(({ nodes }) => new Set(nodes).size === 3);
  expect(across.length).toBeGreaterThan(3);
  upkeep().adapter.setTarget(TARGET);
  // Nodes count as settled.
  upkeep().balanceNow();
  await until(() => report().groups.length === 2 && isDone());
  return files;
}

async function expectWithinGroups(): Promise<void> {
  const { groups } = report();
  for (const { nodes } of await world.segments()) {
    expect(groups.filter((group) => nodes.every((id) => group.includes(id)))).toHaveLength(1);
  }
}

async function expectWhole(files: ReadonlyMap<string, number>): Promise<void> {
  for (const [name, inode] of files) {
    expect((await world.readFile(inode, LENGTH_BYTES)).equals(contents(name))).toBe(true);
  }
  const { findings } = await world.check({ data: true });
  expect(findings.filter(({ severity }) => severity !== 'note')).toEqual([]);
}

test('what lies across groups is moved into one, and what is written stays within one', async () => {
  const files = await grouped();
  const { groups, predictedUnavailability } = report();
  expect(groups.map(({ length }) => length)).toEqual([3, 3]);
  await expectWithinGroups();
  expect(predictedUnavailability).toBeLessThan(TARGET);
  // Two of three away in either of the groups, and nothing else.
  const [p] = report().nodes.map(({ unavailability }) => unavailability);
  expect(predictedUnavailability! / (6 * p! ** 2)).toBeCloseTo(1, 2);
  await write(files, 'four', 'five');
  await expectWithinGroups();
  const used = new Set((await world.segments()).flatMap(({ nodes }) => nodes));
  expect(used.size).toBe(6);
  await world.remount();
  expect(report().groups).toEqual(groups);
  await write(files, 'six');
  await until(isDone);
  await expectWithinGroups();
  await expectWhole(files);
});

test('a group that lost a node is rebuilt with the others, and comes apart again when the node is back', async () => {
  const files = await grouped();
  const { groups } = report();
  await world.stopNode(2);
  upkeep().healNow();
  await until(() => upkeep().heal().degradedSegments === 0);
  // Five nodes are too few for two groups of three.
  expect(report().groups).toEqual([]);
  for (const { nodes } of await world.segments()) expect(nodes).not.toContain(2);
  await write(files, 'four');
  await world.startNode(2);
  expect(report().groups).toEqual(groups);
  await until(() => world.volume!.links.links.get(2)?.state === 'up');
  upkeep().balanceNow();
  await until(isDone);
  await expectWithinGroups();
  await expectWhole(files);
}, 60_000);

test('a node that joins belongs to one of the groups and gets its share there', async () => {
  const files = await grouped();
  const { groups } = report();
  await world.startNode(7);
  const joined = report().groups;
  expect(joined.map((group) => group.filter((id) => id !== 7))).toEqual(groups);
  expect(joined.flat()).toContain(7);
  upkeep().balanceNow();
  await until(() => isEven() && isDone());
  expect((await world.segments()).some(({ nodes }) => nodes.includes(7))).toBe(true);
  await expectWithinGroups();
  upkeep().drain([7]);
  expect(report().groups).toEqual(groups);
  await until(() => isEven() && isDone());
  await expectWithinGroups();
  expect((await world.segments()).some(({ nodes }) => nodes.includes(7))).toBe(false);
  await expectWhole(files);
}, 60_000);

test('whole segments go to a group that holds much less than its share', async () => {
  const files = await grouped();
  const [first] = report().groups;
  // As if the second group had just been formed of new nodes.
  upkeep().drain(report().groups[1]!);
  await until(() => isEven() && isDone());
  for (const { nodes } of await world.segments()) expect(nodes.every((id) => first!.includes(id))).toBe(true);
  upkeep().drain([]);
  upkeep().balanceNow();
  await until(() => isEven() && isDone());
  const segments = await world.segments();
  const inFirst = segments.filter(({ nodes }) => nodes.every((id) => first!.includes(id))).length;
  expect(inFirst / segments.length).toBeLessThan(0.9);
  expect(inFirst / segments.length).toBeGreaterThan(0.4);
  await expectWithinGroups();
  await expectWhole(files);
}, 60_000);
