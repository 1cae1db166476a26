/**
 * The npm package fuse-native as far as it is used here: its class, loaded when asked for, since it is optional. It needs the system's
 * libfuse.so.2 and fusermount.
 */
import { createRequire } from 'node:module';
import { MountError } from '../mount-error.ts';

/** Results are zero or more, failures are negative errno numbers. */
export type Callback<T = unknown> = (result: number, value?: T) => void;

export interface Stat {
  mode: number;
  uid: number;
  gid: number;
  size: number;
  nlink: number;
  ino: number;
  rdev: number;
  blksize: number;
  blocks: number;
  /** Milliseconds. */
  atime: number;
  mtime: number;
  ctime: number;
}

export interface Statfs {
  bsize: number;
  frsize: number;
  blocks: number;
  bfree: number;
  bavail: number;
  files: number;
  ffree: number;
  favail: number;
  namemax: number;
}

/** Paths are absolute within the mount, decoded from UTF-8. */
export interface FuseOperations {
  statfs(path: string, done: Callback<Statfs>): void;
  getattr(path: string, done: Callback<Stat>): void;
  readdir(path: string, done: Callback<string[]>): void;
  readlink(path: string, done: Callback<string>): void;
  truncate(path: string, sizeBytes: number, done: Callback): void;
  ftruncate(path: string, descriptor: number, sizeBytes: number, done: Callback): void;
  chown(path: string, uid: number, gid: number, done: Callback): void;
  chmod(path: string, mode: number, done: Callback): void;
  utimens(path: string, atimeMs: number, mtimeMs: number, done: Callback): void;
  mknod(path: string, mode: number, device: number, done: Callback): void;
  mkdir(path: string, mode: number, done: Callback): void;
  symlink(target: string, path: string, done: Callback): void;
  link(from: string, path: string, done: Callback): void;
  unlink(path: string, done: Callback): void;
  rmdir(path: string, done: Callback): void;
  rename(from: string, to: string, done: Callback): void;
  open(path: string, flags: number, done: Callback<number>): void;
  create(path: string, mode: number, done: Callback<number>): void;
  release(path: string, descriptor: number, done: Callback): void;
  flush(path: string, descriptor: number, done: Callback): void;
  fsync(path: string, dataOnly: number, descriptor: number, done: Callback): void;
  fsyncdir(path: string, dataOnly: number, descriptor: number, done: Callback): void;
  read(path: string, descriptor: number, into: Buffer, length: number, offset: number, done: Callback): void;
  write(path: string, descriptor: number, from: Buffer, length: number, offset: number, done: Callback): void;
  getxattr(path: string, name: string, position: number, done: Callback<Buffer>): void;
  setxattr(path: string, name: string, value: Buffer, position: number, flags: number, done: Callback): void;
  listxattr(path: string, done: Callback<string[]>): void;
  removexattr(path: string, name: string, done: Callback): void;
}

export interface FuseNativeOptions {
  readonly fsname: string;
  readonly subtype: string;
  readonly defaultPermissions: boolean;
  readonly allowOther: boolean;
  /** False: operations may take as long as they take. */
  readonly timeout: false;
}

export interface FuseNative {
  mount(done: (error: Error | null) => void): void;
  unmount(done: (error: Error | null) => void): void;
}

export type FuseNativeClass = new (
  mountPoint: string,
  operations: FuseOperations,
  options: FuseNativeOptions,
) => FuseNative;

export function loadFuseNative(): FuseNativeClass {
  try {
    return createRequire(import.meta.url)('fuse-native') as FuseNativeClass;
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const advice =
      code === 'ERR_DLOPEN_FAILED'
        ? 'it cannot load libfuse 2: install the system package libfuse2 (or libfuse2t64, fuse-libs)'
        : 'it is not installed: npm install fuse-native';
    throw new MountError('no-front-end', `the front end fuse-native is not available: ${advice}`, { cause });
  }
}
