/**
 * The reference model: the whole file-system interface in memory, synchronous and as plain as it can be.
 *
 * Tests mount it to exercise front ends, and compare other implementations with it operation by operation. It owns the POSIX
 * rules (which error, which times change, link counts, life of inodes) and nothing else: no durability, no space limit.
 * An observer is told what each change was, in the terms in which it becomes durable: see crash-history.ts.
 * Choices where POSIX leaves room: reading never changes atime; a directory's size is 4096; allocation by fallocate
 * extends the size and leaves holes that are reserved; inode numbers are never used twice; an unknown inode is ESTALE.
 */
import { assert } from '../../base/assert.ts';
import { type ErrnoCode, ErrnoError } from '../../base/errno.ts';
import {
  MAX_FILE_BYTES,
  MAX_NAME_BYTES,
  MAX_REQUEST_BYTES,
  MAX_SYMLINK_BYTES,
  MAX_XATTR_BYTES,
} from '../../base/limits.ts';
import { BLOCK_BYTES, roundUp } from '../../base/units.ts';
import {
  type AttributeChanges,
  type Attributes,
  type Caller,
  type CreatedFile,
  type DirectoryEntry,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  type FileSystem,
  type FileSystemStatistics,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  type ReadResult,
  ROOT_INODE,
  SEEK_DATA,
  SEEK_HOLE,
  type TimeValue,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../filesystem/file-system.ts';
import { SparseBytes } from './sparse-bytes.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_ISGID = 0o2000;
const NODE_TYPES = [0o010000, 0o020000, 0o060000, S_IFREG, 0o140000];
const O_TRUNC = 0o1000;
const DOT_COOKIE = 1;
const DOT_DOT_COOKIE = 2;

interface Entry {
  readonly inode: number;
  /** Grows with each entry ever made in the file system, so insertion order is cookie order. */
  readonly cookie: number;
}

interface Inode {
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
  readonly entries: Map<string, Entry>;
  parent: number;
}

const NO_BYTES = new Uint8Array(0);

function fail(code: ErrnoCode): never {
  throw new ErrnoError(code);
}

const NO_TIME: TimeValue = { seconds: 0, nanoseconds: 0 };

/** What changed, told right after the change. A write, a cut or a hole of a regular file first, then what names and attributes became. */
export interface ModelObserver {
  /** Names, attributes without sizes and times, targets or xattrs changed: one step that is there as a whole or not at all. */
  named(): void;
  /** Blocks [firstBlock, endBlock) have new contents; what was written ends at `endBytes` (0: inside the file). */
  wrote(inode: number, firstBlock: number, endBlock: number, endBytes: number): void;
  /** The size became smaller. `cutsBlock`: it ends inside a block that is no hole, and the rest of that is zeros now. */
  cut(inode: number, sizeBytes: number, cutsBlock: boolean): void;
  grew(inode: number, sizeBytes: number): void;
  /** Blocks [firstBlock, endBlock) are holes. */
  punched(inode: number, firstBlock: number, endBlock: number): void;
  /** Before it is named: the file takes the place of another one. */
  replaces(inode: number): void;
}

export class MemoryFileSystem implements FileSystem {
  readonly #inodes = new Map<number, Inode>();
  readonly #handles = new Map<number, number>();
  readonly #now: () => TimeValue;
  readonly #landing = [new Uint8Array(MAX_REQUEST_BYTES)];
  #nextInode = ROOT_INODE;
  #nextHandle = 1;
  #nextCookie = DOT_DOT_COOKIE + 1;
  observer: ModelObserver | undefined;

  /** `now` is the clock for all times, one that stands still if it is left out; `root` owns the root directory, mode 0755. */
  constructor(now: () => TimeValue = () => NO_TIME, root: { uid: number; gid: number } = { uid: 0, gid: 0 }) {
    this.#now = now;
    const inode = this.#allocate(S_IFDIR | 0o755, root.uid, root.gid, 0, NO_BYTES);
    inode.linkCount = 2;
    inode.parent = ROOT_INODE;
  }

  /** Inodes that exist, unlinked ones that are still in use included. */
  get inodeCount(): number {
    return this.#inodes.size;
  }

  get openHandleCount(): number {
    return this.#handles.size;
  }

  lookup(parent: number, name: string, _caller?: Caller): Attributes | undefined {
    const entry = this.#entry(this.#directory(parent), name);
    if (entry === undefined) return undefined;
    return this.#found(this.#inode(entry.inode));
  }

  forget(inode: number, count: number): void {
    if (inode === ROOT_INODE) return;
    const found = this.#inode(inode);
    assert(found.lookups >= count, `inode ${inode}: ${count} forgotten of ${found.lookups}`);
    found.lookups -= count;
    this.#reap(found);
  }

  getAttributes(inode: number): Attributes {
    return attributesOf(this.#inode(inode));
  }

  setAttributes(inode: number, changes: AttributeChanges, _caller?: Caller): Attributes {
    const found = this.#inode(inode);
    const now = this.#now();
    if (changes.sizeBytes !== undefined) {
      this.#regular(found);
      if (changes.sizeBytes > MAX_FILE_BYTES) fail('EFBIG');
      this.#resize(found, changes.sizeBytes);
      found.mtime = now;
    }
    if (changes.mode !== undefined) found.mode = (found.mode & S_IFMT) | (changes.mode & 0o7777);
    if (changes.uid !== undefined) found.uid = changes.uid;
    if (changes.gid !== undefined) found.gid = changes.gid;
    if (changes.atime !== undefined) found.atime = changes.atime === 'now' ? now : changes.atime;
    if (changes.mtime !== undefined) found.mtime = changes.mtime === 'now' ? now : changes.mtime;
    found.ctime = changes.ctime ?? now;
    if (changes.mode !== undefined || changes.uid !== undefined || changes.gid !== undefined)
      this.observer?.named();
    return attributesOf(found);
  }

  readLink(inode: number): Uint8Array {
    const found = this.#inode(inode);
    if ((found.mode & S_IFMT) !== S_IFLNK) fail('EINVAL');
    return found.target;
  }

  makeNode(parent: number, name: string, mode: number, rdev: number, caller: Caller): Attributes {
    const fullMode = (mode & S_IFMT) === 0 ? S_IFREG | mode : mode;
    if (!NODE_TYPES.includes(fullMode & S_IFMT)) fail('EINVAL');
    return this.#named(this.#make(parent, name, fullMode, caller, rdev));
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes {
    const made = this.#make(parent, name, S_IFDIR | (mode & 0o7777), caller);
    made.linkCount = 2;
    made.parent = parent;
    this.#inode(parent).linkCount += 1;
    this.observer?.named();
    return this.#found(made);
  }

  symbolicLink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes {
    if (target.length > MAX_SYMLINK_BYTES) fail('ENAMETOOLONG');
    return this.#named(this.#make(parent, name, S_IFLNK | 0o777, caller, 0, target.slice()));
  }

  link(inode: number, newParent: number, newName: string, _caller?: Caller): Attributes {
    const found = this.#inode(inode);
    const directory = this.#directory(newParent);
    if (this.#entry(directory, newName) !== undefined) fail('EEXIST');
    if (isDirectory(found)) fail('EPERM');
    if (found.linkCount === 0 || directory.linkCount === 0) fail('ENOENT');
    const now = this.#now();
    this.#insert(directory, newName, inode, now);
    found.linkCount += 1;
    found.ctime = now;
    return this.#named(found);
  }

  unlink(parent: number, name: string, _caller?: Caller): void {
    const directory = this.#directory(parent);
    const found = this.#inode((this.#entry(directory, name) ?? fail('ENOENT')).inode);
    if (isDirectory(found)) fail('EISDIR');
    const now = this.#now();
    this.#remove(directory, name, now);
    this.#dropLink(found, now);
    this.observer?.named();
  }

  removeDirectory(parent: number, name: string, _caller?: Caller): void {
    const directory = this.#directory(parent);
    const found = this.#inode((this.#entry(directory, name) ?? fail('ENOENT')).inode);
    if (!isDirectory(found)) fail('ENOTDIR');
    if (found.entries.size > 0) fail('ENOTEMPTY');
    const now = this.#now();
    this.#remove(directory, name, now);
    directory.linkCount -= 1;
    this.#dropLink(found, now);
    this.observer?.named();
  }

  rename(
    oldParent: number,
    oldName: string,
    newParent: number,
    newName: string,
    flags: number,
    _caller?: Caller,
  ): void {
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) fail('EINVAL');
    if (flags === (RENAME_NOREPLACE | RENAME_EXCHANGE)) fail('EINVAL');
    const from = this.#directory(oldParent);
    const to = this.#directory(newParent);
    const sourceEntry = this.#entry(from, oldName);
    const targetEntry = this.#entry(to, newName);
    if (sourceEntry === undefined) fail('ENOENT');
    const source = this.#inode(sourceEntry.inode);
    const target = targetEntry && this.#inode(targetEntry.inode);
    if (to.linkCount === 0) fail('ENOENT');
    if (isDirectory(source) && this.#isWithin(to, source)) fail('EINVAL');
    if (flags === RENAME_EXCHANGE) {
      this.#exchange(from, oldName, source, to, newName, target ?? fail('ENOENT'));
      return;
    }
    if (target !== undefined) {
      if (flags === RENAME_NOREPLACE) fail('EEXIST');
      if (target === source) return;
      if (isDirectory(source) && !isDirectory(target)) fail('ENOTDIR');
      if (!isDirectory(source) && isDirectory(target)) fail('EISDIR');
      if (target.entries.size > 0) fail('ENOTEMPTY');
    }
    this.#move(from, oldName, source, to, newName, target);
  }

  open(inode: number, flags: number, _caller?: Caller): number {
    const found = this.#regular(this.#inode(inode));
    if ((flags & O_TRUNC) !== 0) this.setAttributes(inode, { sizeBytes: 0 });
    return this.#openHandle(found);
  }

  create(parent: number, name: string, mode: number, _flags: number, caller: Caller): CreatedFile {
    const made = this.#make(parent, name, S_IFREG | (mode & 0o7777), caller);
    return { attributes: this.#named(made), handle: this.#openHandle(made) };
  }

  release(inode: number, handle: number): void {
    assert(this.#handles.get(handle) === inode, `handle ${handle} of inode ${inode} is not open`);
    this.#handles.delete(handle);
    const found = this.#inode(inode);
    found.openHandles -= 1;
    this.#reap(found);
  }

  read(inode: number, _handle: number, offsetBytes: number, lengthBytes: number): ReadResult {
    const bytes = this.#regular(this.#inode(inode)).bytes.read(offsetBytes, lengthBytes);
    return { parts: bytes.length > 0 ? [bytes] : [], lengthBytes: bytes.length, release: () => undefined };
  }

  writeLanding(): readonly Uint8Array[] | undefined {
    return this.#landing;
  }

  whenWritable(): Promise<void> {
    return Promise.resolve();
  }

  write(
    inode: number,
    _handle: number,
    offsetBytes: number,
    data: readonly Uint8Array[],
    _landed?: boolean,
  ): void {
    const found = this.#regular(this.#inode(inode));
    let at = offsetBytes;
    for (const part of data) at += part.length;
    if (at > MAX_FILE_BYTES) fail('EFBIG');
    if (at === offsetBytes) return;
    at = offsetBytes;
    for (const part of data) {
      found.bytes.write(at, part);
      at += part.length;
    }
    found.mtime = found.ctime = this.#now();
    this.#wrote(inode, offsetBytes, at, at);
  }

  flush(inode: number, _handle: number): void {
    this.#inode(inode);
  }

  fsync(inode: number, _handle: number, _dataOnly: boolean): void {
    this.#inode(inode);
  }

  fsyncDirectory(inode: number, _handle: number): void {
    this.#directory(inode);
  }

  fallocate(inode: number, _handle: number, mode: number, offsetBytes: number, lengthBytes: number): void {
    const { bytes } = this.#regular(this.#inode(inode));
    if (offsetBytes < 0 || lengthBytes <= 0) fail('EINVAL');
    const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
    const operation = mode & ~FALLOC_FL_KEEP_SIZE;
    if (operation !== 0 && operation !== FALLOC_FL_PUNCH_HOLE && operation !== FALLOC_FL_ZERO_RANGE)
      fail('EOPNOTSUPP');
    if (operation === FALLOC_FL_PUNCH_HOLE && !keepSize) fail('EOPNOTSUPP');
    const end = offsetBytes + lengthBytes;
    if (end > MAX_FILE_BYTES) fail('EFBIG');
    const found = this.#inode(inode);
    if (operation !== 0)
      this.#zero(found, offsetBytes, Math.min(end, roundUp(bytes.lengthBytes, BLOCK_BYTES)));
    if (operation === FALLOC_FL_PUNCH_HOLE) bytes.release(offsetBytes, lengthBytes);
    else bytes.reserve(offsetBytes, lengthBytes);
    if (!keepSize && end > bytes.lengthBytes) this.#resize(found, end);
    found.mtime = found.ctime = this.#now();
  }

  seek(inode: number, _handle: number, offsetBytes: number, whence: number): number {
    const { bytes } = this.#regular(this.#inode(inode));
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) fail('EINVAL');
    if (offsetBytes < 0 || offsetBytes >= bytes.lengthBytes) fail('ENXIO');
    if (whence === SEEK_HOLE) return bytes.seekHole(offsetBytes);
    return bytes.seekData(offsetBytes) ?? fail('ENXIO');
  }

  openDirectory(inode: number, _caller?: Caller): number {
    return this.#openHandle(this.#directory(inode));
  }

  readDirectory(
    inode: number,
    _handle: number,
    cookie: bigint,
    plus: boolean,
    sink: (entry: DirectoryEntry) => boolean,
  ): void {
    const directory = this.#directory(inode);
    const after = Number(cookie);
    const dots = [
      { name: '.', inode, cookie: DOT_COOKIE },
      { name: '..', inode: directory.parent, cookie: DOT_DOT_COOKIE },
    ];
    for (const dot of dots) {
      const entry = { inode: dot.inode, name: dot.name, type: S_IFDIR, cookie: BigInt(dot.cookie) };
      if (dot.cookie > after && !sink(entry)) return;
    }
    for (const [name, entry] of directory.entries) {
      if (entry.cookie <= after) continue;
      const found = this.#inode(entry.inode);
      const plain = { inode: found.inode, name, type: found.mode & S_IFMT, cookie: BigInt(entry.cookie) };
      const accepted = sink(plus ? { ...plain, attributes: attributesOf(found) } : plain);
      if (!accepted) return;
      if (plus) found.lookups += 1;
    }
  }

  releaseDirectory(inode: number, handle: number): void {
    this.release(inode, handle);
  }

  getXattr(inode: number, name: string): Uint8Array {
    return this.#inode(inode).xattrs.get(name) ?? fail('ENODATA');
  }

  setXattr(inode: number, name: string, value: Uint8Array, flags: number): void {
    const found = this.#inode(inode);
    if (name.length > MAX_NAME_BYTES) fail('ERANGE');
    if (value.length > MAX_XATTR_BYTES) fail('E2BIG');
    if ((flags & XATTR_CREATE) !== 0 && found.xattrs.has(name)) fail('EEXIST');
    if ((flags & XATTR_REPLACE) !== 0 && !found.xattrs.has(name)) fail('ENODATA');
    found.xattrs.set(name, value.slice());
    found.ctime = this.#now();
    this.observer?.named();
  }

  listXattrs(inode: number): readonly string[] {
    return [...this.#inode(inode).xattrs.keys()];
  }

  removeXattr(inode: number, name: string): void {
    const found = this.#inode(inode);
    if (!found.xattrs.delete(name)) fail('ENODATA');
    found.ctime = this.#now();
    this.observer?.named();
  }

  statistics(): FileSystemStatistics {
    const totalBlocks = 1 << 28;
    let usedBlocks = 0;
    for (const inode of this.#inodes.values()) usedBlocks += inode.bytes.blockCount;
    const freeBlocks = totalBlocks - usedBlocks;
    const freeInodes = totalBlocks - this.#inodes.size;
    return { totalBlocks, freeBlocks, availableBlocks: freeBlocks, inodes: totalBlocks, freeInodes };
  }

  syncAll(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #inode(number: number): Inode {
    return this.#inodes.get(number) ?? fail('ESTALE');
  }

  #directory(number: number): Inode {
    const found = this.#inode(number);
    return isDirectory(found) ? found : fail('ENOTDIR');
  }

  #regular(found: Inode): Inode {
    if (isDirectory(found)) fail('EISDIR');
    return (found.mode & S_IFMT) === S_IFREG ? found : fail('EINVAL');
  }

  #entry(directory: Inode, name: string): Entry | undefined {
    return name.length > MAX_NAME_BYTES ? fail('ENAMETOOLONG') : directory.entries.get(name);
  }

  #found(inode: Inode): Attributes {
    inode.lookups += 1;
    return attributesOf(inode);
  }

  #named(inode: Inode): Attributes {
    this.observer?.named();
    return this.#found(inode);
  }

  #wrote(inode: number, offsetBytes: number, endBytes: number, writtenEndBytes: number): void {
    this.observer?.wrote(
      inode,
      Math.floor(offsetBytes / BLOCK_BYTES),
      Math.ceil(endBytes / BLOCK_BYTES),
      writtenEndBytes,
    );
  }

  #resize(found: Inode, sizeBytes: number): void {
    const old = found.bytes.lengthBytes;
    found.bytes.resize(sizeBytes);
    const cutsBlock =
      sizeBytes % BLOCK_BYTES !== 0 && found.bytes.hasBlock(Math.floor(sizeBytes / BLOCK_BYTES));
    if (sizeBytes < old) this.observer?.cut(found.inode, sizeBytes, cutsBlock);
    else this.observer?.grew(found.inode, sizeBytes);
  }

  /** Blocks that are covered whole become holes, those at the edges are written. */
  #zero(found: Inode, offsetBytes: number, endBytes: number): void {
    if (offsetBytes >= endBytes) return;
    found.bytes.zero(offsetBytes, endBytes - offsetBytes);
    const firstWhole = Math.ceil(offsetBytes / BLOCK_BYTES);
    const endWhole = Math.floor(endBytes / BLOCK_BYTES);
    if (offsetBytes % BLOCK_BYTES !== 0) this.#wrote(found.inode, offsetBytes, offsetBytes + 1, 0);
    if (endBytes % BLOCK_BYTES !== 0 && endWhole >= firstWhole)
      this.#wrote(found.inode, endBytes - 1, endBytes, 0);
    if (firstWhole < endWhole) this.observer?.punched(found.inode, firstWhole, endWhole);
  }

  #openHandle(inode: Inode): number {
    inode.openHandles += 1;
    this.#handles.set(this.#nextHandle, inode.inode);
    return this.#nextHandle++;
  }

  #allocate(mode: number, uid: number, gid: number, rdev: number, target: Uint8Array): Inode {
    const now = this.#now();
    const made: Inode = {
      ...{ inode: this.#nextInode++, mode, linkCount: 1, uid, gid, rdev },
      ...{ atime: now, mtime: now, ctime: now, lookups: 0, openHandles: 0, xattrs: new Map() },
      ...{ bytes: new SparseBytes(), target, entries: new Map(), parent: 0 },
    };
    this.#inodes.set(made.inode, made);
    return made;
  }

  /** A new inode under a name. A set-group-id directory hands its group, and to directories the bit, on. */
  #make(
    parent: number,
    name: string,
    mode: number,
    caller: Caller,
    rdev = 0,
    target: Uint8Array = NO_BYTES,
  ): Inode {
    const directory = this.#directory(parent);
    if (this.#entry(directory, name) !== undefined) fail('EEXIST');
    if (directory.linkCount === 0) fail('ENOENT');
    const inheritsGroup = (directory.mode & S_ISGID) !== 0;
    const isDirectoryMode = (mode & S_IFMT) === S_IFDIR;
    const fullMode = inheritsGroup && isDirectoryMode ? mode | S_ISGID : mode;
    const gid = inheritsGroup ? directory.gid : caller.gid;
    const made = this.#allocate(fullMode, caller.uid, gid, rdev, target);
    this.#insert(directory, name, made.inode, made.ctime);
    return made;
  }

  #insert(directory: Inode, name: string, inode: number, now: TimeValue): void {
    directory.entries.delete(name);
    directory.entries.set(name, { inode, cookie: this.#nextCookie++ });
    directory.mtime = directory.ctime = now;
  }

  #remove(directory: Inode, name: string, now: TimeValue): void {
    directory.entries.delete(name);
    directory.mtime = directory.ctime = now;
  }

  #dropLink(found: Inode, now: TimeValue): void {
    found.linkCount = isDirectory(found) ? 0 : found.linkCount - 1;
    found.ctime = now;
    this.#reap(found);
  }

  #reap(found: Inode): void {
    if (found.linkCount === 0 && found.lookups === 0 && found.openHandles === 0)
      this.#inodes.delete(found.inode);
  }

  #isWithin(directory: Inode, ancestor: Inode): boolean {
    for (let at = directory; ; at = this.#inode(at.parent)) {
      if (at === ancestor) return true;
      if (at.inode === ROOT_INODE) return false;
    }
  }

  #move(
    from: Inode,
    oldName: string,
    source: Inode,
    to: Inode,
    newName: string,
    target: Inode | undefined,
  ): void {
    const now = this.#now();
    if (target !== undefined) this.observer?.replaces(source.inode);
    this.#remove(from, oldName, now);
    this.#insert(to, newName, source.inode, now);
    source.ctime = now;
    if (isDirectory(source)) {
      source.parent = to.inode;
      from.linkCount -= 1;
      to.linkCount += 1;
      if (target !== undefined) to.linkCount -= 1;
    }
    if (target !== undefined) this.#dropLink(target, now);
    this.observer?.named();
  }

  #exchange(from: Inode, oldName: string, source: Inode, to: Inode, newName: string, target: Inode): void {
    if (isDirectory(target) && this.#isWithin(from, target)) fail('EINVAL');
    if (source === target) return;
    const now = this.#now();
    this.#insert(from, oldName, target.inode, now);
    this.#insert(to, newName, source.inode, now);
    source.ctime = target.ctime = now;
    if (isDirectory(source)) source.parent = to.inode;
    if (isDirectory(target)) target.parent = from.inode;
    const moved = Number(isDirectory(source)) - Number(isDirectory(target));
    from.linkCount -= moved;
    to.linkCount += moved;
    this.observer?.named();
  }
}

function isDirectory(inode: Inode): boolean {
  return (inode.mode & S_IFMT) === S_IFDIR;
}

function attributesOf(inode: Inode): Attributes {
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
