/** The model itself, where a mistake in it would hide others' mistakes. */
import { expect, it } from 'vitest';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';

const caller = { uid: 1, gid: 2, pid: 3 };

function ticking() {
  let seconds = 0;
  return new MemoryFileSystem(() => ({ seconds: ++seconds, nanoseconds: 0 }));
}

function file(model: MemoryFileSystem, name: string, parent = 1): number {
  const { attributes, handle } = model.create(parent, name, 0o644, 0, caller);
  model.release(attributes.inode, handle);
  return attributes.inode;
}

it('counts links of directories by their subdirectories, through moves and exchanges', () => {
  const model = new MemoryFileSystem();
  const a = model.makeDirectory(1, 'a', 0o755, caller).inode;
  const b = model.makeDirectory(1, 'b', 0o755, caller).inode;
  const sub = model.makeDirectory(a, 'sub', 0o755, caller).inode;
  const links = () => [1, a, b, sub].map((inode) => model.getAttributes(inode).linkCount);
  expect(links()).toEqual([4, 3, 2, 2]);
  model.rename(a, 'sub', b, 'sub', 0);
  expect(links()).toEqual([4, 2, 3, 2]);
  file(model, 'f', a);
  model.rename(a, 'f', b, 'sub', 2);
  expect(links()).toEqual([4, 3, 2, 2]);
  model.rename(1, 'b', a, 'b', 0);
  expect(links()).toEqual([3, 4, 2, 2]);
});

it('refuses to move a directory below itself, in each way', () => {
  const model = new MemoryFileSystem();
  const a = model.makeDirectory(1, 'a', 0o755, caller).inode;
  const b = model.makeDirectory(a, 'b', 0o755, caller).inode;
  expect(() => model.rename(1, 'a', b, 'x', 0)).toThrow('EINVAL');
  expect(() => model.rename(a, 'b', 1, 'a', 2)).toThrow('EINVAL');
  expect(() => model.rename(1, 'a', a, 'b', 2)).toThrow('EINVAL');
  expect(() => model.rename(a, 'b', 1, 'a', 0)).toThrow('ENOTEMPTY');
});

it('keeps an inode without names as long as somebody knows or holds it', () => {
  const model = new MemoryFileSystem();
  const { attributes, handle } = model.create(1, 'f', 0o644, 0, caller);
  const { inode } = attributes;
  model.write(inode, handle, 0, [Buffer.from('x')]);
  model.unlink(1, 'f');
  model.forget(inode, 1);
  expect(model.read(inode, handle, 0, 10).lengthBytes).toBe(1);
  model.release(inode, handle);
  expect(() => model.getAttributes(inode)).toThrow('ESTALE');
  expect(model.inodeCount).toBe(1);
});

it('does nothing when both names are of one inode', () => {
  const model = ticking();
  const inode = file(model, 'f');
  model.link(inode, 1, 'g');
  const before = model.getAttributes(1);
  model.rename(1, 'f', 1, 'g', 0);
  expect(model.getAttributes(1)).toEqual(before);
  expect(model.lookup(1, 'f')?.linkCount).toBe(2);
});

it('changes times as POSIX says', () => {
  const model = ticking();
  const inode = file(model, 'f');
  const made = model.getAttributes(inode);
  model.link(inode, 1, 'g');
  const linked = model.getAttributes(inode);
  expect(linked.ctimeSeconds).toBeGreaterThan(made.ctimeSeconds);
  expect(linked.mtimeSeconds).toBe(made.mtimeSeconds);
  model.write(inode, 0, 0, [Buffer.from('x')]);
  const written = model.getAttributes(inode);
  expect(written.mtimeSeconds).toBeGreaterThan(linked.ctimeSeconds);
  expect(written.ctimeSeconds).toBe(written.mtimeSeconds);
  model.setAttributes(inode, { mtime: { seconds: 5, nanoseconds: 6 } });
  const touched = model.getAttributes(inode);
  expect([touched.mtimeSeconds, touched.mtimeNanoseconds]).toEqual([5, 6]);
  expect(touched.ctimeSeconds).toBeGreaterThan(written.ctimeSeconds);
});

it('finds data and holes by 4 KiB blocks', () => {
  const model = new MemoryFileSystem();
  const inode = file(model, 'f');
  model.write(inode, 0, 10_000, [Buffer.alloc(10)]);
  model.setAttributes(inode, { sizeBytes: 100_000 });
  expect(model.seek(inode, 0, 0, 3)).toBe(8192);
  expect(model.seek(inode, 0, 9000, 3)).toBe(9000);
  expect(model.seek(inode, 0, 9000, 4)).toBe(12288);
  expect(() => model.seek(inode, 0, 12288, 3)).toThrow('ENXIO');
  expect(() => model.seek(inode, 0, 100_000, 4)).toThrow('ENXIO');
  expect(model.getAttributes(inode).blocks512).toBe(8);
});

it('cuts and extends with zeros', () => {
  const model = new MemoryFileSystem();
  const inode = file(model, 'f');
  model.write(inode, 0, 0, [Buffer.alloc(9000, 1)]);
  model.setAttributes(inode, { sizeBytes: 5000 });
  model.setAttributes(inode, { sizeBytes: 9000 });
  const [bytes] = model.read(inode, 0, 0, 9000).parts;
  expect(bytes!.lastIndexOf(1)).toBe(4999);
  expect(model.getAttributes(inode).blocks512).toBe(16);
});

it('continues a listing behind a cookie while entries come and go', () => {
  const model = new MemoryFileSystem();
  for (const name of ['a', 'b', 'c']) file(model, name);
  const names = (cookie: bigint, limit: number) => {
    const seen: [string, bigint][] = [];
    model.readDirectory(1, 0, cookie, false, (entry) => {
      if (seen.length === limit) return false;
      seen.push([entry.name, entry.cookie]);
      return true;
    });
    return seen;
  };
  const first = names(0n, 4);
  expect(first.map(([name]) => name)).toEqual(['.', '..', 'a', 'b']);
  model.unlink(1, 'b');
  file(model, 'd');
  expect(names(first.at(-1)![1], 10).map(([name]) => name)).toEqual(['c', 'd']);
});
