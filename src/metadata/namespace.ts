/**
 * Making and removing names: which conditions hold, which records and times change. rename has a file of its own.
 *
 * Every function checks everything first and then issues its operations, so a refused call leaves nothing behind. Failures are ErrnoError.
 */
import { posixOutcome } from '../base/errno.ts';
import { MAX_SYMLINK_BYTES } from '../base/limits.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import type { InodeRecord } from '../format/metadata-records.ts';
import type { Entry } from './directory-slots.ts';
import { checkName, isDirectory, isDirectoryMode, MAX_LINKS, S_IFLNK, S_IFMT } from './inode-rules.ts';
import type { NewInode, Timestamp } from './metadata.ts';
import type { MetadataState } from './state.ts';

export type FoundInode = Readonly<InodeRecord>;

export function existing(state: MetadataState, inode: number): FoundInode {
  const found = state.inodes.get(inode);
  if (found === undefined) throw posixOutcome('ESTALE');
  return found;
}

export function existingDirectory(state: MetadataState, inode: number): FoundInode {
  const found = existing(state, inode);
  if (!isDirectory(found)) throw posixOutcome('ENOTDIR');
  return found;
}

export function findEntry(state: MetadataState, directory: number, name: string): Entry | undefined {
  checkName(name);
  return state.directories.find(directory, name);
}

/** A directory that takes a new name: it is not removed, and the name is free. */
function placeForName(state: MetadataState, parent: number, name: string): void {
  const directory = existingDirectory(state, parent);
  if (findEntry(state, parent, name) !== undefined) throw posixOutcome('EEXIST');
  if (directory.linkCount === 0) throw posixOutcome('ENOENT');
}

export function create(
  state: MetadataState,
  redo: RedoSink,
  parent: number,
  name: string,
  made: NewInode,
): FoundInode {
  placeForName(state, parent, name);
  const target = (made.mode & S_IFMT) === S_IFLNK ? made.target : undefined;
  if (target !== undefined && target.length > MAX_SYMLINK_BYTES) throw posixOutcome('ENAMETOOLONG');
  const inode = newInode(state.nextInode, made, parent, target?.length ?? 0);
  redo.newInode(inode);
  if (target !== undefined) redo.putValue(perInodeKey(keyLetters.symlink, inode.inode), target);
  const { seconds, nanoseconds } = made.time;
  redo.addEntry(parent, name, inode.inode, inode.mode & S_IFMT, seconds, nanoseconds);
  return inode;
}

export function newInode(number: number, made: NewInode, parent: number, sizeBytes: number): FoundInode {
  const { seconds, nanoseconds } = made.time;
  const directory = isDirectoryMode(made.mode);
  return {
    inode: number,
    mode: made.mode,
    uid: made.uid,
    gid: made.gid,
    rdev: made.rdev,
    linkCount: directory ? 2 : 1,
    sizeBytes,
    mappedBlocks: 0,
    reservedBlocks: 0,
    atimeSeconds: seconds,
    atimeNanoseconds: nanoseconds,
    mtimeSeconds: seconds,
    mtimeNanoseconds: nanoseconds,
    ctimeSeconds: seconds,
    ctimeNanoseconds: nanoseconds,
    parent: directory ? parent : 0,
    hasXattrs: false,
  };
}

export function link(
  state: MetadataState,
  redo: RedoSink,
  inode: number,
  parent: number,
  name: string,
  time: Timestamp,
): void {
  const found = existing(state, inode);
  const directory = existingDirectory(state, parent);
  if (findEntry(state, parent, name) !== undefined) throw posixOutcome('EEXIST');
  if (isDirectory(found)) throw posixOutcome('EPERM');
  if (found.linkCount === 0 || directory.linkCount === 0) throw posixOutcome('ENOENT');
  if (found.linkCount >= MAX_LINKS) throw posixOutcome('EMLINK');
  redo.addEntry(parent, name, inode, found.mode & S_IFMT, time.seconds, time.nanoseconds);
  redo.changeInode(inode, { linkCount: found.linkCount + 1, ...changedAt(time) });
}

/** Returns the inode that lost the name. */
export function unlink(
  state: MetadataState,
  redo: RedoSink,
  parent: number,
  name: string,
  time: Timestamp,
): number {
  const found = namedInode(state, parent, name);
  if (isDirectory(found)) throw posixOutcome('EISDIR');
  redo.removeEntry(parent, name, time.seconds, time.nanoseconds);
  dropLink(redo, found, time);
  return found.inode;
}

/** Returns the directory that was removed. */
export function removeDirectory(
  state: MetadataState,
  redo: RedoSink,
  parent: number,
  name: string,
  time: Timestamp,
): number {
  const found = namedInode(state, parent, name);
  if (!isDirectory(found)) throw posixOutcome('ENOTDIR');
  if (found.sizeBytes > 0) throw posixOutcome('ENOTEMPTY');
  redo.removeEntry(parent, name, time.seconds, time.nanoseconds);
  dropLink(redo, found, time);
  return found.inode;
}

function namedInode(state: MetadataState, parent: number, name: string): FoundInode {
  existingDirectory(state, parent);
  const entry = findEntry(state, parent, name);
  if (entry === undefined) throw posixOutcome('ENOENT');
  return existing(state, entry.inode);
}

/** An inode lost a name; a directory has only one. */
export function dropLink(redo: RedoSink, found: FoundInode, time: Timestamp): void {
  const linkCount = isDirectory(found) ? 0 : found.linkCount - 1;
  redo.changeInode(found.inode, { linkCount, ...changedAt(time) });
}

export function changedAt(time: Timestamp): { ctimeSeconds: number; ctimeNanoseconds: number } {
  return { ctimeSeconds: time.seconds, ctimeNanoseconds: time.nanoseconds };
}
