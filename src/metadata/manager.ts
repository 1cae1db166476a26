/**
 * The primary metadata manager: MetadataManager over the state, the journal's ensemble and the checkpointer. One method for each call of the contract.
 *
 * It brings together what the calls need and keeps little itself. Look-ups are refused once another reigns; every mutation is one transaction of
 * mutations.ts, with the rules of namespace.ts and its neighbours.
 */
import { type BlockRanges, NO_RANGES } from '../base/block-ranges.ts';
import { posixOutcome } from '../base/errno.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { keyLetters, perInodeKey, segmentKey, xattrKey } from '../format/metadata-keys.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { BlockRemoval } from './block-removal.ts';
import { ExtentSearch } from './extent-search.ts';
import { S_IFLNK, S_IFMT } from './inode-rules.ts';
import { type JournalReport, journalReport } from './journal-report.ts';
import { closeManagerParts, type ManagerParts } from './manager-parts.ts';
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
import { Mutations } from './mutations.ts';
import * as namespace from './namespace.ts';
import { rename } from './namespace-rename.ts';
import * as reserving from './reserving.ts';
import { commitInline, commitSegment, recoveredInline } from './segment-commit.ts';
import { SegmentDeaths } from './segment-deaths.ts';
import { listSegments } from './segment-listing.ts';
import type { SegmentObserver } from './segment-table.ts';
import { installSnapshot } from './snapshot.ts';
import type { MetadataState } from './state.ts';
import { openStateView, type StateView } from './state-view.ts';
import * as xattrs from './xattrs.ts';

const TWO_32 = 2 ** 32;

export class PrimaryManager implements MetadataManager {
  readonly #parts: ManagerParts;
  readonly #state: MetadataState;
  readonly #deaths: SegmentDeaths;
  readonly #mutations: Mutations;
  readonly #removal: BlockRemoval;
  readonly #search: ExtentSearch;
  #recovered: RecoveredInline[];

  constructor(parts: ManagerParts) {
    const { platform, state, reader, ensemble, checkpointer } = parts;
    this.#parts = parts;
    this.#state = state;
    this.#recovered = recoveredInline(state);
    const deaths = new SegmentDeaths(state.segments, ensemble.journal.lastSequence);
    this.#deaths = deaths;
    this.#mutations = new Mutations({ log: platform.log, state, ensemble, checkpointer, deaths });
    this.#search = new ExtentSearch(state, reader, platform.timers);
    this.#removal = new BlockRemoval(state, this.#search, this.#mutations);
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
    return this.#mutations.trouble;
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

  ownStoreDamaged(): void {
    this.#mutations.breakDown(new Error('the own copy of the metadata is damaged'));
  }

  create(parent: number, name: string, made: NewInode): Inode {
    return this.#mutations.run((redo) => namespace.create(this.#state, redo, parent, name, made));
  }

  link(inode: number, parent: number, name: string, time: Timestamp): Inode {
    this.#mutations.run((redo) => namespace.link(this.#state, redo, inode, parent, name, time));
    return namespace.existing(this.#state, inode);
  }

  unlink(parent: number, name: string, time: Timestamp): Inode {
    const inode = this.#mutations.run((redo) => namespace.unlink(this.#state, redo, parent, name, time));
    return namespace.existing(this.#state, inode);
  }

  removeDirectory(parent: number, name: string, time: Timestamp): Inode {
    const inode = this.#mutations.run((redo) =>
      namespace.removeDirectory(this.#state, redo, parent, name, time),
    );
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
    const replaced = this.#mutations.run((redo) =>
      rename(this.#state, redo, { oldParent, oldName, newParent, newName, flags, time }),
    );
    return replaced === undefined ? undefined : namespace.existing(this.#state, replaced);
  }

  update(inode: number, changes: InodeChanges): Inode {
    this.#mutations.run((redo) => {
      namespace.existing(this.#state, inode);
      redo.changeInode(inode, changes);
    });
    return namespace.existing(this.#state, inode);
  }

  setXattr(inode: number, name: string, value: Uint8Array, flags: number, time: Timestamp): void {
    this.#mutations.run((redo) => xattrs.setXattr(this.#state, redo, inode, name, value, flags, time));
  }

  removeXattr(inode: number, name: string, time: Timestamp): void {
    this.#mutations.run((redo) => xattrs.removeXattr(this.#state, redo, inode, name, time));
  }

  truncate(inode: number, sizeBytes: number, changes: InodeChanges): Inode | Promise<Inode> {
    const finished = this.#removal.truncate(inode, sizeBytes, changes);
    const result = () => namespace.existing(this.#state, inode);
    return finished === undefined ? result() : finished.then(result);
  }

  reserve(inode: number, firstBlock: number, endBlock: number): void {
    this.#mutations.run((redo) => reserving.reserve(this.#state, redo, inode, firstBlock, endBlock));
  }

  zero(inode: number, firstBlock: number, endBlock: number): void {
    this.#mutations.run((redo) => reserving.zero(this.#state, redo, inode, firstBlock, endBlock));
  }

  punch(inode: number, firstBlock: number, endBlock: number): undefined | Promise<void> {
    return this.#removal.punch(inode, firstBlock, endBlock);
  }

  reclaim(inode: number): void {
    // What cannot be journaled now stays an orphan, which the next start finds.
    const failed = (error: unknown): void => {
      if (!(error instanceof MetadataUnavailable)) this.#mutations.breakDown(error);
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
    this.#mutations.run((redo) => commitSegment(this.#state, redo, record, extents, sizes));
  }

  commitInline(
    segmentId: number,
    firstIndex: number,
    bytes: Uint8Array,
    extents: ExtentRuns,
    sizes: readonly SizeUpdate[],
  ): void {
    this.#mutations.run((redo) =>
      commitInline(this.#state, redo, segmentId, firstIndex, bytes, extents, sizes),
    );
  }

  get onSegmentDead(): ((record: SegmentRecord) => void) | undefined {
    return this.#deaths.handler;
  }

  set onSegmentDead(handler: ((record: SegmentRecord) => void) | undefined) {
    this.#deaths.handle(handler, this.#parts.ensemble.journal.committedSequence);
  }

  /** Entries up to `sequence` are durable everywhere: segments that died in them can be freed. */
  committed(sequence: number): void {
    this.#deaths.committed(sequence);
  }

  forgetSegment(segmentId: number): void {
    if (!this.#state.segments.dead.has(segmentId)) return;
    this.#mutations.run((redo) => redo.forgetSegment(segmentId));
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
    return this.#mutations.run((redo) => change(redo, this.#state));
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
    return this.#mutations.backlog();
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
    this.#mutations.run((redo) => redo.newInode(namespace.newInode(this.#state.nextInode, made, 1, 0)));
  }

  /** Commits and checkpoints what can be; what cannot is found in the journal by the next start. */
  close(): Promise<void> {
    return closeManagerParts(this.#parts, () => this.sync());
  }
}
