/**
 * The machine's file systems: names and whole small files by Node's functions, transfers by the native disk queue.
 */

import * as fs from 'node:fs';
import { closeSync, constants, type PathLike } from 'node:fs';
import { access as accessFile, mkdir, open, readdir, readFile, rename, rm, statfs } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { DiskQueue } from '../native/disk-queue.ts';
import type { Disk, DiskFile, OpenOptions } from '../platform.ts';
import { RealDiskFile } from './disk-file.ts';
import { withMachineErrors } from './machine-error.ts';

const openDescriptor = promisify<PathLike, number, number, number>(fs.open);
const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

export class RealDisk implements Disk {
  readonly #queue: () => DiskQueue;

  /** The queue is made when the first file is opened. */
  constructor(queue: () => DiskQueue) {
    this.#queue = queue;
  }

  async open(path: string, options: OpenOptions): Promise<DiskFile> {
    const access = options.write === true ? constants.O_RDWR : constants.O_RDONLY;
    const creation =
      (options.create === true ? constants.O_CREAT : 0) | (options.exclusive === true ? constants.O_EXCL : 0);
    return withMachineErrors(`open ${path}`, async () => {
      const descriptor = await openDescriptor(path, access | creation, FILE_MODE);
      if (options.direct !== true) return new RealDiskFile(this.#queue(), path, descriptor, false);
      const direct = await reopenDirect(descriptor, access);
      if (direct !== undefined) closeSync(descriptor);
      return new RealDiskFile(this.#queue(), path, direct ?? descriptor, direct !== undefined);
    });
  }

  async makeDirectory(path: string): Promise<void> {
    await withMachineErrors(`make directory ${path}`, () =>
      mkdir(path, { recursive: true, mode: DIRECTORY_MODE }),
    );
  }

  list(path: string): Promise<string[]> {
    return withMachineErrors(`list ${path}`, () => readdir(path));
  }

  async exists(path: string): Promise<boolean> {
    return withMachineErrors(`look for ${path}`, async () => {
      try {
        await accessFile(path);
        return true;
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
        throw error;
      }
    });
  }

  remove(path: string): Promise<void> {
    return withMachineErrors(`remove ${path}`, () => rm(path, { recursive: true, force: true }));
  }

  rename(from: string, to: string): Promise<void> {
    return withMachineErrors(`rename ${from}`, () => rename(from, to));
  }

  async syncDirectory(path: string): Promise<void> {
    await withMachineErrors(`sync ${path}`, async () => {
      const directory = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
      try {
        await directory.sync();
      } finally {
        await directory.close();
      }
    });
  }

  readSmallFile(path: string): Promise<Buffer> {
    return withMachineErrors(`read ${path}`, () => readFile(path));
  }

  async writeSmallFile(path: string, bytes: Uint8Array): Promise<void> {
    const directory = dirname(path);
    const temporary = join(directory, `.${basename(path)}.new`);
    await withMachineErrors(`write ${path}`, async () => {
      const file = await open(temporary, 'w', FILE_MODE);
      try {
        await file.writeFile(bytes);
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(temporary, path);
    });
    await this.syncDirectory(directory);
  }

  async space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    const figures = await withMachineErrors(`space of ${path}`, () => statfs(path));
    return { totalBytes: figures.blocks * figures.bsize, freeBytes: figures.bavail * figures.bsize };
  }
}

/**
 * The same file for direct I/O; undefined: its file system does not do that. On another failure
 * the descriptor is closed. It is opened again by its descriptor, because an open
 * that is refused for O_DIRECT may have created the file already.
 */
async function reopenDirect(descriptor: number, flags: number): Promise<number | undefined> {
  try {
    return await openDescriptor(`/proc/self/fd/${descriptor}`, flags | constants.O_DIRECT, FILE_MODE);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EINVAL') return undefined;
    closeSync(descriptor);
    throw error;
  }
}
