/**
 * What changes a file's shape rather than its bytes: truncation, allocation, holes and zeroed ranges, and where data and holes are.
 *
 * All of it holds the file's lock where it has to wait. The visible size changes at once; the committed size follows only as far as
 * the data before it is committed (see InodeState.parts).
 */
import { posixOutcome } from '../base/errno.ts';
import { MAX_FILE_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES, roundUp } from '../base/units.ts';
import type { Inode, InodeChanges, MetadataManager, Timestamp } from '../metadata/metadata.ts';
import {
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  type MaybePromise,
  SEEK_DATA,
  SEEK_HOLE,
} from './file-system.ts';
import type { Flusher } from './flusher.ts';
import type { InodeState, InodeTable } from './inode-state.ts';
import type { ReadPath } from './read-path.ts';
import type { VolumeSpace } from './space.ts';
import type { UncommittedData } from './uncommitted-data.ts';
import type { WritePath } from './write-path.ts';

export class FileShape {
  readonly #metadata: MetadataManager;
  readonly #space: VolumeSpace;
  readonly #inodes: InodeTable;
  readonly #data: UncommittedData;
  readonly #flusher: Flusher;
  readonly #reads: ReadPath;
  readonly #writes: WritePath;

  constructor(
    metadata: MetadataManager,
    space: VolumeSpace,
    inodes: InodeTable,
    data: UncommittedData,
    flusher: Flusher,
    reads: ReadPath,
    writes: WritePath,
  ) {
    this.#metadata = metadata;
    this.#space = space;
    this.#inodes = inodes;
    this.#data = data;
    this.#flusher = flusher;
    this.#reads = reads;
    this.#writes = writes;
  }

  /** Sets the visible size and applies `changes` (the times among them). */
  truncate(state: InodeState, sizeBytes: number, changes: InodeChanges): MaybePromise<Inode> {
    if (sizeBytes > MAX_FILE_BYTES) throw posixOutcome('EFBIG');
    return this.#inodes.exclusive(state, () => {
      if (sizeBytes >= state.sizeBytes) return this.#grow(state, sizeBytes, changes);
      const block = Math.floor(sizeBytes / BLOCK_BYTES);
      if (sizeBytes % BLOCK_BYTES === 0 || this.#reads.peek(state, block) === 'hole')
        return this.#cut(state, sizeBytes, changes);
      return this.#cutInBlock(state, sizeBytes, changes);
    });
  }

  fallocate(
    state: InodeState,
    mode: number,
    offsetBytes: number,
    lengthBytes: number,
    time: Timestamp,
  ): MaybePromise<void> {
    if (offsetBytes < 0 || lengthBytes <= 0) throw posixOutcome('EINVAL');
    const keepSize = (mode & FALLOC_FL_KEEP_SIZE) !== 0;
    const operation = mode & ~FALLOC_FL_KEEP_SIZE;
    if (operation !== 0 && operation !== FALLOC_FL_PUNCH_HOLE && operation !== FALLOC_FL_ZERO_RANGE)
      throw posixOutcome('EOPNOTSUPP');
    if (operation === FALLOC_FL_PUNCH_HOLE && !keepSize) throw posixOutcome('EOPNOTSUPP');
    const endBytes = offsetBytes + lengthBytes;
    if (endBytes > MAX_FILE_BYTES) throw posixOutcome('EFBIG');
    // Space is not reserved: what is clearly not there is refused.
    const added = endBytes - Math.max(offsetBytes, Math.min(endBytes, state.sizeBytes));
    if (operation === 0 && added > this.#space.freeBlocks() * BLOCK_BYTES) throw posixOutcome('ENOSPC');
    const times = modificationTimes(time);
    return this.#inodes.exclusive(state, () => {
      const finish = () => {
        if (!keepSize && endBytes > state.sizeBytes) this.#grow(state, endBytes, times);
        else this.#updateTimes(state, times);
      };
      if (operation === 0) return finish();
      return this.#zero(state, offsetBytes, endBytes).then(finish);
    });
  }

  seek(state: InodeState, offsetBytes: number, whence: number): MaybePromise<number> {
    if (whence !== SEEK_DATA && whence !== SEEK_HOLE) throw posixOutcome('EINVAL');
    if (offsetBytes < 0 || offsetBytes >= state.sizeBytes) throw posixOutcome('ENXIO');
    const fromBlock = Math.floor(offsetBytes / BLOCK_BYTES);
    if (whence === SEEK_HOLE) return this.#seekHole(state, offsetBytes, fromBlock);
    // Asked first: a pending block may become a committed one while the metadata looks.
    const pending = state.pending.next(fromBlock);
    const next = this.#metadata.nextMappedBlock(state.inode, fromBlock);
    const found = (mapped: number | undefined): number => {
      const block = Math.min(mapped ?? Number.POSITIVE_INFINITY, pending ?? Number.POSITIVE_INFINITY);
      const at = Math.max(offsetBytes, block * BLOCK_BYTES);
      if (at >= state.sizeBytes) throw posixOutcome('ENXIO');
      return at;
    };
    return next instanceof Promise ? next.then(found) : found(next);
  }

  #seekHole(state: InodeState, offsetBytes: number, fromBlock: number): MaybePromise<number> {
    let block = fromBlock;
    for (;;) {
      const unmapped = this.#metadata.nextHole(state.inode, block);
      if (unmapped instanceof Promise)
        return unmapped.then(
          (at) => this.#holeAt(state, offsetBytes, at) ?? this.#seekHole(state, offsetBytes, at + 1),
        );
      const found = this.#holeAt(state, offsetBytes, unmapped);
      if (found !== undefined) return found;
      block = unmapped + 1;
      while (state.pending.has(block)) block += 1;
    }
  }

  /** The offset to answer with if the block is a hole, now, or behind the end. */
  #holeAt(state: InodeState, offsetBytes: number, block: number): number | undefined {
    const at = Math.min(state.sizeBytes, Math.max(offsetBytes, block * BLOCK_BYTES));
    return at === state.sizeBytes || this.#reads.peek(state, block) === 'hole' ? at : undefined;
  }

  #grow(state: InodeState, sizeBytes: number, changes: InodeChanges): Inode {
    state.sizeBytes = sizeBytes;
    state.contentChanged();
    return this.#updateTimes(state, changes);
  }

  /** Applies changes, times included, and lets the committed size follow the visible one if nothing is in between. */
  #updateTimes(state: InodeState, changes: InodeChanges): Inode {
    state.dirtyTime = undefined;
    const last = state.parts.at(-1);
    if (last !== undefined) {
      last.sizeBytes = state.sizeBytes;
      return this.#metadata.update(state.inode, changes);
    }
    return this.#metadata.update(state.inode, { ...changes, sizeBytes: state.sizeBytes });
  }

  /** Shrinks the file; the part of the last block behind the new end, if there is one, is zero already or about to be. */
  #cut(state: InodeState, sizeBytes: number, changes: InodeChanges): MaybePromise<Inode> {
    const committed = this.#metadata.inode(state.inode);
    if (committed === undefined) throw posixOutcome('ESTALE');
    state.sizeBytes = sizeBytes;
    this.#data.drop(state, Math.ceil(sizeBytes / BLOCK_BYTES), Number.POSITIVE_INFINITY);
    state.contentChanged();
    for (const part of state.parts) part.sizeBytes = Math.min(part.sizeBytes, sizeBytes);
    if (sizeBytes >= committed.sizeBytes) return this.#updateTimes(state, changes);
    const last = state.parts.at(-1);
    if (last !== undefined) last.sizeBytes = sizeBytes;
    state.dirtyTime = undefined;
    return this.#metadata.truncate(state.inode, sizeBytes, changes);
  }

  /**
   * Shrinks the file to a size inside a block that exists. The block's new version, with zeros behind the end, is committed before
   * the truncation is (mostly through the journal, in the same turn): no crash leaves an end that is followed by old bytes.
   */
  async #cutInBlock(state: InodeState, sizeBytes: number, changes: InodeChanges): Promise<Inode> {
    const block = Math.floor(sizeBytes / BLOCK_BYTES);
    await this.#zeroInBlock(state, block, sizeBytes % BLOCK_BYTES, BLOCK_BYTES);
    await this.#flusher.commit(state);
    return this.#cut(state, sizeBytes, changes);
  }

  /** Zeros a range: whole blocks become holes, others get zeros in their part if they exist. */
  async #zero(state: InodeState, offsetBytes: number, endBytes: number): Promise<void> {
    const end = Math.min(endBytes, roundUp(state.sizeBytes, BLOCK_BYTES));
    if (offsetBytes >= end) return;
    const firstWhole = Math.ceil(offsetBytes / BLOCK_BYTES);
    const endWhole = Math.floor(end / BLOCK_BYTES);
    const head = Math.floor(offsetBytes / BLOCK_BYTES);
    const tail = endWhole;
    const headFrom = offsetBytes - head * BLOCK_BYTES;
    const tailTo = end - tail * BLOCK_BYTES;
    if (head === tail) {
      await this.#zeroInBlock(state, head, headFrom, tailTo);
      return;
    }
    if (headFrom > 0) await this.#zeroInBlock(state, head, headFrom, BLOCK_BYTES);
    if (tailTo > 0) await this.#zeroInBlock(state, tail, 0, tailTo);
    if (firstWhole >= endWhole) return;
    const wasUncommitted = state.parts.length > 0;
    this.#data.drop(state, firstWhole, endWhole);
    state.contentChanged();
    const punched = this.#metadata.punch(state.inode, firstWhole, endWhole);
    // A size that was to come with the blocks that are gone now would come with nothing: a sync in the meantime has to find it journaled.
    if (wasUncommitted && state.parts.length === 0)
      this.#updateTimes(state, state.dirtyTime === undefined ? {} : modificationTimes(state.dirtyTime));
    await punched;
  }

  async #zeroInBlock(state: InodeState, block: number, from: number, to: number): Promise<void> {
    const zeroed = await this.#writes.zeroedBlock(state, block, from, to);
    if (zeroed !== undefined) await this.#writes.appendBlocks(state, block, zeroed);
  }
}

export function modificationTimes(time: Timestamp): InodeChanges {
  return {
    mtimeSeconds: time.seconds,
    mtimeNanoseconds: time.nanoseconds,
    ctimeSeconds: time.seconds,
    ctimeNanoseconds: time.nanoseconds,
  };
}
