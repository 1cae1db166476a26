/**
 * The primary's side of an operation: it goes into the journal's open group and into the state, from the same arguments.
 */
import type { BlockRuns, InodePatch, RedoSink } from '../format/journal-entry.ts';
import type { InodeRecord } from '../format/metadata-records.ts';
import type { SegmentRecord } from '../format/segment-record.ts';

export class Transaction implements RedoSink {
  readonly #journal: RedoSink;
  readonly #state: RedoSink;

  constructor(journal: RedoSink, state: RedoSink) {
    this.#journal = journal;
    this.#state = state;
  }

  newInode(inode: Readonly<InodeRecord>): void {
    this.#journal.newInode(inode);
    this.#state.newInode(inode);
  }

  changeInode(inode: number, patch: InodePatch): void {
    this.#journal.changeInode(inode, patch);
    this.#state.changeInode(inode, patch);
  }

  deleteInode(inode: number): void {
    this.#journal.deleteInode(inode);
    this.#state.deleteInode(inode);
  }

  addEntry(
    parent: number,
    name: string,
    inode: number,
    type: number,
    seconds: number,
    nanoseconds: number,
  ): void {
    this.#journal.addEntry(parent, name, inode, type, seconds, nanoseconds);
    this.#state.addEntry(parent, name, inode, type, seconds, nanoseconds);
  }

  removeEntry(parent: number, name: string, seconds: number, nanoseconds: number): void {
    this.#journal.removeEntry(parent, name, seconds, nanoseconds);
    this.#state.removeEntry(parent, name, seconds, nanoseconds);
  }

  putValue(key: string, value: Uint8Array): void {
    this.#journal.putValue(key, value);
    this.#state.putValue(key, value);
  }

  deleteValue(key: string): void {
    this.#journal.deleteValue(key);
    this.#state.deleteValue(key);
  }

  unmapBlocks(inode: number, firstBlock: number, endBlock: number): void {
    this.#journal.unmapBlocks(inode, firstBlock, endBlock);
    this.#state.unmapBlocks(inode, firstBlock, endBlock);
  }

  reserveBlocks(inode: number, firstBlock: number, endBlock: number): void {
    this.#journal.reserveBlocks(inode, firstBlock, endBlock);
    this.#state.reserveBlocks(inode, firstBlock, endBlock);
  }

  releaseBlocks(inode: number, firstBlock: number, endBlock: number): void {
    this.#journal.releaseBlocks(inode, firstBlock, endBlock);
    this.#state.releaseBlocks(inode, firstBlock, endBlock);
  }

  commitSegment(record: SegmentRecord, runs: BlockRuns): void {
    this.#journal.commitSegment(record, runs);
    this.#state.commitSegment(record, runs);
  }

  commitInline(segmentId: number, bytes: Uint8Array, runs: BlockRuns): void {
    this.#journal.commitInline(segmentId, bytes, runs);
    this.#state.commitInline(segmentId, bytes, runs);
  }

  forgetSegment(segmentId: number): void {
    this.#journal.forgetSegment(segmentId);
    this.#state.forgetSegment(segmentId);
  }

  setRecord(key: string, value: Uint8Array | undefined): void {
    this.#journal.setRecord(key, value);
    this.#state.setRecord(key, value);
  }
}
