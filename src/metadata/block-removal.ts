/**
 * Taking blocks away: truncate, punch, and the deletion of inodes without a name. What is large takes several transactions, each of bounded
 * work, with other work in between.
 *
 * A truncation that takes several is marked in the first one, with the block it unmaps from, so that a start after a crash finishes it
 * before anybody can extend the file over what was to go. An orphan needs no mark: it is one until its last transaction.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { RedoSink } from '../format/journal-entry.ts';
import { keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import { CHUNK_BLOCKS } from '../format/metadata-records.ts';
import type { ExtentSearch } from './extent-search.ts';
import { S_IFLNK, S_IFMT } from './inode-rules.ts';
import type { InodeChanges } from './metadata.ts';
import { existing } from './namespace.ts';
import type { MetadataState } from './state.ts';
import { removeAllXattrs } from './xattrs.ts';

/** Blocks that one transaction looks at most through. */
export const BLOCKS_PER_TRANSACTION = 64 * CHUNK_BLOCKS;

export interface Mutations {
  /** One transaction in this turn. */
  run<T>(operation: (redo: RedoSink) => T): T;
  /** Waits while too much is not yet journaled. */
  backlog(): Promise<void> | undefined;
}

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
    const large = inode.mappedBlocks > 0 && endBlock - fromBlock > BLOCKS_PER_TRANSACTION;
    const mark = perInodeKey(keyLetters.unfinishedTruncate, number);
    this.#mutations.run((redo) => {
      redo.changeInode(number, { ...changes, sizeBytes });
      if (large) redo.putValue(mark, Buffer.from(String(fromBlock)));
      else if (inode.mappedBlocks > 0 && endBlock > fromBlock) {
        redo.unmapBlocks(number, fromBlock, endBlock);
      }
    });
    return large ? this.#finishTruncate(number, fromBlock) : undefined;
  }

  async #finishTruncate(number: number, fromBlock: number): Promise<void> {
    await this.punch(number, fromBlock, Number.POSITIVE_INFINITY);
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
    if ((this.#state.inodes.get(number)?.mappedBlocks ?? 0) === 0) return undefined;
    if (endBlock - firstBlock > BLOCKS_PER_TRANSACTION) return this.#punchFar(number, firstBlock, endBlock);
    this.#mutations.run((redo) => redo.unmapBlocks(number, firstBlock, endBlock));
    return undefined;
  }

  async #punchFar(number: number, firstBlock: number, endBlock: number): Promise<void> {
    let from: number | undefined = firstBlock;
    for (;;) {
      await this.#mutations.backlog();
      from = await this.#search.nextMapped(number, from);
      if (from === undefined || from >= endBlock || this.#state.inodes.get(number) === undefined) return;
      const start: number = from;
      const end = Math.min(endBlock, start + BLOCKS_PER_TRANSACTION);
      this.#mutations.run((redo) => redo.unmapBlocks(number, start, end));
      from = end;
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
    await this.punch(number, 0, Number.POSITIVE_INFINITY);
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
