/**
 * Names: look-ups, and everything that makes, moves or removes a name. The rules are the metadata's; what is added here are
 * look-up counts, the inheritance of groups, and the end of inodes that lost their last name.
 */
import { posixOutcome } from '../base/errno.ts';
import { MAX_NAME_BYTES, MAX_SYMLINK_BYTES } from '../base/limits.ts';
import type { Inode, MetadataManager, NewInode } from '../metadata/metadata.ts';
import type { Platform } from '../platform/platform.ts';
import { attributesOf } from './attributes.ts';
import { directoryInode } from './directory.ts';
import type { Attributes, Caller } from './file-system.ts';
import type { InodeTable } from './inode-state.ts';
import {
  isDirectory,
  isNodeType,
  PERMISSION_BITS,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_ISGID,
} from './mode.ts';

export class Namespace {
  readonly #platform: Platform;
  readonly #metadata: MetadataManager;
  readonly #inodes: InodeTable;

  constructor(platform: Platform, metadata: MetadataManager, inodes: InodeTable) {
    this.#platform = platform;
    this.#metadata = metadata;
    this.#inodes = inodes;
  }

  lookup(parent: number, name: string): Attributes | undefined {
    if (name.length > MAX_NAME_BYTES) {
      directoryInode(this.#metadata, parent);
      throw posixOutcome('ENAMETOOLONG');
    }
    const inode = this.#metadata.lookup(parent, name);
    if (inode === undefined) {
      directoryInode(this.#metadata, parent);
      return undefined;
    }
    return this.#found(this.inode(inode));
  }

  inode(number: number): Inode {
    const inode = this.#metadata.inode(number);
    if (inode === undefined) throw posixOutcome('ESTALE');
    return inode;
  }

  attributes(inode: Inode): Attributes {
    return attributesOf(inode, this.#inodes.find(inode.inode), this.#metadata);
  }

  makeNode(parent: number, name: string, mode: number, rdev: number, caller: Caller): Attributes {
    const fullMode = (mode & S_IFMT) === 0 ? S_IFREG | mode : mode;
    if (!isNodeType(fullMode)) throw posixOutcome('EINVAL');
    return this.#found(this.#make(parent, name, fullMode, caller, rdev));
  }

  makeDirectory(parent: number, name: string, mode: number, caller: Caller): Attributes {
    return this.#found(this.#make(parent, name, S_IFDIR | (mode & PERMISSION_BITS), caller, 0));
  }

  symbolicLink(parent: number, name: string, target: Uint8Array, caller: Caller): Attributes {
    if (target.length > MAX_SYMLINK_BYTES) throw posixOutcome('ENAMETOOLONG');
    return this.#found(this.#make(parent, name, S_IFLNK | 0o777, caller, 0, target));
  }

  /** A new regular file; its look-up count is raised. */
  makeFile(parent: number, name: string, mode: number, caller: Caller): Inode {
    const made = this.#make(parent, name, S_IFREG | (mode & PERMISSION_BITS), caller, 0);
    this.#inodes.raiseLookups(made.inode);
    return made;
  }

  link(inode: number, newParent: number, newName: string): Attributes {
    return this.#found(this.#metadata.link(inode, newParent, newName, this.#now()));
  }

  unlink(parent: number, name: string): void {
    this.#lostName(this.#metadata.unlink(parent, name, this.#now()));
  }

  removeDirectory(parent: number, name: string): void {
    this.#lostName(this.#metadata.removeDirectory(parent, name, this.#now()));
  }

  rename(oldParent: number, oldName: string, newParent: number, newName: string, flags: number): void {
    const replaced = this.#metadata.rename(oldParent, oldName, newParent, newName, flags, this.#now());
    if (replaced !== undefined) this.#lostName(replaced);
  }

  /** The inode that a rename would put in the place of another one. */
  replacing(oldParent: number, oldName: string, newParent: number, newName: string): number | undefined {
    if (this.#inodes.stateCount === 0 || Math.max(oldName.length, newName.length) > MAX_NAME_BYTES)
      return undefined;
    const target = this.#metadata.lookup(newParent, newName);
    return target === undefined ? undefined : this.#metadata.lookup(oldParent, oldName);
  }

  #make(
    parent: number,
    name: string,
    mode: number,
    caller: Caller,
    rdev: number,
    target?: Uint8Array,
  ): Inode {
    const directory = directoryInode(this.#metadata, parent);
    const inheritsGroup = (directory.mode & S_ISGID) !== 0;
    const made: NewInode = {
      mode: inheritsGroup && isDirectory(mode) ? mode | S_ISGID : mode,
      uid: caller.uid,
      gid: inheritsGroup ? directory.gid : caller.gid,
      rdev,
      time: this.#now(),
      ...(target === undefined ? undefined : { target }),
    };
    return this.#metadata.create(parent, name, made);
  }

  #found(inode: Inode): Attributes {
    this.#inodes.raiseLookups(inode.inode);
    return this.attributes(inode);
  }

  #lostName(inode: Inode): void {
    if (inode.linkCount === 0) this.#inodes.orphaned(inode.inode);
  }

  #now() {
    return this.#platform.clock.fileTime();
  }
}
