/** What is reserved: who may use it, what shows of it, and what gives it back. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import * as ranges from '../../../src/base/block-ranges.ts';
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import { patterned, readAll, root, World } from './harness.ts';

const KEEP_SIZE = 1;
const PUNCH = 3;
const ZERO = 17;
const noSpace = expect.objectContaining({ code: 'ENOSPC' });
const BLOCKS = MIB / BLOCK_BYTES;

class Bed {
  readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  static async open(freeBytes: number): Promise<Bed> {
    const world = await World.open();
    world.writer.freeBytes = freeBytes;
    return new Bed(world);
  }

  async file(name: string) {
    const { attributes, handle } = await this.world.fileSystem.create(1, name, 0o644, 0, root);
    const { inode } = attributes;
    const { world } = this;
    return {
      inode,
      handle,
      write: (offset: number, length: number) =>
        world.fileSystem.write(inode, handle, offset, [patterned(length, 1)], false),
      allocate: async (mode: number, offset: number, length: number) =>
        world.fileSystem.fallocate(inode, handle, mode, offset, length),
      truncate: async (sizeBytes: number) => world.fileSystem.setAttributes(inode, { sizeBytes }, root),
      blocks: async () => ((await world.fileSystem.getAttributes(inode)).blocks512 * 512) / BLOCK_BYTES,
    };
  }

  async free(): Promise<number> {
    return (await this.world.fileSystem.statistics()).freeBlocks;
  }
}

describe('what a file has reserved', () => {
  it('nobody else gets, not with credit from before and not while waiting for the log', async () => {
    const bed = await Bed.open(200 * MIB);
    const [mine, other] = [await bed.file('mine'), await bed.file('other')];
    await other.write(0, MIB);
    const free = await bed.free();
    await mine.allocate(0, 0, (free - 4) * BLOCK_BYTES);
    expect(await bed.free()).toBe(4);
    expect(() => other.write(MIB, 8 * BLOCK_BYTES)).toThrow(noSpace);
    await other.write(MIB, 2 * BLOCK_BYTES);
    await mine.write(0, MIB);
    await bed.world.close();
  });

  it('is refused as a whole when there is no room for it, and what there is stays free', async () => {
    const bed = await Bed.open(8 * MIB);
    const file = await bed.file('f');
    await file.write(0, 5 * BLOCK_BYTES);
    const free = await bed.free();
    await expect(file.allocate(0, 0, 200 * MIB)).rejects.toEqual(noSpace);
    await expect(file.allocate(KEEP_SIZE, 0, 9 * MIB)).rejects.toEqual(noSpace);
    expect(await bed.free()).toBe(free);
    expect(await file.blocks()).toBe(5);
    // What is there already is not asked for again.
    await file.allocate(KEEP_SIZE, 0, (free + 5) * BLOCK_BYTES);
    expect(await bed.free()).toBe(0);
    await bed.world.close();
  });

  it('counts as blocks of the file once, written or not, and reads as zeros', async () => {
    const bed = await Bed.open(64 * MIB);
    const { fileSystem } = bed.world;
    const file = await bed.file('f');
    await file.allocate(0, 0, MIB);
    expect(await file.blocks()).toBe(BLOCKS);
    await file.write(10 * BLOCK_BYTES, 3 * BLOCK_BYTES);
    expect(await file.blocks()).toBe(BLOCKS);
    await fileSystem.syncAll();
    expect(await file.blocks()).toBe(BLOCKS);
    expect(bed.world.metadata.inode(file.inode)).toMatchObject({
      mappedBlocks: 3,
      reservedBlocks: BLOCKS - 3,
    });
    expect((await readAll(fileSystem, file.inode, file.handle, 0, BLOCK_BYTES)).every((b) => b === 0)).toBe(
      true,
    );
    expect(await fileSystem.seek(file.inode, file.handle, 0, 3)).toBe(10 * BLOCK_BYTES);
    expect(await fileSystem.seek(file.inode, file.handle, 10 * BLOCK_BYTES, 4)).toBe(13 * BLOCK_BYTES);
    await file.write(0, MIB);
    await fileSystem.syncAll();
    expect(bed.world.metadata.reservation(file.inode)).toEqual([]);
    await bed.world.close();
  });

  it('goes with a hole, a truncation to the same size, and the file', async () => {
    const bed = await Bed.open(64 * MIB);
    const { fileSystem } = bed.world;
    const file = await bed.file('f');
    await file.write(0, 4 * BLOCK_BYTES);
    await fileSystem.syncAll();
    const free = await bed.free();
    await file.allocate(KEEP_SIZE, 0, MIB);
    expect(await bed.free()).toBe(free - BLOCKS + 4);
    await file.allocate(PUNCH, 100 * BLOCK_BYTES - 1, 2 * BLOCK_BYTES + 2);
    expect(await file.blocks()).toBe(BLOCKS - 2);
    // Zeroed blocks are reserved instead of written.
    await file.allocate(ZERO, 0, 2 * BLOCK_BYTES);
    expect(await file.blocks()).toBe(BLOCKS - 2);
    expect(bed.world.metadata.inode(file.inode)).toMatchObject({ mappedBlocks: 2 });
    await file.truncate(4 * BLOCK_BYTES);
    expect(await file.blocks()).toBe(4);
    await file.allocate(KEEP_SIZE, 0, MIB);
    await fileSystem.unlink(1, 'f', root);
    await fileSystem.release(file.inode, file.handle);
    fileSystem.forget(file.inode, 1);
    expect(bed.world.metadata.totals().reservedBlocks).toBe(0);
    await bed.world.close();
  });

  it('survives a crash once it is synced', async () => {
    const bed = await Bed.open(64 * MIB);
    const file = await bed.file('f');
    await file.allocate(KEEP_SIZE, MIB, 5 * MIB);
    await bed.world.fileSystem.fsync(file.inode, file.handle, false);
    await bed.world.crash();
    const found = (await bed.world.fileSystem.lookup(1, 'f', root))!;
    expect(found).toMatchObject({ sizeBytes: 0, blocks512: (5 * MIB) / 512 });
    await bed.world.close();
  });

  it('is reserved in steps where a large file has blocks', async () => {
    const bed = await Bed.open(400 * MIB);
    const file = await bed.file('f');
    await file.write(0, BLOCK_BYTES);
    await file.write(150 * MIB, BLOCK_BYTES);
    await bed.world.fileSystem.syncAll();
    const free = await bed.free();
    await file.allocate(KEEP_SIZE, 0, 200 * MIB);
    expect(await bed.free()).toBe(free - 200 * BLOCKS + 2);
    await file.allocate(ZERO, 0, 200 * MIB);
    expect(await file.blocks()).toBe(200 * BLOCKS);
    expect(await bed.free()).toBe(free - 200 * BLOCKS);
    await file.allocate(PUNCH, 0, 190 * MIB);
    expect(await file.blocks()).toBe(10 * BLOCKS);
    await bed.world.close();
  });
});

test('ranges of blocks are sets', () => {
  const step = fc.tuple(fc.boolean(), fc.nat(40), fc.integer({ min: 1, max: 12 }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.nat(40), fc.nat(20), (steps, from, length) => {
      let found: ranges.BlockRanges = ranges.NO_RANGES;
      const set = new Set<number>();
      for (const [adds, first, count] of steps) {
        found = adds
          ? ranges.added(found, first, first + count)
          : ranges.removed(found, first, first + count);
        for (let block = first; block < first + count; block++)
          if (adds) set.add(block);
          else set.delete(block);
      }
      const all = Array.from({ length: 60 }, (_, block) => block);
      expect(all.filter((block) => ranges.hasBlock(found, block))).toEqual(
        all.filter((block) => set.has(block)),
      );
      for (let i = 0; i < found.length; i += 2) {
        expect(found[i]).toBeLessThan(found[i + 1]!);
        if (i > 0) expect(found[i]).toBeGreaterThan(found[i - 1]!);
      }
      expect(ranges.blockCount(found)).toBe(set.size);
      const inside = all.filter((block) => block >= from && block < from + length);
      const count = (part: ranges.BlockRanges) => ranges.blockCount(part);
      const wanted = inside.filter((block) => set.has(block)).length;
      expect(count(ranges.within(found, from, from + length))).toBe(wanted);
      expect(count(ranges.outside(found, from, from + length))).toBe(inside.length - wanted);
    }),
  );
});
