/**
 * The primary metadata manager: MetadataManager over the state, the journal's ensemble and the checkpointer.
 *
 * A mutation is one transaction in one turn: rules are checked, then operations are issued to journal and state at once. An unexpected failure
 * after the first operation would leave the two apart, so the manager then stops for good; nothing wrong was committed.
 */
import { type BlockRanges, NO_RANGES } from '../base/block-ranges.ts';
import { posixOutcome } from '../base/errno.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { ReplicaStore } from '../cluster/replica-store.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { keyLetters, perInodeKey, segmentKey, xattrKey } from '../format/metadata-keys.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import { BlockRemoval } from './block-removal.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { Ensemble } from './ensemble.ts';
import { ExtentSearch } from './extent-search.ts';
import { S_IFLNK, S_IFMT } from './inode-rules.ts';
import { MAX_UNCOMMITTED_BYTES } from './journal.ts';
import { type JournalReport, journalReport } from './journal-report.ts';
import type { MemberClient } from './member-client.ts';
import {
  type BlockMap,
  Deposed,
  type ExtentRuns,
  type Inode,
  type InodeChanges,
  type ListedEntry,
  type MetadataManager,
  type MetadataTotals,
  MetadataUnavailable,
  type NewInode,
  type RecoveredInline,
  type SizeUpdate,
  type Timestamp,
} from './metadata.ts';
import * as namespace from './namespace.ts';
import { rename } from './namespace-rename.ts';
import type { Recruiter } from './recruiter.ts';
import * as reserving from './reserving.ts';
import { listSegments } from './segment-listing.ts';
import type { SegmentObserver } from './segment-table.ts';
import { installSnapshot } from './snapshot.ts';
import type { MetadataState } from './state.ts';
import type { StateReader } from './state-reader.ts';
import { openStateView, type StateView } from './state-view.ts';
import { Transaction } from './transaction.ts';
import * as xattrs from './xattrs.ts';

export interface ManagerParts {
  readonly platform: Platform;
  /** Of this reign: what segment ids are made from. */
  readonly term: number;
  readonly state: MetadataState;
  readonly reader: StateReader;
  readonly ensemble: Ensemble;
  readonly checkpointer: Checkpointer;
  readonly recruiter: Recruiter;
  /** The own one, closed with the manager. */
  readonly store: ReplicaStore;
}

const TWO_32 = 2 ** 32;
/** What close waits for the journal, and then for a checkpoint that spares the next start a replay. */
const CLOSE_SYNC_MS = 5000;
const CLOSE_CHECKPOINT_MS = 15_000;

export class PrimaryManager implements MetadataManager {
  readonly #parts: ManagerParts;
  readonly #state: MetadataState;
  readonly #redo: Transaction;
  readonly #removal: BlockRemoval;
  readonly #search: ExtentSearch;
  #recovered: RecoveredInline[];
  #onSegmentDead: ((record: SegmentRecord) => void) | undefined;
  /** Dead segments, each with the entry that has to be committed first. */
  #dying: { segmentId: number; sequence: number }[] = [];
  #broken: MetadataUnavailable | undefined;

  constructor(parts: ManagerParts) {
    this.#parts = parts;
    this.#state = parts.state;
    this.#redo = new Transaction(parts.ensemble.journal.encoder, parts.state);
    this.#search = new ExtentSearch(parts.state, parts.reader, parts.platform.timers);
    this.#removal = new BlockRemoval(parts.state, this.#search, {
      run: (operation) => this.#mutate(operation),
      backlog: () => this.backlog(),
    });
    this.#recovered = parts.state.segments.inlineBlocks().filter((block) => this.#isMapped(block));
    const { lastSequence } = parts.ensemble.journal;
    this.#dying = [...parts.state.segments.dead].map((segmentId) => ({ segmentId, sequence: lastSequence }));
    parts.state.segments.died = [];
    parts.checkpointer.onFailure = (error) => this.#breakDown(error);
  }

  #isMapped({ inode, fileBlock, segmentId, blockIndex }: RecoveredInline): boolean {
    const map = {
      count: 0,
      segmentIds: new Float64Array(1),
      blockIndexes: new Uint32Array(1),
      checksums: new Uint32Array(1),
    };
    this.mapBlocks(inode, fileBlock, 1, map);
    return map.segmentIds[0] === segmentId && map.blockIndexes[0] === blockIndex;
  }

  // Who and where.

  get term(): number {
    return this.#parts.term;
  }

  get ensemble(): readonly { nodeId: number; durableSequence: number }[] {
    return this.#parts.ensemble.journal.members.map(({ client, durableSequence }) => ({
      nodeId: client.nodeId,
      durableSequence,
    }));
  }

  /** Called once, when this primary learns that another reigns. */
  set onDeposed(handler: (deposed: Deposed) => void) {
    this.#parts.ensemble.onDeposed = handler;
  }

  /** As the coordinator says now; 'unknown' when it does not answer. */
  reigns(): Promise<boolean | 'unknown'> {
    return this.#parts.ensemble.reigns();
  }

  journalReport(): JournalReport {
    return journalReport(this.#parts.ensemble.journal, this.#parts.recruiter);
  }

  get trouble(): MetadataUnavailable | undefined {
    return this.#broken ?? this.#parts.ensemble.journal.stopped ?? this.#parts.ensemble.trouble;
  }

  // Look-ups.

  /** What this one knows may be outdated once another reigns. */
  #mustReign(): void {
    const { stopped } = this.#parts.ensemble.journal;
    if (stopped instanceof Deposed) throw stopped;
  }

  lookup(parent: number, name: string): number | undefined {
    this.#mustReign();
    return this.#state.directories.find(parent, name)?.inode;
  }

  inode(inode: number): Inode | undefined {
    this.#mustReign();
    return this.#state.inodes.get(inode);
  }

  readLink(inode: number): Uint8Array {
    this.#mustReign();
    if ((namespace.existing(this.#state, inode).mode & S_IFMT) !== S_IFLNK) throw posixOutcome('EINVAL');
    return this.#state.value(perInodeKey(keyLetters.symlink, inode)) ?? new Uint8Array(0);
  }

  getXattr(inode: number, name: string): Uint8Array | undefined {
    this.#mustReign();
    const found = namespace.existing(this.#state, inode);
    return found.hasXattrs && name.length > 0 ? this.#state.value(xattrKey(inode, name)) : undefined;
  }

  listXattrs(inode: number): readonly string[] {
    this.#mustReign();
    return namespace.existing(this.#state, inode).hasXattrs ? xattrs.xattrNames(this.#state, inode) : [];
  }

  list(directory: number, cookie: bigint, limit: number): ListedEntry[] | Promise<ListedEntry[]> {
    this.#mustReign();
    const { sizeBytes } = namespace.existingDirectory(this.#state, directory);
    const entries = this.#state.directories.list(directory, Number(cookie), limit, sizeBytes);
    const listed = (found: readonly { name: string; inode: number; type: number; cookie: number }[]) =>
      found.map(({ name, inode, type, cookie: at }) => ({ name, inode, type, cookie: BigInt(at) }));
    return entries instanceof Promise ? entries.then(listed) : listed(entries);
  }

  mapBlocks(inode: number, firstBlock: number, count: number, out: BlockMap): void {
    this.#mustReign();
    this.#state.extents.look(inode, firstBlock, count, out);
  }

  nextMappedBlock(inode: number, fromBlock: number): number | undefined | Promise<number | undefined> {
    return this.#search.nextMapped(inode, fromBlock);
  }

  nextHole(inode: number, fromBlock: number): number | Promise<number> {
    return this.#search.nextHole(inode, fromBlock);
  }

  /** The record's liveBlocks follows later changes. */
  segment(segmentId: number): SegmentRecord | undefined {
    return this.#state.segments.records.get(segmentId);
  }

  segments(after: number, limit: number): Promise<SegmentRecord[]> {
    return listSegments(
      this.#state.segments.records,
      this.#parts.reader,
      segmentKey(after + 1),
      after,
      limit,
    );
  }

  isKnownSegment(segmentId: number): boolean {
    if (this.segment(segmentId) !== undefined) return true;
    const ofThisReign = Math.floor(segmentId / TWO_32) === this.#parts.term;
    return ofThisReign && (this.#state.segments.isProvisional(segmentId) || this.isPending(segmentId));
  }

  /** Whether a log writer of this reign still has the segment on its way to its commit. Writers do not commit in the order of ids. */
  isPending: (segmentId: number) => boolean = () => false;

  /** Returns what ends it. */
  observeSegments(observer: SegmentObserver): () => void {
    const { observers } = this.#state.segments;
    observers.add(observer);
    return () => observers.delete(observer);
  }

  reservation(inode: number): BlockRanges {
    this.#mustReign();
    // Most have none, and looking for a record that is not there reads the store.
    const hasOne = (this.#state.inodes.get(inode)?.reservedBlocks ?? 0) > 0;
    return hasOne ? this.#state.reservations.ranges(inode) : NO_RANGES;
  }

  totals(): MetadataTotals {
    const { segments, extents } = this.#state;
    return {
      inodes: this.#state.inodeCount,
      mappedBlocks: extents.mappedBlocks,
      reservedBlocks: this.#state.reservedBlocks,
      segments: segments.segments,
      segmentBlocks: segments.segmentBlocks,
    };
  }

  // Mutations.

  #mutate<T>(operation: (redo: RedoSink) => T): T {
    const { journal } = this.#parts.ensemble;
    const refused = this.#broken ?? journal.stopped;
    if (refused !== undefined) throw refused;
    if (journal.uncommittedBytes > MAX_UNCOMMITTED_BYTES) {
      throw this.trouble ?? new MetadataUnavailable('the journal does not keep up');
    }
    const before = journal.encoder.operations;
    let result: T;
    try {
      result = operation(this.#redo);
    } catch (error) {
      if (journal.encoder.operations !== before) this.#breakDown(error);
      throw error;
    }
    if (this.#state.segments.died.length > 0) this.#noteDied();
    if (journal.encoder.operations !== before) {
      journal.transactionEnded();
      this.#parts.checkpointer.noteChange();
    }
    return result;
  }

  /** State and journal may differ: nothing more must be journaled. */
  #breakDown(error: unknown): void {
    if (this.#broken !== undefined || this.#parts.ensemble.journal.stopped !== undefined) return;
    this.#parts.platform.log.error('metadata-broken', {
      why: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    this.#broken = new MetadataUnavailable('the metadata manager failed: mount again');
    this.#parts.ensemble.journal.stop(this.#broken);
  }

  ownStoreDamaged(): void {
    this.#breakDown(new Error('the own copy of the metadata is damaged'));
  }

  #noteDied(): void {
    const sequence = this.#parts.ensemble.journal.lastSequence + 1;
    for (const segmentId of this.#state.segments.died) this.#dying.push({ segmentId, sequence });
    this.#state.segments.died = [];
  }

  create(parent: number, name: string, made: NewInode): Inode {
    return this.#mutate((redo) => namespace.create(this.#state, redo, parent, name, made));
  }

  link(inode: number, parent: number, name: string, time: Timestamp): Inode {
    this.#mutate((redo) => namespace.link(this.#state, redo, inode, parent, name, time));
    return namespace.existing(this.#state, inode);
  }

  unlink(parent: number, name: string, time: Timestamp): Inode {
    const inode = this.#mutate((redo) => namespace.unlink(this.#state, redo, parent, name, time));
    return namespace.existing(this.#state, inode);
  }

  removeDirectory(parent: number, name: string, time: Timestamp): Inode {
    const inode = this.#mutate((redo) => namespace.removeDirectory(this.#state, redo, parent, name, time));
    return namespace.existing(this.#state, inode);
  }

  rename(
    oldParent: number,
    oldName: string,
    newParent: number,
    newName: string,
    flags: number,
    time: Timestamp,
  ): Inode | undefined {
    const replaced = this.#mutate((redo) =>
      rename(this.#state, redo, { oldParent, oldName, newParent, newName, flags, time }),
    );
    return replaced === undefined ? undefined : namespace.existing(this.#state, replaced);
  }

  update(inode: number, changes: InodeChanges): Inode {
    this.#mutate((redo) => {
      namespace.existing(this.#state, inode);
      redo.changeInode(inode, changes);
    });
    return namespace.existing(this.#state, inode);
  }

  setXattr(inode: number, name: string, value: Uint8Array, flags: number, time: Timestamp): void {
    this.#mutate((redo) => xattrs.setXattr(this.#state, redo, inode, name, value, flags, time));
  }

  removeXattr(inode: number, name: string, time: Timestamp): void {
    this.#mutate((redo) => xattrs.removeXattr(this.#state, redo, inode, name, time));
  }

  truncate(inode: number, sizeBytes: number, changes: InodeChanges): Inode | Promise<Inode> {
    const finished = this.#removal.truncate(inode, sizeBytes, changes);
    const result = () => namespace.existing(this.#state, inode);
    return finished === undefined ? result() : finished.then(result);
  }

  reserve(inode: number, firstBlock: number, endBlock: number): void {
    this.#mutate((redo) => reserving.reserve(this.#state, redo, inode, firstBlock, endBlock));
  }

  zero(inode: number, firstBlock: number, endBlock: number): void {
    this.#mutate((redo) => reserving.zero(this.#state, redo, inode, firstBlock, endBlock));
  }

  punch(inode: number, firstBlock: number, endBlock: number): undefined | Promise<void> {
    return this.#removal.punch(inode, firstBlock, endBlock);
  }

  reclaim(inode: number): void {
    // What cannot be journaled now stays an orphan, which the next start finds.
    const failed = (error: unknown): void => {
      if (!(error instanceof MetadataUnavailable)) this.#breakDown(error);
    };
    try {
      this.#removal.reclaim(inode)?.catch(failed);
    } catch (error) {
      failed(error);
    }
  }

  commitSegment(
    record: Omit<SegmentRecord, 'liveBlocks'>,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void {
    this.#mutate((redo) => {
      redo.commitSegment({ ...record, liveBlocks: 0 }, extents);
      this.#commitSizes(redo, sizes);
    });
  }

  commitInline(
    segmentId: number,
    firstIndex: number,
    bytes: Uint8Array,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void {
    this.#mutate((redo) => {
      redo.commitInline(segmentId, bytesOfRuns(firstIndex, bytes, extents), extents);
      this.#commitSizes(redo, sizes);
    });
  }

  #commitSizes(redo: RedoSink, sizes: readonly SizeUpdate[]): void {
    for (const { inode, sizeBytes, mtime } of sizes) {
      const old = this.#state.inodes.get(inode);
      if (old === undefined) continue;
      if (mtime === undefined) {
        if (sizeBytes !== old.sizeBytes) redo.changeInode(inode, { sizeBytes });
        continue;
      }
      // Writing changes both times; a later change of the inode alone keeps its ctime.
      const { seconds, nanoseconds } = mtime;
      const newer =
        seconds > old.ctimeSeconds || (seconds === old.ctimeSeconds && nanoseconds > old.ctimeNanoseconds);
      const times = { mtimeSeconds: seconds, mtimeNanoseconds: nanoseconds };
      redo.changeInode(
        inode,
        newer
          ? { sizeBytes, ...times, ctimeSeconds: seconds, ctimeNanoseconds: nanoseconds }
          : { sizeBytes, ...times },
      );
    }
  }

  get onSegmentDead(): ((record: SegmentRecord) => void) | undefined {
    return this.#onSegmentDead;
  }

  set onSegmentDead(handler: ((record: SegmentRecord) => void) | undefined) {
    this.#onSegmentDead = handler;
    this.committed(this.#parts.ensemble.journal.committedSequence);
  }

  /** Entries up to `sequence` are durable everywhere: segments that died in them can be freed. */
  committed(sequence: number): void {
    if (this.#onSegmentDead === undefined) return;
    while (this.#dying.length > 0 && this.#dying[0]!.sequence <= sequence) {
      const { segmentId } = this.#dying.shift()!;
      const record = this.segment(segmentId);
      if (record !== undefined) this.#onSegmentDead(record);
    }
  }

  forgetSegment(segmentId: number): void {
    if (!this.#state.segments.dead.has(segmentId)) return;
    this.#mutate((redo) => redo.forgetSegment(segmentId));
  }

  // Checks and repairs.

  /** Everything that was done until now, as one moment. Rejects with MetadataUnavailable when the journal cannot commit it. */
  async openView(): Promise<StateView> {
    const { checkpointer, store } = this.#parts;
    await checkpointer.checkpoint();
    const release = await checkpointer.hold();
    try {
      return openStateView(store);
    } finally {
      release();
    }
  }

  /** Replaces a node's replica by what this primary has. Rejects with MemberError when the node cannot. */
  async refillReplica(client: MemberClient): Promise<void> {
    const { checkpointer, store, ensemble } = this.#parts;
    const release = await checkpointer.hold();
    try {
      await installSnapshot(client, ensemble.journal.term, store);
    } finally {
      release();
    }
  }

  /** One transaction in this turn that is not bound by the rules of ordinary ones. `change` looks at the state and does not change it. */
  repair<T>(change: (redo: RedoSink, state: MetadataState) => T): T {
    return this.#mutate((redo) => change(redo, this.#state));
  }

  // Durability.

  sync(): Promise<void> {
    const { trouble } = this;
    return trouble === undefined ? this.#parts.ensemble.journal.sync() : Promise.reject(trouble);
  }

  hasten(): void {
    this.#parts.ensemble.journal.hasten();
  }

  backlog(): Promise<void> | undefined {
    return this.#parts.ensemble.journal.backlog() ?? this.#parts.checkpointer.backlog();
  }

  takeRecoveredInline(): RecoveredInline[] {
    const recovered = this.#recovered;
    this.#recovered = [];
    return recovered;
  }

  /** What the last reign left unfinished: truncations before anything else, orphans in the background. */
  async finishLeftovers(): Promise<void> {
    await this.#removal.finishTruncates();
    for (const inode of this.#state.orphans) this.reclaim(inode);
  }

  /** The first transaction of a volume. */
  format(made: NewInode): void {
    this.#mutate((redo) => redo.newInode(namespace.newInode(this.#state.nextInode, made, 1, 0)));
  }

  /** Commits and checkpoints what can be; what cannot is found in the journal by the next start. */
  async close(): Promise<void> {
    const { ensemble, checkpointer, recruiter, platform, store } = this.#parts;
    recruiter.close();
    try {
      await within(platform, CLOSE_SYNC_MS, this.sync());
      await within(platform, CLOSE_CHECKPOINT_MS, checkpointer.checkpoint());
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      platform.log.warn('metadata-closed-uncommitted', { why: error.message });
    }
    ensemble.journal.stop(new MetadataUnavailable('the metadata manager is closed'));
    await checkpointer.close();
    await store.close();
  }
}

async function within(platform: Platform, delayMs: number, work: Promise<void>): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new MetadataUnavailable('the journal did not answer in time');
    timer = platform.timers.after(delayMs, () => reject(error));
  });
  try {
    await Promise.race([work, late]);
  } finally {
    timer?.cancel();
  }
}

/** The blocks of the runs, in their order; no copy if that is how they lie. */
function bytesOfRuns(firstIndex: number, bytes: Uint8Array, runs: ExtentRuns): Uint8Array {
  let blocks = 0;
  let contiguous = true;
  for (let i = 0; i < runs.runCount; i++) {
    if (runs.blockIndexes[i] !== runs.blockIndexes[0]! + blocks) contiguous = false;
    blocks += runs.counts[i]!;
  }
  const offsetOf = (index: number) => (index - firstIndex) * BLOCK_BYTES;
  if (contiguous && blocks > 0) {
    const start = offsetOf(runs.blockIndexes[0]!);
    return bytes.subarray(start, start + blocks * BLOCK_BYTES);
  }
  const gathered = Buffer.allocUnsafe(blocks * BLOCK_BYTES);
  let at = 0;
  for (let i = 0; i < runs.runCount; i++) {
    const start = offsetOf(runs.blockIndexes[i]!);
    const lengthBytes = runs.counts[i]! * BLOCK_BYTES;
    gathered.set(bytes.subarray(start, start + lengthBytes), at);
    at += lengthBytes;
  }
  return gathered;
}
