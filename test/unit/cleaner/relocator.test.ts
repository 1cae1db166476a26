import { afterEach, expect, test } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { newBlockMap } from '../../../src/metadata/extent-runs.ts';
import { CheckWorld, caller } from '../fsck/world.ts';

let world: CheckWorld;

afterEach(() => world.close());

/** Bytes of a block that say which version of which block they are. */
function block(version: number, fileBlock: number): Buffer {
  return Buffer.alloc(BLOCK_BYTES, `v${version} b${fileBlock} `);
}

interface File {
  readonly inode: number;
  readonly handle: number;
}

async function create(name: string, blocks: number): Promise<File> {
  const { attributes, handle } = await world.volume!.fileSystem.create(1, name, 0o644, 2, caller);
  const file = { inode: attributes.inode, handle };
  for (let at = 0; at < blocks; at++) await write(file, 1, at);
  world.volume!.writer.seal(true);
  await world.volume!.fileSystem.syncAll();
  return file;
}

async function write({ inode, handle }: File, version: number, fileBlock: number): Promise<void> {
  await world.volume!.fileSystem.write(
    inode,
    handle,
    fileBlock * BLOCK_BYTES,
    [block(version, fileBlock)],
    false,
  );
}

async function expectVersions(file: File, versions: readonly number[]): Promise<void> {
  for (const [at, version] of versions.entries()) {
    const { fileSystem } = world.volume!;
    const result = await fileSystem.read(file.inode, file.handle, at * BLOCK_BYTES, BLOCK_BYTES);
    const found = Buffer.concat(result.parts);
    result.release();
    expect(found.equals(block(version, at)), `block ${at} of version ${version}`).toBe(true);
  }
}

/** Segments that hold blocks of the file, each once. */
function segmentsOf({ inode }: File, blocks: number): number[] {
  const map = newBlockMap(blocks);
  world.metadata.mapBlocks(inode, 0, blocks, map);
  return [...new Set(map.segmentIds)].filter((id) => id !== 0);
}

/** Copies all live blocks of the file's committed segments; they are not committed at their new place yet. */
async function copyAll(file: File, blocks: number): Promise<number[]> {
  const { relocator } = world.volume!;
  const old = segmentsOf(file, blocks).filter((id) => world.metadata.segment(id) !== undefined);
  for (const segmentId of old) expect(await relocator.relocate(segmentId)).toBe('moved');
  return old;
}

async function settled(old: readonly number[]): Promise<void> {
  const { relocator, fileSystem } = world.volume!;
  relocator.flush();
  while (old.some((id) => relocator.isMoving(id))) await world.platform.timers.sleep(2);
  await fileSystem.syncAll();
}

async function expectSound(): Promise<void> {
  await world.volume!.fileSystem.syncAll();
  // What died is freed behind the sync.
  await world.platform.timers.sleep(50);
  expect((await world.check()).findings).toEqual([]);
}

test('live blocks move, and the segments that they leave are freed', async () => {
  world = await CheckWorld.open();
  const file = await create('file', 60);
  const old = await copyAll(file, 60);
  expect(old.length).toBeGreaterThan(0);
  await settled(old);
  const now = segmentsOf(file, 60);
  expect(now.filter((id) => old.includes(id))).toEqual([]);
  for (const id of old) expect(world.metadata.segment(id)).toBeUndefined();
  await expectVersions(file, new Array(60).fill(1));
  await expectSound();
  await world.remount();
  expect(segmentsOf(file, 60)).toEqual(now);
});

test('blocks that are overwritten, cut off or deleted while they are on their way are dropped', async () => {
  world = await CheckWorld.open();
  const { fileSystem, relocator } = world.volume!;
  const file = await create('file', 28);
  const gone = await create('gone', 8);
  const old = [...(await copyAll(file, 28)), ...(await copyAll(gone, 8))];
  // Committed before the copies are, pending while they are, and journaled.
  for (const at of [3, 4, 5]) await write(file, 2, at);
  await fileSystem.syncAll();
  for (const at of [10, 11]) await write(file, 2, at);
  await fileSystem.fsync(file.inode, file.handle, false);
  for (const at of [5, 20]) await write(file, 3, at);
  await fileSystem.setAttributes(file.inode, { sizeBytes: 25 * BLOCK_BYTES }, caller);
  fileSystem.release(gone.inode, gone.handle);
  await fileSystem.unlink(1, 'gone', caller);
  fileSystem.forget(gone.inode, 1);
  await settled(old);
  const versions = new Array(25).fill(1);
  for (const at of [3, 4, 10, 11]) versions[at] = 2;
  for (const at of [5, 20]) versions[at] = 3;
  await expectVersions(file, versions);
  expect(relocator.droppedBlocks).toBeGreaterThanOrEqual(16);
  expect((await fileSystem.getAttributes(file.inode)).sizeBytes).toBe(25 * BLOCK_BYTES);
  await expectSound();
});

test('a write that was on its way before a copy was committed wins over it, also beside journaled ones', async () => {
  world = await CheckWorld.open();
  const { fileSystem } = world.volume!;
  const file = await create('file', 30);
  await fileSystem.syncAll();
  for (let round = 2; round < 8; round++) {
    const old = await copyAll(file, 30);
    for (let at = 0; at < 30; at += 2) await write(file, round, at);
    world.volume!.relocator.flush();
    // A journaled block of a later segment while the earlier one is still on its way.
    world.volume!.writer.seal(true);
    await write(file, round, 1);
    await fileSystem.fsync(file.inode, file.handle, false);
    await settled(old);
    const versions = Array.from({ length: 30 }, (_, at) => (at % 2 === 0 || at === 1 ? round : 1));
    await expectVersions(file, versions);
  }
  await expectSound();
});

test('a crash before the copies are committed leaves everything where it was', async () => {
  world = await CheckWorld.open();
  const file = await create('file', 30);
  const old = await copyAll(file, 30);
  world.volume!.relocator.close();
  await world.remount();
  expect(segmentsOf(file, 30).sort()).toEqual([...old].sort());
  const handle = await world.volume!.fileSystem.open(file.inode, 0, caller);
  await expectVersions({ ...file, handle }, new Array(30).fill(1));
});

test('blocks of a node that is away are rebuilt on their way', async () => {
  world = await CheckWorld.open();
  const file = await create('file', 60);
  const [first] = segmentsOf(file, 60);
  await world.stopNode(world.metadata.segment(first!)!.nodes[0]!);
  const old = await copyAll(file, 60);
  await settled(old);
  await expectVersions(file, new Array(60).fill(1));
  for (const id of segmentsOf(file, 60)) expect(old).not.toContain(id);
});
