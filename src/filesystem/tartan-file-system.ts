/**
 * The file system over the metadata manager and the segment log: each call of the interface, put together from the parts that know
 * how (namespace, directory, write-path, read-path, read-ahead, file-shape, flusher, committer). See file-system.ts for the contract.
 *
 * It owns the state of inodes in use and everything that is written but not committed; memory for that is the log's and bounded there.
 * Conditions below become errnos at this edge (errors.ts).
 */
import { posixOutcome } from '../base/errno.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentReader, SegmentWriter } from '../log/log.ts';
import type { InodeChanges, MetadataManager, Timestamp } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';
import { attributesOf } from './attributes.ts';
import { Committer } from './committer.ts';
import { directoryInode, readDirectory } from './directory.ts';
import { rethrow, toErrno, withErrno } from './errors.ts';
import { FileShape, modificationTimes } from './file-shape.ts';
import type {
  AttributeChanges,
  Attributes,
  Caller,
  CreatedFile,
  DirectoryEntry,
  FileSystem,
  FileSystemStatistics,
  MaybePromise,
  ReadResult,
} from './file-system.ts';
import { Flusher } from './flusher.ts';
import { Handles } from './handles.ts';
import { type InodeState, InodeTable } from './inode-state.ts';
import { O_TRUNC, PERMISSION_BITS, S_IFMT } from './mode.ts';
import { Namespace } from './namespace.ts';
import { ReadAhead } from './read-ahead.ts';
import { EMPTY_READ, ReadPath } from './read-path.ts';
import { recoverInline } from './recovery.ts';
import { SpaceCheck, type VolumeSpace } from './space.ts';
import { UncommittedData } from './uncommitted-data.ts';
import { WritePath } from './write-path.ts';
import { checkXattr } from './xattrs.ts';

export interface FileSystemParts {
  readonly metadata: MetadataManager;
  readonly writer: SegmentWriter;
  readonly reader: SegmentReader;
  /** Without it: what the log can take as it is. */
  readonly space?: VolumeSpace;
  readonly readOnly?: boolean;
}

/**
 * Resolves when what the last reign left in the journal is written out and every call can be served. The parts stay the
 * caller's: it closes them after the file system.
 */
export async function createFileSystem(platform: Platform, parts: FileSystemParts): Promise<FileSystem> {
  const fileSystem = new TartanFileSystem(platform, parts);
  await fileSystem.recover();
  return fileSystem;
}

class TartanFileSystem implements FileSystem {
  readonly #platform: Platform;
  readonly #metadata: MetadataManager;
  readonly #writer: SegmentWriter;
  readonly #space: VolumeSpace;
  readonly #readOnly: boolean;
  readonly #inodes: InodeTable;
  readonly #data: UncommittedData;
  readonly #flusher: Flusher;
  readonly #reads: ReadPath;
  readonly #readAhead: ReadAhead;
  readonly #writes: WritePath;
  readonly #shape: FileShape;
  readonly #names: Namespace;
  readonly #handles: Handles;

  constructor(platform: Platform, parts: FileSystemParts) {
    const { metadata, writer, reader } = parts;
    this.#platform = platform;
    this.#metadata = metadata;
    this.#writer = writer;
    this.#readOnly = parts.readOnly ?? false;
    const space = parts.space ?? spaceOfLog(writer, metadata);
    this.#space = space;
    const inodes = new InodeTable(metadata);
    const data = new UncommittedData(writer, inodes);
    const committer = new Committer(platform, metadata, writer, inodes, data);
    const flusher = new Flusher(platform, metadata, writer, data, committer);
    const reads = new ReadPath(metadata, writer, reader, data);
    const check = new SpaceCheck(space, metadata);
    const writes = new WritePath(platform, metadata, writer, inodes, data, flusher, reads, check);
    this.#inodes = inodes;
    this.#data = data;
    this.#flusher = flusher;
    this.#reads = reads;
    this.#readAhead = new ReadAhead(platform, reads);
    this.#writes = writes;
    this.#shape = new FileShape(platform.timers, metadata, check, inodes, data, flusher, reads, writes);
    this.#names = new Namespace(platform, metadata, inodes);
    this.#handles = new Handles(inodes);
    inodes.onUnused = (inode) => this.#reclaim(inode);
    metadata.onSegmentDead = (record) => {
      writer.free(record);
      metadata.forgetSegment(record.segmentId);
    };
  }

  async recover(): Promise<void> {
    await recoverInline(this.#metadata, this.#inodes, this.#writes);
    await this.#flusher.storeAll();
  }

  // Names

  lookup(parent: number, name: string, _caller: Caller): Attributes | undefined {
    return this.#look(() => this.#names.lookup(parent, name));
  }

  forget(inode: number, count: number): void {
    this.#inodes.lowerLookups(inode, count);
  }

  readLink(inode: number): Uint8Array {
    return this.#look(() => this.#metadata.readLink(this.#names.inode(inode).inode));
  }

  makeNode(
    parent: number,
    name: string,
    mode: number,
    rdev: number,
    caller: Caller,
  ): MaybePromise<Attributes> {
    return this.#mutate(() => this.#names.makeNode(parent, name, mode, rdev, caller));
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): MaybePromise<Attributes> {
    return this.#mutate(() => this.#names.makeDirectory(parent, name, mode, caller));
  }

  symbolicLink(parent: number, name: string, target: Uint8Array, caller: Caller): MaybePromise<Attributes> {
    return this.#mutate(() => this.#names.symbolicLink(parent, name, target, caller));
  }

  link(inode: number, newParent: number, newName: string, _caller: Caller): MaybePromise<Attributes> {
    return this.#mutate(() => this.#names.link(inode, newParent, newName));
  }

  unlink(parent: number, name: string, _caller: Caller): MaybePromise<void> {
    return this.#mutate(() => this.#names.unlink(parent, name));
  }

  removeDirectory(parent: number, name: string, _caller: Caller): MaybePromise<void> {
    return this.#mutate(() => this.#names.removeDirectory(parent, name));
  }

  rename(
    oldParent: number,
    oldName: string,
    newParent: number,
    newName: string,
    flags: number,
    _caller: Caller,
  ): MaybePromise<void> {
    return this.#mutate(() => {
      const rename = () => this.#names.rename(oldParent, oldName, newParent, newName, flags);
      // A file that takes another's place has its data committed first: after a crash the name stands for one or the other, whole.
      const source = this.#names.replacing(oldParent, oldName, newParent, newName);
      const state = source === undefined ? undefined : this.#inodes.find(source);
      if (state === undefined || state.parts.length === 0) return rename();
      return this.#flusher.commit(state).then(rename);
    });
  }

  openDirectory(inode: number, _caller: Caller): number {
    return this.#look(() => this.#handles.openDirectory(directoryInode(this.#metadata, inode).inode));
  }

  readDirectory(
    inode: number,
    _handle: number,
    cookie: bigint,
    plus: boolean,
    sink: (entry: DirectoryEntry) => boolean,
  ): MaybePromise<void> {
    const entryAttributes = plus
      ? {
          attributes: (found: Parameters<Namespace['attributes']>[0]) => this.#names.attributes(found),
          raiseLookups: (found: number) => this.#inodes.raiseLookups(found),
        }
      : undefined;
    return withErrno(() =>
      readDirectory(this.#metadata, directoryInode(this.#metadata, inode), cookie, entryAttributes, sink),
    );
  }

  releaseDirectory(inode: number, _handle: number): void {
    this.#handles.closeDirectory(inode);
  }

  // Attributes

  getAttributes(inode: number): Attributes {
    return this.#look(() => this.#names.attributes(this.#names.inode(inode)));
  }

  setAttributes(inode: number, changes: AttributeChanges, _caller: Caller): MaybePromise<Attributes> {
    return this.#mutate(() => {
      const known = this.#names.inode(inode);
      const time = this.#now();
      const updates: InodeChanges = committedChanges(changes, known.mode, time);
      const show = () => this.getAttributes(inode);
      if (changes.sizeBytes !== undefined) {
        const state = this.#inodes.add(known);
        const cut = this.#shape.truncate(state, changes.sizeBytes, {
          ...modificationTimes(time),
          ...updates,
        });
        if (cut instanceof Promise) return cut.then(show);
        return show();
      }
      const state = this.#inodes.find(inode);
      const isToBeCommitted = state?.dirtyTime === undefined || state.parts.length > 0;
      const shown = this.#names.attributes(known);
      if (isToBeCommitted && areShown(changes, shown)) return shown;
      // A time of writing that is still to be committed goes along, so that it cannot come after this change.
      const dirty = state?.dirtyTime;
      const written = dirty === undefined ? undefined : modificationTimes(dirty);
      if (state !== undefined) state.dirtyTime = undefined;
      const updated = this.#metadata.update(inode, { ...written, ...updates });
      return attributesOf(updated, state, this.#metadata);
    });
  }

  getXattr(inode: number, name: string): Uint8Array {
    const value = this.#look(() => this.#metadata.getXattr(this.#names.inode(inode).inode, name));
    if (value === undefined) throw posixOutcome('ENODATA');
    return value;
  }

  setXattr(inode: number, name: string, value: Uint8Array, flags: number): MaybePromise<void> {
    checkXattr(name, value);
    return this.#mutate(() =>
      this.#metadata.setXattr(this.#names.inode(inode).inode, name, value, flags, this.#now()),
    );
  }

  listXattrs(inode: number): readonly string[] {
    return this.#look(() => this.#metadata.listXattrs(this.#names.inode(inode).inode));
  }

  removeXattr(inode: number, name: string): MaybePromise<void> {
    return this.#mutate(() => this.#metadata.removeXattr(this.#names.inode(inode).inode, name, this.#now()));
  }

  // Open files

  open(inode: number, flags: number, _caller: Caller): MaybePromise<number> {
    const state = this.#look(() => this.#inodes.state(inode));
    if ((flags & O_TRUNC) === 0) return this.#handles.open(state);
    return this.#mutate(() => {
      const cut = this.#shape.truncate(this.#inodes.state(inode), 0, modificationTimes(this.#now()));
      const opened = () => this.#handles.open(this.#inodes.state(inode));
      return cut instanceof Promise ? cut.then(opened) : opened();
    });
  }

  create(
    parent: number,
    name: string,
    mode: number,
    _flags: number,
    caller: Caller,
  ): MaybePromise<CreatedFile> {
    return this.#mutate(() => {
      const made = this.#names.makeFile(parent, name, mode, caller);
      const handle = this.#handles.open(this.#inodes.add(made));
      return { attributes: this.#names.attributes(made), handle };
    });
  }

  release(inode: number, handle: number): void {
    this.#readAhead.end(this.#handles.close(inode, handle).stream);
  }

  read(inode: number, handle: number, offsetBytes: number, lengthBytes: number): MaybePromise<ReadResult> {
    try {
      const opened = this.#handles.find(inode, handle);
      if (opened === undefined) return this.#readUnopened(inode, offsetBytes, lengthBytes);
      const length = Math.min(lengthBytes, opened.state.sizeBytes - offsetBytes);
      if (length <= 0) return EMPTY_READ;
      const result = this.#readAhead.read(opened.stream, offsetBytes, length);
      return result instanceof Promise ? result.catch(rethrow) : result;
    } catch (error) {
      throw toErrno(error);
    }
  }

  #readUnopened(inode: number, offsetBytes: number, lengthBytes: number): MaybePromise<ReadResult> {
    const state = this.#inodes.state(inode);
    const length = Math.min(lengthBytes, state.sizeBytes - offsetBytes);
    const result = length <= 0 ? EMPTY_READ : this.#reads.read(inode, state, offsetBytes, length);
    this.#inodes.settle(state);
    return result instanceof Promise ? result.catch(rethrow) : result;
  }

  writeLanding(): readonly Uint8Array[] | undefined {
    return this.#writes.landing();
  }

  whenWritable(): Promise<void> {
    return this.#writes.whenWritable();
  }

  write(
    inode: number,
    _handle: number,
    offsetBytes: number,
    data: readonly Uint8Array[],
    landed: boolean,
  ): MaybePromise<void> {
    if (this.#readOnly) throw posixOutcome('EROFS');
    const state = this.#look(() => this.#inodes.state(inode));
    try {
      const done = this.#writes.write(state, offsetBytes, data, landed);
      return done instanceof Promise ? done.catch(rethrow) : done;
    } catch (error) {
      this.#inodes.settle(state);
      throw toErrno(error);
    }
  }

  /** A close says so, once, when what was written through the handle cannot be made durable now. */
  flush(inode: number, handle: number): void {
    const opened = this.#handles.find(inode, handle);
    if (opened === undefined || opened.troubleReported || opened.state.parts.length === 0) return;
    const trouble = this.#metadata.trouble ?? this.#writer.trouble;
    if (trouble === undefined) return;
    opened.troubleReported = true;
    throw toErrno(trouble);
  }

  fsync(inode: number, _handle: number, _dataOnly: boolean): MaybePromise<void> {
    return withErrno(() => this.#flusher.fsync(this.#inodes.find(inode)));
  }

  fsyncDirectory(inode: number, _handle: number): MaybePromise<void> {
    return withErrno(() => {
      directoryInode(this.#metadata, inode);
      return this.#flusher.fsync(undefined);
    });
  }

  fallocate(
    inode: number,
    _handle: number,
    mode: number,
    offsetBytes: number,
    lengthBytes: number,
  ): MaybePromise<void> {
    return this.#mutate(() =>
      this.#shape.fallocate(this.#inodes.state(inode), mode, offsetBytes, lengthBytes, this.#now()),
    );
  }

  seek(inode: number, _handle: number, offsetBytes: number, whence: number): MaybePromise<number> {
    return withErrno(() => {
      const state = this.#inodes.state(inode);
      try {
        return this.#shape.seek(state, offsetBytes, whence);
      } finally {
        this.#inodes.settle(state);
      }
    });
  }

  // The whole

  statistics(): FileSystemStatistics {
    const totalBlocks = this.#space.totalBlocks();
    const availableBlocks = Math.min(this.#space.freeBlocks(), totalBlocks);
    const freeBlocks = Math.min(this.#space.unusedBlocks(), totalBlocks);
    const usedInodes = this.#metadata.totals().inodes;
    // Inodes are not set aside; each needs at least some room.
    return {
      totalBlocks,
      freeBlocks,
      availableBlocks,
      inodes: usedInodes + availableBlocks,
      freeInodes: availableBlocks,
    };
  }

  syncAll(): Promise<void> {
    return this.#flusher.syncAll().catch(rethrow);
  }

  async close(): Promise<void> {
    try {
      await this.syncAll();
      this.#handles.closeAll();
      this.#inodes.forgetAll();
      await this.#metadata.sync();
    } catch (error) {
      rethrow(error);
    } finally {
      this.#readAhead.close();
      this.#flusher.close();
      this.#metadata.onSegmentDead = undefined;
    }
  }

  /** In this turn, and changes nothing. A primary that was deposed cannot answer either. */
  #look<T>(operation: () => T): T {
    try {
      return operation();
    } catch (error) {
      return rethrow(error);
    }
  }

  #mutate<T>(operation: () => MaybePromise<T>): MaybePromise<T> {
    if (this.#readOnly) throw posixOutcome('EROFS');
    const backlog = this.#metadata.backlog();
    if (backlog !== undefined) return backlog.then(operation).catch(rethrow);
    return withErrno(operation);
  }

  /** An inode without names that nobody uses any more. */
  #reclaim(inode: number): void {
    const state: InodeState | undefined = this.#inodes.find(inode);
    if (state !== undefined) {
      this.#data.drop(state, 0, Number.POSITIVE_INFINITY);
      state.dirtyTime = undefined;
      state.contentChanged();
      this.#inodes.settle(state);
    }
    this.#metadata.reclaim(inode);
  }

  #now(): Timestamp {
    return this.#platform.clock.fileTime();
  }
}

function spaceOfLog(writer: SegmentWriter, metadata: MetadataManager): VolumeSpace {
  const freeBlocks = (): number => {
    const available = Math.floor(writer.availableBytes() / BLOCK_BYTES);
    return Math.max(0, available - metadata.totals().reservedBlocks);
  };
  const totalBlocks = () => Math.floor(writer.totalBytes() / BLOCK_BYTES);
  return { totalBlocks, freeBlocks, unusedBlocks: freeBlocks };
}

/** Nothing but the times that the file has already: before an fsync the kernel tells when it wrote. */
function areShown({ mtime, ctime, ...others }: AttributeChanges, shown: Attributes): boolean {
  if (mtime === undefined || mtime === 'now' || ctime === undefined) return false;
  return (
    mtime.seconds === shown.mtimeSeconds &&
    mtime.nanoseconds === shown.mtimeNanoseconds &&
    ctime.seconds === shown.ctimeSeconds &&
    ctime.nanoseconds === shown.ctimeNanoseconds &&
    Object.keys(others).length === 0
  );
}

/** What setattr asks for, in the words of the metadata. The size is not among it. */
function committedChanges(changes: AttributeChanges, oldMode: number, now: Timestamp): InodeChanges {
  const updates: { -readonly [K in keyof InodeChanges]: InodeChanges[K] } = {};
  if (changes.mode !== undefined) updates.mode = (oldMode & S_IFMT) | (changes.mode & PERMISSION_BITS);
  if (changes.uid !== undefined) updates.uid = changes.uid;
  if (changes.gid !== undefined) updates.gid = changes.gid;
  if (changes.atime !== undefined) {
    const atime = changes.atime === 'now' ? now : changes.atime;
    updates.atimeSeconds = atime.seconds;
    updates.atimeNanoseconds = atime.nanoseconds;
  }
  if (changes.mtime !== undefined) {
    const mtime = changes.mtime === 'now' ? now : changes.mtime;
    updates.mtimeSeconds = mtime.seconds;
    updates.mtimeNanoseconds = mtime.nanoseconds;
  }
  const ctime = changes.ctime ?? now;
  updates.ctimeSeconds = ctime.seconds;
  updates.ctimeNanoseconds = ctime.nanoseconds;
  return updates;
}
