/** What the package's operations share: who asks, what is open, and how an operation ends in exactly one call back. */
import type { AttributeChanges, Attributes, Caller, FileSystem } from '../../filesystem/file-system.ts';
import type { Logger } from '../../platform/platform.ts';
import { errnoOf } from '../unexpected.ts';
import { OpenFiles } from './open-files.ts';
import type { Callback } from './package.ts';
import { Paths } from './paths.ts';

export class OperationContext {
  readonly fileSystem: FileSystem;
  readonly caller: Caller;
  readonly paths: Paths;
  readonly files = new OpenFiles();
  readonly #log: Logger;

  constructor(fileSystem: FileSystem, log: Logger) {
    this.fileSystem = fileSystem;
    this.caller = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0, pid: process.pid };
    this.paths = new Paths(fileSystem, this.caller);
    this.#log = log;
  }

  /** `value` goes along with a result of 0. */
  run<T>(operation: string, done: Callback<T>, work: () => Promise<T>): void {
    work().then(
      (value) => done(0, value),
      (error: unknown) => done(-errnoOf(error, this.#log, { operation })),
    );
  }

  /** The same for those whose value is the result itself. */
  count(operation: string, done: Callback, work: () => Promise<number>): void {
    work().then(done, (error: unknown) => done(-errnoOf(error, this.#log, { operation })));
  }

  async change(path: string, changes: AttributeChanges): Promise<void> {
    await this.paths.at(path, (inode) => this.fileSystem.setAttributes(inode, changes, this.caller));
  }

  /** A new inode, whose look-up count nobody holds. */
  async make(
    path: string,
    how: (parent: number, name: string) => Attributes | Promise<Attributes>,
  ): Promise<void> {
    const made = await this.paths.parentOf(path, how);
    this.fileSystem.forget(made.inode, 1);
  }
}
