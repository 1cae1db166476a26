/** A model that holds what was found in a directory: the tree, and the bytes, holes and reservations of its files. */
import type { BlockRanges } from '../../base/block-ranges.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import { FALLOC_FL_KEEP_SIZE } from '../../filesystem/file-system.ts';
import { MemoryFileSystem } from '../model/memory-file-system.ts';
import { type FileContents, S_IFDIR, S_IFLNK, S_IFMT, type Tree, type TreeNode } from '../model/tree.ts';
import { caller } from './session.ts';

export interface FoundContents extends FileContents {
  /** What is set aside for the file, written or not. */
  readonly reservation: BlockRanges;
}

/** The tree's first node stands for the root. */
export function modelOf(tree: Tree, contents: ReadonlyMap<number, FoundContents>): MemoryFileSystem {
  const model = new MemoryFileSystem();
  const byPath = new Map<string, number>([['', 1]]);
  const byInode = new Map<number, number>([[tree[0]!.inode, 1]]);
  for (const node of tree) {
    if (node.path !== '') {
      const slash = node.path.lastIndexOf('/');
      const parent = byPath.get(node.path.slice(0, slash))!;
      const known = byInode.get(node.inode);
      const made = make(model, parent, node.path.slice(slash + 1), node, known);
      byPath.set(node.path, made);
      if (known !== undefined) continue;
      byInode.set(node.inode, made);
      const found = contents.get(node.inode);
      if (found !== undefined) fill(model, made, found);
    }
    const inode = byPath.get(node.path)!;
    model.setAttributes(inode, { mode: node.mode & 0o7777, uid: node.uid, gid: node.gid });
    for (const [name, value] of node.xattrs) model.setXattr(inode, name, Buffer.from(value, 'hex'), 0);
  }
  return model;
}

/** A new name, of a new inode unless one is given. Nobody has looked it up. */
function make(
  model: MemoryFileSystem,
  parent: number,
  name: string,
  node: TreeNode,
  known: number | undefined,
): number {
  const type = node.mode & S_IFMT;
  let inode: number;
  if (known !== undefined) inode = model.link(known, parent, name).inode;
  else if (type === S_IFDIR) inode = model.makeDirectory(parent, name, node.mode, caller).inode;
  else if (type === S_IFLNK)
    inode = model.symbolicLink(parent, name, Buffer.from(node.target, 'latin1'), caller).inode;
  else inode = model.makeNode(parent, name, node.mode, node.rdev, caller).inode;
  model.forget(inode, 1);
  return inode;
}

function fill(model: MemoryFileSystem, inode: number, { bytes, data, reservation }: FoundContents): void {
  model.setAttributes(inode, { sizeBytes: bytes.length });
  for (let i = 0; i < reservation.length; i += 2) {
    const offsetBytes = reservation[i]! * BLOCK_BYTES;
    const lengthBytes = reservation[i + 1]! * BLOCK_BYTES - offsetBytes;
    model.fallocate(inode, 0, FALLOC_FL_KEEP_SIZE, offsetBytes, lengthBytes);
  }
  for (const { from, to } of data) model.write(inode, 0, from, [bytes.subarray(from, to)]);
}
