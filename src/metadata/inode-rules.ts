/** Pure rules about single inodes and names. */
import { posixOutcome } from '../base/errno.ts';
import { MAX_NAME_BYTES } from '../base/limits.ts';
import type { InodeRecord } from '../format/metadata-records.ts';

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;

/** Links that one file may have: what still fits the kernel's counter. */
export const MAX_LINKS = 2 ** 31 - 1;

export function isDirectoryMode(mode: number): boolean {
  return (mode & S_IFMT) === S_IFDIR;
}

export function isDirectory(inode: Readonly<InodeRecord>): boolean {
  return isDirectoryMode(inode.mode);
}

export function checkName(name: string): void {
  if (name.length > MAX_NAME_BYTES) throw posixOutcome('ENAMETOOLONG');
}
