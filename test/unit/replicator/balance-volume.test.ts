import { afterEach, expect, test } from 'vitest';
import { MIB } from '../../../src/base/units.ts';
import { CheckWorld } from '../fsck/world.ts';

const LENGTH_BYTES = 1_000_000;
let world: CheckWorld;

afterEach(() => world.close());

function contents(name: string): Buffer {
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < LENGTH_BYTES; offset += 64 * 1024) {
    pieces.push(Buffer.alloc(Math.min(64 * 1024, LENGTH_BYTES - offset), `${name} ${offset} `));
  }
  return Buffer.concat(pieces);
}

/** A volume of so many nodes with segments of 2+1, and files in it. */
async function filled(
  nodes: number,
  names: readonly string[] = ['one', 'two'],
): Promise<Map<string, number>> {
  world = await CheckWorld.open(24 * MIB, nodes);
  const files = new Map<string, number>();
  for (const name of names) files.set(name, await world.writeFile(name, LENGTH_BYTES));
  await world.volume!.fileSystem.syncAll();
  return files;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(10);
}

const upkeep = () => world.volume!.upkeep;
const report = () => upkeep().balance();
const isIdle = () => report().state === 'idle' && report().reason === undefined;

const segmentsOn = async (nodeId: number) =>
  (await world.segments()).filter(({ nodes }) => nodes.includes(nodeId));

async function expectReadable(files: ReadonlyMap<string, number>): Promise<void> {
  for (const [name, inode] of files) {
    expect((await world.readFile(inode, LENGTH_BYTES)).equals(contents(name))).toBe(true);
  }
}

async function expectSound(): Promise<void> {
  const { findings } = await world.check({ data: true });
  expect(findings.filter(({ kind }) => kind !== 'node-unreachable')).toEqual([]);
}

test('a draining node is emptied by moving its fragments as they are, and gets nothing new', async () => {
  const files = await filled(4);
  const before = new Map((await world.segments()).map((each) => [each.segmentId, each]));
  const onIt = (await segmentsOn(2)).length;
  expect(onIt).toBeGreaterThan(0);
  upkeep().drain([2]);
  await until(isIdle);
  expect(await segmentsOn(2)).toEqual([]);
  expect(report()).toMatchObject({ draining: [{ id: 2, bytesLeft: 0, journal: false }], bytesLeft: 0 });
  expect(report().moved).toBeGreaterThan(0);
  for (const record of await world.segments()) {
    const old = before.get(record.segmentId)!;
    expect(record.generation).toBe(old.generation);
    expect(record.nodes.filter((id, position) => id !== old.nodes[position])).toHaveLength(
      old.nodes.includes(2) ? 1 : 0,
    );
  }
  files.set('three', await world.writeFile('three', LENGTH_BYTES));
  await world.volume!.fileSystem.syncAll();
  expect(await segmentsOn(2)).toEqual([]);
  await expectSound();
  await world.stopNode(2);
  await world.stopNode(4);
  await expectReadable(files);
});

test('where no spare node is left, a drain makes segments narrower with full parity; undone, they become wide again', async () => {
  const files = await filled(3);
  upkeep().drain([3]);
  await until(isIdle);
  for (const { nodes, dataFragments, parityFragments } of await world.segments()) {
    expect([...nodes].sort()).toEqual([1, 2]);
    expect([dataFragments, parityFragments]).toEqual([1, 1]);
  }
  await expectSound();
  upkeep().drain([]);
  upkeep().balanceNow();
  await until(isIdle);
  for (const { nodes, dataFragments } of await world.segments()) {
    expect([...nodes].sort()).toEqual([1, 2, 3]);
    expect(dataFragments).toBe(2);
  }
  await expectSound();
  await world.stopNode(1);
  await expectReadable(files);
});

test('what lies on a draining node that is away or damaged is rebuilt from the others', async () => {
  const files = await filled(4);
  for (const { segmentId, nodes } of await segmentsOn(1)) {
    await world.corrupt(1, segmentId, nodes.indexOf(1));
  }
  upkeep().drain([1]);
  await until(isIdle);
  expect(await segmentsOn(1)).toEqual([]);
  await expectSound();
  expect((await segmentsOn(3)).length).toBeGreaterThan(0);
  await world.stopNode(3);
  upkeep().drain([3]);
  await until(() => report().bytesLeft === 0);
  expect(await segmentsOn(3)).toEqual([]);
  await expectReadable(files);
});

test('a drain that would leave too few nodes for full parity is blocked, and nothing is lost', async () => {
  const files = await filled(3);
  upkeep().drain([2, 3]);
  expect(report().state).toBe('blocked');
  expect(report().reason).toContain('full parity needs 2');
  files.set('three', await world.writeFile('three', LENGTH_BYTES));
  await world.volume!.fileSystem.syncAll();
  await expectReadable(files);
  upkeep().drain([3]);
  await until(isIdle);
  expect(await segmentsOn(3)).toEqual([]);
  await expectSound();
});

test('which nodes are draining, a pause and a limit hold over a restart', async () => {
  await filled(4);
  upkeep().changeBalancing({ paused: true, limitBytesPerSecond: 40_000_000 });
  upkeep().drain([4]);
  await world.remount();
  await until(() => world.volume!.upkeep.heal().inventoryDone);
  expect(report()).toMatchObject({ state: 'paused', paused: true, limitBytesPerSecond: 40_000_000 });
  expect((await segmentsOn(4)).length).toBeGreaterThan(0);
  upkeep().changeBalancing({ paused: false });
  await until(isIdle);
  expect(await segmentsOn(4)).toEqual([]);
  expect(report().draining).toEqual([{ id: 4, bytesLeft: 0, journal: false }]);
});

test('a node that joins gets its share and no more is moved than that', async () => {
  const files = await filled(4, ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight']);
  const held = (id: number) => world.nodes.get(id)!.fragments.statistics().usedBytes;
  const before = [1, 2, 3, 4].map(held);
  const even = before.reduce((sum, bytes) => sum + bytes, 0) / 5;
  const needed = before.reduce((sum, bytes) => sum + Math.max(0, bytes - even), 0);
  await world.startNode(5);
  upkeep().balanceNow();
  await until(() => report().moved > 0);
  await until(isIdle);
  expect(report().moved / needed).toBeGreaterThan(0.8);
  expect(report().moved / needed).toBeLessThan(1.05);
  const { moved } = report();
  upkeep().balanceNow();
  await world.platform.timers.sleep(100);
  expect(report().moved).toBe(moved);
  await expectSound();
  await world.stopNode(2);
  await expectReadable(files);
});

test('a node that holds something is not released; an empty one gets nothing any more, whatever happens, also after a restart', async () => {
  const files = await filled(4);
  expect(await upkeep().release(2)).toMatchObject({ kind: 'holds' });
  expect(report().draining).toEqual([]);
  upkeep().drain([2]);
  await until(isIdle);
  expect(report().draining).toEqual([{ id: 2, bytesLeft: 0, journal: false }]);
  expect(await upkeep().release(2)).toBeUndefined();
  // Without these, too few are left for full parity but for the one that was released.
  await world.remount();
  await until(() => world.volume!.upkeep.heal().inventoryDone);
  await world.stopNode(3);
  await world.stopNode(4);
  const late = world.writeFile('late', LENGTH_BYTES);
  await world.platform.timers.sleep(300);
  await world.startNode(3);
  files.set('late', await late);
  await world.volume!.fileSystem.syncAll();
  expect(await segmentsOn(2)).toEqual([]);
  await world.removeNode(2);
  await world.startNode(4);
  await until(isIdle);
  expect(report()).toMatchObject({ draining: [], bytesLeft: 0 });
  await expectReadable(files);
  await expectSound();
});

test('a node that is lost can be released once everything was rebuilt elsewhere', async () => {
  const files = await filled(4);
  await world.stopNode(1);
  expect(await upkeep().release(1)).toMatchObject({ kind: 'holds' });
  upkeep().healNow();
  await until(() => upkeep().releaseObstacle(1) === undefined);
  expect(await upkeep().release(1)).toBeUndefined();
  await world.removeNode(1);
  await until(isIdle);
  await expectReadable(files);
  await expectSound();
});

test('files that are written and deleted while fragments move stay what they are', async () => {
  const files = await filled(4, ['one', 'two', 'three']);
  upkeep().drain([1]);
  for (let round = 0; !isIdle() || round < 3; round++) {
    const name = `late ${round}`;
    files.set(name, await world.writeFile(name, LENGTH_BYTES));
    if (round === 0) {
      await world.volume!.fileSystem.unlink(1, 'two', { uid: 0, gid: 0, pid: 1 });
      files.delete('two');
    }
    await world.volume!.fileSystem.syncAll();
    if (round === 10) break;
  }
  await until(isIdle);
  expect(await segmentsOn(1)).toEqual([]);
  await expectReadable(files);
  await expectSound();
});
