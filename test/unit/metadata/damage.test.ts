import { cpSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { inodeKey } from '../../../src/format/metadata-keys.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import { TestCluster } from './cluster.ts';

let cluster: TestCluster;
const managers: PrimaryManager[] = [];
const TIME = { seconds: 1_700_000_000, nanoseconds: 1 };
const FILE = { mode: 0o100644, uid: 1, gid: 1, rdev: 0, time: TIME };
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

beforeEach(async () => {
  cluster = await TestCluster.start(3);
});

afterEach(async () => {
  for (const manager of managers.splice(0)) await manager.close();
  await cluster.remove();
});

async function open(options: Parameters<TestCluster['open']>[0] = {}): Promise<PrimaryManager> {
  const manager = await cluster.open(options);
  managers.push(manager);
  return manager;
}

/** A volume whose mount and nodes were killed with six names in the journal, one an entry. Returns the entry of the first. */
async function killedVolume(): Promise<number> {
  const manager = await open();
  let first = 0;
  for (const name of NAMES) {
    manager.create(1, name, FILE);
    await manager.sync();
    first ||= manager.ensemble[0]!.durableSequence;
  }
  cpSync(`${cluster.directory}/mount`, `${cluster.directory}/after`, { recursive: true });
  rmSync(`${cluster.directory}/after/LOCK`, { force: true });
  const nodes = [...cluster.links.values()];
  for (const node of nodes) {
    node.cut();
    cpSync(`${cluster.directory}/node-${node.id}`, `${cluster.directory}/kept-${node.id}`, {
      recursive: true,
    });
  }
  await managers.pop()!.close();
  for (const { id } of nodes) {
    await cluster.node(id).stop();
    rmSync(`${cluster.directory}/node-${id}`, { recursive: true });
    cpSync(`${cluster.directory}/kept-${id}`, `${cluster.directory}/node-${id}`, { recursive: true });
    rmSync(`${cluster.directory}/node-${id}/replica/LOCK`, { force: true });
  }
  return first;
}

async function start(...ids: number[]): Promise<void> {
  for (const id of ids) await cluster.node(id).start();
}

const after = { directory: 'after', waitMs: 1500 };

function expectAll(manager: PrimaryManager): void {
  expect(NAMES.map((name) => manager.lookup(1, name) !== undefined)).toEqual(NAMES.map(() => true));
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 10_000) expect.fail('it did not come to that');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const journalStates = () => [...cluster.links.values()].map(({ journal }) => journal.state());

test('a damaged entry is read from another member, and written again where it was damaged', async () => {
  const first = await killedVolume();
  cluster.node(2).damage(first + 2);
  await start(1, 2, 3);
  expect(cluster.node(2).journal.state()).toMatchObject({
    damagedSequence: first + 2,
    endSequence: first + 5,
  });
  const manager = await open(after);
  expectAll(manager);
  expect(manager.ensemble.map(({ nodeId }) => nodeId).sort()).toEqual([1, 2, 3]);
  for (const state of journalStates())
    expect(state).toMatchObject({ damagedSequence: 0, lastSequence: first + 5 });
});

test('members that are damaged at different entries hold the whole log together', async () => {
  const first = await killedVolume();
  cluster.node(1).damage(first + 1);
  cluster.node(2).damage(first + 2);
  cluster.node(3).damage(first + 3);
  await start(1, 2, 3);
  const manager = await open(after);
  expectAll(manager);
  for (const state of journalStates())
    expect(state).toMatchObject({ damagedSequence: 0, lastSequence: first + 5 });
});

test('an entry that is damaged everywhere is named, and nothing is cut', async () => {
  const first = await killedVolume();
  for (const id of [1, 2, 3]) cluster.node(id).damage(first + 2);
  await start(1, 2, 3);
  await expect(open(after)).rejects.toThrow(`journal entry ${first + 2} cannot be read from nodes 1, 2, 3`);
  for (const state of journalStates())
    expect(state).toMatchObject({ damagedSequence: first + 2, endSequence: first + 5 });
});

test('a member with a damaged last entry does not shorten the log, neither alone nor among others', async () => {
  const first = await killedVolume();
  cluster.node(1).damage(first + 5);
  await start(1);
  await expect(open(after)).rejects.toThrow(
    'the journal of node 1 ends in an entry that cannot be read, which nodes 2, 3 may hold',
  );
  await start(3);
  const manager = await open(after);
  expectAll(manager);
});

test('a last entry that nobody can read was a write cut short', async () => {
  const first = await killedVolume();
  for (const id of [1, 2, 3]) cluster.node(id).damage(first + 5);
  await start(1, 2, 3);
  const manager = await open(after);
  expect(NAMES.map((name) => manager.lookup(1, name) !== undefined)).toEqual([
    true,
    true,
    true,
    true,
    true,
    false,
  ]);
});

test('a member that lost its disk is not taken for an empty log, and is filled again', async () => {
  await killedVolume();
  await cluster.node(1).wipe();
  await start(1);
  await expect(open(after)).rejects.toThrow(
    'the journal of node 1 is lost, and nodes 2, 3 cannot be reached',
  );
  // Its promise of the term does not make it a member.
  await expect(open(after)).rejects.toThrow('the journal of node 1 is lost');
  await start(2);
  const manager = await open(after);
  expectAll(manager);
  await until(() => manager.ensemble.some(({ nodeId }) => nodeId === 1));
  const state = cluster.node(1).journal.state();
  expect(state.blank).toBe(false);
  expect(state.lastSequence).toBe(cluster.node(2).journal.state().lastSequence);
});

test('a young volume whose mount and replicas are lost is made again from the journal', async () => {
  await killedVolume();
  for (const id of [1, 2, 3]) rmSync(`${cluster.directory}/node-${id}/replica`, { recursive: true });
  await start(1, 2, 3);
  expectAll(await open({ directory: 'elsewhere', waitMs: 1500 }));
});

test('a member that lost its disk and came back is filled again although nobody writes', async () => {
  const manager = await open();
  manager.create(1, 'a', FILE);
  await manager.sync();
  await cluster.node(2).wipe();
  await start(2);
  await until(() => !cluster.node(2).journal.state().blank && cluster.node(2).replica.state.complete);
  await until(() => manager.ensemble.length === 3);
});

test('a member that goes away is replaced although nobody writes', async () => {
  await cluster.add(4);
  const manager = await open();
  const lost = manager.ensemble[0]!.nodeId;
  await cluster.node(lost).kill();
  await until(() => manager.ensemble.length === 3 && manager.ensemble.every(({ nodeId }) => nodeId !== lost));
});

test('a replica that was lost is filled again although nobody writes', async () => {
  const manager = await open();
  manager.create(1, 'a', FILE);
  await managers.pop()!.close();
  const again = await open();
  await cluster.node(3).kill();
  rmSync(`${cluster.directory}/node-3/replica`, { recursive: true });
  await start(3);
  expect(cluster.node(3).replica.state.complete).toBe(false);
  await until(() => cluster.node(3).replica.state.complete);
  expect(again.lookup(1, 'a')).toBeDefined();
});

test('all members but one may die in turn', async () => {
  const manager = await open();
  manager.create(1, 'a', FILE);
  await manager.sync();
  for (const id of [1, 2]) {
    await cluster.node(id).kill();
    manager.create(1, `without ${id}`, FILE);
    await manager.sync();
  }
  expect(manager.ensemble.map(({ nodeId }) => nodeId)).toEqual([3]);
  await start(1, 2);
  await until(() => manager.ensemble.length === 3);
  manager.create(1, 'all back', FILE);
  await manager.sync();
  await managers.pop()!.close();
  for (const id of [2, 3]) await cluster.node(id).kill();
  const alone = await open({ directory: 'elsewhere' });
  for (const name of ['a', 'without 1', 'without 2', 'all back']) expect(alone.lookup(1, name)).toBeDefined();
});

/** Changes bytes of the file's inode in the database, behind its checksum. */
async function rot(directory: string, inode: number): Promise<void> {
  const database = await cluster.platform.databases.open(directory);
  const key = Buffer.from(inodeKey(inode), 'latin1');
  const value = database.getSync(key)!;
  value[value.length - 1]! ^= 1;
  await database.batch([{ type: 'put', key, value }], { sync: true } as object);
  await database.close();
}

test('an own view with a damaged record is not used any more, and copied from a member whose copy is sound', async () => {
  const manager = await open();
  const { inode } = manager.create(1, 'a', FILE);
  await managers.pop()!.close();
  await rot(`${cluster.directory}/mount`, inode);
  await cluster.node(1).kill();
  await rot(`${cluster.directory}/node-1/replica`, inode);
  await start(1);
  const damaged = await open();
  expect(() => damaged.inode(inode)).toThrow('damaged');
  expect(damaged.trouble).toBeInstanceOf(MetadataUnavailable);
  await managers.pop()!.close();
  const again = await open();
  expect(again.inode(inode)).toMatchObject({ inode, mode: FILE.mode });
  // The member whose copy was found damaged gets a sound one.
  await until(() => cluster.log.events.includes('replica-refilled'));
  await managers.pop()!.close();
  for (const id of [2, 3]) await cluster.node(id).kill();
  const fromIt = await open({ directory: 'elsewhere' });
  expect(fromIt.inode(inode)).toMatchObject({ inode, mode: FILE.mode });
});
