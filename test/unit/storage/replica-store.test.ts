import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ReplicaConflict, ReplicaStore } from '../../../src/cluster/replica-store.ts';
import type { ReplicaOperation } from '../../../src/format/replica-messages.ts';
import { ReplicaService } from '../../../src/storage/replica-service.ts';
import { StorageError } from '../../../src/storage/storage-error.ts';
import { logged, platform, scratchDirectory } from './support.ts';

const open: { close(): Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function openReplica(directory: string): Promise<ReplicaStore> {
  const store = await ReplicaStore.open(platform, { directory });
  open.push(store);
  return store;
}

async function reopen(directory: string): Promise<ReplicaStore> {
  for (const one of open.splice(0)) await one.close();
  return openReplica(directory);
}

const put = (key: string, value: string): ReplicaOperation => ({
  key: Buffer.from(key),
  value: Buffer.from(value),
});
const remove = (key: string): ReplicaOperation => ({ key: Buffer.from(key), value: undefined });

async function format(store: ReplicaStore, ...operations: ReplicaOperation[]): Promise<void> {
  await store.beginInstall();
  await store.installPage(0, operations);
  await store.endInstall(0);
}

async function contents(store: ReplicaStore): Promise<Record<string, string>> {
  const view = store.openView();
  if (view === undefined) return {};
  const found: Record<string, string> = {};
  let after: Uint8Array = Buffer.alloc(0);
  for (let end = false; !end; ) {
    const page = await view.read(after, 30);
    for (const { key, value } of page.operations)
      found[Buffer.from(key).toString()] = Buffer.from(value!).toString();
    after = page.operations.at(-1)?.key ?? after;
    end = page.end;
  }
  await view.close();
  return found;
}

describe('a replica of the metadata state', () => {
  test('applies a checkpoint together with the sequence it stands for, durably', async () => {
    const directory = scratchDirectory();
    let store = await openReplica(directory);
    await format(store, put('a', '1'), put('b', '2'));
    await store.applyCheckpoint(0, 7, [put('a', '3'), remove('b'), put('c', '4')]);
    for (let round = 0; round < 2; round++) {
      expect(store.state).toEqual({ complete: true, appliedSequence: 7 });
      expect(await contents(store)).toEqual({ a: '3', c: '4' });
      expect(store.database.getSync(Buffer.from('c'))?.toString()).toBe('4');
      store = await reopen(directory);
    }
  });

  test('refuses a checkpoint that does not start where it is, and changes nothing', async () => {
    const store = await openReplica(scratchDirectory());
    await expect(store.applyCheckpoint(0, 1, [put('a', '1')])).rejects.toBeInstanceOf(ReplicaConflict);
    await format(store, put('a', '1'));
    await store.applyCheckpoint(0, 5, []);
    for (const from of [0, 4, 6]) {
      await expect(store.applyCheckpoint(from, 9, [put('a', '2')])).rejects.toBeInstanceOf(ReplicaConflict);
    }
    expect(store.state.appliedSequence).toBe(5);
    expect(await contents(store)).toEqual({ a: '1' });
  });

  test('is not complete while a snapshot is being installed, and stays so when that is cut short', async () => {
    const directory = scratchDirectory();
    let store = await openReplica(directory);
    await format(store, put('old', '1'));
    await store.beginInstall();
    await store.installPage(0, [put('new', '1')]);
    await expect(store.installPage(2, [])).rejects.toBeInstanceOf(ReplicaConflict);
    expect(store.state.complete).toBe(false);
    expect(store.openView()).toBeUndefined();
    store = await reopen(directory);
    expect(store.state.complete).toBe(false);
    await expect(store.endInstall(9)).rejects.toBeInstanceOf(ReplicaConflict);
    await store.beginInstall();
    await store.installPage(0, [put('newer', '1')]);
    await store.installPage(1, [put('newest', '2')]);
    await store.endInstall(9);
    expect(store.state).toEqual({ complete: true, appliedSequence: 9 });
    expect(await contents(store)).toEqual({ newer: '1', newest: '2' });
  });

  test('shows one moment in a view while checkpoints go on', async () => {
    const store = await openReplica(scratchDirectory());
    await format(store, put('a', '1'), put('b', '1'), put('c', '1'));
    const view = store.openView()!;
    const first = await view.read(Buffer.alloc(0), 1);
    await store.applyCheckpoint(0, 1, [put('b', '2'), remove('c'), put('d', '2')]);
    const rest = await view.read(first.operations[0]!.key, 10_000);
    expect([...first.operations, ...rest.operations].map(({ key, value }) => `${key}${value}`)).toEqual([
      'a1',
      'b1',
      'c1',
    ]);
    expect(rest.end).toBe(true);
    expect(view.appliedSequence).toBe(0);
    await view.close();
  });

  test('starts over empty when its database is damaged', async () => {
    const directory = scratchDirectory();
    const store = await openReplica(directory);
    await format(store, put('a', '1'));
    for (const one of open.splice(0)) await one.close();
    for (const name of readdirSync(directory)) {
      if (name.startsWith('MANIFEST')) writeFileSync(join(directory, name), 'rotten');
    }
    const again = await openReplica(directory);
    expect(logged.events).toContain('replica-damaged');
    expect(again.state).toEqual({ complete: false, appliedSequence: 0 });
  });
});

describe('the replica of a node', () => {
  async function service(): Promise<ReplicaService> {
    const store = await ReplicaStore.open(platform, { directory: scratchDirectory() });
    await format(store, ...Array.from({ length: 100 }, (_, i) => put(`key${100 + i}`, 'x'.repeat(50))));
    const made = new ReplicaService(platform, store);
    open.push(made);
    return made;
  }

  test('gathers a checkpoint from parts, and drops one whose parts are out of order', async () => {
    const replica = await service();
    const part = (number: number, final: boolean, toSequence = 4) =>
      replica.checkpoint({
        term: 1,
        fromSequence: 0,
        toSequence,
        part: number,
        final,
        operations: [put(`p${number}`, '')],
      });
    await part(0, false);
    await expect(part(2, true)).rejects.toBeInstanceOf(ReplicaConflict);
    await part(0, false);
    await part(1, false);
    await expect(part(2, true, 5)).rejects.toBeInstanceOf(ReplicaConflict);
    await part(2, true);
    expect(replica.state.appliedSequence).toBe(4);
  });

  test('reads a snapshot in pages of one view, which ends with the last page', async () => {
    const replica = await service();
    const keys: string[] = [];
    let viewId = 0;
    let afterKey: Uint8Array = Buffer.alloc(0);
    for (;;) {
      const page = await replica.readSnapshot({ viewId, afterKey, maxBytes: 700 });
      keys.push(...page.operations.map(({ key }) => Buffer.from(key).toString()));
      viewId = page.viewId;
      if (page.end) break;
      expect(page.operations.length).toBeLessThan(20);
      afterKey = page.operations.at(-1)!.key;
    }
    expect(keys).toHaveLength(100);
    expect(new Set(keys).size).toBe(100);
    await expect(replica.readSnapshot({ viewId, afterKey, maxBytes: 700 })).rejects.toBeInstanceOf(
      StorageError,
    );
  });

  test('opens only a few views at once', async () => {
    const replica = await service();
    const read = () => replica.readSnapshot({ viewId: 0, afterKey: Buffer.alloc(0), maxBytes: 700 });
    for (let i = 0; i < 4; i++) await read();
    await expect(read()).rejects.toMatchObject({ refusal: { reason: 'busy' } });
  });
});
