/** What a crash may leave, and what not: the rules of docs/durability.md one by one. */
import { describe, expect, it } from 'vitest';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { CrashHistory } from '../../../src/simulator/model/crash-history.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { type Tree, treeOfModel } from '../../../src/simulator/model/tree.ts';

const caller = { uid: 0, gid: 0, pid: 1 };

/** A model under observation, and others that stand for what was found. */
class Case {
  nowMs = 0;
  readonly model = new MemoryFileSystem();
  readonly history = new CrashHistory(this.model, () => this.nowMs);

  file(name: string): number {
    return fileIn(this.model, name);
  }

  write(inode: number, block: number, fill: number, blocks = 1): void {
    writeIn(this.model, inode, block, fill, blocks);
  }

  allows(build: (found: MemoryFileSystem) => void, survivedMs?: number): boolean {
    const found = new MemoryFileSystem();
    build(found);
    const tree: Tree = treeOfModel(found);
    const contents = new Map<number, Uint8Array>();
    for (const { inode, mode } of tree) {
      if ((mode & 0o170000) !== 0o100000) continue;
      const { sizeBytes } = found.getAttributes(inode);
      contents.set(inode, Buffer.concat(found.read(inode, 0, 0, sizeBytes).parts));
    }
    try {
      this.history.check(tree, contents, survivedMs);
      return true;
    } catch {
      return false;
    }
  }
}

function fileIn(model: MemoryFileSystem, name: string): number {
  const { attributes, handle } = model.create(1, name, 0o644, 0, caller);
  model.release(attributes.inode, handle);
  return attributes.inode;
}

function writeIn(model: MemoryFileSystem, inode: number, block: number, fill: number, blocks = 1): void {
  model.write(inode, 0, block * BLOCK_BYTES, [Buffer.alloc(blocks * BLOCK_BYTES, fill)]);
}

describe('names', () => {
  it('are as they were at one moment', () => {
    const one = new Case();
    one.model.makeDirectory(1, 'a', 0o755, caller);
    one.model.makeDirectory(1, 'b', 0o755, caller);
    expect(one.allows(() => undefined)).toBe(true);
    expect(one.allows((found) => found.makeDirectory(1, 'a', 0o755, caller))).toBe(true);
    expect(one.allows((found) => found.makeDirectory(1, 'b', 0o755, caller))).toBe(false);
  });

  it('do not go back behind a sync', () => {
    const one = new Case();
    one.model.makeDirectory(1, 'a', 0o755, caller);
    one.history.synced('names');
    expect(one.allows(() => undefined)).toBe(false);
    expect(one.allows((found) => found.makeDirectory(1, 'a', 0o755, caller))).toBe(true);
  });

  it('survive without a sync when they are old enough', () => {
    const one = new Case();
    one.model.makeDirectory(1, 'a', 0o755, caller);
    one.history.answered();
    expect(one.allows(() => undefined, 0)).toBe(true);
    expect(one.allows(() => undefined, 50)).toBe(false);
  });

  it('are linked to the inodes they should be', () => {
    const one = new Case();
    const inode = one.file('f');
    one.model.link(inode, 1, 'g');
    one.history.synced('all');
    expect(
      one.allows((found) => {
        fileIn(found, 'f');
        fileIn(found, 'g');
      }),
    ).toBe(false);
    expect(one.allows((found) => found.link(fileIn(found, 'f'), 1, 'g'))).toBe(true);
  });
});

describe('a file', () => {
  it('holds a beginning of its writes, down to the block', () => {
    const one = new Case();
    const inode = one.file('f');
    one.history.synced('all');
    one.write(inode, 0, 1, 2);
    one.write(inode, 2, 2);
    const found = (fills: readonly number[]) =>
      one.allows((model) => {
        const file = fileIn(model, 'f');
        for (const [block, fill] of fills.entries()) writeIn(model, file, block, fill);
      });
    expect([[], [1], [1, 1], [1, 1, 2]].map(found)).toEqual([true, true, true, true]);
    expect(
      [
        [0, 0, 2],
        [1, 0],
        [1, 2],
        [1, 1, 2, 0],
      ].map(found),
    ).toEqual([false, false, false, false]);
  });

  it('keeps what was synced', () => {
    const one = new Case();
    const inode = one.file('f');
    one.write(inode, 0, 1);
    one.history.synced(inode);
    one.write(inode, 0, 2);
    const found = (fill: number) => one.allows((model) => writeIn(model, fileIn(model, 'f'), 0, fill));
    expect([1, 2, 3].map(found)).toEqual([true, true, false]);
    expect(one.allows((model) => fileIn(model, 'f'))).toBe(false);
  });

  it('may have a hole before the writes that came first, but no write without the hole before it', () => {
    const one = new Case();
    const inode = one.file('f');
    one.write(inode, 0, 1, 2);
    one.history.synced('all');
    one.write(inode, 0, 2);
    one.model.fallocate(inode, 0, 3, BLOCK_BYTES, BLOCK_BYTES);
    one.write(inode, 0, 3);
    const found = (first: number, second: number) =>
      one.allows((model) => {
        const file = fileIn(model, 'f');
        writeIn(model, file, 0, first);
        writeIn(model, file, 1, second);
      });
    expect([found(1, 1), found(2, 1), found(1, 0), found(2, 0), found(3, 0)]).not.toContain(false);
    expect(found(3, 1)).toBe(false);
  });

  it('that takes the place of another brings its data along', () => {
    const one = new Case();
    const old = one.file('f');
    one.write(old, 0, 1);
    one.history.synced('all');
    const next = one.file('new');
    one.write(next, 0, 2);
    one.model.rename(1, 'new', 1, 'f', 0);
    const found = (fill: number) =>
      one.allows((model) => fill && writeIn(model, fileIn(model, 'f'), 0, fill));
    expect([1, 2].map(found)).toEqual([true, true]);
    expect(one.allows((model) => fileIn(model, 'f'))).toBe(false);
  });

  it('does not survive a change of names that came before its write', () => {
    const one = new Case();
    const inode = one.file('f');
    one.history.synced('all');
    one.model.makeDirectory(1, 'd', 0o755, caller);
    one.write(inode, 0, 1);
    expect(one.allows((model) => writeIn(model, fileIn(model, 'f'), 0, 1))).toBe(false);
    expect(
      one.allows((model) => {
        const file = fileIn(model, 'f');
        model.makeDirectory(1, 'd', 0o755, caller);
        writeIn(model, file, 0, 1);
      }),
    ).toBe(true);
  });
});
