import { afterEach, expect, test } from 'vitest';
import { MIB } from '../../../src/base/units.ts';
import { copiesOf } from '../../../src/log/fragment-holders.ts';
import { CheckWorld } from '../fsck/world.ts';

const LENGTH_BYTES = 140_000;
/** Whatever is read a few times is hot, and forgotten at once. */
const EAGER = { windowSeconds: 1, readsPerDay: 1000, busyBytesPerSecond: 1 };
let world: CheckWorld;

afterEach(() => world.close());

const upkeep = () => world.volume!.upkeep;
const report = () => upkeep().copies();

/** A volume of so many nodes with segments of 2+1, and a file of one segment. */
async function filled(nodes = 6, capacityBytes = 24 * MIB): Promise<number> {
  world = await CheckWorld.open(capacityBytes, nodes);
  const inode = await world.writeFile('hot', LENGTH_BYTES);
  await world.volume!.fileSystem.syncAll();
  return inode;
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await world.platform.timers.sleep(10);
}

async function read(inode: number): Promise<void> {
  const bytes = await world.readFile(inode, LENGTH_BYTES);
  expect(bytes.subarray(0, 6).toString()).toBe('hot 0 ');
  expect(bytes.subarray(-65_536 / 2).includes('hot 131072 ')).toBe(true);
}

/** Reads it until the segment has copies of both of its data fragments. */
async function copied(inode: number) {
  upkeep().changeCopies(EAGER);
  await until(async () => {
    await read(inode);
    return report().copies === 2;
  });
  const [segment] = await world.segments();
  return segment!;
}

async function expectSound(): Promise<void> {
  const { findings } = await world.check({ data: true });
  expect(findings.filter(({ kind }) => kind !== 'node-unreachable')).toEqual([]);
}

const heldOn = (nodeId: number, segmentId: number) =>
  world.nodes
    .get(nodeId)!
    .fragments.describe({ segmentId, position: 0 })
    .then(
      () => true,
      () => false,
    );

test('a segment that is read a lot gets a copy of each data fragment on new nodes, which share the reads', async () => {
  const inode = await filled();
  const segment = await copied(inode);
  const holders = [...segment.nodes, ...copiesOf(segment).map(({ nodeId }) => nodeId)];
  expect(new Set(holders).size).toBe(5);
  expect(copiesOf(segment).map(({ position }) => position)).toEqual([0, 1]);
  expect(upkeep().explainCopies(segment.segmentId)).toMatchObject({ verdict: 'keep', reason: 'pays' });
  await expectSound();
  const bytesOf = (nodeId: number) => world.volume!.reader.use!.node(nodeId).readBytes;
  const before = holders.map(bytesOf);
  for (let times = 0; times < 20; times++) await read(inode);
  const [own0, own1, parity, copy0, copy1] = holders.map((nodeId, at) => bytesOf(nodeId) - before[at]!);
  expect(parity).toBe(0);
  expect(copy0).toBeGreaterThan(own0! / 2);
  expect(copy1).toBeGreaterThan(own1! / 2);
});

test('nothing is copied by the usual policy when a file is read a few times', async () => {
  const inode = await filled();
  for (let times = 0; times < 20; times++) await read(inode);
  const [segment] = await world.segments();
  expect(upkeep().explainCopies(segment!.segmentId)).toMatchObject({
    verdict: 'none',
    reason: 'load-is-light',
  });
  expect(report()).toMatchObject({ enabled: true, copies: 0, made: 0 });
});

test('copies that nobody reads any more are dropped, and their room comes back', async () => {
  const segment = await copied(await filled());
  const [copy] = copiesOf(segment);
  expect(await heldOn(copy!.nodeId, segment.segmentId)).toBe(true);
  await until(() => report().copies === 0);
  await until(async () => !(await heldOn(copy!.nodeId, segment.segmentId)));
  expect((await world.segments())[0]!.copies).toBeUndefined();
  await expectSound();
});

test('switched off, copies go at once and none are made, also after a restart', async () => {
  const inode = await filled();
  await copied(inode);
  upkeep().changeCopies({ enabled: false });
  await until(() => report().copies === 0);
  await world.remount();
  expect(report()).toMatchObject({
    enabled: false,
    state: 'off',
    ...{ windowSeconds: 1, readsPerDay: 1000 },
  });
  for (let times = 0; times < 20; times++) await read(inode);
  expect(report().made).toBe(0);
  await expectSound();
});

test('copies outlive a restart, and what is not known to be read yet is not given up', async () => {
  const inode = await filled();
  await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  await world.remount();
  await until(() => report().copies === 2);
  await read(inode);
  await expectSound();
});

test('a lost fragment is replaced by its copy, without rebuilding', async () => {
  const inode = await filled();
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  await world.stopNode(segment.nodes[0]!);
  await read(inode);
  upkeep().healNow();
  await until(() => upkeep().heal().degradedSegments === 0);
  const [healed] = await world.segments();
  expect(healed!.nodes[0]).toBe(copiesOf(segment)[0]!.nodeId);
  expect(healed!.generation).toBe(segment.generation);
  expect(world.volume!.reader.statistics().blocksRebuilt).toBe(0);
  await read(inode);
  await expectSound();
});

test('a copy that is damaged is dropped when it is met, and one on a node that is given up', async () => {
  const inode = await filled();
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  const [first, second] = copiesOf(segment);
  await world.corrupt(first!.nodeId, segment.segmentId, 0);
  upkeep().scrubNow();
  await until(() => !upkeep().scrub().underWay);
  await until(async () => copiesOf((await world.segments())[0]!).length === 1);
  await world.stopNode(second!.nodeId);
  upkeep().healNow();
  await until(() => report().copies === 0);
  await read(inode);
  await expectSound();
});

test('a draining node gives up its copies', async () => {
  const inode = await filled();
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  const { nodeId } = copiesOf(segment)[0]!;
  upkeep().drain([nodeId]);
  await until(() => upkeep().balance().draining[0]!.bytesLeft === 0);
  expect(copiesOf((await world.segments())[0]!).some((copy) => copy.nodeId === nodeId)).toBe(false);
  await expectSound();
});

test('a fragment leaves a draining node by naming its copy', async () => {
  const inode = await filled();
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  upkeep().drain([segment.nodes[1]!]);
  await until(() => upkeep().balance().draining[0]!.bytesLeft === 0);
  const [moved] = await world.segments();
  expect(moved!.nodes[1]).toBe(copiesOf(segment)[1]!.nodeId);
  await read(inode);
  await expectSound();
});

test('a copy makes way for a fragment that has no other node to go to', async () => {
  const inode = await filled(5);
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  upkeep().drain([segment.nodes[2]!]);
  await until(() => upkeep().balance().draining[0]!.bytesLeft === 0);
  const [moved] = await world.segments();
  expect(copiesOf(segment).map(({ nodeId }) => nodeId)).toContain(moved!.nodes[2]);
  expect(moved!.generation).toBe(segment.generation);
  expect(copiesOf(moved!)).toHaveLength(1);
  await read(inode);
  await expectSound();
});

test('a segment that is laid out anew has no copies any more', async () => {
  const inode = await filled(5);
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  // Too few are left for its width: every fragment has to go somewhere else.
  upkeep().drain(segment.nodes);
  await until(() => upkeep().balance().bytesLeft === 0);
  const [made] = await world.segments();
  expect(copiesOf(made!)).toEqual([]);
  await read(inode);
  await expectSound();
});

test('a file that is deleted takes its copies along', async () => {
  const inode = await filled();
  const segment = await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  const { fileSystem } = world.volume!;
  await fileSystem.unlink(1, 'hot', { uid: 0, gid: 0, pid: 1 });
  fileSystem.forget(inode, 1);
  await fileSystem.syncAll();
  await until(() => report().copies === 0);
  const [copy] = copiesOf(segment);
  await until(async () => !(await heldOn(copy!.nodeId, segment.segmentId)));
  await expectSound();
});

test('copies count as room, and writers get it', async () => {
  const inode = await filled(5, 3 * MIB);
  const { fileSystem } = world.volume!;
  const before = await fileSystem.statistics();
  await copied(inode);
  upkeep().changeCopies({ windowSeconds: 600 });
  expect(report().copies).toBe(2);
  const after = await fileSystem.statistics();
  expect(Math.abs(after.availableBlocks - before.availableBlocks)).toBeLessThan(8);
  let written = 0;
  const fill = async (): Promise<void> => {
    for (; written < 1000; written++) {
      await world.writeFile(`more ${written}`, 100_000);
      await fileSystem.syncAll();
    }
  };
  await expect(fill()).rejects.toMatchObject({ message: 'ENOSPC' });
  expect(written).toBeGreaterThan(20);
  await until(() => report().copies === 0);
  await read(inode);
});
