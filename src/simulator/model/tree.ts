/**
 * A directory tree as a table of paths: of the model, or as read through a file system. Times are left out: a crash may take a
 * time of writing that was never committed, and the model's clock is not the mount's.
 */
import { MAX_REQUEST_BYTES } from '../../base/limits.ts';
import {
  type Attributes,
  type FileSystem,
  ROOT_INODE,
  SEEK_DATA,
  SEEK_HOLE,
} from '../../filesystem/file-system.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

export interface TreeNode {
  readonly path: string;
  readonly inode: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly linkCount: number;
  readonly rdev: number;
  /** Of a symbolic link, else empty. */
  readonly target: string;
  /** Sorted. */
  readonly xattrs: readonly (readonly [name: string, value: string])[];
}

/** Nodes in the order of a walk that takes each directory's names sorted. The first is the root, with the path ''. */
export type Tree = readonly TreeNode[];

/** What one node looks like; nodes of one inode have the same number, counted from the beginning of the walk. */
export function linesOf(tree: Tree): string[] {
  const numbers = new Map<number, number>();
  return tree.map(({ path, inode, mode, uid, gid, linkCount, rdev, target, xattrs }) => {
    if (!numbers.has(inode)) numbers.set(inode, numbers.size);
    const link = target === '' ? '' : ` -> ${target}`;
    const attributes = xattrs.map(([name, value]) => ` ${name}=${value}`).join('');
    const device = rdev === 0 ? '' : ` device ${rdev}`;
    const owner = `${uid}:${gid}`;
    return `${path}/ #${numbers.get(inode)} ${mode.toString(8)} ${owner} links ${linkCount}${device}${link}${attributes}`;
  });
}

/** The first differences, for people. */
export function difference(expected: readonly string[], found: readonly string[]): string {
  const missing = expected.filter((line) => !found.includes(line)).slice(0, 4);
  const extra = found.filter((line) => !expected.includes(line)).slice(0, 4);
  return `missing ${JSON.stringify(missing)}, instead ${JSON.stringify(extra)}`;
}

export function treeOfModel(model: MemoryFileSystem): Tree {
  const nodes: TreeNode[] = [];
  const visit = (path: string, inode: number): void => {
    const attributes = model.getAttributes(inode);
    const type = attributes.mode & S_IFMT;
    const target = type === S_IFLNK ? model.readLink(inode) : undefined;
    const xattrs = model.listXattrs(inode).map((name) => [name, model.getXattr(inode, name)] as const);
    nodes.push(nodeOf(path, attributes, target, xattrs));
    if (type !== S_IFDIR) return;
    const entries: { name: string; inode: number }[] = [];
    model.readDirectory(inode, 0, 0n, false, (entry) => {
      if (!isDots(entry.name)) entries.push(entry);
      return true;
    });
    for (const entry of entries.sort(byName)) visit(`${path}/${entry.name}`, entry.inode);
  };
  visit('', ROOT_INODE);
  return nodes;
}

/** Reads the tree below a directory. Look-up counts stay as they are. */
export async function readTree(
  run: <T>(what: string, operation: (fileSystem: FileSystem) => T | Promise<T>) => Promise<T>,
  root: number,
): Promise<Tree> {
  const nodes: TreeNode[] = [];
  const visit = async (path: string, inode: number): Promise<void> => {
    const attributes = await run('getAttributes', (one) => one.getAttributes(inode));
    const type = attributes.mode & S_IFMT;
    const target = type === S_IFLNK ? await run('readLink', (one) => one.readLink(inode)) : undefined;
    const xattrs: (readonly [string, Uint8Array])[] = [];
    for (const name of await run('listXattrs', (one) => one.listXattrs(inode)))
      xattrs.push([name, await run('getXattr', (one) => one.getXattr(inode, name))]);
    nodes.push(nodeOf(path, attributes, target, xattrs));
    if (type !== S_IFDIR) return;
    const entries: { name: string; inode: number }[] = [];
    await run('readDirectory', (one) =>
      one.readDirectory(inode, 0, 0n, false, (entry) => {
        if (!isDots(entry.name)) entries.push(entry);
        return true;
      }),
    );
    for (const entry of entries.sort(byName)) await visit(`${path}/${entry.name}`, entry.inode);
  };
  await visit('', root);
  return nodes;
}

/** The whole of a regular file, and where it has data. */
export interface FileContents {
  readonly bytes: Buffer;
  readonly data: readonly { readonly from: number; readonly to: number }[];
}

export async function readContents(
  run: <T>(what: string, operation: (fileSystem: FileSystem) => T | Promise<T>) => Promise<T>,
  inode: number,
): Promise<FileContents> {
  const { sizeBytes } = await run('getAttributes', (one) => one.getAttributes(inode));
  const bytes = Buffer.alloc(sizeBytes);
  for (let at = 0; at < sizeBytes; at += MAX_REQUEST_BYTES) {
    const lengthBytes = Math.min(MAX_REQUEST_BYTES, sizeBytes - at);
    await run('read', async (one) => {
      const result = await one.read(inode, 0, at, lengthBytes);
      let end = at;
      for (const part of result.parts) {
        bytes.set(part, end);
        end += part.length;
      }
      result.release();
    });
  }
  const data: { from: number; to: number }[] = [];
  for (let at = 0; at < sizeBytes; ) {
    const from = await run('seek', (one) => seekData(one, inode, at));
    if (from === undefined) break;
    at = await run('seek', (one) => one.seek(inode, 0, from, SEEK_HOLE));
    data.push({ from, to: at });
  }
  return { bytes, data };
}

async function seekData(one: FileSystem, inode: number, at: number): Promise<number | undefined> {
  try {
    return await one.seek(inode, 0, at, SEEK_DATA);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return undefined;
    throw error;
  }
}

function nodeOf(
  path: string,
  attributes: Attributes,
  target: Uint8Array | undefined,
  xattrs: readonly (readonly [string, Uint8Array])[],
): TreeNode {
  const { inode, mode, uid, gid, linkCount, rdev } = attributes;
  return {
    ...{ path, inode, mode, uid, gid, linkCount, rdev },
    target: target === undefined ? '' : Buffer.from(target).toString('latin1'),
    xattrs: xattrs
      .map(([name, value]) => [name, Buffer.from(value).toString('hex')] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}

function isDots(name: string): boolean {
  return name === '.' || name === '..';
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}
