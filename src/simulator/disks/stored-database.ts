/**
 * What a disk keeps of one database, with LevelDB's promises: a batch is there whole or not at all, a synced one survives a power
 * loss, and a dead process loses nothing that was written.
 *
 * Batches go to a log. A sync covers everything in that log; behind it, a beginning of the log survives. A log that is long enough is
 * closed without a sync, and another is begun while the closed one is made into a table. Until that is done a power loss may take
 * unsynced batches from the closed log and leave later, synced ones: the gap that LevelDB has. Opening makes tables of all logs.
 *
 * Databases live on the disk beside files and take its space, but file faults do not touch them: what those would do to a
 * page of LevelDB is the one switch `corrupt`.
 */
import type { Dice } from '../contract.ts';
import type { DiskSpace } from './disk-space.ts';
import { OrderedTree } from './ordered-tree.ts';

export type Change = { readonly key: string; readonly value: Buffer | undefined };

class Log {
  readonly batches: (readonly Change[])[] = [];
  /** So many of them are on the disk for sure. */
  synced = 0;
  lengthBytes = 0;

  append(changes: readonly Change[]): void {
    this.batches.push(changes);
    this.lengthBytes += BATCH_BYTES;
    for (const { key, value } of changes) this.lengthBytes += key.length + (value?.length ?? 0);
  }

  /** A beginning that a power loss could leave. */
  remains(dice: Dice): readonly (readonly Change[])[] {
    const unsynced = this.batches.length - this.synced;
    const kept = dice.pick([0, dice.below(unsynced + 1), unsynced]);
    return this.batches.slice(0, this.synced + kept);
  }
}

/** What a batch takes in a log beside its keys and values. */
const BATCH_BYTES = 20;
/** The shortest that LevelDB can be told to use, whatever it is told: so closed logs are seen in short runs. */
const LOG_BYTES = 64 * 1024;

export interface StoredDatabaseParts {
  readonly space: DiskSpace;
  readonly dice: Dice;
  readonly nowMs: () => number;
  /** How long a closed log takes to become a table. */
  readonly tableMs: () => number;
}

export class StoredDatabase {
  readonly kind = 'database';
  /** Nobody can open it any more. */
  corrupt = false;
  locked = false;
  readonly #parts: StoredDatabaseParts;
  /** What readers see. */
  #now = OrderedTree.empty;
  #tables = OrderedTree.empty;
  /** What tables and this log are together is `table`. */
  #closed: { readonly log: Log; readonly table: OrderedTree; readonly doneMs: number } | undefined;
  #log = new Log();
  #linked = false;

  constructor(parts: StoredDatabaseParts) {
    this.#parts = parts;
  }

  get now(): OrderedTree {
    return this.#now;
  }

  setLinked(linked: boolean): void {
    if (linked === this.#linked) return;
    this.#linked = linked;
    if (linked) this.#parts.space.takeAnyway(this.#now.lengthBytes);
    else this.#parts.space.give(this.#now.lengthBytes);
  }

  opened(): void {
    this.#tables = this.#now;
    this.#closed = undefined;
    this.#log = new Log();
  }

  /** All of them at once. Space that is missing is refused with ENOSPC. */
  write(changes: readonly Change[], sync: boolean, what: string): void {
    const tree = applied(this.#now, changes);
    this.#charge(tree.lengthBytes - this.#now.lengthBytes, what);
    if (this.#log.lengthBytes > LOG_BYTES) this.#closeLog();
    this.#now = tree;
    this.#log.append(changes);
    if (sync) this.#log.synced = this.#log.batches.length;
  }

  losePower(): void {
    const before = this.#now.lengthBytes;
    const { dice, nowMs, space } = this.#parts;
    let tree = this.#tables;
    if (this.#closed !== undefined) {
      const { log, table, doneMs } = this.#closed;
      tree = nowMs() >= doneMs ? table : log.remains(dice).reduce(applied, tree);
    }
    this.#now = this.#log.remains(dice).reduce(applied, tree);
    this.opened();
    if (!this.#linked) return;
    space.give(before);
    space.takeAnyway(this.#now.lengthBytes);
  }

  /** A writer waits until the log closed before has become a table. */
  #closeLog(): void {
    if (this.#closed !== undefined) this.#tables = this.#closed.table;
    const { nowMs, tableMs } = this.#parts;
    this.#closed = { log: this.#log, table: this.#now, doneMs: nowMs() + tableMs() };
    this.#log = new Log();
  }

  #charge(lengthBytes: number, what: string): void {
    if (!this.#linked) return;
    if (lengthBytes > 0) this.#parts.space.take(lengthBytes, what);
    else this.#parts.space.give(-lengthBytes);
  }
}

function applied(tree: OrderedTree, changes: readonly Change[]): OrderedTree {
  let result = tree;
  for (const { key, value } of changes)
    result = value === undefined ? result.remove(key) : result.put(key, value);
  return result;
}
