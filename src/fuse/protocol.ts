/**
 * Numbers of the kernel's FUSE protocol, version 7: see include/uapi/linux/fuse.h in the kernel sources, which owns the format.
 * Only what this front end uses is here.
 */
import { assert } from '../base/assert.ts';
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { KIB } from '../base/units.ts';

export const PROTOCOL_MAJOR = 7;
export const PROTOCOL_MINOR = 45;
/** Linux 5.4: everything below is there. */
export const OLDEST_PROTOCOL_MINOR = 31;

export const IN_HEADER_BYTES = 40;
export const WRITE_IN_BYTES = 40;
/** What the channel receives apart from a WRITE's payload. */
export const REQUEST_HEAD_BYTES = IN_HEADER_BYTES + WRITE_IN_BYTES;
export const OUT_HEADER_BYTES = 16;
export const ENTRY_OUT_BYTES = 128;
export const DIRENT_HEAD_BYTES = 24;
export const PAGE_BYTES = 4 * KIB;
export const MAX_PAGES = MAX_REQUEST_BYTES / PAGE_BYTES;
/** Longest request that is not a WRITE: an xattr of 64 KiB with its name, or two names; with room to spare. */
export const REQUEST_BUFFER_BYTES = 128 * KIB;

assert(MAX_PAGES <= 256, 'the kernel allows 256 pages a request unless told otherwise');

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  READDIR: 28,
  FSYNCDIR: 30,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  SYNCFS: 50,
} as const;

export const Notification = { INVAL_INODE: 2, INVAL_ENTRY: 3, DELETE: 6 } as const;

/** INIT flags; those of the second word are in InitFlag2. */
export const InitFlag = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
  NO_OPENDIR_SUPPORT: 1 << 24,
  EXPLICIT_INVAL_DATA: 1 << 25,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const;

export const InitFlag2 = { DIRECT_IO_ALLOW_MMAP: 1 << 4 } as const;

export const OpenReply = {
  KEEP_CACHE: 1 << 1,
  PARALLEL_DIRECT_WRITES: 1 << 6,
} as const;

export const SetAttribute = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const;

export const WRITE_KILL_SUIDGID = 1 << 2;
export const OPEN_KILL_SUIDGID = 1 << 0;
export const SETXATTR_ACL_KILL_SGID = 1 << 0;
export const FSYNC_DATA_ONLY = 1 << 0;

export const S_IFMT = 0o170000;
export const S_IFDIR = 0o040000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_ISUID = 0o4000;
export const S_ISGID = 0o2000;
export const S_IXGRP = 0o010;
