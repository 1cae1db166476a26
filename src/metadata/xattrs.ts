/**
 * Extended attributes: one value record an attribute, and one record with an inode's attribute names. Checks first, operations after.
 */
import { posixOutcome } from '../base/errno.ts';
import { MAX_NAME_BYTES, MAX_XATTR_BYTES } from '../base/limits.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { keyLetters, perInodeKey, xattrKey } from '../format/metadata-keys.ts';
import { decodeNames, encodeNames } from '../format/metadata-records.ts';
import type { Timestamp } from './metadata.ts';
import { changedAt, existing } from './namespace.ts';
import type { MetadataState } from './state.ts';

const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;
/** What listxattr(2) can return at most. */
const MAX_NAMES_BYTES = 65_536;

export function xattrNames(state: MetadataState, inode: number): string[] {
  const bytes = state.value(perInodeKey(keyLetters.xattrNames, inode));
  return bytes === undefined ? [] : decodeNames(bytes);
}

export function setXattr(
  state: MetadataState,
  redo: RedoSink,
  inode: number,
  name: string,
  value: Uint8Array,
  flags: number,
  time: Timestamp,
): void {
  const found = existing(state, inode);
  if (name.length === 0 || name.length > MAX_NAME_BYTES) throw posixOutcome('ERANGE');
  if (value.length > MAX_XATTR_BYTES) throw posixOutcome('E2BIG');
  const names = found.hasXattrs ? xattrNames(state, inode) : [];
  const present = names.includes(name);
  if (present && (flags & XATTR_CREATE) !== 0) throw posixOutcome('EEXIST');
  if (!present && (flags & XATTR_REPLACE) !== 0) throw posixOutcome('ENODATA');
  if (!present) {
    names.push(name);
    const listBytes = names.reduce((total, each) => total + each.length + 1, 0);
    if (listBytes > MAX_NAMES_BYTES) throw posixOutcome('ENOSPC');
  }
  redo.putValue(xattrKey(inode, name), value);
  if (!present) redo.putValue(perInodeKey(keyLetters.xattrNames, inode), encodeNames(names));
  redo.changeInode(inode, { hasXattrs: true, ...changedAt(time) });
}

export function removeXattr(
  state: MetadataState,
  redo: RedoSink,
  inode: number,
  name: string,
  time: Timestamp,
): void {
  const found = existing(state, inode);
  const names = found.hasXattrs ? xattrNames(state, inode) : [];
  const at = names.indexOf(name);
  if (at < 0) throw posixOutcome('ENODATA');
  names.splice(at, 1);
  redo.deleteValue(xattrKey(inode, name));
  storeNames(redo, inode, names);
  redo.changeInode(inode, { hasXattrs: names.length > 0, ...changedAt(time) });
}

function storeNames(redo: RedoSink, inode: number, names: readonly string[]): void {
  const key = perInodeKey(keyLetters.xattrNames, inode);
  if (names.length === 0) redo.deleteValue(key);
  else redo.putValue(key, encodeNames(names));
}

/** For an inode that goes: its attributes with it. */
export function removeAllXattrs(state: MetadataState, redo: RedoSink, inode: number): void {
  for (const name of xattrNames(state, inode)) redo.deleteValue(xattrKey(inode, name));
  storeNames(redo, inode, []);
}
