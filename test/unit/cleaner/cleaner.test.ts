import { afterEach, expect, test } from 'vitest';
import { Prng } from '../../../src/base/prng.ts';
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import { CheckWorld, caller } from '../fsck/world.ts';

let world: CheckWorld;

afterEach(() => world.close());

const MOST_BLOCKS = 8;

function pattern(version: number, firstBlock: number, count: number): Buffer {
  const bytes = Buffer.alloc(count * BLOCK_BYTES);
  for (let at = 0; at < count; at++) {
    bytes.fill(`v${version} b${firstBlock + at} `, at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES);
  }
  return bytes;
}

/** A file and what its blocks should hold. */
class Tracked {
  readonly versions: number[] = [];
  inode = 0;
  handle = 0;
  #version = 0;

  async create(name: string): Promise<this> {
    const made = await world.volume!.fileSystem.create(1, name, 0o644, 2, caller);
    this.inode = made.attributes.inode;
    this.handle = made.handle;
    return this;
  }

  async write(firstBlock: number, count: number): Promise<void> {
    const version = this.#version + 1;
    const bytes = pattern(version, firstBlock, count);
    await world.volume!.fileSystem.write(this.inode, this.handle, firstBlock * BLOCK_BYTES, [bytes], false);
    this.#version = version;
    for (let at = firstBlock; at < firstBlock + count; at++) this.versions[at] = version;
  }

  async fill(blocks: number): Promise<void> {
    for (let at = 0; at < blocks; at += MOST_BLOCKS) await this.write(at, Math.min(MOST_BLOCKS, blocks - at));
  }

  async sync(): Promise<void> {
    await world.volume!.fileSystem.fsync(this.inode, this.handle, false);
  }

  async verify(): Promise<void> {
    const { fileSystem } = world.volume!;
    for (let at = 0; at < this.versions.length; at++) {
      const result = await fileSystem.read(this.inode, this.handle, at * BLOCK_BYTES, BLOCK_BYTES);
      const found = Buffer.concat(result.parts);
      result.release();
      if (!found.equals(pattern(this.versions[at]!, at, 1))) {
        throw new Error(`block ${at} is not version ${this.versions[at]}: ${found.subarray(0, 16)}`);
      }
    }
  }

  async remove(name: string): Promise<void> {
    const { fileSystem } = world.volume!;
    fileSystem.release(this.inode, this.handle);
    await fileSystem.unlink(1, name, caller);
    fileSystem.forget(this.inode, 1);
  }
}

const freeBlocks = async () => (await world.volume!.fileSystem.statistics()).freeBlocks;

/** Everything that was written is committed, and what died is freed. */
async function atRest(): Promise<void> {
  await world.volume!.fileSystem.syncAll();
  for (let free = -1; free !== (await freeBlocks()); ) {
    free = await freeBlocks();
    await world.platform.timers.sleep(100);
  }
}

test('a volume that is mostly full goes on being overwritten at random, many times its size', async () => {
  world = await CheckWorld.open(6 * MIB, 3);
  const { fileSystem, cleaner } = world.volume!;
  const { totalBlocks } = await fileSystem.statistics();
  const file = await new Tracked().create('file');
  const blocks = Math.floor(totalBlocks * 0.85);
  await file.fill(blocks);
  await atRest();
  const before = await freeBlocks();
  const dice = Prng.named(1, 2);
  for (let written = 0, step = 0; written < 3 * totalBlocks; step++) {
    const count = 1 + (dice.next() % MOST_BLOCKS);
    await file.write(dice.next() % (blocks - count), count);
    written += count;
    if (step % 50 === 0) await file.sync();
  }
  await atRest();
  expect(cleaner.statistics().cleanedSegments).toBeGreaterThan(20);
  // What overwriting took is back but for the ends of segments.
  expect(Math.abs((await freeBlocks()) - before)).toBeLessThan(totalBlocks * 0.05);
  await file.verify();
  expect((await world.check()).findings).toEqual([]);
});

test('a full volume says ENOSPC to what is added, takes what is overwritten, and gives back what is deleted', async () => {
  world = await CheckWorld.open(6 * MIB, 3);
  const { fileSystem } = world.volume!;
  const { totalBlocks, freeBlocks: atFirst } = await fileSystem.statistics();
  const files: Tracked[] = [];
  let refused: unknown;
  while (refused === undefined && files.length * 100 < 2 * totalBlocks) {
    const file = await new Tracked().create(`file-${files.length}`);
    files.push(file);
    try {
      await file.fill(100);
      await file.sync();
    } catch (error) {
      refused = error;
    }
  }
  expect(refused).toMatchObject({ code: 'ENOSPC' });
  await atRest();
  const stored = files.reduce((sum, { versions }) => sum + versions.length, 0);
  expect(stored).toBeGreaterThan(0.9 * totalBlocks);
  expect(stored).toBeLessThanOrEqual(totalBlocks);
  const dice = Prng.named(3, 4);
  for (let step = 0; step < totalBlocks / 4; step++) {
    await files[dice.next() % (files.length - 1)]!.write(dice.next() % 92, 1 + (dice.next() % MOST_BLOCKS));
  }
  await fileSystem.syncAll();
  for (const file of files) await file.verify();
  expect((await world.check()).findings).toEqual([]);
  for (const [index, file] of files.entries()) await file.remove(`file-${index}`);
  await atRest();
  // On a busy machine nodes may take longer to free than it takes to look twice.
  await expect.poll(freeBlocks, { timeout: 120_000 }).toBeGreaterThan(0.95 * atFirst);
  await (await new Tracked().create('again')).fill(Math.floor(totalBlocks / 2));
  await fileSystem.syncAll();
});

test('segments that were closed almost empty are put together again', async () => {
  world = await CheckWorld.open(6 * MIB, 3);
  const { fileSystem, writer } = world.volume!;
  const { totalBlocks } = await fileSystem.statistics();
  const file = await new Tracked().create('file');
  // Each takes the room of several blocks.
  for (let at = 0; at < totalBlocks * 0.6; at++) {
    await file.write(at, 1);
    writer.seal(true);
  }
  await atRest();
  await file.verify();
  expect(await freeBlocks()).toBeGreaterThan(0.3 * totalBlocks);
});

test('the room of a node that is away is not to be had, and not used', async () => {
  world = await CheckWorld.open(6 * MIB, 4);
  const { fileSystem } = world.volume!;
  const file = await new Tracked().create('file');
  await file.fill(200);
  await atRest();
  const before = await fileSystem.statistics();
  expect(before.availableBlocks).toBe(before.freeBlocks);
  const usedBefore = before.totalBlocks - before.freeBlocks;
  await world.stopNode(2);
  await expect.poll(() => world.volume!.links.links.get(2)?.state, { timeout: 60_000 }).toBe('down');
  const away = await fileSystem.statistics();
  expect(away.totalBlocks).toBe(before.totalBlocks);
  expect(away.availableBlocks).toBeLessThan(0.9 * before.availableBlocks);
  const used = away.totalBlocks - away.freeBlocks;
  // Room is counted in whole segments.
  expect(Math.abs(used - usedBefore)).toBeLessThan(0.1 * usedBefore);
});
