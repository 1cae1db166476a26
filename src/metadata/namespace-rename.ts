/**
 * rename(2): moving a name, replacing what has the new one, or exchanging two names. Checks first, operations after, as in namespace.ts.
 */
import { posixOutcome } from '../base/errno.ts';
import type { InodePatch, RedoSink } from '../format/journal-entry.ts';
import { isDirectory, S_IFMT } from './inode-rules.ts';
import type { Timestamp } from './metadata.ts';
import { changedAt, dropLink, existing, existingDirectory, type FoundInode, findEntry } from './namespace.ts';
import { type MetadataState, ROOT } from './state.ts';

const RENAME_NOREPLACE = 1;
const RENAME_EXCHANGE = 2;

export interface Rename {
  readonly oldParent: number;
  readonly oldName: string;
  readonly newParent: number;
  readonly newName: string;
  readonly flags: number;
  readonly time: Timestamp;
}

/** Returns the inode that lost its name because it was replaced. */
export function rename(state: MetadataState, redo: RedoSink, request: Rename): number | undefined {
  const { oldParent, oldName, newParent, newName, flags } = request;
  const known = RENAME_NOREPLACE | RENAME_EXCHANGE;
  if ((flags & ~known) !== 0 || flags === known) throw posixOutcome('EINVAL');
  existingDirectory(state, oldParent);
  const to = existingDirectory(state, newParent);
  const sourceEntry = findEntry(state, oldParent, oldName);
  const targetEntry = findEntry(state, newParent, newName);
  if (sourceEntry === undefined) throw posixOutcome('ENOENT');
  const source = existing(state, sourceEntry.inode);
  const target = targetEntry && existing(state, targetEntry.inode);
  if (to.linkCount === 0) throw posixOutcome('ENOENT');
  if (isDirectory(source) && isWithin(state, to, source.inode)) throw posixOutcome('EINVAL');
  if (flags === RENAME_EXCHANGE) {
    if (target === undefined) throw posixOutcome('ENOENT');
    exchange(state, redo, request, source, target);
    return undefined;
  }
  if (target !== undefined) {
    if (flags === RENAME_NOREPLACE) throw posixOutcome('EEXIST');
    if (target.inode === source.inode) return undefined;
    checkReplace(source, target);
  }
  move(redo, request, source, target);
  return target?.inode;
}

function checkReplace(source: FoundInode, target: FoundInode): void {
  if (isDirectory(source) && !isDirectory(target)) throw posixOutcome('ENOTDIR');
  if (!isDirectory(source) && isDirectory(target)) throw posixOutcome('EISDIR');
  if (isDirectory(target) && target.sizeBytes > 0) throw posixOutcome('ENOTEMPTY');
}

/** True if `directory` is `ancestor` or lies under it. */
function isWithin(state: MetadataState, directory: FoundInode, ancestor: number): boolean {
  for (let at = directory; ; at = existing(state, at.parent)) {
    if (at.inode === ancestor) return true;
    if (at.inode === ROOT || at.linkCount === 0) return false;
  }
}

function move(redo: RedoSink, request: Rename, source: FoundInode, target: FoundInode | undefined): void {
  const { oldParent, oldName, newParent, newName, time } = request;
  const { seconds, nanoseconds } = time;
  redo.removeEntry(oldParent, oldName, seconds, nanoseconds);
  if (target !== undefined) {
    redo.removeEntry(newParent, newName, seconds, nanoseconds);
    dropLink(redo, target, time);
  }
  redo.addEntry(newParent, newName, source.inode, source.mode & S_IFMT, seconds, nanoseconds);
  redo.changeInode(source.inode, movedTo(source, newParent, time));
}

function exchange(
  state: MetadataState,
  redo: RedoSink,
  request: Rename,
  source: FoundInode,
  target: FoundInode,
): void {
  const { oldParent, oldName, newParent, newName, time } = request;
  const { seconds, nanoseconds } = time;
  const from = existing(state, oldParent);
  if (isDirectory(target) && isWithin(state, from, target.inode)) throw posixOutcome('EINVAL');
  if (source.inode === target.inode) return;
  redo.removeEntry(oldParent, oldName, seconds, nanoseconds);
  redo.removeEntry(newParent, newName, seconds, nanoseconds);
  redo.addEntry(oldParent, oldName, target.inode, target.mode & S_IFMT, seconds, nanoseconds);
  redo.addEntry(newParent, newName, source.inode, source.mode & S_IFMT, seconds, nanoseconds);
  redo.changeInode(source.inode, movedTo(source, newParent, time));
  redo.changeInode(target.inode, movedTo(target, oldParent, time));
}

function movedTo(inode: FoundInode, parent: number, time: Timestamp): InodePatch {
  return isDirectory(inode) ? { parent, ...changedAt(time) } : changedAt(time);
}
