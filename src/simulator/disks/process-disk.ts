/** The file systems of a simulated machine as one process of it uses them. */
import { basename, dirname, join } from 'node:path/posix';
import { type Disk, type DiskFile, MachineError, type OpenOptions } from '../../platform/platform.ts';
import type { DiskSpace } from './disk-space.ts';
import type { Directory, Names } from './names.ts';
import type { Operations } from './operations.ts';
import { SimulatedFile } from './simulated-file.ts';
import { StoredFile } from './stored-file.ts';

export class ProcessDisk implements Disk {
  readonly #operations: Operations;
  readonly #names: Names;
  readonly #space: DiskSpace;

  constructor(operations: Operations, names: Names, space: DiskSpace) {
    this.#operations = operations;
    this.#names = names;
    this.#space = space;
  }

  open(path: string, options: OpenOptions): Promise<DiskFile> {
    const what = `open ${path}`;
    return this.#run(() => {
      const stored = this.#file(path, options, what);
      const { write = false, direct = false } = options;
      return new SimulatedFile(this.#operations, stored, { path, write, direct });
    });
  }

  makeDirectory(path: string): Promise<void> {
    return this.#run(() => this.#names.makeDirectory(path, `make directory ${path}`));
  }

  list(path: string): Promise<string[]> {
    return this.#run(() => {
      if (this.#names.find(path)?.kind === 'database') return ['CURRENT'];
      const names = [...this.#names.directory(path, `list ${path}`).entries.keys()];
      // A directory's order is nobody's promise.
      return shuffled(names, (bound) => this.#operations.device.dice.below(bound));
    });
  }

  exists(path: string): Promise<boolean> {
    return this.#run(() => this.#names.find(path) !== undefined);
  }

  remove(path: string): Promise<void> {
    return this.#run(() => this.#names.remove(path, `remove ${path}`));
  }

  rename(from: string, to: string): Promise<void> {
    return this.#run(() => this.#names.rename(from, to, `rename ${from}`));
  }

  syncDirectory(path: string): Promise<void> {
    const what = `sync ${path}`;
    let directory: Directory | undefined;
    const { device } = this.#operations;
    return this.#run(() => {
      directory = this.#names.directory(path, what);
      device.counters.syncs++;
      if (device.strikes('syncErrors', path)) throw new MachineError('EIO', what);
      this.#names.syncDirectory(directory);
    }, device.latency.syncMs);
  }

  readSmallFile(path: string): Promise<Buffer> {
    const what = `read ${path}`;
    const { device } = this.#operations;
    return this.#run(() => {
      const stored = this.#file(path, {}, what);
      device.counters.reads++;
      if (device.strikes('readErrors', path)) throw new MachineError('EIO', what);
      const bytes = Buffer.alloc(stored.sizeBytes);
      stored.read(bytes, 0);
      return bytes;
    }, device.latency.readMs);
  }

  /** In the steps of the real one, so that a crash finds the same in between. */
  async writeSmallFile(path: string, bytes: Uint8Array): Promise<void> {
    const directory = dirname(path);
    const temporary = join(directory, `.${basename(path)}.new`);
    const file = await this.#run(() => {
      const stored = this.#file(temporary, { write: true, create: true }, `write ${path}`);
      stored.truncate(0);
      return new SimulatedFile(this.#operations, stored, { path: temporary, write: true, direct: false });
    });
    try {
      await file.write([bytes], 0);
      await file.sync();
    } finally {
      await file.close();
    }
    await this.rename(temporary, path);
    await this.syncDirectory(directory);
  }

  space(path: string): Promise<{ totalBytes: number; freeBytes: number }> {
    return this.#run(() => {
      if (this.#names.find(path) === undefined) throw new MachineError('ENOENT', `space of ${path}`);
      return { totalBytes: this.#space.totalBytes, freeBytes: this.#space.freeBytes };
    });
  }

  #file(path: string, options: OpenOptions, what: string): StoredFile {
    const found = this.#names.find(path);
    if (found === undefined) {
      if (options.create !== true) {
        this.#names.directory(dirname(path), what);
        throw new MachineError('ENOENT', `${what}: no such file or directory`);
      }
      const stored = new StoredFile(this.#space, this.#operations.device.dice);
      this.#names.add(path, stored, what);
      return stored;
    }
    if (options.create === true && options.exclusive === true)
      throw new MachineError('EEXIST', `${what}: it exists`);
    if (found.kind !== 'file') throw new MachineError('EISDIR', `${what}: a directory`);
    return found;
  }

  #run<Result>(perform: () => Result, meanMs = this.#operations.device.latency.namesMs): Promise<Result> {
    return this.#operations.run({ latencyMs: this.#operations.device.delayMs(meanMs), perform });
  }
}

function shuffled(names: string[], below: (bound: number) => number): string[] {
  for (let left = names.length; left > 1; left--) {
    const chosen = below(left);
    [names[left - 1], names[chosen]] = [names[chosen]!, names[left - 1]!];
  }
  return names;
}
