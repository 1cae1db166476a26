/**
 * Log writers: several files, each appended to and synced by its own writer. After a crash each file is a prefix of what was appended,
 * and holds everything that a sync acknowledged. A file that has become long is read back and begun anew.
 */
import type { Workload, WorkloadContext } from '../contract.ts';
import { finish, pause, repeat } from './loop.ts';
import { pattern } from './pattern.ts';
import { caller, type Session } from './session.ts';
import { TrackedFile } from './tracked-file.ts';

export interface AppendOptions {
  readonly files?: number;
  readonly maxFileBytes?: number;
}

export class AppendWorkload implements Workload {
  readonly name: string;
  readonly #options: Required<AppendOptions>;
  readonly #files: TrackedFile[];
  readonly #keys: number[];

  constructor(name = 'append', options: AppendOptions = {}) {
    this.name = name;
    this.#options = { files: 2, maxFileBytes: 512 * 1024, ...options };
    this.#files = Array.from({ length: this.#options.files }, (_, index) => new TrackedFile(`log-${index}`));
    this.#keys = this.#files.map((_, index) => index + 1);
  }

  async run(context: WorkloadContext): Promise<void> {
    await Promise.all(this.#files.map((_, index) => this.#write(context, index)));
  }

  check(context: WorkloadContext): Promise<void> {
    return finish(context, this.name, async (session) => {
      const directory = await session.directory(this.name);
      for (const file of this.#files) {
        await file.ready(session, directory);
        await file.verify();
        await file.release();
      }
      await this.#noOthers(session, directory);
    });
  }

  #write(context: WorkloadContext, index: number): Promise<void> {
    const file = this.#files[index]!;
    const dice = context.dice.fork(file.name);
    const { maxFileBytes } = this.#options;
    return repeat(context, this.name, async (session) => {
      await file.ready(session, await session.directory(this.name));
      if (file.sizeBytes > maxFileBytes) {
        await file.verify();
        await file.truncate();
        this.#keys[index]! += this.#files.length;
      }
      const lengthBytes = 1 + dice.below(dice.chance(0.1) ? 60_000 : 3000);
      await file.append(pattern(this.#keys[index]!, file.sizeBytes, lengthBytes));
      if (dice.chance(0.7)) await file.fsync();
      if (dice.chance(0.1)) await file.readBack(dice.below(file.sizeBytes), 20_000);
      if (dice.chance(0.05)) await file.release();
      await pause(context, dice);
      return undefined;
    });
  }

  async #noOthers(session: Session, directory: number): Promise<void> {
    const names: string[] = [];
    await session.call('readDirectory', {}, async (one) => {
      const handle = await one.openDirectory(directory, caller);
      await one.readDirectory(directory, handle, 0n, false, (entry) => {
        if (entry.name !== '.' && entry.name !== '..') names.push(entry.name);
        return true;
      });
      await one.releaseDirectory(directory, handle);
    });
    const expected = this.#files.map((file) => file.name).join();
    if (names.sort().join() !== expected) session.fail(`names ${names.join()}, expected ${expected}`);
  }
}
