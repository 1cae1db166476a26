/**
 * A cache of at most so many entries, the least recently used of which goes first. Its memory grows with what is in it: for a `max`, `lru-cache` takes
 * all room at once, megabytes for each volume that is opened.
 */
import { LRUCache } from 'lru-cache';

export type EntryCache<K extends object | string | number, V extends object | number> = LRUCache<K, V>;

export function entryCache<K extends object | string | number, V extends object | number>(
  entries: number,
): EntryCache<K, V> {
  return new LRUCache<K, V>({ maxSize: entries, sizeCalculation: () => 1 });
}
