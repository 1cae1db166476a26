/**
 * The reference model: the whole file-system interface in memory, synchronous and as plain as it can be.
 *
 * Tests mount it to exercise front ends, and compare other implementations with it operation by operation. It owns the POSIX
 * rules (which error, which times change, link counts, life of inodes) and nothing else: no durability, no space limit.
 * Here is one method for each call; inodes and names are kept in inode-table.ts.
 * An observer is told what each change was, in the terms in which it becomes durable: see model-observer.ts.
 * Choices where POSIX leaves room: reading never changes atime; a directory's size is 4096; allocation by fallocate
 * extends the size and leaves holes that are reserved; inode numbers are never used twice; an unknown inode is ESTALE.
 */
import { assert } from '../../base/assert.ts';
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
  type ReadResult,
  ROOT_INODE,
  SEEK_DATA,
  SEEK_HOLE,
  type TimeValue,
  XATTR_CREATE,
  XATTR_REPLACE,
} from '../../filesystem/file-system.ts';
import { resize, tellWritten, zero } from './content-changes.ts';
import { DOT_COOKIE, DOT_DOT_COOKIE, InodeTable } from './inode-table.ts';
import {
  attributesOf,
  fail,
  isDirectory,
  type ModelInode,
  mustBeRegular,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from './model-inode.ts';
import type { ModelObserver } from './model-observer.ts';
import { rename } from './rename.ts';

const NODE_TYPES = [0o010000, 0o020000, 0o060000, S_IFREG, 0o140000];
const O_TRUNC = 0o1000;
const NO_TIME: TimeValue = { seconds: 0, nanoseconds: 0 };

export class MemoryFileSystem implements FileSystem {
  readonly #inodes: InodeTable;
  readonly #handles = new Map<number, number>();
  readonly #now: () => TimeValue;
  readonly #landing = [new Uint8Array(MAX_REQUEST_BYTES)];
  #nextHandle = 1;
  observer: ModelObserver | undefined;

  /** `now` is the clock for all times, one that stands still if it is left out; `root` owns the root directory, mode 0755. */
  constructor(now: () => TimeValue = () => NO_TIME, root: { uid: number; gid: number } = { uid: 0, gid: 0 }) {
    this.#now = now;
    this.#inodes = new InodeTable(now, root);
  }

  /** Inodes that exist, unlinked ones that are still in use included. */
  get inodeCount(): number {
    return this.#inodes.size;
  }

  get openHandleCount(): number {
    return this.#handles.size;
  }

  lookup(parent: number, name: string, _caller?: Caller): Attributes | undefined {
    const entry = this.#inodes.entry(this.#inodes.directory(parent), name);
    if (entry === undefined) return undefined;
    return this.#found(this.#inodes.get(entry.inode));
  }

  forget(inode: number, count: number): void {
    if (inode === ROOT_INODE) return;
    const found = this.#inodes.get(inode);
    assert(found.lookups >= count, `inode ${inode}: ${count} forgotten of ${found.lookups}`);
    found.lookups -= count;
    this.#inodes.reap(found);
  }

  getAttributes(inode: number): Attributes {
    return attributesOf(this.#inodes.get(inode));
  }

  setAttributes(inode: number, changes: AttributeChanges, _caller?: Caller): Attributes {
    const found = this.#inodes.get(inode);
    const now = this.#now();
    if (changes.sizeBytes !== undefined) {
      mustBeRegular(found);
      if (changes.sizeBytes > MAX_FILE_BYTES) fail('EFBIG');
      resize(this.observer, found, changes.sizeBytes);
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
    const found = this.#inodes.get(inode);
    if ((found.mode & S_IFMT) !== S_IFLNK) fail('EINVAL');
    return found.target;
  }

  makeNode(parent: number, name: string, mode: number, rdev: number, caller: Caller): Attributes {
    const fullMode = (mode & S_IFMT) === 0 ? S_IFREG | mode : mode;
    if (!NODE_TYPES.includes(fullMode & S_IFMT)) fail('EINVAL');
    return this.#named(this.#inodes.make(parent, name, fullMode, caller, rdev));
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes {
    const made = this.#inodes.make(parent, name, S_IFDIR | (mode & 0o7777), caller);
    made.linkCount = 2;
    made.parent = parent;
    this.#inodes.get(parent).linkCount += 1;
    this.observer?.named();
    return this.#found(made);
  }

  symbolicLink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes {
    if (target.length > MAX_SYMLINK_BYTES) fail('ENAMETOOLONG');
    return this.#named(this.#inodes.make(parent, name, S_IFLNK | 0o777, caller, 0, target.slice()));
  }

  link(inode: number, newParent: number, newName: string, _caller?: Caller): Attributes {
    const found = this.#inodes.get(inode);
    const directory = this.#inodes.directory(newParent);
    if (this.#inodes.entry(directory, newName) !== undefined) fail('EEXIST');
    if (isDirectory(found)) fail('EPERM');
    if (found.linkCount === 0 || directory.linkCount === 0) fail('ENOENT');
    const now = this.#now();
    this.#inodes.insert(directory, newName, inode, now);
    found.linkCount += 1;
    found.ctime = now;
    return this.#named(found);
  }

  unlink(parent: number, name: string, _caller?: Caller): void {
    const directory = this.#inodes.directory(parent);
    const found = this.#inodes.get((this.#inodes.entry(directory, name) ?? fail('ENOENT')).inode);
    if (isDirectory(found)) fail('EISDIR');
    const now = this.#now();
    this.#inodes.remove(directory, name, now);
    this.#inodes.dropLink(found, now);
    this.observer?.named();
  }

  removeDirectory(parent: number, name: string, _caller?: Caller): void {
    const directory = this.#inodes.directory(parent);
    const found = this.#inodes.get((this.#inodes.entry(directory, name) ?? fail('ENOENT')).inode);
    if (!isDirectory(found)) fail('ENOTDIR');
    if (found.entries.size > 0) fail('ENOTEMPTY');
    const now = this.#now();
    this.#inodes.remove(directory, name, now);
    directory.linkCount -= 1;
    this.#inodes.dropLink(found, now);
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
    rename(this.#inodes, { oldParent, oldName, newParent, newName, flags }, this.observer);
  }

  open(inode: number, flags: number, _caller?: Caller): number {
    const found = mustBeRegular(this.#inodes.get(inode));
    if ((flags & O_TRUNC) !== 0) this.setAttributes(inode, { sizeBytes: 0 });
    return this.#openHandle(found);
  }

  create(parent: number, name: string, mode: number, _flags: number, caller: Caller): CreatedFile {
    const made = this.#inodes.make(parent, name, S_IFREG | (mode & 0o7777), caller);
    return { attributes: this.#named(made), handle: this.#openHandle(made) };
  }

  release(inode: number, handle: number): void {
    assert(this.#handles.get(handle) === inode, `handle ${handle} of inode ${inode} is not open`);
    this.#handles.delete(handle);
    const found = this.#inodes.get(inode);
    found.openHandles -= 1;
    this.#inodes.reap(found);
  }

  read(inode: number, _handle: number, offsetBytes: number, lengthBytes: number): ReadResult {
    const bytes = mustBeRegular(this.#inodes.get(inode)).bytes.read(offsetBytes, lengthBytes);
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
    const found = mustBeRegular(this.#inodes.get(inode));
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
    tellWritten(this.observer, inode, offsetBytes, at, at);
  }

  flush(inode: number, _handle: number): void {
    this.#inodes.get(inode);
  }

  fsync(inode: number, _handle: number, _dataOnly: boolean): void {
    this.#inodes.get(inode);
  }

  fsyncDirectory(inode: number, _handle: number): void {
    this.#inodes.directory(inode);
  }

  fallocate(inode: number, _handle: number, mode: number, offsetBytes: number, lengthBytes: number): void {
    const { bytes } = mustBeRegular(this.#inodes.get(inode));
    if (offsetBytes < 0 || lengthBytes <= 0) fail('EINVAL');
    const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
    const operation = mode & ~FALLOC_FL_KEEP_SIZE;
    if (operation !== 0 && operation !== FALLOC_FL_PUNCH_HOLE && operation !== FALLOC_FL_ZERO_RANGE)
      fail('EOPNOTSUPP');
    if (operation === FALLOC_FL_PUNCH_HOLE && !keepSize) fail('EOPNOTSUPP');
    const end = offsetBytes + lengthBytes;
    if (end > MAX_FILE_BYTES) fail('EFBIG');
    const found = this.#inodes.get(inode);
    if (operation !== 0)
      zero(this.observer, found, offsetBytes, Math.min(end, roundUp(bytes.lengthBytes, BLOCK_BYTES)));
    if (operation === FALLOC_FL_PUNCH_HOLE) bytes.release(offsetBytes, lengthBytes);
    else bytes.reserve(offsetBytes, lengthBytes);
    if (!keepSize && end > bytes.lengthBytes) resize(this.observer, found, end);
    found.mtime = found.ctime = this.#now();
  }

  seek(inode: number, _handle: number, offsetBytes: number, whence: number): number {
    const { bytes } = mustBeRegular(this.#inodes.get(inode));
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) fail('EINVAL');
    if (offsetBytes < 0 || offsetBytes >= bytes.lengthBytes) fail('ENXIO');
    if (whence === SEEK_HOLE) return bytes.seekHole(offsetBytes);
    return bytes.seekData(offsetBytes) ?? fail('ENXIO');
  }

  openDirectory(inode: number, _caller?: Caller): number {
    return this.#openHandle(this.#inodes.directory(inode));
  }

  readDirectory(
    inode: number,
    _handle: number,
    cookie: bigint,
    plus: boolean,
    sink: (entry: DirectoryEntry) => boolean,
  ): void {
    const directory = this.#inodes.directory(inode);
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
      const found = this.#inodes.get(entry.inode);
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
    return this.#inodes.get(inode).xattrs.get(name) ?? fail('ENODATA');
  }

  setXattr(inode: number, name: string, value: Uint8Array, flags: number): void {
    const found = this.#inodes.get(inode);
    if (name.length > MAX_NAME_BYTES) fail('ERANGE');
    if (value.length > MAX_XATTR_BYTES) fail('E2BIG');
    if ((flags & XATTR_CREATE) !== 0 && found.xattrs.has(name)) fail('EEXIST');
    if ((flags & XATTR_REPLACE) !== 0 && !found.xattrs.has(name)) fail('ENODATA');
    found.xattrs.set(name, value.slice());
    found.ctime = this.#now();
    this.observer?.named();
  }

  listXattrs(inode: number): readonly string[] {
    return [...this.#inodes.get(inode).xattrs.keys()];
  }

  removeXattr(inode: number, name: string): void {
    const found = this.#inodes.get(inode);
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

  #found(inode: ModelInode): Attributes {
    inode.lookups += 1;
    return attributesOf(inode);
  }

  #named(inode: ModelInode): Attributes {
    this.observer?.named();
    return this.#found(inode);
  }

  #openHandle(inode: ModelInode): number {
    inode.openHandles += 1;
    this.#handles.set(this.#nextHandle, inode.inode);
    return this.#nextHandle++;
  }
}
