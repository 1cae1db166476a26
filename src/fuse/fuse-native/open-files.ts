/** Descriptors that the package knows open files by: small numbers, not zero, used again after release. */
import { posixOutcome } from '../../base/errno.ts';

export interface OpenFile {
  readonly inode: number;
  readonly handle: number;
}

export class OpenFiles {
  readonly #files = new Map<number, OpenFile>();
  readonly #free: number[] = [];

  add(inode: number, handle: number): number {
    const descriptor = this.#free.pop() ?? this.#files.size + 1;
    this.#files.set(descriptor, { inode, handle });
    return descriptor;
  }

  get(descriptor: number): OpenFile {
    const file = this.#files.get(descriptor);
    if (file === undefined) throw posixOutcome('EBADF');
    return file;
  }

  remove(descriptor: number): OpenFile {
    const file = this.get(descriptor);
    this.#files.delete(descriptor);
    this.#free.push(descriptor);
    return file;
  }
}
