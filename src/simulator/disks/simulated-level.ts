/**
 * A process's open database: abstract-level over the machine's stored one. Operations take their time in the process's queue, except
 * getSync. Errors carry the codes that classic-level gives them.
 *
 * As with LevelDB, a write that failed leaves the database refusing writes until it is opened again.
 */
import { AbstractIterator, AbstractLevel, AbstractSnapshot } from 'abstract-level';
import { MachineError } from '../../platform/platform.ts';
import type { Operations } from './operations.ts';
import type { OrderedTree, Range } from './ordered-tree.ts';
import type { Change, StoredDatabase } from './stored-database.ts';

/** What clear() removes at once; a crash may come between. */
const CLEARED_AT_ONCE = 100;
const READ_AHEAD_ENTRIES = 100;

export class LevelError extends Error {
  override readonly name = 'LevelError';
  readonly code: 'LEVEL_IO_ERROR';
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.code = 'LEVEL_IO_ERROR';
  }
}

interface ReadOptions {
  readonly snapshot?: SimulatedSnapshot;
}

interface WriteOptions {
  readonly sync?: boolean;
}

type RangeOptions = ReadOptions & {
  readonly gt?: Buffer;
  readonly gte?: Buffer;
  readonly lt?: Buffer;
  readonly lte?: Buffer;
  readonly reverse: boolean;
  /** -1: all */
  readonly limit: number;
};

type BatchOperation =
  | { readonly type: 'put'; readonly key: Buffer; readonly value: Buffer }
  | { readonly type: 'del'; readonly key: Buffer };

export interface SimulatedLevelParts {
  readonly path: string;
  readonly operations: Operations;
  /** Finds or makes the stored database; refuses with MachineError. */
  readonly stored: () => StoredDatabase;
}

export class SimulatedLevel extends AbstractLevel<Buffer, Buffer, Buffer> {
  readonly path: string;
  readonly operations: Operations;
  readonly #find: () => StoredDatabase;
  #stored: StoredDatabase | undefined;
  #letGo: (() => void) | undefined;
  #failed = false;

  constructor({ path, operations, stored }: SimulatedLevelParts) {
    // `getSync` is younger than the type of a manifest.
    const manifest = { encodings: { buffer: true }, explicitSnapshots: true, getSync: true, has: true };
    super(manifest, { keyEncoding: 'buffer', valueEncoding: 'buffer' });
    this.path = path;
    this.operations = operations;
    this.#find = stored;
  }

  get now(): OrderedTree {
    return this.#open.now;
  }

  get #open(): StoredDatabase {
    if (this.#stored === undefined) throw new LevelError(`database ${this.path} is not open`);
    return this.#stored;
  }

  _open(): Promise<void> {
    return this.later(() => {
      const stored = this.#find();
      if (stored.locked) throw new MachineError('EBUSY', `database ${this.path} is in use`);
      if (stored.corrupt) throw new MachineError('ECORRUPT', `database ${this.path} is corrupt`);
      stored.locked = true;
      stored.opened();
      this.#stored = stored;
      this.#failed = false;
      this.#letGo = this.operations.hold(() => {
        stored.locked = false;
      });
    });
  }

  _close(): Promise<void> {
    return this.later(() => {
      this.#letGo?.();
      this.#open.locked = false;
      this.#stored = undefined;
    });
  }

  _get(key: Buffer, options: ReadOptions): Promise<Buffer | undefined> {
    return this.later(() => copyOf(this.#treeOf(options).get(key.toString('latin1'))));
  }

  _getSync(key: Buffer, options: ReadOptions): Buffer | undefined {
    return copyOf(this.#treeOf(options).get(key.toString('latin1')));
  }

  _getMany(keys: readonly Buffer[], options: ReadOptions): Promise<(Buffer | undefined)[]> {
    return this.later(() => {
      const tree = this.#treeOf(options);
      return keys.map((key) => copyOf(tree.get(key.toString('latin1'))));
    });
  }

  _has(key: Buffer, options: ReadOptions): Promise<boolean> {
    return this.later(() => this.#treeOf(options).get(key.toString('latin1')) !== undefined);
  }

  _hasMany(keys: readonly Buffer[], options: ReadOptions): Promise<boolean[]> {
    return this.later(() => {
      const tree = this.#treeOf(options);
      return keys.map((key) => tree.get(key.toString('latin1')) !== undefined);
    });
  }

  _put(key: Buffer, value: Buffer, options: WriteOptions): Promise<void> {
    return this._batch([{ type: 'put', key, value }], options);
  }

  _del(key: Buffer, options: WriteOptions): Promise<void> {
    return this._batch([{ type: 'del', key }], options);
  }

  _batch(operations: readonly BatchOperation[], options: WriteOptions): Promise<void> {
    const changes = operations.map(
      (operation): Change => ({
        key: operation.key.toString('latin1'),
        value: operation.type === 'put' ? Buffer.from(operation.value) : undefined,
      }),
    );
    const sync = options.sync === true;
    return this.later(() => this.#write(changes, sync), sync);
  }

  async _clear(options: RangeOptions): Promise<void> {
    const range = rangeOf(options);
    const keys = this.#treeOf(options)
      .entries(range, options.limit === -1 ? Number.POSITIVE_INFINITY : options.limit)
      .map(([key]) => key);
    for (let at = 0; at < keys.length; at += CLEARED_AT_ONCE) {
      const changes = keys.slice(at, at + CLEARED_AT_ONCE).map((key): Change => ({ key, value: undefined }));
      await this.later(() => this.#write(changes, false));
    }
  }

  _iterator(options: RangeOptions & { keys: boolean; values: boolean }): SimulatedIterator {
    return new SimulatedIterator(this, this.#treeOf(options), options);
  }

  _snapshot(options: object): SimulatedSnapshot {
    return new SimulatedSnapshot(this.now, options);
  }

  /** In the process's queue. */
  later<Result>(perform: () => Result, sync = false): Promise<Result> {
    const { device } = this.operations;
    const meanMs = device.latency.databaseMs + (sync ? device.latency.syncMs : 0);
    return this.operations.run({ latencyMs: device.delayMs(meanMs), perform });
  }

  #treeOf({ snapshot }: ReadOptions): OrderedTree {
    return snapshot?.tree ?? this.now;
  }

  #write(changes: readonly Change[], sync: boolean): void {
    const stored = this.#open;
    const what = `write to database ${this.path}`;
    if (this.#failed) throw new LevelError(`${what}: an earlier write failed`);
    try {
      stored.write(changes, sync, what);
    } catch (error) {
      this.#failed = true;
      throw new LevelError(what, error);
    }
    this.operations.device.counters.writes++;
    if (sync) this.operations.device.counters.syncs++;
  }
}

export class SimulatedSnapshot extends (AbstractSnapshot as new (options: object) => AbstractSnapshot) {
  readonly tree: OrderedTree;

  constructor(tree: OrderedTree, options: object) {
    super(options);
    this.tree = tree;
  }
}

class SimulatedIterator extends AbstractIterator<SimulatedLevel, Buffer, Buffer> {
  readonly #tree: OrderedTree;
  readonly #range: Range;
  #rest: Range;
  #ahead: [Buffer, Buffer][] = [];

  constructor(
    database: SimulatedLevel,
    tree: OrderedTree,
    options: RangeOptions & { keys: boolean; values: boolean },
  ) {
    super(database, options as object);
    this.#tree = tree;
    this.#range = rangeOf(options);
    this.#rest = this.#range;
  }

  async _next(): Promise<[Buffer, Buffer] | undefined> {
    if (this.#ahead.length === 0) this.#ahead = await this.#read(READ_AHEAD_ENTRIES);
    return this.#ahead.shift();
  }

  async _nextv(size: number): Promise<[Buffer, Buffer][]> {
    if (this.#ahead.length > 0) return this.#ahead.splice(0, size);
    return this.#read(size);
  }

  _seek(target: Buffer): void {
    const bound = { key: target.toString('latin1'), inclusive: true };
    this.#ahead = [];
    const { from, to } = this.#range;
    if (this.#range.reverse === true) {
      this.#rest = to === undefined || bound.key < to.key ? { ...this.#range, to: bound } : this.#range;
    } else {
      this.#rest = from === undefined || bound.key > from.key ? { ...this.#range, from: bound } : this.#range;
    }
  }

  #read(count: number): Promise<[Buffer, Buffer][]> {
    return this.db.later(() => {
      const entries = this.#tree.entries(this.#rest, count);
      const last = entries.at(-1);
      if (last !== undefined) {
        const bound = { key: last[0], inclusive: false };
        this.#rest =
          this.#rest.reverse === true ? { ...this.#rest, to: bound } : { ...this.#rest, from: bound };
      }
      return entries.map(([key, value]) => [Buffer.from(key, 'latin1'), Buffer.from(value)]);
    });
  }
}

function rangeOf({ gt, gte, lt, lte, reverse }: RangeOptions): Range {
  const from = gte ?? gt;
  const to = lte ?? lt;
  return {
    reverse,
    ...(from && { from: { key: from.toString('latin1'), inclusive: gte !== undefined } }),
    ...(to && { to: { key: to.toString('latin1'), inclusive: lte !== undefined } }),
  };
}

/** A caller may do with its value what it likes. */
function copyOf(value: Buffer | undefined): Buffer | undefined {
  return value === undefined ? undefined : Buffer.from(value);
}
