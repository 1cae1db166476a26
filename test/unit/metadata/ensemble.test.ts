import { cpSync, rmSync } from 'node:fs';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { CoordinatorUnavailable, coordinatorKeys } from '../../../src/cluster/coordinator.ts';
import { DrainingNodes } from '../../../src/cluster/draining-nodes.ts';
import { decodeManagerRecord } from '../../../src/cluster/node-record.ts';
import { rpcMethods, rpcStatus } from '../../../src/cluster/rpc.ts';
import type { PrimaryManager } from '../../../src/metadata/manager.ts';
import { Deposed, MetadataUnavailable } from '../../../src/metadata/metadata.ts';
import { TestCluster } from './cluster.ts';

let cluster: TestCluster;
const managers: PrimaryManager[] = [];
const TIME = { seconds: 1_700_000_000, nanoseconds: 1 };
const FILE = { mode: 0o100644, uid: 1, gid: 1, rdev: 0, time: TIME };

beforeEach(async () => {
  cluster = await TestCluster.start(5);
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

function create(manager: PrimaryManager, ...names: string[]): void {
  for (const name of names) manager.create(1, name, FILE);
}

const members = (manager: PrimaryManager) => manager.ensemble.map((each) => each.nodeId);

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; !condition(); i++) {
    if (i > 10_000) expect.fail('it did not come to that');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function recordedMembers(): Promise<readonly number[]> {
  return decodeManagerRecord((await cluster.coordinator.get(coordinatorKeys.manager))!.value)!.members;
}

/** As if the mount were killed now: its own view as it lies on the disk, under another name. */
function crashedView(name: string): string {
  cpSync(`${cluster.directory}/mount`, `${cluster.directory}/${name}`, { recursive: true });
  rmSync(`${cluster.directory}/${name}/LOCK`, { force: true });
  return name;
}

test('a new volume has a root that belongs to who mounted it, and three journal members', async () => {
  const manager = await open();
  expect(manager.inode(1)).toMatchObject({ mode: 0o40755, uid: 1000, linkCount: 2, parent: 1 });
  expect(members(manager)).toHaveLength(3);
  expect(await recordedMembers()).toEqual(members(manager));
  expect(manager.totals()).toEqual({
    ...{ inodes: 1, mappedBlocks: 0, reservedBlocks: 0, segments: 0, segmentBlocks: 0 },
  });
});

test('two parity fragments and more take an ensemble that survives as many losses', async () => {
  const manager = await open({ parityFragments: 3 });
  expect(members(manager)).toHaveLength(4);
});

test('what was closed in order is there again without a replay', async () => {
  const first = await open();
  create(first, 'one', 'two');
  await managers.pop()!.close();
  const again = await open();
  expect(again.lookup(1, 'one')).toBe(2);
  expect(again.term).toBeGreaterThan(first.term);
  expect(again.ensemble.every((each) => each.durableSequence > 0)).toBe(true);
});

test('what was synced survives a crash, and the primary that was taken over can do nothing more', async () => {
  const old = await open({ deaf: true });
  create(old, 'synced');
  await old.sync();
  const manager = await open({ directory: crashedView('after-crash') });
  expect(manager.lookup(1, 'synced')).toBe(2);
  create(old, 'too late');
  await expect(old.sync()).rejects.toThrow(MetadataUnavailable);
  expect(() => create(old, 'even later')).toThrow(MetadataUnavailable);
  create(manager, 'goes on');
  await manager.sync();
  expect(manager.lookup(1, 'too late')).toBeUndefined();
});

test('what is hastened becomes durable although nobody waits, and holds up nothing that is waited for', async () => {
  const manager = await open({ deaf: true });
  const durable = () => Math.min(...manager.ensemble.map((each) => each.durableSequence));
  const before = durable();
  const awake = vi.spyOn(cluster.platform.timers, 'waitAwake');
  create(manager, 'one');
  manager.hasten();
  expect(awake).toHaveBeenLastCalledWith(true);
  create(manager, 'two');
  manager.hasten();
  create(manager, 'three');
  await manager.sync();
  // The second waited for company, and the third did not wait for the first to be answered.
  expect(durable()).toBe(before + 2);
  create(manager, 'four');
  manager.hasten();
  await until(() => durable() === before + 3);
  expect(awake).toHaveBeenLastCalledWith(false);
  const again = await open({ directory: crashedView('after-crash') });
  expect(again.lookup(1, 'four')).toBe(5);
});

test('a primary that was frozen hears that it was deposed without being asked for anything, and tells nothing outdated', async () => {
  // One is told by the coordinator, one by the nodes.
  for (const deaf of [false, true]) {
    const old = await open({ directory: `old ${deaf}`, deaf });
    const inode = old.create(1, `of ${deaf}`, FILE).inode;
    await old.sync();
    const manager = await open({ directory: `new ${deaf}` });
    manager.unlink(1, `of ${deaf}`, TIME);
    await manager.sync();
    await until(() => old.trouble instanceof Deposed);
    expect(() => old.lookup(1, `of ${deaf}`)).toThrow(Deposed);
    expect(() => old.inode(inode)).toThrow(Deposed);
    expect(() => old.list(1, 0n, 10)).toThrow(Deposed);
    await expect(old.sync()).rejects.toThrow(Deposed);
    expect(manager.lookup(1, `of ${deaf}`)).toBeUndefined();
  }
});

test('a killed member is dropped and replaced while syncs go on, and the replacement alone holds everything', async () => {
  const manager = await open();
  create(manager, 'before');
  await manager.sync();
  const [lost, ...kept] = members(manager);
  await cluster.node(lost!).kill();
  create(manager, 'during');
  await manager.sync();
  await until(() => members(manager).length === 3);
  expect(members(manager)).not.toContain(lost);
  create(manager, 'after');
  await manager.sync();
  const replacement = members(manager).find((id) => !kept.includes(id))!;
  for (const id of kept) await cluster.node(id).kill();
  await managers.pop()!.close();
  const alone = await open({ directory: 'elsewhere' });
  for (const name of ['before', 'during', 'after']) expect(alone.lookup(1, name)).toBeDefined();
  expect(await recordedMembers()).toContain(replacement);
});

test('a member on a node that is to be emptied is let go once another has everything, while syncs go on', async () => {
  const draining = new DrainingNodes();
  const manager = await open({ draining });
  create(manager, 'before');
  await manager.sync();
  const [leaver, ...kept] = members(manager);
  draining.replace({ draining: [leaver!], released: [] });
  for (let round = 0; members(manager).includes(leaver!); round++) {
    create(manager, `during ${round}`);
    await manager.sync();
    expect(await recordedMembers()).toEqual(expect.arrayContaining(kept));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  expect(members(manager)).toHaveLength(3);
  create(manager, 'after');
  await manager.sync();
  // Nobody needs it, and it is not taken back for one that is lost.
  await cluster.node(leaver!).kill();
  await cluster.node(leaver!).start();
  await cluster.node(kept[0]!).kill();
  await until(() => members(manager).length === 3 && !members(manager).includes(kept[0]!));
  expect(members(manager)).not.toContain(leaver);
  await cluster.node(kept[1]!).kill();
  await managers.pop()!.close();
  const alone = await open({ directory: 'elsewhere' });
  for (const name of ['before', 'during 0', 'after']) expect(alone.lookup(1, name)).toBeDefined();
});

test('nobody is let go while those that stay would be too few for the parity, and whoever stays after all is a member again', async () => {
  const draining = new DrainingNodes();
  const manager = await open({ draining });
  draining.replace({ draining: [1, 2, 3, 4], released: [] });
  create(manager, 'one');
  await manager.sync();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(members(manager)).toHaveLength(3);
  draining.replace({ draining: [1, 2, 3], released: [] });
  await until(() => members(manager).every((id) => id > 3));
  expect(members(manager)).toHaveLength(2);
  draining.replace({ draining: [], released: [] });
  await until(() => members(manager).length === 3);
});

test('a member that does not answer any more delays a sync by little over a second', async () => {
  const manager = await open();
  const [frozen] = members(manager);
  cluster.node(frozen!).freeze();
  create(manager, 'delayed');
  await manager.sync();
  expect(members(manager)).not.toContain(frozen);
  cluster.node(frozen!).thaw();
  await until(() => members(manager).length === 3);
});

test('a member that cannot store is dropped', async () => {
  const manager = await open();
  const [full] = members(manager);
  cluster.node(full!).refuse.set(rpcMethods.journalAppend, rpcStatus.full);
  create(manager, 'a');
  await manager.sync();
  expect(members(manager)).not.toContain(full);
});

test('without any member calls fail after a while, and everything goes on when one is back', async () => {
  const manager = await open();
  create(manager, 'kept');
  await manager.sync();
  const ids = members(manager);
  for (const node of cluster.links.values()) node.cut();
  create(manager, 'waits');
  await expect(manager.sync()).rejects.toThrow(MetadataUnavailable);
  expect(manager.trouble).toBeInstanceOf(MetadataUnavailable);
  cluster.node(ids[1]!).reconnect();
  await until(() => manager.trouble === undefined);
  await manager.sync();
  expect(members(manager)).toEqual([ids[1]]);
  const elsewhere = await open({ directory: 'elsewhere' });
  expect(elsewhere.lookup(1, 'waits')).toBeDefined();
});

test('while the coordinator is away a lost member makes calls wait, and none fails', async () => {
  const manager = await open();
  const ids = members(manager);
  const outage = vi.spyOn(cluster.coordinator, 'get').mockRejectedValue(new CoordinatorUnavailable('away'));
  cluster.node(ids[0]!).cut();
  create(manager, 'waits');
  let settled = false;
  const synced = manager.sync().finally(() => {
    settled = true;
  });
  // Longer than a loss of nodes would be waited for.
  await new Promise((resolve) => setTimeout(resolve, 4000));
  expect(manager.trouble).toBeUndefined();
  expect(settled).toBe(false);
  outage.mockRestore();
  await synced;
  expect(members(manager)).not.toContain(ids[0]);
});

test('a coordinator that was away leaves the whole time for a change that takes long then', async () => {
  const manager = await open();
  const [first, second] = members(manager);
  const { get } = cluster.coordinator;
  // As a supervisor that is frozen: the call is answered when it goes on, not refused.
  const outage = vi.spyOn(cluster.coordinator, 'get').mockImplementationOnce(async (key) => {
    await new Promise((resolve) => setTimeout(resolve, 2600));
    return get.call(cluster.coordinator, key);
  });
  cluster.node(first!).cut();
  create(manager, 'waits');
  const synced = manager.sync();
  await until(() => outage.mock.calls.length > 0);
  // Its time-out of a second takes the change beyond the three seconds since it began.
  cluster.node(second!).ignore.add(rpcMethods.journalFence);
  await synced;
  expect(members(manager)).not.toContain(second);
});

test('time in which the primary was stopped itself does not count as waiting for members', async () => {
  const manager = await open();
  const [first, second, third] = members(manager);
  const appended = new Promise<void>((resolve) => {
    cluster.node(second!).onCall = (method) => {
      if (method === rpcMethods.journalAppend) resolve();
    };
  });
  cluster.node(second!).ignore.add(rpcMethods.journalAppend);
  // The change begins at once, and waits for the append that nobody answers.
  cluster.node(first!).cut();
  create(manager, 'waits');
  const synced = manager.sync();
  await appended;
  await new Promise((resolve) => setTimeout(resolve, 50));
  const answering = cluster.node(third!);
  const serve = answering.serve.bind(answering);
  vi.spyOn(answering, 'serve').mockImplementation(async (method, body) => {
    await new Promise((resolve) => setImmediate(resolve));
    return serve(method, body);
  });
  // As SIGSTOP does: all timers are due at once afterwards, before anybody's answer is read.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 3200);
  await synced;
  for (const lost of [first, second]) expect(members(manager)).not.toContain(lost);
});

test('a primary whose members are all lost goes on with nodes that held nothing', async () => {
  const manager = await open();
  create(manager, 'before');
  await manager.sync();
  const lost = members(manager);
  for (const id of lost) cluster.node(id).cut();
  create(manager, 'after');
  await manager.sync();
  await until(() => members(manager).length === 2);
  expect(members(manager).filter((id) => lost.includes(id))).toEqual([]);
  const elsewhere = await open({ directory: 'elsewhere' });
  for (const name of ['before', 'after']) expect(elsewhere.lookup(1, name)).toBeDefined();
});

test('an own view that is lost is copied from a member, journal entries on top', async () => {
  const old = await open();
  create(old, 'checkpointed');
  await managers.pop()!.close();
  const next = await open();
  create(next, 'journaled');
  await next.sync();
  rmSync(`${cluster.directory}/elsewhere`, { recursive: true, force: true });
  const manager = await open({ directory: 'elsewhere' });
  expect(manager.lookup(1, 'checkpointed')).toBeDefined();
  expect(manager.lookup(1, 'journaled')).toBeDefined();
  expect(cluster.log.events).toContain('metadata-fetched');
});

test('an entry that was never committed does not come back with the member that alone had it', async () => {
  const old = await open();
  create(old, 'committed');
  await old.sync();
  const [ahead, ...others] = members(old);
  const committed = cluster.node(ahead!).journal.state().lastSequence;
  for (const id of others) cluster.node(id).ignore.add(rpcMethods.journalAppend);
  create(old, 'never committed');
  old.sync().catch(() => undefined); // it is taken over before it notices
  await until(() => cluster.node(ahead!).journal.state().lastSequence > committed);
  cluster.node(ahead!).cut();
  for (const id of others) cluster.node(id).ignore.clear();
  const manager = await open({ directory: 'elsewhere' });
  expect(manager.lookup(1, 'never committed')).toBeUndefined();
  create(manager, 'new');
  await manager.sync();
  cluster.node(ahead!).reconnect();
  for (const id of [4, 5]) cluster.node(id).cut();
  await until(() => members(manager).includes(ahead!));
  await managers.pop()!.close();
  for (const id of others) await cluster.node(id).kill();
  const last = await open({ directory: 'third' });
  expect(last.lookup(1, 'new')).toBeDefined();
  expect(last.lookup(1, 'never committed')).toBeUndefined();
});

test('a member that turns up with entries of nobody else is cut to the log that was adopted, and not counted before it has the new ones', async () => {
  const old = await open();
  create(old, 'committed');
  await old.sync();
  const [ahead, ...others] = members(old);
  const longer = cluster.node(ahead!);
  const committed = longer.journal.state().lastSequence;
  for (const id of others) cluster.node(id).ignore.add(rpcMethods.journalAppend);
  create(old, 'never committed');
  old.sync().catch(() => undefined); // it is taken over before it notices
  await until(() => longer.journal.state().lastSequence > committed);
  for (const id of others) cluster.node(id).ignore.clear();
  // It misses the fencing, so another log is adopted, and is there again when the ensemble is formed.
  longer.refuse.set(rpcMethods.journalFence, rpcStatus.ioError);
  cluster.node(others[0]!).onCall = (method) => {
    if (method === rpcMethods.checkpointState) longer.refuse.clear();
  };
  const manager = await open({ directory: 'elsewhere' });
  expect(members(manager)).toContain(ahead);
  expect(manager.lookup(1, 'never committed')).toBeUndefined();
  expect(longer.journal.state().lastSequence).toBe(committed);
  longer.ignore.add(rpcMethods.journalAppend);
  create(manager, 'acknowledged');
  let synced = false;
  const syncing = manager.sync().then(() => {
    synced = true;
  });
  await until(() => others.every((id) => cluster.node(id).journal.state().lastSequence > committed));
  expect(synced).toBe(false);
  longer.ignore.clear();
  await syncing;
  for (const id of members(manager)) {
    expect(cluster.node(id).journal.state().lastSequence).toBeGreaterThan(committed);
  }
});

test('a checkpoint lets go of the journal, and a crash right after it loses nothing', async () => {
  const manager = await open();
  for (let i = 0; i < 500; i++) create(manager, `file ${i}`);
  await manager.sync();
  await managers.pop()!.close();
  const [id] = members(manager);
  const { firstSequence, lastSequence } = cluster.node(id!).journal.state();
  expect(firstSequence).toBe(lastSequence + 1);
  const again = await open({ directory: crashedView('copy') });
  expect(again.totals().inodes).toBe(501);
  expect(again.lookup(1, 'file 499')).toBeDefined();
});

test('what an opening replayed is checkpointed, though nobody changes anything', async () => {
  const old = await open();
  create(old, 'file');
  await old.sync();
  const manager = await open({ directory: crashedView('crashed') });
  const { journal } = cluster.node(members(manager)[0]!);
  await vi.waitFor(
    () => {
      const { firstSequence, lastSequence } = journal.state();
      expect(firstSequence).toBe(lastSequence + 1);
    },
    { timeout: 10_000 },
  );
});

test('a member whose replica is lost gets a snapshot with the next checkpoint', async () => {
  const manager = await open();
  create(manager, 'a');
  await managers.pop()!.close();
  const [id] = members(manager);
  await cluster.node(id!).kill();
  rmSync(`${cluster.directory}/node-${id}/replica`, { recursive: true });
  await cluster.node(id!).start();
  expect(cluster.node(id!).replica.state.complete).toBe(false);
  const again = await open();
  expect(members(again)).toContain(id);
  create(again, 'b');
  await managers.pop()!.close();
  expect(cluster.node(id!).replica.state.complete).toBe(true);
  for (const other of members(again)) if (other !== id) await cluster.node(other).kill();
  const alone = await open({ directory: 'elsewhere' });
  expect(alone.lookup(1, 'b')).toBeDefined();
});

test('a member whose replica cannot be written keeps its journal, and can bring back the state alone', async () => {
  const manager = await open();
  create(manager, 'a');
  await manager.sync();
  const [, second] = members(manager);
  const { refuse } = cluster.node(second!);
  refuse.set(rpcMethods.checkpointApply, rpcStatus.ioError);
  await managers.pop()!.close();
  refuse.clear();
  expect(cluster.node(second!).journal.state()).toMatchObject({ firstSequence: 1 });
  for (const other of members(manager)) if (other !== second) await cluster.node(other).kill();
  const alone = await open({ directory: 'elsewhere' });
  expect(alone.lookup(1, 'a')).toBeDefined();
});

test('members that crashed with the checkpoint applied by some of them are brought level', async () => {
  const manager = await open();
  create(manager, 'a');
  await manager.sync();
  const [, second] = members(manager);
  crashedView('before-checkpoint');
  cluster.node(second!).refuse.set(rpcMethods.checkpointApply, rpcStatus.ioError);
  await managers.pop()!.close();
  cluster.node(second!).refuse.clear();
  const again = await open({ directory: 'before-checkpoint' });
  expect(again.lookup(1, 'a')).toBeDefined();
  create(again, 'b');
  await managers.pop()!.close();
  const states = members(again).map((id) => cluster.node(id).replica.state);
  expect(new Set(states.map((state) => state.appliedSequence)).size).toBe(1);
  expect(states.every((state) => state.complete)).toBe(true);
});

test('of two mounts that open at once one wins and the other cannot commit', async () => {
  const opened = await Promise.allSettled([open({ directory: 'a' }), open({ directory: 'b' })]);
  const synced: PrimaryManager[] = [];
  for (const each of opened) {
    if (each.status === 'rejected') continue;
    create(each.value, 'mine');
    await each.value.sync().then(
      () => synced.push(each.value),
      () => undefined,
    );
  }
  expect(synced).toHaveLength(1);
});

test('opening without any node says so', async () => {
  for (const node of cluster.links.values()) node.cut();
  await expect(open({ waitMs: 100 })).rejects.toThrow(MetadataUnavailable);
});

test('a primary does not append over a connection that was made anew before it has asked who reigns', async () => {
  const old = await open({ deaf: true });
  create(old, 'before');
  await old.sync();
  const ids = members(old);
  const [forgetful, ...others] = ids;
  const manager = await open({ directory: 'elsewhere' });
  create(manager, 'acknowledged');
  await manager.sync();
  // A node that lost what it promised, as far as the old primary can tell: it is back where that one knew it.
  const node = cluster.node(forgetful!);
  const appended: number[] = [];
  node.cut();
  node.reconnect();
  for (const id of [forgetful!, ...others]) {
    cluster.node(id).onCall = (method) => {
      if (method === rpcMethods.journalAppend) appended.push(id);
    };
  }
  const commitMore = async () => {
    create(old, 'too late');
    await old.sync();
  };
  await expect(commitMore()).rejects.toThrow(Deposed);
  expect(appended).not.toContain(forgetful);
});

test('nodes that hold a journal are not formatted because the coordinator knows of none', async () => {
  const manager = await open();
  create(manager, 'kept');
  await managers.pop()!.close();
  const entry = (await cluster.coordinator.get(coordinatorKeys.manager))!;
  await cluster.coordinator.delete(coordinatorKeys.manager);
  await expect(open({ directory: 'elsewhere' })).rejects.toThrow('hold a journal of this volume');
  await cluster.coordinator.delete(coordinatorKeys.manager);
  await cluster.coordinator.put(coordinatorKeys.manager, entry.value);
  expect((await open({ directory: 'third' })).lookup(1, 'kept')).toBeDefined();
});
