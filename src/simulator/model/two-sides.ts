/**
 * The reference model and the file system under test as the two sides of one comparison: the same call on both, which must give the same result or errno.
 * What a call names is the caller's business, since the two know inodes and handles by different numbers (paired-nodes.ts, paired-files.ts).
 */
import { isDeepStrictEqual } from 'node:util';
import { type ErrnoCode, ErrnoError } from '../../base/errno.ts';
import type { FileSystem } from '../../filesystem/file-system.ts';
import { CheckFailed } from '../contract.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';

/** Who makes every call. */
export const caller = { uid: 7, gid: 8, pid: 9 };
const NO_TIMES = {
  ...{ atimeSeconds: 0, atimeNanoseconds: 0, mtimeSeconds: 0, mtimeNanoseconds: 0 },
  ...{ ctimeSeconds: 0, ctimeNanoseconds: 0 },
};

export type Outcome = { value: unknown } | { errno: ErrnoCode };

/** Both results of one operation; `attributes` are compared without inode numbers. */
export interface Sides {
  model(): unknown;
  real(real: FileSystem): unknown;
}

/** The file system under test and what is known about it. */
export interface TestedSide {
  /** Runs one call; rejects with what is no ErrnoError when there is no answer. */
  call<T>(what: string, operation: (fileSystem: FileSystem) => T | Promise<T>): Promise<T>;
  /** The directory that stands for the model's root. */
  readonly root: number;
  /** False: times are not compared, since the clocks differ. */
  readonly comparesTimes: boolean;
  /** What the operation 'pause' does. */
  pause(): Promise<void>;
  /** A failure that may be although the model does not fail: the run then ends with Tolerated. */
  tolerates(code: ErrnoCode): boolean;
  /** Everything so far became durable: of the model's inode, of all names and attributes in any case, of all files for 'all'. */
  synced(what: number | 'names' | 'all'): void;
}

/** The operation failed as it may; whether it had an effect is not known. */
export class Tolerated extends Error {
  override readonly name = 'Tolerated';
  readonly code: ErrnoCode;

  constructor(code: ErrnoCode, what: string) {
    super(`${what}: ${code}`);
    this.code = code;
  }
}

export class TwoSides {
  readonly model: MemoryFileSystem;
  readonly tested: TestedSide;

  constructor(model: MemoryFileSystem, tested: TestedSide) {
    this.model = model;
    this.tested = tested;
  }

  /** The outcome that both have had. Throws CheckFailed when they differ, Tolerated when they may. */
  async compare(what: string, sides: Sides): Promise<Outcome> {
    const model = await outcome(sides.model);
    const real = await outcome(() => this.tested.call(what, sides.real));
    const modelText = 'value' in model ? this.#comparable(model.value) : model;
    const realText = 'value' in real ? this.#comparable(real.value) : real;
    if (isDeepStrictEqual(modelText, realText)) return real;
    if ('errno' in real && this.tested.tolerates(real.errno)) throw new Tolerated(real.errno, what);
    throw new CheckFailed(`${what}: expected ${brief(modelText)}, got ${brief(realText)}`);
  }

  /** Attributes without what the two need not agree on. */
  #comparable(value: unknown): unknown {
    if (typeof value !== 'object' || value === null || !('linkCount' in value)) return value;
    return this.tested.comparesTimes ? { ...value, inode: 0 } : { ...value, inode: 0, ...NO_TIMES };
  }
}

async function outcome(call: () => unknown): Promise<Outcome> {
  try {
    return { value: await call() };
  } catch (error) {
    if (error instanceof ErrnoError) return { errno: error.code };
    throw error;
  }
}

function brief(value: unknown): string {
  if (value instanceof Uint8Array)
    return `${value.length} bytes ${Buffer.from(value.subarray(0, 16)).toString('hex')}`;
  return (
    JSON.stringify(value, (_key, inner) => (typeof inner === 'bigint' ? String(inner) : inner))?.slice(
      0,
      600,
    ) ?? 'nothing'
  );
}
