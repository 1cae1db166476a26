/**
 * A workload's hold on the file system while mounts come and go, and the rule for failures: what the scenario's faults permit is
 * told apart from what must not be, in this one place.
 */
import { type ErrnoCode, ErrnoError } from '../../base/errno.ts';
import type { Attributes, Caller, FileSystem } from '../../filesystem/file-system.ts';
import { ROOT_INODE } from '../../filesystem/file-system.ts';
import { CheckFailed, type MountedFileSystem, MountLost, type WorkloadContext } from '../contract.ts';

export const caller: Caller = { uid: 0, gid: 0, pid: 1 };

/** Pause after a failure that faults explain, before the next try. */
const RETRY_MS = 100;
/** After the faults have ended, nothing may fail for longer than this many tries. */
const MAX_TRIES = 100;

export type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

/** The scenario's faults explain the failure. */
export function permits(context: WorkloadContext, code: ErrnoCode): boolean {
  return (code === 'EIO' && context.allowed.beyondParity) || (code === 'ENOSPC' && context.allowed.fullDisks);
}

/** An operation failed as the faults permit: it may have had its effect, a part of it or none. */
export class Permitted extends Error {
  override readonly name = 'Permitted';
  readonly code: ErrnoCode;

  constructor(code: ErrnoCode, what: string) {
    super(`${what}: ${code}`);
    this.code = code;
  }
}

/** One mount, as long as it lives: handles and inode numbers known from it are good for exactly this long. */
export class Session {
  readonly context: WorkloadContext;
  readonly mount: MountedFileSystem;
  readonly #workload: string;
  #directory: number | undefined;
  /** Operations so far, for messages. */
  operations = 0;

  constructor(context: WorkloadContext, mount: MountedFileSystem, workload: string) {
    this.context = context;
    this.mount = mount;
    this.#workload = workload;
  }

  get isAlive(): boolean {
    return this.mount.alive;
  }

  /** One operation whose defined failures the caller expects: ErrnoError comes through, save those of a mount that is gone. */
  async attempt<T>(
    what: string,
    fields: Fields,
    run: (fileSystem: FileSystem) => T | Promise<T>,
  ): Promise<T> {
    this.operations += 1;
    if (!this.mount.alive) throw new MountLost(`${what}: the mount is gone`);
    try {
      return await this.context.operate(this.mount, what, { by: this.#workload, ...fields }, run);
    } catch (error) {
      if (error instanceof ErrnoError && !this.mount.alive)
        throw new MountLost(`${what}: ${error.code} from a mount that is gone`);
      throw error;
    }
  }

  /** One operation that must not fail: Permitted if the faults explain it, else CheckFailed. */
  async call<T>(what: string, fields: Fields, run: (fileSystem: FileSystem) => T | Promise<T>): Promise<T> {
    try {
      return await this.attempt(what, fields, run);
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error;
      if (permits(this.context, error.code)) throw new Permitted(error.code, what);
      throw new CheckFailed(
        `${this.#workload}: operation ${this.operations}, ${what} ${JSON.stringify(fields)}, failed with ${error.code} (${error.message})`,
      );
    }
  }

  /** Until it succeeds, as long as the faults explain that it does not. Must be repeatable. */
  async insist<T>(what: string, fields: Fields, run: (fileSystem: FileSystem) => T | Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.call(what, fields, run);
      } catch (error) {
        if (!(error instanceof Permitted)) throw error;
        if (tries >= MAX_TRIES)
          throw new CheckFailed(
            `${this.#workload}: ${what} still fails with ${error.code} after ${tries} tries`,
          );
        await this.context.sleep(RETRY_MS);
      }
    }
  }

  lookup(parent: number, name: string): Promise<Attributes | undefined> {
    return this.insist('lookup', { parent, name }, async (one) => {
      const found = await one.lookup(parent, name, caller);
      if (found !== undefined) one.forget(found.inode, 1);
      return found;
    });
  }

  /** The workload's own directory in the root, made durable if it is new. Several may ask for it at once. */
  async directory(name: string): Promise<number> {
    this.#directory ??= await this.#findDirectory(name);
    return this.#directory;
  }

  async #findDirectory(name: string): Promise<number> {
    const found = await this.lookup(ROOT_INODE, name);
    if (found !== undefined) return found.inode;
    try {
      await this.attempt('makeDirectory', { name }, async (one) => {
        const made = await one.makeDirectory(ROOT_INODE, name, 0o755, caller);
        one.forget(made.inode, 1);
      });
    } catch (error) {
      // Made or not: the next look tells.
      const isExpected =
        error instanceof ErrnoError && (error.code === 'EEXIST' || permits(this.context, error.code));
      if (!isExpected) throw error;
      await this.context.sleep(RETRY_MS);
    }
    await this.insist('syncAll', {}, (one) => one.syncAll());
    return this.#findDirectory(name);
  }

  fail(message: string): never {
    throw new CheckFailed(`${this.#workload}: operation ${this.operations}: ${message}`);
  }
}

/** Bytes of a file from an offset on, with a read of at most a request. */
export async function readBytes(
  one: FileSystem,
  inode: number,
  handle: number,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Buffer> {
  const result = await one.read(inode, handle, offsetBytes, lengthBytes);
  const bytes = Buffer.concat(result.parts);
  result.release();
  return bytes;
}
