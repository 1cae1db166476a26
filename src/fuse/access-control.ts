/**
 * Keeps access control lists and mode bits of one mounted file system in step; lists are stored as extended attributes.
 *
 * The list of a new inode is stored right after the inode was made, in the same turn where the file system allows: a crash in
 * between leaves the mode alone, in which the list's mask stands for the group.
 */
import { ErrnoError } from '../base/errno.ts';
import type { Attributes, Caller, FileSystem, MaybePromise } from '../filesystem/file-system.ts';
import {
  ACCESS_ACL,
  type Acl,
  DEFAULT_ACL,
  decodeAcl,
  encodeAcl,
  inherited,
  isMinimal,
  modeOf,
  withMode,
} from './acl.ts';
import { andThen, attempt } from './maybe-promise.ts';
import { S_IFLNK, S_IFMT, S_ISGID } from './protocol.ts';

/** Directories that are known to have no default list; the oldest is asked for again. */
const MAX_KNOWN_WITHOUT = 4096;
const NOBODY = { uid: 0, gid: 0, pid: 0 };

/** What a program asked to make. */
export interface Requested {
  readonly mode: number;
  readonly umask: number;
  readonly isDirectory: boolean;
}

export class AccessControl {
  readonly #fileSystem: FileSystem;
  readonly #withoutDefault = new Set<number>();

  constructor(fileSystem: FileSystem) {
    this.#fileSystem = fileSystem;
  }

  /** Stores a list. Its access list decides the mode, too; one that the mode says completely is not stored. */
  set(
    inode: number,
    name: string,
    value: Uint8Array,
    flags: number,
    dropsGroupId: boolean,
  ): MaybePromise<void> {
    if (name === DEFAULT_ACL) {
      this.#withoutDefault.delete(inode);
      return this.#fileSystem.setXattr(inode, name, value, flags);
    }
    const acl = decodeAcl(value);
    const stored = isMinimal(acl)
      ? this.remove(inode, name)
      : this.#fileSystem.setXattr(inode, name, value, flags);
    return andThen(stored, () =>
      andThen(this.#fileSystem.getAttributes(inode), ({ mode }) => {
        const changed = modeOf(acl, dropsGroupId ? mode & ~S_ISGID : mode);
        if (changed === mode) return undefined;
        return andThen(this.#fileSystem.setAttributes(inode, { mode: changed }, NOBODY), () => undefined);
      }),
    );
  }

  /** Removing what is not there is no error. */
  remove(inode: number, name: string): MaybePromise<void> {
    return attempt(
      () => this.#fileSystem.removeXattr(inode, name),
      (error) => {
        if (!isAbsence(error)) throw error;
      },
    );
  }

  /** After chmod: the access list, if there is one, follows. */
  followMode(changed: Attributes): MaybePromise<Attributes> {
    if ((changed.mode & S_IFMT) === S_IFLNK) return changed;
    return andThen(this.#find(changed.inode, ACCESS_ACL), (acl) => {
      if (acl === undefined) return changed;
      const value = encodeAcl(withMode(acl, changed.mode));
      return andThen(this.#fileSystem.setXattr(changed.inode, ACCESS_ACL, value, 0), () => changed);
    });
  }

  /**
   * Makes an inode with the mode that it gets in that directory. `make` may be called in a later turn, so the caller is
   * passed to it; `inodeOf` names the inode made, and `undo` lets go of it if its lists cannot be stored.
   */
  create<T>(
    directory: number,
    requested: Requested,
    caller: Caller,
    make: (mode: number, caller: Caller) => MaybePromise<T>,
    inodeOf: (made: T) => number,
    undo: (made: T) => MaybePromise<void>,
  ): MaybePromise<T> {
    const found = this.#defaultOf(directory);
    const asked = found instanceof Promise ? { ...caller } : caller;
    return andThen(found, (defaultAcl) => {
      if (defaultAcl === undefined) return make(requested.mode & ~requested.umask, asked);
      const { mode, access } = inherited(defaultAcl, requested.mode);
      return andThen(make(mode, asked), (made) =>
        attempt(
          () =>
            andThen(
              this.#store(inodeOf(made), access, requested.isDirectory ? defaultAcl : undefined),
              () => made,
            ),
          (error) =>
            andThen(undo(made), () => {
              throw error;
            }),
        ),
      );
    });
  }

  #store(inode: number, access: Acl, defaultAcl: Acl | undefined): MaybePromise<void> {
    const first = isMinimal(access)
      ? undefined
      : this.#fileSystem.setXattr(inode, ACCESS_ACL, encodeAcl(access), 0);
    if (defaultAcl === undefined) return first;
    return andThen(first, () => this.#fileSystem.setXattr(inode, DEFAULT_ACL, encodeAcl(defaultAcl), 0));
  }

  #defaultOf(directory: number): MaybePromise<Acl | undefined> {
    if (this.#withoutDefault.has(directory)) return undefined;
    return andThen(this.#find(directory, DEFAULT_ACL), (acl) => {
      if (acl === undefined) this.#rememberWithout(directory);
      return acl;
    });
  }

  #rememberWithout(directory: number): void {
    const [oldest] = this.#withoutDefault;
    if (oldest !== undefined && this.#withoutDefault.size >= MAX_KNOWN_WITHOUT)
      this.#withoutDefault.delete(oldest);
    this.#withoutDefault.add(directory);
  }

  #find(inode: number, name: string): MaybePromise<Acl | undefined> {
    return attempt<Acl | undefined>(
      () => andThen(this.#fileSystem.getXattr(inode, name), decodeAcl),
      (error) => {
        if (isAbsence(error)) return undefined;
        throw error;
      },
    );
  }
}

function isAbsence(error: unknown): boolean {
  return error instanceof ErrnoError && error.code === 'ENODATA';
}
