/**
 * From paths to inodes, by looking every part up. The look-up counts that this raises are given back after the operation:
 * what stays open is kept by its handle.
 */
import { posixOutcome } from '../../base/errno.ts';
import { type Attributes, type Caller, type FileSystem, ROOT_INODE } from '../../filesystem/file-system.ts';

export class Paths {
  readonly #fileSystem: FileSystem;
  readonly #caller: Caller;

  constructor(fileSystem: FileSystem, caller: Caller) {
    this.#fileSystem = fileSystem;
    this.#caller = caller;
  }

  /** Runs with the inode of the path. */
  async at<T>(path: string, use: (inode: number) => T | Promise<T>): Promise<T> {
    const held: number[] = [];
    try {
      let inode = ROOT_INODE;
      for (const name of namesIn(path)) {
        inode = (await this.#lookup(inode, name)).inode;
        held.push(inode);
      }
      return await use(inode);
    } finally {
      for (const inode of held) this.#fileSystem.forget(inode, 1);
    }
  }

  /** Runs with the inode of the directory that holds the path's last name, and that name. */
  parentOf<T>(path: string, use: (parent: number, name: string) => T | Promise<T>): Promise<T> {
    const slash = path.lastIndexOf('/');
    return this.at(path.slice(0, slash), (parent) => use(parent, toBytes(path.slice(slash + 1))));
  }

  async #lookup(parent: number, name: string): Promise<Attributes> {
    const found = await this.#fileSystem.lookup(parent, name, this.#caller);
    if (found === undefined) throw posixOutcome('ENOENT');
    return found;
  }
}

function namesIn(path: string): string[] {
  return path
    .split('/')
    .filter((name) => name !== '')
    .map(toBytes);
}

/** Names of the file system have one character a byte; those of the package are text. */
export function toBytes(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

export function toText(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}
