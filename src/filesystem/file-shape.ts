/**
 * What changes a file's shape rather than its bytes: truncation, allocation, holes and zeroed ranges, and where data and holes are.
 *
 * All of it holds the file's lock where it has to wait. The visible size changes at once; the committed size follows only as far as
 * the data before it is committed (see InodeState.parts).
 */
import { blockCount, outside } from '../base/block-ranges.ts';
import { posixOutcome } from '../base/errno.ts';
import { MAX_FILE_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES, roundUp } from '../base/units.ts';
import { BLOCKS_PER_TRANSACTION } from '../metadata/block-removal.ts';
import type { Inode, InodeChanges, MetadataManager, Timestamp } from '../metadata/metadata.ts';
import type { Timers } from '../platform/platform.ts';
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
import type { SpaceCheck } from './space.ts';
import type { UncommittedData } from './uncommitted-data.ts';
import type { WritePath } from './write-path.ts';

const MAX_FILE_BLOCKS = MAX_FILE_BYTES / BLOCK_BYTES;

export class FileShape {
  readonly #timers: Timers;
  readonly #metadata: MetadataManager;
  readonly #space: SpaceCheck;
  readonly #inodes: InodeTable;
  readonly #data: UncommittedData;
  readonly #flusher: Flusher;
  readonly #reads: ReadPath;
  readonly #writes: WritePath;

  constructor(
    timers: Timers,
    metadata: MetadataManager,
    space: SpaceCheck,
    inodes: InodeTable,
    data: UncommittedData,
    flusher: Flusher,
    reads: ReadPath,
    writes: WritePath,
  ) {
    this.#timers = timers;
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
      if (sizeBytes > state.sizeBytes) return this.#grow(state, sizeBytes, changes);
      if (sizeBytes === state.sizeBytes) return this.#cutBehind(state, sizeBytes, changes);
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
    const times = modificationTimes(time);
    return this.#inodes.exclusive(state, () => {
      const finish = () => {
        if (!keepSize && endBytes > state.sizeBytes) this.#grow(state, endBytes, times);
        else this.#updateTimes(state, times);
      };
      if (operation === FALLOC_FL_PUNCH_HOLE) return this.#punch(state, offsetBytes, endBytes).then(finish);
      const reserved = this.#reserve(state, offsetBytes, endBytes);
      if (operation === 0) return reserved instanceof Promise ? reserved.then(finish) : finish();
      return Promise.resolve(reserved)
        .then(() => this.#zero(state, offsetBytes, endBytes, (from, end) => this.#unwrite(state, from, end)))
        .then(finish);
    });
  }

  /**
   * Reserves what is not there yet of every block that the range touches. A large range of a file with blocks takes several steps: when others take the
   * room in between, what was reserved until then stays so, as it does elsewhere.
   */
  #reserve(state: InodeState, offsetBytes: number, endBytes: number): MaybePromise<void> {
    const firstBlock = Math.floor(offsetBytes / BLOCK_BYTES);
    const endBlock = Math.ceil(endBytes / BLOCK_BYTES);
    const isEmpty = state.pending.blockCount === 0 && this.#metadata.inode(state.inode)?.mappedBlocks === 0;
    if (!isEmpty && endBlock - firstBlock > BLOCKS_PER_TRANSACTION)
      return this.#reserveInSteps(state, firstBlock, endBlock);
    this.#space.mustReserve(
      isEmpty
        ? blockCount(outside(this.#metadata.reservation(state.inode), firstBlock, endBlock))
        : this.#space.unallocatedBlocks(state, firstBlock, endBlock),
    );
    this.#metadata.reserve(state.inode, firstBlock, endBlock);
  }

  async #reserveInSteps(state: InodeState, firstBlock: number, endBlock: number): Promise<void> {
    // All of it is counted first: nothing is taken of what is too large anyway.
    let added = 0;
    await this.#inSteps(firstBlock, endBlock, (from, end) => {
      added += this.#space.unallocatedBlocks(state, from, end);
      this.#space.mustReserve(added);
    });
    await this.#inSteps(firstBlock, endBlock, (from, end) => {
      this.#space.mustReserve(this.#space.unallocatedBlocks(state, from, end));
      this.#metadata.reserve(state.inode, from, end);
    });
  }

  /** The first step is taken in this turn. */
  async #inSteps(
    firstBlock: number,
    endBlock: number,
    step: (from: number, end: number) => void,
  ): Promise<void> {
    for (let from = firstBlock; from < endBlock; from += BLOCKS_PER_TRANSACTION) {
      const end = Math.min(endBlock, from + BLOCKS_PER_TRANSACTION);
      step(from, end);
      if (end === endBlock) return;
      await new Promise<void>((resolve) => this.#timers.defer(resolve));
      await this.#metadata.backlog();
    }
  }

  async #punch(state: InodeState, offsetBytes: number, endBytes: number): Promise<void> {
    await this.#zero(state, offsetBytes, endBytes, (firstBlock, endBlock) =>
      this.#metadata.punch(state.inode, firstBlock, endBlock),
    );
    const from = Math.max(Math.ceil(offsetBytes / BLOCK_BYTES), Math.ceil(state.sizeBytes / BLOCK_BYTES));
    await this.#release(state, from, Math.floor(endBytes / BLOCK_BYTES));
  }

  /** Gives back what is reserved of blocks behind the end of the file, where nothing is mapped. */
  #release(state: InodeState, firstBlock: number, endBlock: number): MaybePromise<void> {
    const reserved = this.#metadata.inode(state.inode)?.reservedBlocks ?? 0;
    if (reserved > 0 && firstBlock < endBlock) return this.#metadata.punch(state.inode, firstBlock, endBlock);
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

  /** Nothing that is committed lies behind the end, but something may be reserved there. */
  #cutBehind(state: InodeState, sizeBytes: number, changes: InodeChanges): MaybePromise<Inode> {
    const inode = this.#updateTimes(state, changes);
    const released = this.#release(state, Math.ceil(sizeBytes / BLOCK_BYTES), MAX_FILE_BLOCKS);
    return released instanceof Promise ? released.then(() => inode) : inode;
  }

  /** Shrinks the file; the part of the last block behind the new end, if there is one, is zero already or about to be. */
  #cut(state: InodeState, sizeBytes: number, changes: InodeChanges): MaybePromise<Inode> {
    const committed = this.#metadata.inode(state.inode);
    if (committed === undefined) throw posixOutcome('ESTALE');
    state.sizeBytes = sizeBytes;
    this.#data.drop(state, Math.ceil(sizeBytes / BLOCK_BYTES), Number.POSITIVE_INFINITY);
    state.contentChanged();
    for (const part of state.parts) part.sizeBytes = Math.min(part.sizeBytes, sizeBytes);
    if (sizeBytes >= committed.sizeBytes) return this.#cutBehind(state, sizeBytes, changes);
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

  /** Blocks that hold something become reserved. */
  #unwrite(state: InodeState, firstBlock: number, endBlock: number): Promise<void> {
    return this.#inSteps(firstBlock, endBlock, (from, end) => this.#metadata.zero(state.inode, from, end));
  }

  /** Zeros a range: whole blocks become holes by `unmap`, others get zeros in their part if they exist. */
  async #zero(
    state: InodeState,
    offsetBytes: number,
    endBytes: number,
    unmap: (firstBlock: number, endBlock: number) => MaybePromise<void>,
  ): Promise<void> {
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
    const unmapped = unmap(firstWhole, endWhole);
    // A size that was to come with the blocks that are gone now would come with nothing: a sync in the meantime has to find it journaled.
    if (wasUncommitted && state.parts.length === 0)
      this.#updateTimes(state, state.dirtyTime === undefined ? {} : modificationTimes(state.dirtyTime));
    await unmapped;
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
