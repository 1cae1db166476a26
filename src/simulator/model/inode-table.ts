/**
 * The inodes of the reference model and the names under which they are found. Owns the numbers: of inodes, none of which is used twice, and of entries, which
 * grow with each one made.
 *
 * Invariants: an inode lives as long as it has a link, a look-up or an open handle; adding and removing a name sets the times of its directory. The
 * counts themselves belong to the operations in memory-file-system.ts and rename.ts, which change them.
 */
import { MAX_NAME_BYTES } from '../../base/limits.ts';
import { type Caller, ROOT_INODE, type TimeValue } from '../../filesystem/file-system.ts';
import { fail, isDirectory, type ModelEntry, type ModelInode, S_IFDIR, S_IFMT } from './model-inode.ts';
import { SparseBytes } from './sparse-bytes.ts';

const S_ISGID = 0o2000;
export const DOT_COOKIE = 1;
export const DOT_DOT_COOKIE = 2;
const NO_BYTES = new Uint8Array(0);

export class InodeTable {
  /** The clock for all times. */
  readonly now: () => TimeValue;
  readonly #inodes = new Map<number, ModelInode>();
  #nextInode = ROOT_INODE;
  #nextCookie = DOT_DOT_COOKIE + 1;

  /** Begins with the root directory, mode 0755. */
  constructor(now: () => TimeValue, root: { uid: number; gid: number }) {
    this.now = now;
    const inode = this.#allocate(S_IFDIR | 0o755, root.uid, root.gid, 0, NO_BYTES);
    inode.linkCount = 2;
    inode.parent = ROOT_INODE;
  }

  get size(): number {
    return this.#inodes.size;
  }

  values(): Iterable<ModelInode> {
    return this.#inodes.values();
  }

  get(number: number): ModelInode {
    return this.#inodes.get(number) ?? fail('ESTALE');
  }

  directory(number: number): ModelInode {
    const found = this.get(number);
    return isDirectory(found) ? found : fail('ENOTDIR');
  }

  entry(directory: ModelInode, name: string): ModelEntry | undefined {
    return name.length > MAX_NAME_BYTES ? fail('ENAMETOOLONG') : directory.entries.get(name);
  }

  #allocate(mode: number, uid: number, gid: number, rdev: number, target: Uint8Array): ModelInode {
    const now = this.now();
    const made: ModelInode = {
      ...{ inode: this.#nextInode++, mode, linkCount: 1, uid, gid, rdev },
      ...{ atime: now, mtime: now, ctime: now, lookups: 0, openHandles: 0, xattrs: new Map() },
      ...{ bytes: new SparseBytes(), target, entries: new Map(), parent: 0 },
    };
    this.#inodes.set(made.inode, made);
    return made;
  }

  /** A new inode under a name. A set-group-id directory hands its group, and to directories the bit, on. */
  make(
    parent: number,
    name: string,
    mode: number,
    caller: Caller,
    rdev = 0,
    target: Uint8Array = NO_BYTES,
  ): ModelInode {
    const directory = this.directory(parent);
    if (this.entry(directory, name) !== undefined) fail('EEXIST');
    if (directory.linkCount === 0) fail('ENOENT');
    const inheritsGroup = (directory.mode & S_ISGID) !== 0;
    const isDirectoryMode = (mode & S_IFMT) === S_IFDIR;
    const fullMode = inheritsGroup && isDirectoryMode ? mode | S_ISGID : mode;
    const gid = inheritsGroup ? directory.gid : caller.gid;
    const made = this.#allocate(fullMode, caller.uid, gid, rdev, target);
    this.insert(directory, name, made.inode, made.ctime);
    return made;
  }

  /** In the place of what has the name. */
  insert(directory: ModelInode, name: string, inode: number, now: TimeValue): void {
    directory.entries.delete(name);
    directory.entries.set(name, { inode, cookie: this.#nextCookie++ });
    directory.mtime = directory.ctime = now;
  }

  remove(directory: ModelInode, name: string, now: TimeValue): void {
    directory.entries.delete(name);
    directory.mtime = directory.ctime = now;
  }

  /** An inode lost a name; a directory has only one. */
  dropLink(found: ModelInode, now: TimeValue): void {
    found.linkCount = isDirectory(found) ? 0 : found.linkCount - 1;
    found.ctime = now;
    this.reap(found);
  }

  /** To be called whenever a link, a look-up or a handle went. */
  reap(found: ModelInode): void {
    if (found.linkCount === 0 && found.lookups === 0 && found.openHandles === 0)
      this.#inodes.delete(found.inode);
  }

  isWithin(directory: ModelInode, ancestor: ModelInode): boolean {
    for (let at = directory; ; at = this.get(at.parent)) {
      if (at === ancestor) return true;
      if (at.inode === ROOT_INODE) return false;
    }
  }
}
