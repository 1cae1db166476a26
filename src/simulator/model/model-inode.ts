/**
 * One inode of the reference model, whatever its type: a plain record that inode-table.ts, rename.ts, file-contents.ts and memory-file-system.ts change in
 * place. Here is only what can be said of it alone: its type, and how it looks from outside.
 */
import { type ErrnoCode, ErrnoError } from '../../base/errno.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Attributes, TimeValue } from '../../filesystem/file-system.ts';
import type { SparseBytes } from './sparse-bytes.ts';

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

export interface ModelEntry {
  readonly inode: number;
  /** Grows with each entry ever made in the file system, so insertion order is cookie order. */
  readonly cookie: number;
}

export interface ModelInode {
  readonly inode: number;
  mode: number;
  linkCount: number;
  uid: number;
  gid: number;
  readonly rdev: number;
  atime: TimeValue;
  mtime: TimeValue;
  ctime: TimeValue;
  lookups: number;
  openHandles: number;
  readonly xattrs: Map<string, Uint8Array>;
  /** Regular files. */
  readonly bytes: SparseBytes;
  /** Symbolic links. */
  readonly target: Uint8Array;
  /** Directories: entries in cookie order, and the parent ('..'). */
  readonly entries: Map<string, ModelEntry>;
  parent: number;
}

/** A call's outcome, thrown from where a value is missing. */
export function fail(code: ErrnoCode): never {
  throw new ErrnoError(code);
}

export function isDirectory(inode: ModelInode): boolean {
  return (inode.mode & S_IFMT) === S_IFDIR;
}

export function mustBeRegular(inode: ModelInode): ModelInode {
  if (isDirectory(inode)) fail('EISDIR');
  return (inode.mode & S_IFMT) === S_IFREG ? inode : fail('EINVAL');
}

export function attributesOf(inode: ModelInode): Attributes {
  const type = inode.mode & S_IFMT;
  let sizeBytes = inode.bytes.lengthBytes;
  if (type === S_IFDIR) sizeBytes = BLOCK_BYTES;
  if (type === S_IFLNK) sizeBytes = inode.target.length;
  return {
    inode: inode.inode,
    mode: inode.mode,
    linkCount: inode.linkCount,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    sizeBytes,
    blocks512: (inode.bytes.blockCount * BLOCK_BYTES) / 512,
    atimeSeconds: inode.atime.seconds,
    atimeNanoseconds: inode.atime.nanoseconds,
    mtimeSeconds: inode.mtime.seconds,
    mtimeNanoseconds: inode.mtime.nanoseconds,
    ctimeSeconds: inode.ctime.seconds,
    ctimeNanoseconds: inode.ctime.nanoseconds,
  };
}
