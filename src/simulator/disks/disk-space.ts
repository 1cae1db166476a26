/** How much of a disk is taken. What is reserved is given back by whoever took it. The capacity may shrink below what is used. */
import { assert } from '../../base/assert.ts';
import { MachineError } from '../../platform/platform.ts';

export class DiskSpace {
  totalBytes: number;
  #usedBytes = 0;

  constructor(totalBytes: number) {
    this.totalBytes = totalBytes;
  }

  get freeBytes(): number {
    return Math.max(0, this.totalBytes - this.#usedBytes);
  }

  take(lengthBytes: number, what: string): void {
    if (lengthBytes > this.freeBytes) throw new MachineError('ENOSPC', `${what}: no space left on the disk`);
    this.#usedBytes += lengthBytes;
  }

  /** After a power loss, for what turned out to be there still, whether there is room or not. */
  takeAnyway(lengthBytes: number): void {
    this.#usedBytes += lengthBytes;
  }

  give(lengthBytes: number): void {
    this.#usedBytes -= lengthBytes;
    assert(this.#usedBytes >= 0, 'no more space is given back than was taken');
  }
}
