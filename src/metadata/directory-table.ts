/**
 * Directory entries: from (directory, name) to (inode, type), and listing in a stable order.
 *
 * An entry lies in the slot of its name's hash (the cookie, 52 bits), or, when another name has that slot, in the next free one. A slot that
 * was passed over is marked `overflow`, and a removed one that is marked stays as a vacant slot, so a look-up knows how far to go.
 * So cookies are unique in a directory, never change while the entry lives, and a listing never skips an entry.
 *
 * Layers as in overlay-table.ts; besides, names looked up lately are cached, absent ones included.
 */
import { LRUCache } from 'lru-cache';
import { assert } from '../base/assert.ts';
import { cookieOfEntryKey, entryKey } from '../format/metadata-keys.ts';
import { type Checksum, decodeEntry, encodeEntry } from '../format/metadata-records.ts';
import { DirectorySlots, type Entry } from './directory-slots.ts';
import type { FrozenRecord } from './overlay-table.ts';
import type { StateReader } from './state-reader.ts';

export type NameHash = (name: string) => number;

const MAX_CACHED_NAMES = 65_536;
const ENTRY_WEIGHT = 100;
const LIST_PAGE = 512;
/** Largest cookie, exclusive. */
const COOKIE_END = 2 ** 53;
const ABSENT: Entry = { parent: 0, cookie: 0, name: '', inode: 0, type: 0, overflow: false };

export class DirectoryTable {
  readonly #reader: StateReader;
  readonly #crc32c: Checksum;
  readonly #hash: NameHash;
  readonly #names = new LRUCache<string, Entry>({ max: MAX_CACHED_NAMES });
  #dirty = new Map<number, DirectorySlots>();
  #frozen = new Map<number, DirectorySlots>();
  dirtyBytes = 0;

  constructor(reader: StateReader, crc32c: Checksum, hash: NameHash) {
    this.#reader = reader;
    this.#crc32c = crc32c;
    this.#hash = hash;
  }

  find(parent: number, name: string): Entry | undefined {
    const key = nameKey(parent, name);
    let entry = this.#names.get(key);
    if (entry === undefined) {
      entry = this.#probe(parent, name) ?? ABSENT;
      this.#names.set(key, entry);
    }
    return entry.inode === 0 ? undefined : entry;
  }

  #probe(parent: number, name: string): Entry | undefined {
    for (let cookie = this.#hash(name); ; cookie++) {
      const entry = this.#slot(parent, cookie);
      if (entry === undefined) return undefined;
      if (entry.inode !== 0 && entry.name === name) return entry;
      if (!entry.overflow) return undefined;
    }
  }

  #slot(parent: number, cookie: number): Entry | undefined {
    const changed = this.#dirty.get(parent)?.get(cookie) ?? this.#frozen.get(parent)?.get(cookie);
    if (changed !== undefined) return changed;
    const bytes = this.#reader.get(entryKey(parent, cookie));
    return bytes === undefined ? undefined : { ...decodeEntry(bytes, this.#crc32c), parent, cookie };
  }

  /** The name must be absent. */
  add(parent: number, name: string, inode: number, type: number): void {
    let cookie = this.#hash(name);
    let overflow = false;
    for (; ; cookie++) {
      const taken = this.#slot(parent, cookie);
      if (taken === undefined) break;
      if (taken.inode === 0) {
        overflow = taken.overflow;
        break;
      }
      assert(taken.name !== name, 'a name is added once');
      if (!taken.overflow) this.#store({ ...taken, overflow: true });
    }
    this.#store({ parent, cookie, name, inode, type, overflow });
  }

  /** The name must be present. Returns what it named. */
  remove(parent: number, name: string): Entry {
    const entry = this.find(parent, name);
    assert(entry !== undefined, 'a removed name is there');
    this.#store({ ...entry, inode: 0, type: 0, name: '' });
    this.#names.set(nameKey(parent, name), ABSENT);
    return entry;
  }

  #store(entry: Entry): void {
    let slots = this.#dirty.get(entry.parent);
    if (slots === undefined) {
      slots = new DirectorySlots();
      this.#dirty.set(entry.parent, slots);
    }
    slots.set(entry);
    this.dirtyBytes += ENTRY_WEIGHT + entry.name.length;
    if (entry.inode !== 0) this.#names.set(nameKey(entry.parent, entry.name), entry);
  }

  /**
   * Entries behind `cookie`, at most `limit`; fewer only at the end. `entryCount`: how many entries the directory has in all. The layers are
   * captured at the call, so a checkpoint that moves records down meanwhile hides nothing.
   */
  list(parent: number, cookie: number, limit: number, entryCount: number): Entry[] | Promise<Entry[]> {
    const dirty = this.#dirty.get(parent);
    const frozen = this.#frozen.get(parent);
    if (entryCount === 0) return [];
    if (dirty !== undefined && frozen === undefined && dirty.live === entryCount) {
      return take(dirty.after(cookie), limit);
    }
    return this.#listMerged(parent, cookie, limit, merge(dirty?.after(cookie), frozen?.after(cookie)));
  }

  async #listMerged(
    parent: number,
    cookie: number,
    limit: number,
    changed: Iterator<Entry>,
  ): Promise<Entry[]> {
    const found: Entry[] = [];
    let next = changed.next();
    let after = cookie;
    for (;;) {
      const page = await this.#reader.range(
        entryKey(parent, after + 1),
        entryKey(parent, COOKIE_END),
        LIST_PAGE,
      );
      for (const [key, value] of page) {
        after = cookieOfEntryKey(key);
        while (!next.done && next.value.cookie < after) {
          if (next.value.inode !== 0 && found.push(next.value) === limit) return found;
          next = changed.next();
        }
        const overlaid = !next.done && next.value.cookie === after;
        const entry = overlaid ? next.value! : { ...decodeEntry(value, this.#crc32c), parent, cookie: after };
        if (overlaid) next = changed.next();
        if (entry.inode !== 0 && found.push(entry) === limit) return found;
      }
      if (page.length < LIST_PAGE) break;
    }
    for (; !next.done; next = changed.next()) {
      if (next.value.inode !== 0 && found.push(next.value) === limit) return found;
    }
    return found;
  }

  freeze(): void {
    assert(this.#frozen.size === 0, 'one checkpoint at a time');
    this.#frozen = this.#dirty;
    this.#dirty = new Map();
    this.dirtyBytes = 0;
  }

  *frozenRecords(): Generator<FrozenRecord> {
    for (const slots of this.#frozen.values()) {
      for (const entry of slots.all()) {
        const gone = entry.inode === 0 && !entry.overflow;
        yield {
          key: entryKey(entry.parent, entry.cookie),
          value: gone ? undefined : encodeEntry(entry, this.#crc32c),
        };
      }
    }
  }

  /** Listings that run keep the slots they captured. */
  thaw(): void {
    this.#frozen = new Map();
  }
}

/** A directory's number as three UTF-16 units, then the name: short, and made without formatting numbers. */
function nameKey(parent: number, name: string): string {
  const high = Math.floor(parent / 2 ** 32);
  return String.fromCharCode(high, (parent >>> 16) & 0xffff, parent & 0xffff) + name;
}

function take(entries: Iterable<Entry>, limit: number): Entry[] {
  const found: Entry[] = [];
  for (const entry of entries) if (entry.inode !== 0 && found.push(entry) === limit) break;
  return found;
}

const NOTHING: Iterator<Entry> = { next: () => ({ done: true, value: undefined }) };

/** Both in cookie order; where both have a slot the newer one counts. */
function* merge(newer: Iterator<Entry> = NOTHING, older: Iterator<Entry> = NOTHING): Generator<Entry> {
  let left = newer.next();
  let right = older.next();
  while (!left.done || !right.done) {
    if (right.done || (!left.done && left.value.cookie <= right.value.cookie)) {
      if (!right.done && left.value!.cookie === right.value.cookie) right = older.next();
      yield left.value!;
      left = newer.next();
    } else {
      yield right.value;
      right = older.next();
    }
  }
}

/** 52-bit hash of a name's bytes, never 0 nor near 2^53: two multiplicative hashes, mixed into each other at the end. */
export function nameHash(seed: number): NameHash {
  return (name) => {
    let low = 0xdeadbeef ^ seed;
    let high = 0x41c6ce57 ^ seed;
    for (let i = 0; i < name.length; i++) {
      const byte = name.charCodeAt(i);
      low = Math.imul(low ^ byte, 2654435761);
      high = Math.imul(high ^ byte, 1597334677);
    }
    low = Math.imul(low ^ (low >>> 16), 2246822507) ^ Math.imul(high ^ (high >>> 13), 3266489909);
    high = Math.imul(high ^ (high >>> 16), 2246822507) ^ Math.imul(low ^ (low >>> 13), 3266489909);
    return FIRST_COOKIE + (high & 0xfffff) * 2 ** 32 + (low >>> 0);
  };
}

/** Cookies below stand for '.' and '..' in a listing. */
const FIRST_COOKIE = 16;
