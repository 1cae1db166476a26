/**
 * The metadata state: everything of the last checkpoint and all operations since. It is changed only through RedoSink, by the primary
 * as it commits and by recovery as it replays, so both come to the same state. Operations are valid by the time they get here: rules are
 * checked in namespace.ts and the manager.
 *
 * Each operation is one synchronous step; records that are not in memory are read from the store in the same turn.
 */
import { assert } from '../base/assert.ts';
import { added, blockCount, NO_RANGES, outside, rangeCount, removed } from '../base/block-ranges.ts';
import { MAX_RESERVED_RANGES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { BlockRuns, InodePatch, RedoSink } from '../format/journal-entry.ts';
import { inodeKey, inodeOfKey, keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import {
  type Checksum,
  decodeInode,
  decodePlain,
  decodeTotals,
  encodeInode,
  encodePlain,
  encodeTotals,
  type InodeRecord,
  type TotalsRecord,
} from '../format/metadata-records.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { DirectoryTable, type NameHash } from './directory-table.ts';
import { ExtentTable } from './extent-table.ts';
import { isDirectoryMode } from './inode-rules.ts';
import { type FrozenRecord, OverlayTable } from './overlay-table.ts';
import { applyRecord } from './record-repair.ts';
import { ReservationTable } from './reservation-table.ts';
import { keysOf, SegmentTable } from './segment-table.ts';
import type { StateReader } from './state-reader.ts';

const INODE_BYTES = 300;
const INODE_WEIGHT = 300;
const CLEAN_INODE_BYTES = 20 * 1024 * 1024;
const CLEAN_VALUE_BYTES = 4 * 1024 * 1024;
const NO_BYTES = new Uint8Array(0);
export const ROOT = 1;

export class MetadataState implements RedoSink {
  readonly inodes: OverlayTable<number, Readonly<InodeRecord>>;
  readonly directories: DirectoryTable;
  /** Records without a codec of their own, as stored. */
  readonly values: OverlayTable<string, Buffer>;
  readonly segments: SegmentTable;
  readonly extents: ExtentTable;
  readonly reservations: ReservationTable;
  /** Inodes without a name that are not deleted yet. */
  readonly orphans = new Set<number>();
  /** Inodes with a truncation that takes several transactions and is not finished. */
  readonly unfinishedTruncates = new Set<number>();
  nextInode = ROOT;
  inodeCount = 0;
  /** Of all files. */
  reservedBlocks = 0;
  readonly #crc32c: Checksum;
  #frozenTotals: Buffer | undefined;

  constructor(reader: StateReader, crc32c: Checksum, hash: NameHash) {
    this.#crc32c = crc32c;
    this.inodes = new OverlayTable<number, Readonly<InodeRecord>>({
      keyOf: inodeKey,
      encode: (inode) => encodeInode(inode, crc32c),
      decode: (bytes) => decodeInode(bytes, crc32c),
      read: reader.get,
      sizeOf: () => INODE_BYTES,
      cleanBytes: CLEAN_INODE_BYTES,
      weightOf: () => INODE_WEIGHT,
    });
    this.values = new OverlayTable<string, Buffer>({
      keyOf: (key) => key,
      encode: (value) => value,
      decode: (bytes) => bytes,
      read: reader.get,
      sizeOf: (value) => 100 + value.length,
      cleanBytes: CLEAN_VALUE_BYTES,
      weightOf: (value) => 100 + value.length,
    });
    this.directories = new DirectoryTable(reader, crc32c, hash);
    this.segments = new SegmentTable(reader, crc32c, this.values);
    this.extents = new ExtentTable(reader, crc32c, this.segments);
    this.reservations = new ReservationTable(reader, crc32c, this.extents);
  }

  /** The state of the last checkpoint, before any operation. What is scanned is small whatever the volume's size. */
  async load(reader: StateReader): Promise<void> {
    const bytes = reader.get(keyLetters.totals);
    if (bytes === undefined) return;
    this.setTotals(decodeTotals(bytes, this.#crc32c));
    await this.segments.load(reader);
    for await (const key of keysOf(reader, keyLetters.orphan)) this.orphans.add(inodeOfKey(key));
    for await (const key of keysOf(reader, keyLetters.unfinishedTruncate)) {
      this.unfinishedTruncates.add(inodeOfKey(key));
    }
  }

  value(key: string): Buffer | undefined {
    const bytes = this.values.get(key);
    return bytes === undefined ? undefined : decodePlain(bytes, this.#crc32c);
  }

  // Operations.

  newInode(inode: Readonly<InodeRecord>): void {
    assert(inode.inode >= this.nextInode, 'inode numbers are never used again');
    this.nextInode = inode.inode + 1;
    this.inodeCount++;
    this.inodes.set(inode.inode, inode);
  }

  changeInode(number: number, patch: InodePatch): void {
    const old = this.inodes.get(number);
    assert(old !== undefined, 'a changed inode is there');
    const inode = copyOf(old);
    if (patch.mode !== undefined) inode.mode = patch.mode;
    if (patch.uid !== undefined) inode.uid = patch.uid;
    if (patch.gid !== undefined) inode.gid = patch.gid;
    if (patch.sizeBytes !== undefined) inode.sizeBytes = patch.sizeBytes;
    if (patch.atimeSeconds !== undefined) {
      inode.atimeSeconds = patch.atimeSeconds;
      inode.atimeNanoseconds = patch.atimeNanoseconds ?? 0;
    }
    if (patch.mtimeSeconds !== undefined) {
      inode.mtimeSeconds = patch.mtimeSeconds;
      inode.mtimeNanoseconds = patch.mtimeNanoseconds ?? 0;
    }
    if (patch.ctimeSeconds !== undefined) {
      inode.ctimeSeconds = patch.ctimeSeconds;
      inode.ctimeNanoseconds = patch.ctimeNanoseconds ?? 0;
    }
    if (patch.parent !== undefined) inode.parent = patch.parent;
    if (patch.hasXattrs !== undefined) inode.hasXattrs = patch.hasXattrs;
    if (patch.linkCount !== undefined) {
      inode.linkCount = patch.linkCount;
      if (patch.linkCount === 0) this.#addOrphan(number);
    }
    this.inodes.set(number, inode);
  }

  #addOrphan(inode: number): void {
    assert(!this.orphans.has(inode), 'the last link goes once');
    this.orphans.add(inode);
    this.values.set(perInodeKey(keyLetters.orphan, inode), encodePlain(NO_BYTES, this.#crc32c));
  }

  deleteInode(inode: number): void {
    this.#countBlocks(inode, 0, -(this.inodes.get(inode)?.reservedBlocks ?? 0));
    this.inodes.delete(inode);
    this.inodeCount--;
    if (this.orphans.delete(inode)) this.values.deleteOnce(perInodeKey(keyLetters.orphan, inode));
  }

  addEntry(
    parent: number,
    name: string,
    inode: number,
    type: number,
    seconds: number,
    nanoseconds: number,
  ): void {
    this.directories.add(parent, name, inode, type);
    this.#countEntry(parent, 1, isDirectoryMode(type) ? 1 : 0, seconds, nanoseconds);
  }

  removeEntry(parent: number, name: string, seconds: number, nanoseconds: number): void {
    const { type } = this.directories.remove(parent, name);
    this.#countEntry(parent, -1, isDirectoryMode(type) ? -1 : 0, seconds, nanoseconds);
  }

  #countEntry(parent: number, entries: number, links: number, seconds: number, nanoseconds: number): void {
    const old = this.inodes.get(parent);
    assert(old !== undefined, 'a directory that changes is there');
    const directory = copyOf(old);
    directory.sizeBytes += entries;
    directory.linkCount += links;
    directory.mtimeSeconds = directory.ctimeSeconds = seconds;
    directory.mtimeNanoseconds = directory.ctimeNanoseconds = nanoseconds;
    this.inodes.set(parent, directory);
  }

  putValue(key: string, value: Uint8Array): void {
    this.values.set(key, encodePlain(value, this.#crc32c));
    this.values.addWeight(value.length); // one that is replaced may grow
    if (key.startsWith(keyLetters.unfinishedTruncate)) {
      this.unfinishedTruncates.add(inodeOfKey(Buffer.from(key, 'latin1')));
    }
  }

  deleteValue(key: string): void {
    this.values.delete(key);
    if (key.startsWith(keyLetters.unfinishedTruncate)) {
      this.unfinishedTruncates.delete(inodeOfKey(Buffer.from(key, 'latin1')));
    }
  }

  unmapBlocks(number: number, firstBlock: number, endBlock: number): void {
    const inode = this.inodes.get(number);
    assert(inode !== undefined, 'an inode that loses blocks is there');
    // What is reserved stays so without its blocks.
    const reserved =
      inode.reservedBlocks > 0 ? this.reservations.mappedWithin(number, firstBlock, endBlock) : 0;
    this.#countBlocks(number, -this.extents.unmap(number, firstBlock, endBlock), reserved);
  }

  reserveBlocks(number: number, firstBlock: number, endBlock: number): void {
    const inode = this.inodes.get(number);
    assert(inode !== undefined, 'an inode that blocks are reserved for is there');
    const { reservations } = this;
    const reserved =
      inode.mappedBlocks === 0
        ? blockCount(outside(reservations.ranges(number), firstBlock, endBlock))
        : reservations.unreservedWithin(number, firstBlock, endBlock);
    if (reserved === 0 && inode.reservedBlocks === 0) return;
    reservations.set(number, added(reservations.ranges(number), firstBlock, endBlock));
    this.#countBlocks(number, 0, reserved);
  }

  releaseBlocks(number: number, firstBlock: number, endBlock: number): void {
    const inode = this.inodes.get(number);
    assert(inode !== undefined, 'an inode that gives blocks back is there');
    if (inode.reservedBlocks === 0) return;
    const { reservations } = this;
    const ranges = reservations.ranges(number);
    const left = removed(ranges, firstBlock, endBlock);
    // One more piece than a record holds: the hole stays reserved.
    if (left === ranges || rangeCount(left) > MAX_RESERVED_RANGES) return;
    const isUnwritten = inode.reservedBlocks === blockCount(ranges);
    const released = isUnwritten
      ? inode.reservedBlocks - blockCount(left)
      : reservations.reservedWithin(number, firstBlock, endBlock);
    reservations.set(number, left);
    this.#countBlocks(number, 0, -released);
  }

  commitSegment(record: SegmentRecord, runs: BlockRuns): void {
    this.segments.begin(record);
    this.#mapRuns(record.segmentId, runs);
    this.segments.end(record.segmentId);
  }

  commitInline(segmentId: number, bytes: Uint8Array, runs: BlockRuns): void {
    this.#mapRuns(segmentId, runs);
    const { runCount, inodes, fileBlocks, blockIndexes, counts, checksumIndexes, checksums } = runs;
    let offset = 0;
    for (let i = 0; i < runCount; i++) {
      const isKnown = this.inodes.get(inodes[i]!) !== undefined;
      for (let j = 0; j < counts[i]!; j++, offset += BLOCK_BYTES) {
        if (!isKnown) continue;
        this.segments.keepInline(segmentId, blockIndexes[i]! + j, {
          inode: inodes[i]!,
          fileBlock: fileBlocks[i]! + j,
          checksum: checksums[checksumIndexes[i]! + j]!,
          bytes: bytes.subarray(offset, offset + BLOCK_BYTES),
        });
      }
    }
  }

  /** Runs of inodes that are gone are dropped. */
  #mapRuns(segmentId: number, runs: BlockRuns): void {
    const { runCount, inodes, fileBlocks, blockIndexes, counts, checksumIndexes, checksums } = runs;
    let inode = 0;
    let known = false;
    let mapped = 0;
    let written = 0;
    let hasReservation = false;
    for (let i = 0; i < runCount; i++) {
      if (inodes[i] !== inode) {
        if (known) this.#countBlocks(inode, mapped, -written);
        inode = inodes[i]!;
        const found = this.inodes.get(inode);
        known = found !== undefined;
        hasReservation = found !== undefined && found.reservedBlocks > 0;
        mapped = 0;
        written = 0;
      }
      if (!known) continue;
      if (hasReservation) {
        written += this.reservations.reservedWithin(inode, fileBlocks[i]!, fileBlocks[i]! + counts[i]!);
      }
      mapped += this.extents.map(
        inode,
        fileBlocks[i]!,
        counts[i]!,
        segmentId,
        blockIndexes[i]!,
        checksums,
        checksumIndexes[i]!,
      );
    }
    if (known) this.#countBlocks(inode, mapped, -written);
  }

  #countBlocks(number: number, mapped: number, reserved: number): void {
    if (mapped === 0 && reserved === 0) return;
    const inode = copyOf(this.inodes.get(number)!);
    inode.mappedBlocks += mapped;
    inode.reservedBlocks += reserved;
    assert(inode.mappedBlocks >= 0 && inode.reservedBlocks >= 0, 'an inode has no fewer than no blocks');
    this.inodes.set(number, inode);
    this.reservedBlocks += reserved;
    // What is written whole needs no ranges any more.
    if (reserved < 0 && inode.reservedBlocks === 0) this.reservations.set(number, NO_RANGES);
  }

  forgetSegment(segmentId: number): void {
    this.segments.forget(segmentId);
  }

  setRecord(key: string, value: Uint8Array | undefined): void {
    applyRecord(this, this.#crc32c, key, value === undefined ? undefined : Buffer.from(value));
  }

  setTotals(totals: TotalsRecord): void {
    this.nextInode = totals.nextInode;
    this.inodeCount = totals.inodes;
    this.extents.mappedBlocks = totals.mappedBlocks;
    this.reservedBlocks = totals.reservedBlocks;
    this.segments.segments = totals.segments;
    this.segments.segmentBlocks = totals.segmentBlocks;
    this.segments.lastCommitted = totals.lastCommittedSegment;
    this.segments.setProvisional(totals.provisional);
  }

  totalsRecord(): TotalsRecord {
    return {
      nextInode: this.nextInode,
      inodes: this.inodeCount,
      mappedBlocks: this.extents.mappedBlocks,
      reservedBlocks: this.reservedBlocks,
      segments: this.segments.segments,
      segmentBlocks: this.segments.segmentBlocks,
      lastCommittedSegment: this.segments.lastCommitted,
      provisional: this.segments.provisionalSegments(),
    };
  }

  // Checkpoints.

  get dirtyBytes(): number {
    return (
      this.inodes.dirtyBytes +
      this.directories.dirtyBytes +
      this.values.dirtyBytes +
      this.segments.records.dirtyBytes +
      this.extents.chunks.dirtyBytes +
      this.reservations.records.dirtyBytes
    );
  }

  /** Starts a checkpoint of the state as it is now. */
  freeze(): void {
    this.inodes.freeze();
    this.directories.freeze();
    this.values.freeze();
    this.segments.records.freeze();
    this.extents.chunks.freeze();
    this.reservations.records.freeze();
    this.#frozenTotals = encodeTotals(this.totalsRecord(), this.#crc32c);
  }

  /** What the checkpoint writes; may be iterated over many turns. */
  *frozenRecords(): Generator<FrozenRecord> {
    assert(this.#frozenTotals !== undefined, 'a checkpoint was started');
    yield { key: keyLetters.totals, value: this.#frozenTotals };
    yield* this.inodes.frozenRecords();
    yield* this.directories.frozenRecords();
    yield* this.values.frozenRecords();
    yield* this.segments.records.frozenRecords();
    yield* this.extents.chunks.frozenRecords();
    yield* this.reservations.records.frozenRecords();
  }

  /** The checkpoint is in the store. */
  *thaw(): Generator<void> {
    this.#frozenTotals = undefined;
    this.directories.thaw();
    yield* this.inodes.thaw();
    yield* this.values.thaw();
    yield* this.segments.records.thaw();
    yield* this.extents.chunks.thaw();
    yield* this.reservations.records.thaw();
  }
}

/** One shape for all inodes, and cheaper than spreading. */
function copyOf(inode: Readonly<InodeRecord>): InodeRecord {
  return {
    inode: inode.inode,
    mode: inode.mode,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    linkCount: inode.linkCount,
    sizeBytes: inode.sizeBytes,
    mappedBlocks: inode.mappedBlocks,
    reservedBlocks: inode.reservedBlocks,
    atimeSeconds: inode.atimeSeconds,
    atimeNanoseconds: inode.atimeNanoseconds,
    mtimeSeconds: inode.mtimeSeconds,
    mtimeNanoseconds: inode.mtimeNanoseconds,
    ctimeSeconds: inode.ctimeSeconds,
    ctimeNanoseconds: inode.ctimeNanoseconds,
    parent: inode.parent,
    hasXattrs: inode.hasXattrs,
  };
}
