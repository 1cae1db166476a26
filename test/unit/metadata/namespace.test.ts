import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ErrnoError } from '../../../src/base/errno.ts';
import type { Entry } from '../../../src/metadata/directory-slots.ts';
import { nameHash } from '../../../src/metadata/directory-table.ts';
import * as namespace from '../../../src/metadata/namespace.ts';
import { rename } from '../../../src/metadata/namespace-rename.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { dump, newDatabase, StateHarness, TIME } from './harness.ts';

const caller = { uid: 0, gid: 0, pid: 1 };
const NAMES = ['a', 'b', 'c', 'd', 'e', 'x'.repeat(255), 'y'.repeat(256), '\u00e4\u00ff'];
const name = fc.constantFrom(...NAMES);
/** Inode numbers are given out alike on both sides. */
const inode = fc.oneof(
  { weight: 3, arbitrary: fc.constant(1) },
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 12 }) },
);
const operation = fc.oneof(
  fc.record({ kind: fc.constant('file' as const), parent: inode, name }),
  fc.record({ kind: fc.constant('directory' as const), parent: inode, name }),
  fc.record({ kind: fc.constant('symlink' as const), parent: inode, name }),
  fc.record({ kind: fc.constant('link' as const), inode, parent: inode, name }),
  fc.record({ kind: fc.constant('unlink' as const), parent: inode, name }),
  fc.record({ kind: fc.constant('rmdir' as const), parent: inode, name }),
  fc.record({
    kind: fc.constant('rename' as const),
    parent: inode,
    name,
    newParent: inode,
    newName: name,
    flags: fc.constantFrom(0, 0, 0, 1, 2, 2, 3, 4),
  }),
  fc.record({ kind: fc.constant('checkpoint' as const) }),
);
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never;

function outcome(run: () => unknown): string {
  try {
    run();
    return 'ok';
  } catch (error) {
    if (error instanceof ErrnoError) return error.code;
    throw error;
  }
}

function applyToState(harness: StateHarness, operation: Operation): void {
  const { state, redo } = harness;
  const made = { uid: 0, gid: 0, rdev: 0, time: TIME };
  switch (operation.kind) {
    case 'file':
      namespace.create(state, redo, operation.parent, operation.name, { ...made, mode: 0o100644 });
      break;
    case 'directory':
      namespace.create(state, redo, operation.parent, operation.name, { ...made, mode: 0o040755 });
      break;
    case 'symlink': {
      const target = Buffer.from('target');
      namespace.create(state, redo, operation.parent, operation.name, { ...made, mode: 0o120777, target });
      break;
    }
    case 'link':
      namespace.link(state, redo, operation.inode, operation.parent, operation.name, TIME);
      break;
    case 'unlink':
      namespace.unlink(state, redo, operation.parent, operation.name, TIME);
      break;
    case 'rmdir':
      namespace.removeDirectory(state, redo, operation.parent, operation.name, TIME);
      break;
    case 'rename': {
      const { parent, newParent, newName, flags } = operation;
      rename(state, redo, {
        oldParent: parent,
        oldName: operation.name,
        newParent,
        newName,
        flags,
        time: TIME,
      });
      break;
    }
    case 'checkpoint':
      break;
  }
}

function applyToModel(model: MemoryFileSystem, operation: Operation): void {
  switch (operation.kind) {
    case 'file':
      model.makeNode(operation.parent, operation.name, 0o100644, 0, caller);
      break;
    case 'directory':
      model.makeDirectory(operation.parent, operation.name, 0o755, caller);
      break;
    case 'symlink':
      model.symbolicLink(operation.parent, operation.name, Buffer.from('target'), caller);
      break;
    case 'link':
      model.link(operation.inode, operation.parent, operation.name);
      break;
    case 'unlink':
      model.unlink(operation.parent, operation.name);
      break;
    case 'rmdir':
      model.removeDirectory(operation.parent, operation.name);
      break;
    case 'rename':
      model.rename(operation.parent, operation.name, operation.newParent, operation.newName, operation.flags);
      break;
    case 'checkpoint':
      break;
  }
}

async function listAll(harness: StateHarness, directory: number, pageSize: number): Promise<Entry[]> {
  const found: Entry[] = [];
  for (let cookie = 0; ; ) {
    const { sizeBytes } = harness.state.inodes.get(directory)!;
    const page = await harness.state.directories.list(directory, cookie, pageSize, sizeBytes);
    found.push(...page);
    if (page.length < pageSize) return found;
    cookie = page[page.length - 1]!.cookie;
  }
}

async function compare(harness: StateHarness, model: MemoryFileSystem): Promise<void> {
  for (let number = 1; number <= 12; number++) {
    const found = harness.state.inodes.get(number);
    const known = outcome(() => model.getAttributes(number)) === 'ok';
    expect(found !== undefined).toBe(known);
    if (found === undefined) continue;
    const attributes = model.getAttributes(number);
    expect([found.mode, found.linkCount]).toEqual([attributes.mode, attributes.linkCount]);
    if ((found.mode & 0o170000) !== 0o040000) continue;
    const names: [string, number][] = [];
    let parent = 0;
    model.readDirectory(number, 0, 0n, false, (entry) => {
      if (entry.name === '..') parent = entry.inode;
      else if (entry.name !== '.') names.push([entry.name, entry.inode]);
      return true;
    });
    const listed = await listAll(harness, number, 2);
    expect(listed.map((each) => [each.name, each.inode]).sort()).toEqual(names.sort());
    expect(found.sizeBytes).toBe(names.length);
    if (found.linkCount > 0) expect(found.parent).toBe(parent);
    for (const [each, target] of names)
      expect(harness.state.directories.find(number, each)!.inode).toBe(target);
  }
}

test.each([
  ['hashes that spread', nameHash(7)],
  ['hashes that all collide', () => 1000],
  ['hashes that collide with neighbours', (text: string) => 1000 + (text.charCodeAt(0) % 3)],
])('names behave as in the reference model with %s', async (_, hash) => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 5, maxLength: 40 }), async (operations) => {
      const harness = await StateHarness.format(hash);
      const model = new MemoryFileSystem(() => TIME);
      let checkpoint: ReturnType<StateHarness['beginCheckpoint']> | undefined;
      for (const each of operations) {
        expect([each, outcome(() => applyToState(harness, each))]).toEqual([
          each,
          outcome(() => applyToModel(model, each)),
        ]);
        if (each.kind !== 'checkpoint') continue;
        // Every other one only begins, so that both overlay generations are in use.
        if (checkpoint === undefined) {
          checkpoint = harness.beginCheckpoint();
        } else {
          await checkpoint.write();
          checkpoint.finish();
          checkpoint = undefined;
        }
        await compare(harness, model);
      }
      await compare(harness, model);
      const base = await newDatabase();
      harness.closeGroup();
      const replayed = await StateHarness.recover(base, 0, harness.groups, hash);
      await compare(replayed, model);
      await base.close();
      await harness.database.close();
    }),
    { numRuns: 40 },
  );
});

test('a listing shows every entry that stays exactly once, while others come and go and checkpoints pass', async () => {
  const harness = await StateHarness.format();
  const { state, redo } = harness;
  const made = { mode: 0o100644, uid: 0, gid: 0, rdev: 0, time: TIME };
  for (let i = 0; i < 3000; i++) namespace.create(state, redo, 1, `stays ${i}`, made);
  await harness.checkpoint();
  for (let i = 0; i < 3000; i++) namespace.create(state, redo, 1, `goes ${i}`, made);
  const seen = new Map<string, number>();
  let checkpoint: ReturnType<StateHarness['beginCheckpoint']> | undefined;
  for (let cookie = 0, page = 0; ; page++) {
    const listing = state.directories.list(1, cookie, 100, state.inodes.get(1)!.sizeBytes);
    // Between the question and its answer.
    for (let i = 0; i < 40 && page * 40 + i < 3000; i++) {
      namespace.unlink(state, redo, 1, `goes ${page * 40 + i}`, TIME);
      namespace.create(state, redo, 1, `comes ${page * 40 + i}`, made);
    }
    if (checkpoint === undefined) {
      checkpoint = harness.beginCheckpoint();
      await checkpoint.write();
    } else {
      checkpoint.finish();
      checkpoint = undefined;
    }
    const entries = await listing;
    for (const entry of entries) seen.set(entry.name, (seen.get(entry.name) ?? 0) + 1);
    if (entries.length < 100) break;
    expect(entries.every((entry, i) => i === 0 || entry.cookie > entries[i - 1]!.cookie)).toBe(true);
    cookie = entries[entries.length - 1]!.cookie;
  }
  for (let i = 0; i < 3000; i++) expect(seen.get(`stays ${i}`)).toBe(1);
  expect([...seen.values()].every((times) => times === 1)).toBe(true);
  await harness.database.close();
});

test('cookies of colliding names stay when other names go', async () => {
  const harness = await StateHarness.format(() => 77);
  const { state, redo } = harness;
  const made = { mode: 0o100644, uid: 0, gid: 0, rdev: 0, time: TIME };
  for (const each of ['one', 'two', 'three']) namespace.create(state, redo, 1, each, made);
  const before = await listAll(harness, 1, 10);
  namespace.unlink(state, redo, 1, 'one', TIME);
  namespace.unlink(state, redo, 1, 'two', TIME);
  await harness.checkpoint();
  const again = await StateHarness.recover(harness.database, harness.sequence, [], () => 77);
  expect(again.state.directories.find(1, 'three')).toEqual(before.find((each) => each.name === 'three'));
  expect(again.state.directories.find(1, 'one')).toBeUndefined();
  expect((await dump(harness.database)).size).toBeGreaterThan(0);
  await harness.database.close();
});

/** What holds in every consistent tree. */
async function checkTree(harness: StateHarness): Promise<void> {
  const { state } = harness;
  const named = new Map<number, number>();
  const subdirectories = new Map<number, number>();
  for (let number = 1; number < state.nextInode; number++) {
    const directory = state.inodes.get(number);
    if (directory === undefined || (directory.mode & 0o170000) !== 0o040000) continue;
    const entries = await listAll(harness, number, 3);
    expect(entries).toHaveLength(directory.sizeBytes);
    for (const entry of entries) {
      const target = state.inodes.get(entry.inode);
      expect(target!.mode & 0o170000).toBe(entry.type);
      named.set(entry.inode, (named.get(entry.inode) ?? 0) + 1);
      if (entry.type !== 0o040000) continue;
      subdirectories.set(number, (subdirectories.get(number) ?? 0) + 1);
      expect(target!.parent).toBe(number);
    }
  }
  for (let number = 2; number < state.nextInode; number++) {
    const inode = state.inodes.get(number)!;
    const names = named.get(number) ?? 0;
    expect(state.orphans.has(number)).toBe(names === 0);
    const isDirectory = (inode.mode & 0o170000) === 0o040000;
    const links = isDirectory && names > 0 ? 2 + (subdirectories.get(number) ?? 0) : names;
    expect(inode.linkCount).toBe(links);
  }
}

test('every prefix of the journal gives a consistent tree', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(operation, { minLength: 10, maxLength: 30 }), async (operations) => {
      const harness = await StateHarness.format();
      for (const each of operations) {
        outcome(() => applyToState(harness, each));
        harness.closeGroup();
      }
      const base = await newDatabase();
      for (let length = 1; length <= harness.groups.length; length++) {
        await checkTree(await StateHarness.recover(base, 0, harness.groups.slice(0, length)));
      }
      await base.close();
      await harness.database.close();
    }),
    { numRuns: 15 },
  );
});
