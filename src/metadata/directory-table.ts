/**
 * Directory entries: from (directory, name) to (inode, type), and listing in a stable order.
 *
 * An entry lies in the slot of its name's hash (the cookie, 52 bits), or, when another name has that slot, in the next free one. A slot that
 * was passed over is marked `overflow`, and a removed one that is marked stays as a vacant slot, so a look-up knows how far to go.
 * So cookies are unique in a directory, never change while the entry lives, and a listing never skips an entry.
 *
 * Layers as in overlay-table.ts; besides, names looked up lately are cached, absent ones included.
 */

import { assert } from '../base/assert.ts';
import { entryCache } from '../base/entry-cache.ts';
import { cookieOfEntryKey, entryKey } from '../format/metadata-keys.ts';
import { type Checksum, decodeEntry, type EntryRecord, encodeEntry } from '../format/metadata-records.ts';
import { DirectorySlots, type Entry } from './directory-slots.ts';
import type { FrozenRecord } from './overlay-table.ts';
import type { StateReader } from './state-reader.ts';

export type NameHash = (name: string) => number;

const MAX_CACHED_NAMES = 65_536;
const ENTRY_WEIGHT = 250;
const LIST_PAGE = 512;
/** Largest cookie, exclusive. */
const COOKIE_END = 2 ** 53;

/** A name that is not there. */
interface Absence {
  readonly inode: 0;
  /** The name's own slot if that was free when it was looked for; else -1. */
  readonly freeCookie: number;
  /** Until this epoch ends, whoever takes the slot shows in an overlay. */
  readonly epoch: number;
}

const REMOVED: Absence = { inode: 0, freeCookie: -1, epoch: 0 };

export class DirectoryTable {
  readonly #reader: StateReader;
  readonly #crc32c: Checksum;
  readonly #hash: NameHash;
  readonly #names = entryCache<string, Entry | Absence>(MAX_CACHED_NAMES);
  #dirty = new Map<number, DirectorySlots>();
  #frozen = new Map<number, DirectorySlots>();
  /** Raised whenever an overlay goes. */
  #epoch = 0;
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
      entry = this.#probe(parent, name);
      this.#names.set(key, entry);
    }
    return isEntry(entry) ? entry : undefined;
  }

  #probe(parent: number, name: string): Entry | Absence {
    const own = this.#hash(name);
    for (let cookie = own; ; cookie++) {
      const entry = this.#slot(parent, cookie);
      if (entry === undefined) {
        return { inode: 0, freeCookie: cookie === own ? own : -1, epoch: this.#epoch };
      }
      if (entry.inode !== 0 && entry.name === name) return entry;
      if (!entry.overflow) return REMOVED;
    }
  }

  #changedSlot(parent: number, cookie: number): Entry | undefined {
    return this.#dirty.get(parent)?.get(cookie) ?? this.#frozen.get(parent)?.get(cookie);
  }

  #slot(parent: number, cookie: number): Entry | undefined {
    const changed = this.#changedSlot(parent, cookie);
    if (changed !== undefined) return changed;
    const bytes = this.#reader.get(entryKey(parent, cookie));
    return bytes === undefined ? undefined : { ...decodeEntry(bytes, this.#crc32c), parent, cookie };
  }

  /** The name must be absent. */
  add(parent: number, name: string, inode: number, type: number): void {
    const absence = this.#names.get(nameKey(parent, name));
    if (absence !== undefined && this.#isStillFree(parent, absence)) {
      this.#store({ parent, cookie: absence.freeCookie, name, inode, type, overflow: false });
      return;
    }
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

  /** Spares a read of the store: a name is usually looked for just before it is made. */
  #isStillFree(parent: number, absence: Entry | Absence): absence is Absence {
    if (isEntry(absence) || absence.freeCookie < 0 || absence.epoch !== this.#epoch) return false;
    return this.#changedSlot(parent, absence.freeCookie) === undefined;
  }

  /** The name must be present. Returns what it named. */
  remove(parent: number, name: string): Entry {
    const entry = this.find(parent, name);
    assert(entry !== undefined, 'a removed name is there');
    this.#store({ ...entry, inode: 0, type: 0, name: '' });
    this.#names.set(nameKey(parent, name), REMOVED);
    return entry;
  }

  /** A repair: the slot becomes `entry`, or nothing. What is there now is not looked at: it may be damaged. */
  setSlot(parent: number, cookie: number, entry: EntryRecord | undefined): void {
    this.#store({ ...(entry ?? { inode: 0, type: 0, overflow: false, name: '' }), parent, cookie });
    // A cached name may be the old one's, and the new one need not be where a look-up finds it.
    this.#names.clear();
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
    this.#epoch++;
  }
}

function isEntry(found: Entry | Absence): found is Entry {
  return found.inode !== 0;
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
