/**
 * What the file-system layer knows of a regular file beyond the committed inode: the visible size and times, the pending blocks,
 * and which uncommitted segments hold blocks of it. And the table of these states, with the look-up counts of all inodes.
 *
 * A state exists while the file is open or has something uncommitted. Invariants:
 * - `parts` lists the segments with blocks that are neither committed nor journaled inline, in order of ids. Each part carries the
 *   size that the file had after its last write into that segment, so that committing in order never lets a size cover bytes that
 *   are not there. The last part's size is the visible size.
 * - without parts the committed size is the visible size.
 */
import { posixOutcome } from '../base/errno.ts';
import type { Inode, MetadataManager, Timestamp } from '../metadata/metadata.ts';
import { AsyncLock } from './async-lock.ts';
import { isDirectory, isRegular } from './mode.ts';
import { LinePool, PendingBlocks } from './pending-blocks.ts';

/** Blocks of one file in one segment that are not durable yet. */
export interface Part {
  readonly segmentId: number;
  /** Blocks of the file in the segment before this index were journaled inline. */
  readonly firstIndex: number;
  /** The size that becomes committed with these blocks. */
  sizeBytes: number;
  /** Live blocks from firstIndex on. Never 0. */
  liveBlocks: number;
  /** Within a commit: already counted in. */
  committing: boolean;
}

/** Something of a stream that must go when the file's content changes: read-ahead. */
export interface ContentListener {
  contentChanged(): void;
}

export class InodeState {
  readonly inode: number;
  /** Visible size. */
  sizeBytes: number;
  /** Visible time of modification and change where the committed inode's are older; else undefined. */
  dirtyTime: Timestamp | undefined;
  openHandles = 0;
  readonly pending: PendingBlocks;
  readonly parts: Part[] = [];
  /** Live blocks in all uncommitted segments, also those superseded by newer pending ones. */
  uncommittedBlocks = 0;
  /** The newest segment of which blocks of this file were journaled inline. */
  newestInlineSegment = 0;
  writesSinceSync = 0;
  /** The same before the last fsync: after as many the next one is expected. */
  writesBeforeSync = 0;
  /** Held by operations that wait in the middle: unaligned writes over stored data, truncation, punching. */
  readonly lock = new AsyncLock();
  readonly listeners = new Set<ContentListener>();

  constructor(inode: number, sizeBytes: number, pool: LinePool) {
    this.inode = inode;
    this.sizeBytes = sizeBytes;
    this.pending = new PendingBlocks(pool);
  }

  get idle(): boolean {
    return (
      this.openHandles === 0 &&
      this.uncommittedBlocks === 0 &&
      this.parts.length === 0 &&
      this.dirtyTime === undefined &&
      !this.lock.held
    );
  }

  contentChanged(): void {
    if (this.listeners.size > 0) for (const listener of this.listeners) listener.contentChanged();
  }
}

export class InodeTable {
  readonly #metadata: MetadataManager;
  readonly #pool = new LinePool();
  readonly #states = new Map<number, InodeState>();
  readonly #lookups = new Map<number, number>();
  /** Without links, but looked up or open. */
  readonly #orphans = new Set<number>();
  /** Called once when an orphan is not used any more. */
  onUnused: (inode: number) => void = () => undefined;

  constructor(metadata: MetadataManager) {
    this.#metadata = metadata;
  }

  get stateCount(): number {
    return this.#states.size;
  }

  find(inode: number): InodeState | undefined {
    return this.#states.get(inode);
  }

  /** The state of a regular file, made when there is none. */
  state(inode: number): InodeState {
    const found = this.#states.get(inode);
    if (found !== undefined) return found;
    const committed = this.#metadata.inode(inode);
    if (committed === undefined) throw posixOutcome('ESTALE');
    return this.add(committed);
  }

  /** The same with the committed inode at hand. */
  add(committed: Inode): InodeState {
    const found = this.#states.get(committed.inode);
    if (found !== undefined) return found;
    if (isDirectory(committed.mode)) throw posixOutcome('EISDIR');
    if (!isRegular(committed.mode)) throw posixOutcome('EINVAL');
    const made = new InodeState(committed.inode, committed.sizeBytes, this.#pool);
    this.#states.set(committed.inode, made);
    return made;
  }

  /** Forgets the state if nothing needs it. */
  settle(state: InodeState): void {
    if (!state.idle) return;
    this.#states.delete(state.inode);
  }

  /** Runs a task that may wait in the middle, after those before it. */
  exclusive<T>(state: InodeState, task: () => T | Promise<T>): T | Promise<T> {
    const result = state.lock.run(task);
    if (result instanceof Promise) return result.finally(() => this.#left(state));
    this.#left(state);
    return result;
  }

  raiseLookups(inode: number): void {
    this.#lookups.set(inode, (this.#lookups.get(inode) ?? 0) + 1);
  }

  lowerLookups(inode: number, count: number): void {
    const left = (this.#lookups.get(inode) ?? 0) - count;
    if (left > 0) {
      this.#lookups.set(inode, left);
      return;
    }
    this.#lookups.delete(inode);
    if (this.#orphans.has(inode)) this.#reclaimUnused(inode);
  }

  /** The inode lost its last link. */
  orphaned(inode: number): void {
    this.#orphans.add(inode);
    this.#reclaimUnused(inode);
  }

  /** A handle of the inode was released: an orphan may be unused now. */
  released(inode: number): void {
    if (this.#orphans.has(inode)) this.#reclaimUnused(inode);
  }

  /** All look-ups are void: the front end is gone. */
  forgetAll(): void {
    this.#lookups.clear();
    for (const inode of [...this.#orphans]) this.#reclaimUnused(inode);
  }

  #left(state: InodeState): void {
    if (state.lock.held) return;
    if (this.#orphans.has(state.inode)) this.#reclaimUnused(state.inode);
    this.settle(state);
  }

  #reclaimUnused(inode: number): void {
    if (this.#lookups.has(inode)) return;
    const state = this.#states.get(inode);
    if (state !== undefined && (state.openHandles > 0 || state.lock.held)) return;
    this.#orphans.delete(inode);
    this.onUnused(inode);
  }
}
