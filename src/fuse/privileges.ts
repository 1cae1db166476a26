/**
 * Set-user-id and set-group-id bits go away when a file changes hands or content. The kernel leaves that to us
 * (HANDLE_KILLPRIV_V2), which saves it a GETXATTR before every write.
 */
import type { FileSystem, MaybePromise } from '../filesystem/file-system.ts';
import { andThen } from './maybe-promise.ts';
import { S_IFMT, S_IFREG, S_ISGID, S_ISUID, S_IXGRP } from './protocol.ts';

/** Set-group-id without group execution means mandatory locking, not privilege: it stays. */
export function modeAfterWrite(mode: number): number {
  if ((mode & S_IFMT) !== S_IFREG) return mode;
  const withoutUser = mode & ~S_ISUID;
  return (mode & S_IXGRP) !== 0 ? withoutUser & ~S_ISGID : withoutUser;
}

/** The same rule for everything but directories, whoever asks. */
export function modeAfterChown(mode: number): number {
  return modeAfterWrite(mode);
}

const NOBODY = { uid: 0, gid: 0, pid: 0 };

/** After a write or truncation by somebody without the privilege to keep the bits. */
export function dropPrivileges(fileSystem: FileSystem, inode: number): MaybePromise<void> {
  return andThen(fileSystem.getAttributes(inode), ({ mode }) => {
    const changed = modeAfterWrite(mode);
    if (changed === mode) return undefined;
    return andThen(fileSystem.setAttributes(inode, { mode: changed }, NOBODY), () => undefined);
  });
}
