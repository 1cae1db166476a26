/**
 * Open files. A handle is a number that is never used twice; it carries the stream that reads of it form, and what the holder was
 * told about trouble. Directories are opened without a handle of their own: an open one counts as looked up.
 */
import { posixOutcome } from '../base/errno.ts';
import type { InodeState, InodeTable } from './inode-state.ts';
import { ReadStream } from './read-ahead.ts';

export interface Handle {
  readonly state: InodeState;
  readonly stream: ReadStream;
  /** The holder learnt at a flush that its data cannot be made durable now. */
  troubleReported: boolean;
}

export class Handles {
  readonly #inodes: InodeTable;
  readonly #handles = new Map<number, Handle>();
  #next = 1;

  constructor(inodes: InodeTable) {
    this.#inodes = inodes;
  }

  open(state: InodeState): number {
    state.openHandles += 1;
    const number = this.#next++;
    this.#handles.set(number, { state, stream: new ReadStream(state), troubleReported: false });
    return number;
  }

  /** A kernel's write-back may name any handle of the file, or none: undefined then. */
  find(inode: number, number: number): Handle | undefined {
    const handle = this.#handles.get(number);
    return handle?.state.inode === inode ? handle : undefined;
  }

  /** Takes the handle out of the table. */
  close(inode: number, number: number): Handle {
    const handle = this.find(inode, number);
    if (handle === undefined) throw posixOutcome('EBADF');
    this.#handles.delete(number);
    const { state } = handle;
    state.openHandles -= 1;
    if (state.openHandles === 0) {
      this.#inodes.released(inode);
      this.#inodes.settle(state);
    }
    return handle;
  }

  closeAll(): void {
    for (const [number, { state }] of [...this.#handles]) this.close(state.inode, number);
  }

  /** A directory's handle. */
  openDirectory(inode: number): number {
    this.#inodes.raiseLookups(inode);
    return this.#next++;
  }

  closeDirectory(inode: number): void {
    this.#inodes.lowerLookups(inode, 1);
  }
}
