/**
 * A metadata manager of plain maps, for tests of the layer above: the contract's rules without journal, caches or nodes.
 *
 * Operations are recorded as they are applied; `crashed(kept)` makes the manager that a next reign would find if the journal had kept the first
 * `kept` operations. `durableOperations` says how many a crash must keep.
 */
import {
  added,
  type BlockRanges,
  blockCount,
  hasBlock,
  NO_RANGES,
  removed,
} from '../../../src/base/block-ranges.ts';
import { ErrnoError } from '../../../src/base/errno.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import type {
  BlockMap,
  ExtentRuns,
  Inode,
  InodeChanges,
  ListedEntry,
  MetadataManager,
  MetadataTotals,
  MetadataUnavailable,
  NewInode,
  RecoveredInline,
  SizeUpdate,
  Timestamp,
} from '../../../src/metadata/metadata.ts';

const S_IFMT = 0o170000;
const S_IFDIR = 0o040000;

interface Extent {
  readonly segmentId: number;
  readonly blockIndex: number;
  readonly checksum: number;
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };
type Journaled =
  | 'create'
  | 'link'
  | 'unlink'
  | 'removeDirectory'
  | 'rename'
  | 'update'
  | 'setXattr'
  | 'removeXattr'
  | 'truncate'
  | 'reserve'
  | 'zero'
  | 'punch'
  | 'reclaim'
  | 'commitSegment'
  | 'commitInline'
  | 'forgetSegment';

function fail(code: ConstructorParameters<typeof ErrnoError>[0]): never {
  throw new ErrnoError(code);
}

export class StandInMetadata implements MetadataManager {
  readonly term: number;
  readonly ensemble = [];
  onSegmentDead: ((record: SegmentRecord) => void) | undefined;
  trouble: MetadataUnavailable | undefined;
  backlogged: Promise<void> | undefined;
  durableOperations = 0;
  /** So many were on their way to the journal when `hasten` was last called. */
  hastenedOperations = 0;
  /** Answer what may be answered asynchronously so. */
  slow = false;
  readonly operations: { method: Journaled; args: unknown[] }[] = [];

  readonly #inodes = new Map<number, Mutable<Inode>>();
  readonly #entries = new Map<number, Map<string, { inode: number; cookie: number }>>();
  readonly #targets = new Map<number, Uint8Array>();
  readonly #xattrs = new Map<number, Map<string, Uint8Array>>();
  readonly #extents = new Map<number, Map<number, Extent>>();
  readonly #reservations = new Map<number, BlockRanges>();
  readonly #segments = new Map<number, Mutable<SegmentRecord>>();
  readonly #provisional = new Map<number, number>();
  readonly #inline = new Map<string, RecoveredInline>();
  #recovered: RecoveredInline[] = [];
  #nextInode = 2;
  #nextCookie = 3;
  #replaying = false;
  #dead: { segmentId: number; operations: number }[] = [];

  constructor(term = 1, time: Timestamp = { seconds: 0, nanoseconds: 0 }) {
    this.term = term;
    this.#addInode(1, { mode: S_IFDIR | 0o755, uid: 0, gid: 0, rdev: 0, time }, 1);
  }

  crashed(keptOperations: number, rootTime: Timestamp): StandInMetadata {
    const next = new StandInMetadata(this.term + 1, rootTime);
    next.#replaying = true;
    for (const { method, args } of this.operations.slice(0, keptOperations))
      (next[method] as (...given: unknown[]) => unknown)(...args);
    next.#replaying = false;
    next.operations.push(...this.operations.slice(0, keptOperations));
    next.durableOperations = keptOperations;
    next.#recovered = [...next.#inline.values()];
    for (const inode of [...next.#inodes.values()]) if (inode.linkCount === 0) next.reclaim(inode.inode);
    return next;
  }

  /** Live blocks by segment as counted from the extents: what the records must say. */
  countLive(): Map<number, number> {
    const live = new Map<number, number>();
    for (const extents of this.#extents.values())
      for (const { segmentId } of extents.values()) live.set(segmentId, (live.get(segmentId) ?? 0) + 1);
    return live;
  }

  get inodeCount(): number {
    return this.#inodes.size;
  }

  lookup(parent: number, name: string): number | undefined {
    return this.#entriesOf(parent, name).get(name)?.inode;
  }

  inode(inode: number): Inode | undefined {
    return this.#inodes.get(inode);
  }

  readLink(inode: number): Uint8Array {
    return this.#targets.get(inode) ?? fail('EINVAL');
  }

  getXattr(inode: number, name: string): Uint8Array | undefined {
    return this.#xattrs.get(inode)?.get(name);
  }

  listXattrs(inode: number): readonly string[] {
    return [...(this.#xattrs.get(inode)?.keys() ?? [])];
  }

  list(directory: number, cookie: bigint, limit: number): ListedEntry[] | Promise<ListedEntry[]> {
    const found: ListedEntry[] = [];
    for (const [name, entry] of this.#entriesOf(directory)) {
      if (entry.cookie <= Number(cookie) || found.length === limit) continue;
      const type = this.#inodes.get(entry.inode)!.mode & S_IFMT;
      found.push({ name, inode: entry.inode, type, cookie: BigInt(entry.cookie) });
    }
    return this.#later(found);
  }

  mapBlocks(inode: number, firstBlock: number, count: number, out: BlockMap): void {
    const extents = this.#extents.get(inode);
    out.count = count;
    for (let at = 0; at < count; at++) {
      const extent = extents?.get(firstBlock + at);
      out.segmentIds[at] = extent?.segmentId ?? 0;
      out.blockIndexes[at] = extent?.blockIndex ?? 0;
      out.checksums[at] = extent?.checksum ?? 0;
    }
  }

  nextMappedBlock(inode: number, fromBlock: number): number | undefined | Promise<number | undefined> {
    const blocks = [...(this.#extents.get(inode)?.keys() ?? [])].filter((block) => block >= fromBlock);
    return this.#later(blocks.length > 0 ? Math.min(...blocks) : undefined);
  }

  nextHole(inode: number, fromBlock: number): number | Promise<number> {
    let block = fromBlock;
    while (this.#extents.get(inode)?.has(block)) block += 1;
    return this.#later(block);
  }

  segment(segmentId: number): SegmentRecord | undefined {
    return this.#segments.get(segmentId);
  }

  reservation(inode: number): BlockRanges {
    return this.#reservations.get(inode) ?? NO_RANGES;
  }

  totals(): MetadataTotals {
    let mappedBlocks = 0;
    let reservedBlocks = 0;
    for (const inode of this.#inodes.values()) reservedBlocks += inode.reservedBlocks;
    for (const extents of this.#extents.values()) mappedBlocks += extents.size;
    const { size: segments } = this.#segments;
    return { inodes: this.#inodes.size, mappedBlocks, reservedBlocks, segments, segmentBlocks: 0 };
  }

  create(parent: number, name: string, made: NewInode): Inode {
    const entries = this.#entriesOf(parent, name);
    if (entries.has(name)) fail('EEXIST');
    const directory = this.#inodes.get(parent)!;
    if (directory.linkCount === 0) fail('ENOENT');
    this.#journal('create', [parent, name, made]);
    const inode = this.#nextInode++;
    const isDirectory = (made.mode & S_IFMT) === S_IFDIR;
    const added = this.#addInode(inode, made, isDirectory ? parent : 0);
    if (made.target !== undefined) this.#targets.set(inode, made.target.slice());
    if (isDirectory) directory.linkCount += 1;
    this.#insert(parent, name, inode, made.time);
    return { ...added };
  }

  link(inode: number, parent: number, name: string, time: Timestamp): Inode {
    const found = this.#inodes.get(inode) ?? fail('ESTALE');
    const entries = this.#entriesOf(parent, name);
    if (entries.has(name)) fail('EEXIST');
    if ((found.mode & S_IFMT) === S_IFDIR) fail('EPERM');
    if (found.linkCount === 0 || this.#inodes.get(parent)!.linkCount === 0) fail('ENOENT');
    this.#journal('link', [inode, parent, name, time]);
    this.#insert(parent, name, inode, time);
    found.linkCount += 1;
    touch(found, time, false);
    return { ...found };
  }

  unlink(parent: number, name: string, time: Timestamp): Inode {
    const found = this.#inodes.get((this.#entriesOf(parent, name).get(name) ?? fail('ENOENT')).inode)!;
    if ((found.mode & S_IFMT) === S_IFDIR) fail('EISDIR');
    this.#journal('unlink', [parent, name, time]);
    this.#remove(parent, name, time);
    found.linkCount -= 1;
    touch(found, time, false);
    return { ...found };
  }

  removeDirectory(parent: number, name: string, time: Timestamp): Inode {
    const found = this.#inodes.get((this.#entriesOf(parent, name).get(name) ?? fail('ENOENT')).inode)!;
    if ((found.mode & S_IFMT) !== S_IFDIR) fail('ENOTDIR');
    if (this.#entriesOf(found.inode).size > 0) fail('ENOTEMPTY');
    this.#journal('removeDirectory', [parent, name, time]);
    this.#remove(parent, name, time);
    this.#inodes.get(parent)!.linkCount -= 1;
    found.linkCount = 0;
    touch(found, time, false);
    return { ...found };
  }

  rename(
    oldParent: number,
    oldName: string,
    newParent: number,
    newName: string,
    flags: number,
    time: Timestamp,
  ): Inode | undefined {
    if ((flags & ~3) !== 0 || flags === 3) fail('EINVAL');
    const from = this.#entriesOf(oldParent, oldName);
    const to = this.#entriesOf(newParent, newName);
    const source = this.#inodes.get((from.get(oldName) ?? fail('ENOENT')).inode)!;
    const targetEntry = to.get(newName);
    const target = targetEntry && this.#inodes.get(targetEntry.inode)!;
    const isDirectory = (one: Inode | undefined) => one !== undefined && (one.mode & S_IFMT) === S_IFDIR;
    if (this.#inodes.get(newParent)!.linkCount === 0) fail('ENOENT');
    if (isDirectory(source) && this.#within(newParent, source.inode)) fail('EINVAL');
    const record = () => this.#journal('rename', [oldParent, oldName, newParent, newName, flags, time]);
    if (flags === 2) {
      if (target === undefined) fail('ENOENT');
      if (isDirectory(target) && this.#within(oldParent, target.inode)) fail('EINVAL');
      if (source === target) return undefined;
      record();
      this.#insert(oldParent, oldName, target.inode, time);
      this.#insert(newParent, newName, source.inode, time);
      touch(source, time, false);
      touch(target, time, false);
      const moved = Number(isDirectory(source)) - Number(isDirectory(target));
      this.#inodes.get(oldParent)!.linkCount -= moved;
      this.#inodes.get(newParent)!.linkCount += moved;
      if (isDirectory(source)) source.parent = newParent;
      if (isDirectory(target)) target.parent = oldParent;
      return undefined;
    }
    if (target !== undefined) {
      if (flags === 1) fail('EEXIST');
      if (target === source) return undefined;
      if (isDirectory(source) && !isDirectory(target)) fail('ENOTDIR');
      if (!isDirectory(source) && isDirectory(target)) fail('EISDIR');
      if (isDirectory(target) && this.#entriesOf(target.inode).size > 0) fail('ENOTEMPTY');
    }
    record();
    this.#remove(oldParent, oldName, time);
    this.#insert(newParent, newName, source.inode, time);
    touch(source, time, false);
    if (isDirectory(source)) {
      source.parent = newParent;
      this.#inodes.get(oldParent)!.linkCount -= 1;
      this.#inodes.get(newParent)!.linkCount += target === undefined ? 1 : 0;
    }
    if (target === undefined) return undefined;
    target.linkCount = isDirectory(target) ? 0 : target.linkCount - 1;
    touch(target, time, false);
    return { ...target };
  }

  update(inode: number, changes: InodeChanges): Inode {
    const found = this.#inodes.get(inode) ?? fail('ESTALE');
    this.#journal('update', [inode, changes]);
    Object.assign(found, changes);
    return { ...found };
  }

  setXattr(inode: number, name: string, value: Uint8Array, flags: number, time: Timestamp): void {
    const xattrs = this.#xattrs.get(inode) ?? new Map<string, Uint8Array>();
    if ((flags & 1) !== 0 && xattrs.has(name)) fail('EEXIST');
    if ((flags & 2) !== 0 && !xattrs.has(name)) fail('ENODATA');
    this.#journal('setXattr', [inode, name, value, flags, time]);
    this.#xattrs.set(inode, xattrs.set(name, value.slice()));
    touch(this.#inodes.get(inode)!, time, false);
  }

  removeXattr(inode: number, name: string, time: Timestamp): void {
    if (!this.#xattrs.get(inode)?.has(name)) fail('ENODATA');
    this.#journal('removeXattr', [inode, name, time]);
    this.#xattrs.get(inode)!.delete(name);
    touch(this.#inodes.get(inode)!, time, false);
  }

  truncate(inode: number, sizeBytes: number, changes: InodeChanges): Inode {
    const found = this.#inodes.get(inode) ?? fail('ESTALE');
    this.#journal('truncate', [inode, sizeBytes, changes]);
    Object.assign(found, changes, { sizeBytes });
    this.#release(inode, Math.ceil(sizeBytes / BLOCK_BYTES), Number.POSITIVE_INFINITY);
    return { ...found };
  }

  reserve(inode: number, firstBlock: number, endBlock: number): void {
    this.#journal('reserve', [inode, firstBlock, endBlock]);
    this.#reservations.set(inode, added(this.reservation(inode), firstBlock, endBlock));
    this.#recount(inode);
  }

  zero(inode: number, firstBlock: number, endBlock: number): void {
    this.#journal('zero', [inode, firstBlock, endBlock]);
    this.#reservations.set(inode, added(this.reservation(inode), firstBlock, endBlock));
    this.#unmap(inode, firstBlock, endBlock);
  }

  punch(inode: number, firstBlock: number, endBlock: number): void {
    this.#journal('punch', [inode, firstBlock, endBlock]);
    this.#release(inode, firstBlock, endBlock);
  }

  reclaim(inode: number): void {
    const found = this.#inodes.get(inode);
    if (found === undefined || found.linkCount > 0) throw new Error(`inode ${inode} is not an orphan`);
    this.#journal('reclaim', [inode]);
    this.#release(inode, 0, Number.POSITIVE_INFINITY);
    this.#inodes.delete(inode);
    this.#entries.delete(inode);
    this.#xattrs.delete(inode);
  }

  commitSegment(
    record: Omit<SegmentRecord, 'liveBlocks'>,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void {
    const liveBlocks = this.#provisional.get(record.segmentId) ?? 0;
    const kept = copyRuns(extents);
    this.#journal('commitSegment', [record, kept, structuredClone(sizes)]);
    this.#provisional.delete(record.segmentId);
    this.#segments.set(record.segmentId, { ...record, liveBlocks });
    this.#map(record.segmentId, kept, sizes);
    for (const [key, inline] of this.#inline)
      if (inline.segmentId === record.segmentId) this.#inline.delete(key);
    if (this.#segments.get(record.segmentId)!.liveBlocks === 0) this.#die(record.segmentId);
  }

  commitInline(
    segmentId: number,
    firstIndex: number,
    bytes: Uint8Array,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void {
    const kept = copyRuns(extents);
    this.#journal('commitInline', [segmentId, firstIndex, Buffer.from(bytes), kept, structuredClone(sizes)]);
    for (let run = 0; run < kept.runCount; run++) {
      for (let at = 0; at < kept.counts[run]!; at++) {
        const blockIndex = kept.blockIndexes[run]! + at;
        const from = (blockIndex - firstIndex) * BLOCK_BYTES;
        if (from < 0 || from >= bytes.length) throw new Error('an inline extent without bytes');
        this.#inline.set(`${segmentId}:${blockIndex}`, {
          segmentId,
          blockIndex,
          inode: kept.inodes[run]!,
          fileBlock: kept.fileBlocks[run]! + at,
          checksum: kept.checksums[kept.checksumIndexes[run]! + at]!,
          bytes: Buffer.from(bytes.subarray(from, from + BLOCK_BYTES)),
        });
      }
    }
    this.#map(segmentId, kept, sizes);
  }

  forgetSegment(segmentId: number): void {
    if (this.#segments.get(segmentId)?.liveBlocks !== 0) throw new Error('a live segment is forgotten');
    this.#journal('forgetSegment', [segmentId]);
    this.#segments.delete(segmentId);
  }

  segments(after: number, limit: number): Promise<SegmentRecord[]> {
    const ids = [...this.#segments.keys()].filter((id) => id > after).sort((a, b) => a - b);
    return Promise.resolve(ids.slice(0, limit).map((id) => this.#segments.get(id)!));
  }

  isKnownSegment(segmentId: number): boolean {
    return this.#segments.has(segmentId);
  }

  async sync(): Promise<void> {
    const upTo = this.operations.length;
    await Promise.resolve();
    if (this.trouble !== undefined) throw this.trouble;
    this.durableOperations = Math.max(this.durableOperations, upTo);
    this.#tellDead();
  }

  hasten(): void {
    this.hastenedOperations = this.operations.length;
  }

  backlog(): Promise<void> | undefined {
    return this.backlogged;
  }

  takeRecoveredInline(): RecoveredInline[] {
    return this.#recovered.splice(0);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** What was found may be out of date when it is told. */
  #later<T>(found: T): T | Promise<T> {
    if (!this.slow) return found;
    return new Promise((resolve) => setImmediate(() => setImmediate(resolve, found)));
  }

  #journal(method: Journaled, args: unknown[]): void {
    if (this.trouble !== undefined) throw this.trouble;
    if (!this.#replaying) this.operations.push({ method, args });
  }

  #entriesOf(directory: number, name = '') {
    const found = this.#inodes.get(directory) ?? fail('ESTALE');
    if ((found.mode & S_IFMT) !== S_IFDIR) fail('ENOTDIR');
    if (name.length > 255) fail('ENAMETOOLONG');
    let entries = this.#entries.get(directory);
    if (entries === undefined) {
      entries = new Map();
      this.#entries.set(directory, entries);
    }
    return entries;
  }

  #addInode(inode: number, made: NewInode, parent: number): Mutable<Inode> {
    const { seconds, nanoseconds } = made.time;
    const isDirectory = (made.mode & S_IFMT) === S_IFDIR;
    const added: Mutable<Inode> = {
      ...{ inode, mode: made.mode, uid: made.uid, gid: made.gid, rdev: made.rdev },
      ...{
        linkCount: isDirectory ? 2 : 1,
        sizeBytes: made.target?.length ?? 0,
        mappedBlocks: 0,
        reservedBlocks: 0,
      },
      ...{ atimeSeconds: seconds, atimeNanoseconds: nanoseconds },
      ...{ mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds },
      ...{ ctimeSeconds: seconds, ctimeNanoseconds: nanoseconds, parent, hasXattrs: false },
    };
    this.#inodes.set(inode, added);
    return added;
  }

  #insert(directory: number, name: string, inode: number, time: Timestamp): void {
    const entries = this.#entriesOf(directory);
    entries.delete(name);
    entries.set(name, { inode, cookie: this.#nextCookie++ });
    touch(this.#inodes.get(directory)!, time, true);
  }

  #remove(directory: number, name: string, time: Timestamp): void {
    this.#entriesOf(directory).delete(name);
    touch(this.#inodes.get(directory)!, time, true);
  }

  #within(directory: number, ancestor: number): boolean {
    for (let at = directory; ; at = this.#inodes.get(at)!.parent) {
      if (at === ancestor) return true;
      if (at === 1) return false;
    }
  }

  #map(segmentId: number, extents: ExtentRuns, sizes: readonly SizeUpdate[]): void {
    for (let run = 0; run < extents.runCount; run++) {
      const inode = this.#inodes.get(extents.inodes[run]!);
      if (inode === undefined) continue;
      const mapped = this.#extents.get(inode.inode) ?? new Map<number, Extent>();
      this.#extents.set(inode.inode, mapped);
      for (let at = 0; at < extents.counts[run]!; at++) {
        const block = extents.fileBlocks[run]! + at;
        const old = mapped.get(block);
        const blockIndex = extents.blockIndexes[run]! + at;
        const checksum = extents.checksums[extents.checksumIndexes[run]! + at]!;
        mapped.set(block, { segmentId, blockIndex, checksum });
        this.#count(segmentId, 1);
        if (old !== undefined) this.#count(old.segmentId, -1);
      }
      this.#recount(inode.inode);
    }
    for (const { inode, sizeBytes, mtime } of sizes) {
      const found = this.#inodes.get(inode);
      if (found === undefined) continue;
      if (sizeBytes < found.sizeBytes) throw new Error('a commit shrinks a file');
      found.sizeBytes = sizeBytes;
      if (mtime === undefined) continue;
      const ctime = { seconds: found.ctimeSeconds, nanoseconds: found.ctimeNanoseconds };
      touch(found, mtime, true);
      if (ctime.seconds > mtime.seconds) touch(found, ctime, false);
    }
  }

  #unmap(inode: number, firstBlock: number, endBlock: number): void {
    for (const [block, extent] of this.#extents.get(inode) ?? []) {
      if (block < firstBlock || block >= endBlock) continue;
      this.#extents.get(inode)!.delete(block);
      this.#inline.delete(`${extent.segmentId}:${extent.blockIndex}`);
      this.#count(extent.segmentId, -1);
    }
    this.#recount(inode);
  }

  #release(inode: number, firstBlock: number, endBlock: number): void {
    this.#reservations.set(inode, removed(this.reservation(inode), firstBlock, endBlock));
    this.#unmap(inode, firstBlock, endBlock);
  }

  #recount(inode: number): void {
    const found = this.#inodes.get(inode)!;
    const mapped = this.#extents.get(inode) ?? new Map<number, Extent>();
    const ranges = this.reservation(inode);
    let reservedBlocks = blockCount(ranges);
    for (const block of mapped.keys()) if (hasBlock(ranges, block)) reservedBlocks--;
    found.mappedBlocks = mapped.size;
    found.reservedBlocks = reservedBlocks;
    if (reservedBlocks === 0) this.#reservations.delete(inode);
  }

  #count(segmentId: number, change: number): void {
    const record = this.#segments.get(segmentId);
    if (record === undefined) {
      this.#provisional.set(segmentId, (this.#provisional.get(segmentId) ?? 0) + change);
      return;
    }
    record.liveBlocks += change;
    if (record.liveBlocks < 0) throw new Error('live blocks below none');
    if (record.liveBlocks === 0 && change < 0) this.#die(segmentId);
  }

  /** Told only once the death is durable. */
  #die(segmentId: number): void {
    this.#dead.push({ segmentId, operations: this.operations.length });
  }

  #tellDead(): void {
    const told = this.#dead.filter((dead) => dead.operations <= this.durableOperations);
    this.#dead = this.#dead.filter((dead) => dead.operations > this.durableOperations);
    for (const { segmentId } of told) {
      const record = this.#segments.get(segmentId);
      if (record !== undefined) this.onSegmentDead?.(record);
    }
  }
}

function touch(inode: Mutable<Inode>, time: Timestamp, isModification: boolean): void {
  inode.ctimeSeconds = time.seconds;
  inode.ctimeNanoseconds = time.nanoseconds;
  if (!isModification) return;
  inode.mtimeSeconds = time.seconds;
  inode.mtimeNanoseconds = time.nanoseconds;
}

function copyRuns(extents: ExtentRuns): ExtentRuns {
  return {
    runCount: extents.runCount,
    inodes: extents.inodes.slice(0, extents.runCount),
    fileBlocks: extents.fileBlocks.slice(0, extents.runCount),
    blockIndexes: extents.blockIndexes.slice(0, extents.runCount),
    counts: extents.counts.slice(0, extents.runCount),
    checksumIndexes: extents.checksumIndexes.slice(0, extents.runCount),
    checksums: extents.checksums.slice(),
  };
}
