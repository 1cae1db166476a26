/**
 * Records of one kind: those changed since the last checkpoint over those below it.
 *
 * Three layers, looked through in this order: `dirty` (changed since the running checkpoint began), `frozen` (what the running checkpoint writes),
 * and a bounded cache of clean records in front of the store. A null stands for a deleted record. Frozen values are what they were at the
 * freeze: a record that is changed in place is encoded before its first change after that, so nothing is copied.
 *
 * Bound: the caller checkpoints when `dirtyBytes` grows too far; clean records are bounded here.
 */
import { LRUCache } from 'lru-cache';
import { assert } from '../base/assert.ts';

export interface TableOptions<K extends number | string, V extends object> {
  /** Key in the store. */
  readonly keyOf: (key: K) => string;
  readonly encode: (value: V) => Buffer;
  readonly decode: (bytes: Buffer, key: K) => V;
  readonly read: (key: string) => Buffer | undefined;
  /** Rough memory of a clean record in bytes, and how much there may be. */
  readonly sizeOf: (value: V) => number;
  readonly cleanBytes: number;
  /** What a dirty record counts: its encoded length or more, and no less than half of its memory; many small ones are many objects to a replica. */
  readonly weightOf: (value: V) => number;
}

const DELETED_WEIGHT = 64;
/**
 * A mask: one look-up in eight tells the cache that its record was used. What is used often is among them, and keeping the order of use
 * costs more than the look-up itself.
 */
const RECENCY_SAMPLING = 7;

export interface FrozenRecord {
  readonly key: string;
  readonly value: Buffer | undefined;
}

export class OverlayTable<K extends number | string, V extends object> {
  readonly #options: TableOptions<K, V>;
  readonly #clean: LRUCache<K, V>;
  #dirty = new Map<K, V | null>();
  #frozen = new Map<K, V | null>();
  /** Frozen records that were changed in place since, as they were. */
  readonly #early = new Map<K, Buffer>();
  dirtyBytes = 0;
  elides = false;
  #gets = 0;

  constructor(options: TableOptions<K, V>) {
    this.#options = options;
    this.#clean = new LRUCache<K, V>({ maxSize: options.cleanBytes, sizeCalculation: options.sizeOf });
  }

  get(key: K): V | undefined {
    const changed = this.#overlaid(key);
    if (changed !== undefined) return changed ?? undefined;
    this.#gets = (this.#gets + 1) | 0;
    const isSample = (this.#gets & RECENCY_SAMPLING) === 0;
    return (isSample ? this.#clean.get(key) : this.#clean.peek(key)) ?? this.#load(key);
  }

  /** The record if it is in memory. */
  peek(key: K): V | undefined {
    const changed = this.#overlaid(key);
    return changed === undefined ? this.#clean.peek(key) : (changed ?? undefined);
  }

  /** undefined: neither overlay knows the record. */
  #overlaid(key: K): V | null | undefined {
    const dirty = this.#dirty.get(key);
    if (dirty !== undefined || this.#frozen.size === 0) return dirty;
    return this.#frozen.get(key);
  }

  #load(key: K): V | undefined {
    const bytes = this.#options.read(this.#options.keyOf(key));
    if (bytes === undefined) return undefined;
    const value = this.#options.decode(bytes, key);
    this.#clean.set(key, value);
    return value;
  }

  set(key: K, value: V): void {
    const before = this.#dirty.size;
    this.#dirty.set(key, value);
    if (this.#dirty.size !== before) this.dirtyBytes += this.#options.weightOf(value);
  }

  /** A dirty record took on more weight. */
  addWeight(lengthBytes: number): void {
    this.dirtyBytes += lengthBytes;
  }

  delete(key: K): void {
    this.#dirty.set(key, null);
    this.dirtyBytes += DELETED_WEIGHT;
  }

  /**
   * For records that are made once and deleted once: one that no checkpoint has seen is forgotten as if it had never been. Not before
   * `elides`: until this reign's first checkpoint a replica may be ahead of the state's store and hold the record.
   */
  deleteOnce(key: K): void {
    const value = this.#dirty.get(key);
    if (this.elides && value && !this.#frozen.has(key)) {
      this.#dirty.delete(key);
      this.dirtyBytes -= this.#options.weightOf(value);
    } else {
      this.delete(key);
    }
  }

  /** The record for changing it in place. */
  edit(key: K): V | undefined {
    const dirty = this.#dirty.get(key);
    if (dirty !== undefined) return dirty ?? undefined;
    const value = this.#takeForEdit(key);
    if (value === undefined) return undefined;
    this.set(key, value);
    return value;
  }

  #takeForEdit(key: K): V | undefined {
    const frozen = this.#frozen.get(key);
    if (frozen === null) return undefined;
    if (frozen !== undefined) {
      if (!this.#early.has(key)) this.#early.set(key, this.#options.encode(frozen));
      return frozen;
    }
    const value = this.#clean.get(key) ?? this.#load(key);
    if (value !== undefined) this.#clean.delete(key);
    return value;
  }

  /** Starts a checkpoint: what is dirty now is what it writes. */
  freeze(): void {
    assert(this.#frozen.size === 0 && this.#early.size === 0, 'one checkpoint at a time');
    this.#frozen = this.#dirty;
    this.#dirty = new Map();
    this.dirtyBytes = 0;
    this.elides = true;
  }

  /** The frozen records, encoded one by one. May be iterated over many turns. */
  *frozenRecords(): Generator<FrozenRecord> {
    const { keyOf, encode } = this.#options;
    for (const [key, value] of this.#frozen) {
      yield {
        key: keyOf(key),
        value: value === null ? undefined : (this.#early.get(key) ?? encode(value)),
      };
    }
  }

  /** The checkpoint is in the store: frozen records become clean ones. Yields now and then so that it can be spread over turns. */
  *thaw(): Generator<void> {
    for (const [key, value] of this.#frozen) {
      if (value === null || this.#dirty.has(key)) this.#clean.delete(key);
      else this.#clean.set(key, value);
      this.#frozen.delete(key);
      yield;
    }
    this.#early.clear();
  }

  /** Changed records, newest layer first; null: deleted. A key may come twice: the first counts. */
  *changed(): Generator<[K, V | null]> {
    yield* this.#dirty;
    yield* this.#frozen;
  }
}
