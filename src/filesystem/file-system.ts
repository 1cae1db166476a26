/**
 * The inode-based file-system interface: POSIX semantics without a word of FUSE.
 *
 * Front ends (the kernel protocol, fuse-native) call it; tests drive it without a mount. Every method either
 * returns its result in the same turn or returns a promise; a front end must handle both, so that what needs no I/O is
 * answered in the turn it arrived. Defined failures are thrown (or rejected) as ErrnoError; anything else is a bug.
 *
 * Names are byte strings: one character a byte (Buffer 'latin1'), never '.' or '..', never empty, no '/' and no NUL; a name over
 * 255 bytes throws ENAMETOOLONG. Permission bits are checked by the front end's kernel (default_permissions), not here, save
 * for the rules that depend on the operation (sticky bits are the kernel's, too).
 *
 * Look-up counts: every method that returns attributes of an inode found or made by name (lookup, the make* family,
 * symbolicLink, link, create, readDirectory with plus) raises the inode's look-up count by one; forget lowers it. An inode
 * with no links lives until its look-up count and its open handles are both gone.
 */
import type { ErrnoCode } from '../base/errno.ts';

export type MaybePromise<T> = T | Promise<T>;

/** Who asks: owner of new inodes, and the process for traces. The object may be reused after the call returns. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
}

export const ROOT_INODE = 1;

export interface Attributes {
  readonly inode: number;
  /** Type and permission bits as in st_mode. */
  readonly mode: number;
  readonly linkCount: number;
  readonly uid: number;
  readonly gid: number;
  /** Device number of device nodes in the kernel's encoding, else 0. */
  readonly rdev: number;
  readonly sizeBytes: number;
  /** Space in use in 512-byte units, as in st_blocks. */
  readonly blocks512: number;
  readonly atimeSeconds: number;
  readonly atimeNanoseconds: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly ctimeSeconds: number;
  readonly ctimeNanoseconds: number;
}

export interface TimeValue {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Only the given fields change. 'now' is the file system's clock. */
export interface AttributeChanges {
  mode?: number;
  uid?: number;
  gid?: number;
  sizeBytes?: number;
  atime?: TimeValue | 'now';
  mtime?: TimeValue | 'now';
  ctime?: TimeValue;
}

export interface CreatedFile {
  readonly attributes: Attributes;
  readonly handle: number;
}

/**
 * Bytes read. `parts` are views into buffers of the file system, valid until `release` is called, which must happen exactly
 * once and as soon as they were handed on. Fewer bytes than asked for means end of file.
 */
export interface ReadResult {
  readonly parts: readonly Uint8Array[];
  readonly lengthBytes: number;
  release(): void;
}

export interface DirectoryEntry {
  readonly inode: number;
  readonly name: string;
  /** Type bits of st_mode (mode & S_IFMT). */
  readonly type: number;
  /** Position after this entry: pass it to continue behind it. Non-zero, below 2^63, stable while other entries come and go. */
  readonly cookie: bigint;
  /** Present when asked with plus (never for '.' and '..'); its look-up count was raised if the sink accepted the entry. */
  readonly attributes?: Attributes;
}

export interface FileSystemStatistics {
  /** In BLOCK_BYTES units, usable after parity. */
  readonly totalBlocks: number;
  readonly freeBlocks: number;
  readonly availableBlocks: number;
  readonly inodes: number;
  readonly freeInodes: number;
}

export const RENAME_NOREPLACE = 1;
export const RENAME_EXCHANGE = 2;
export const FALLOC_FL_KEEP_SIZE = 1;
export const FALLOC_FL_PUNCH_HOLE = 2;
export const FALLOC_FL_ZERO_RANGE = 16;
export const XATTR_CREATE = 1;
export const XATTR_REPLACE = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

export interface FileSystem {
  /** undefined: no such entry (so that a front end can cache the absence). */
  lookup(parent: number, name: string, caller: Caller): MaybePromise<Attributes | undefined>;
  forget(inode: number, count: number): void;

  getAttributes(inode: number): MaybePromise<Attributes>;
  setAttributes(inode: number, changes: AttributeChanges, caller: Caller): MaybePromise<Attributes>;

  readLink(inode: number): MaybePromise<Uint8Array>;
  makeNode(
    parent: number,
    name: string,
    mode: number,
    rdev: number,
    caller: Caller,
  ): MaybePromise<Attributes>;
  makeDirectory(parent: number, name: string, mode: number, caller: Caller): MaybePromise<Attributes>;
  symbolicLink(parent: number, name: string, target: Uint8Array, caller: Caller): MaybePromise<Attributes>;
  link(inode: number, newParent: number, newName: string, caller: Caller): MaybePromise<Attributes>;
  unlink(parent: number, name: string, caller: Caller): MaybePromise<void>;
  removeDirectory(parent: number, name: string, caller: Caller): MaybePromise<void>;
  rename(
    oldParent: number,
    oldName: string,
    newParent: number,
    newName: string,
    flags: number,
    caller: Caller,
  ): MaybePromise<void>;

  /** `flags` as in open(2). O_TRUNC truncates. Returns a handle to pass to the calls below. */
  open(inode: number, flags: number, caller: Caller): MaybePromise<number>;
  create(
    parent: number,
    name: string,
    mode: number,
    flags: number,
    caller: Caller,
  ): MaybePromise<CreatedFile>;
  release(inode: number, handle: number): MaybePromise<void>;

  read(inode: number, handle: number, offsetBytes: number, lengthBytes: number): MaybePromise<ReadResult>;

  /**
   * Memory that the payload of the next write may be received into, MAX_REQUEST_BYTES or more in all, in page-aligned parts of
   * whole pages: a payload put there from its beginning costs no copy. undefined: no room now, wait for whenWritable().
   * A call of `write` (or any other turn of the event loop) invalidates it: ask again before each receive.
   */
  writeLanding(): readonly Uint8Array[] | undefined;
  whenWritable(): Promise<void>;
  /**
   * Writes all of `data`, or throws. Returns in the same turn unless it has to read first or wait for room. The bytes are taken or
   * copied before the first return, even when a promise is returned. `landed`: the bytes lie at the start of what
   * writeLanding() last returned.
   */
  write(
    inode: number,
    handle: number,
    offsetBytes: number,
    data: readonly Uint8Array[],
    landed: boolean,
  ): MaybePromise<void>;

  /** Called at each close(2). */
  flush(inode: number, handle: number): MaybePromise<void>;
  /** Resolves when everything written to the inode before, and its directory entries, are durable. */
  fsync(inode: number, handle: number, dataOnly: boolean): MaybePromise<void>;
  fsyncDirectory(inode: number, handle: number): MaybePromise<void>;
  /** Allocates (what it touches is reserved), punches or zeros (what it touches is reserved, too); with or without keeping the size. */
  fallocate(
    inode: number,
    handle: number,
    mode: number,
    offsetBytes: number,
    lengthBytes: number,
  ): MaybePromise<void>;
  /** SEEK_DATA or SEEK_HOLE; ENXIO behind the end. */
  seek(inode: number, handle: number, offsetBytes: number, whence: number): MaybePromise<number>;

  /** Front ends that open directories by themselves pass handle 0 to readDirectory and fsyncDirectory instead. */
  openDirectory(inode: number, caller: Caller): MaybePromise<number>;
  /** Passes entries behind `cookie` (0n: the beginning, '.' and '..' included) to `sink` until that returns false. */
  readDirectory(
    inode: number,
    handle: number,
    cookie: bigint,
    plus: boolean,
    sink: (entry: DirectoryEntry) => boolean,
  ): MaybePromise<void>;
  releaseDirectory(inode: number, handle: number): MaybePromise<void>;

  getXattr(inode: number, name: string): MaybePromise<Uint8Array>;
  setXattr(inode: number, name: string, value: Uint8Array, flags: number): MaybePromise<void>;
  listXattrs(inode: number): MaybePromise<readonly string[]>;
  removeXattr(inode: number, name: string): MaybePromise<void>;

  statistics(): MaybePromise<FileSystemStatistics>;
  /** Makes everything durable: syncfs(2). */
  syncAll(): Promise<void>;
  /** Syncs and lets go of everything. No call may follow. */
  close(): Promise<void>;
}

/** What a front end reports for an unexpected error; the cause is logged there. */
export const UNEXPECTED_ERROR: ErrnoCode = 'EIO';
