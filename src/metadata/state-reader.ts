/**
 * What the state needs from the checkpointed key-value space below it. The bytes are those of the last checkpoint; the overlay above knows
 * everything since.
 */
import type { Database } from '../platform/platform.ts';

export interface StateReader {
  get(key: string): Buffer | undefined;
  /** Records with from <= key < to in key order, at most `limit`, of the view at the time of the call. */
  range(from: string, to: string, limit: number): Promise<[Buffer, Buffer][]>;
}

export function stateReader(database: Database): StateReader {
  return {
    get: (key) => database.getSync(Buffer.from(key, 'latin1')),
    range: (from, to, limit) =>
      database.iterator({ gte: Buffer.from(from, 'latin1'), lt: Buffer.from(to, 'latin1'), limit }).all(),
  };
}

/** The smallest key behind all keys that start with `prefix`. No prefix in use ends in 0xff all through. */
export function prefixEnd(prefix: string): string {
  let end = prefix.length;
  while (prefix.charCodeAt(end - 1) === 255) end--;
  return prefix.slice(0, end - 1) + String.fromCharCode(prefix.charCodeAt(end - 1) + 1);
}
