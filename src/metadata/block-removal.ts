/**
 * Taking blocks away, and what is reserved: truncate, punch, and the deletion of inodes without a name. What is large takes several transactions, each of bounded
 * work, with other work in between.
 *
 * A truncation that takes several is marked in the first one, with the block it unmaps from, so that a start after a crash finishes it
 * before anybody can extend the file over what was to go. An orphan needs no mark: it is one until its last transaction.
 */
import { blockCount, within } from '../base/block-ranges.ts';
import { MAX_FILE_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import { CHUNK_BLOCKS } from '../format/metadata-records.ts';
import type { ExtentSearch } from './extent-search.ts';
import { S_IFLNK, S_IFMT } from './inode-rules.ts';
import type { InodeChanges } from './metadata.ts';
import type { Mutations } from './mutations.ts';
import { existing, type FoundInode } from './namespace.ts';
import type { MetadataState } from './state.ts';
import { removeAllXattrs } from './xattrs.ts';

/** Blocks that one transaction looks at most through. What is reserved and holds no block yet is not looked through. */
export const BLOCKS_PER_TRANSACTION = 64 * CHUNK_BLOCKS;

const MAX_FILE_BLOCKS = MAX_FILE_BYTES / BLOCK_BYTES;

export class BlockRemoval {
  readonly #state: MetadataState;
  readonly #search: ExtentSearch;
  readonly #mutations: Mutations;

  constructor(state: MetadataState, search: ExtentSearch, mutations: Mutations) {
    this.#state = state;
    this.#search = search;
    this.#mutations = mutations;
  }

  truncate(number: number, sizeBytes: number, changes: InodeChanges): undefined | Promise<void> {
    const inode = existing(this.#state, number);
    const fromBlock = Math.ceil(sizeBytes / BLOCK_BYTES);
    const endBlock = Math.ceil(inode.sizeBytes / BLOCK_BYTES);
    const large =
      (inode.mappedBlocks > 0 && endBlock - fromBlock > BLOCKS_PER_TRANSACTION) ||
      !this.#isReleasedAtOnce(inode, fromBlock, MAX_FILE_BLOCKS);
    const mark = perInodeKey(keyLetters.unfinishedTruncate, number);
    this.#mutations.run((redo) => {
      redo.changeInode(number, { ...changes, sizeBytes });
      if (large) {
        redo.putValue(mark, Buffer.from(String(fromBlock)));
        return;
      }
      if (inode.reservedBlocks > 0) redo.releaseBlocks(number, fromBlock, MAX_FILE_BLOCKS);
      if (inode.mappedBlocks > 0 && endBlock > fromBlock) redo.unmapBlocks(number, fromBlock, endBlock);
    });
    return large ? this.#finishTruncate(number, fromBlock) : undefined;
  }

  async #finishTruncate(number: number, fromBlock: number): Promise<void> {
    await this.punch(number, fromBlock, MAX_FILE_BLOCKS);
    const mark = perInodeKey(keyLetters.unfinishedTruncate, number);
    if (this.#state.unfinishedTruncates.has(number)) {
      this.#mutations.run((redo) => redo.deleteValue(mark));
    }
  }

  /** After a start: what a crash interrupted. */
  async finishTruncates(): Promise<void> {
    for (const inode of [...this.#state.unfinishedTruncates]) {
      const mark = this.#state.value(perInodeKey(keyLetters.unfinishedTruncate, inode))!;
      await this.#finishTruncate(inode, Number(mark.toString()));
    }
  }

  punch(number: number, firstBlock: number, endBlock: number): undefined | Promise<void> {
    const inode = this.#state.inodes.get(number);
    if (inode === undefined || (inode.mappedBlocks === 0 && inode.reservedBlocks === 0)) return undefined;
    const isSmall =
      (inode.mappedBlocks === 0 || endBlock - firstBlock <= BLOCKS_PER_TRANSACTION) &&
      this.#isReleasedAtOnce(inode, firstBlock, endBlock);
    if (!isSmall) return this.#punchFar(number, firstBlock, endBlock);
    this.#mutations.run((redo) => this.#take(redo, inode, firstBlock, endBlock));
    return undefined;
  }

  #take(redo: RedoSink, inode: FoundInode, firstBlock: number, endBlock: number): void {
    if (inode.reservedBlocks > 0) redo.releaseBlocks(inode.inode, firstBlock, endBlock);
    if (inode.mappedBlocks > 0) redo.unmapBlocks(inode.inode, firstBlock, endBlock);
  }

  /** Whether the reservation of the range can be given back in one transaction. */
  #isReleasedAtOnce(inode: FoundInode, firstBlock: number, endBlock: number): boolean {
    if (inode.reservedBlocks === 0) return true;
    const ranges = this.#state.reservations.ranges(inode.inode);
    if (inode.mappedBlocks === 0 || blockCount(ranges) === inode.reservedBlocks) return true;
    return blockCount(within(ranges, firstBlock, endBlock)) <= BLOCKS_PER_TRANSACTION;
  }

  async #punchFar(number: number, firstBlock: number, endBlock: number): Promise<void> {
    let from: number | undefined = firstBlock;
    for (;;) {
      await this.#mutations.backlog();
      from = await this.#search.nextMapped(number, from);
      const inode = this.#state.inodes.get(number);
      if (inode === undefined) return;
      if (from === undefined || from >= endBlock) break;
      const start: number = from;
      const end = Math.min(endBlock, start + BLOCKS_PER_TRANSACTION);
      this.#mutations.run((redo) => this.#take(redo, inode, start, end));
      from = end;
    }
    await this.#releaseFar(number, firstBlock, endBlock);
  }

  /** Gives back what is reserved where no block is mapped any more. */
  async #releaseFar(number: number, firstBlock: number, endBlock: number): Promise<void> {
    for (let from = firstBlock; ; ) {
      const inode = this.#state.inodes.get(number);
      if (inode === undefined || inode.reservedBlocks === 0) return;
      const [next] = within(this.#state.reservations.ranges(number), from, endBlock);
      if (next === undefined) return;
      const isLast = this.#isReleasedAtOnce(inode, next, endBlock);
      const end = isLast ? endBlock : Math.min(endBlock, next + BLOCKS_PER_TRANSACTION);
      this.#mutations.run((redo) => redo.releaseBlocks(number, next, end));
      if (isLast) return;
      from = end;
      await this.#search.pause();
      await this.#mutations.backlog();
    }
  }

  /** Deletes an inode without a name. Resolves when the last transaction is made (not yet durable). */
  reclaim(number: number): undefined | Promise<void> {
    const inode = existing(this.#state, number);
    const endBlock = Math.ceil(inode.sizeBytes / BLOCK_BYTES);
    const isSmall = endBlock <= BLOCKS_PER_TRANSACTION;
    if (inode.mappedBlocks > 0 && !isSmall) return this.#reclaimFar(number);
    this.#mutations.run((redo) => {
      if (inode.mappedBlocks > 0) redo.unmapBlocks(number, 0, endBlock);
      if (this.#state.inodes.get(number)!.mappedBlocks === 0) this.#delete(redo, number);
    });
    return this.#state.inodes.get(number) === undefined ? undefined : this.#reclaimFar(number);
  }

  async #reclaimFar(number: number): Promise<void> {
    await this.punch(number, 0, MAX_FILE_BLOCKS);
    this.#mutations.run((redo) => this.#delete(redo, number));
  }

  #delete(redo: RedoSink, number: number): void {
    const inode = existing(this.#state, number);
    if (inode.hasXattrs) removeAllXattrs(this.#state, redo, number);
    const mark = perInodeKey(keyLetters.unfinishedTruncate, number);
    if (this.#state.unfinishedTruncates.has(number)) redo.deleteValue(mark);
    if ((inode.mode & S_IFMT) === S_IFLNK) redo.deleteValue(perInodeKey(keyLetters.symlink, number));
    redo.deleteInode(number);
  }
}
