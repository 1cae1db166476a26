/**
 * What the state needs from the checkpointed key-value space below it. The bytes are those of the last checkpoint; the overlay above knows
 * everything since.
 */
import { FormatError } from '../format/fields.ts';
import { type Checksum, isSoundRecord } from '../format/metadata-records.ts';
import type { Database } from '../platform/platform.ts';

export interface StateReader {
  get(key: string): Buffer | undefined;
  /** Records with from <= key < to in key order, at most `limit`, of the view at the time of the call. */
  range(from: string, to: string, limit: number): Promise<[Buffer, Buffer][]>;
}

/** Values that are not as they were written are told to `onDamage` and refused: `level` itself does not look. */
export function stateReader(database: Database, crc32c: Checksum, onDamage: () => void): StateReader {
  const check = (value: Buffer): void => {
    if (isSoundRecord(value, crc32c)) return;
    onDamage();
    throw new FormatError('a record of the own copy of the metadata is damaged');
  };
  return {
    get: (key) => {
      const value = database.getSync(Buffer.from(key, 'latin1'));
      if (value !== undefined) check(value);
      return value;
    },
    range: async (from, to, limit) => {
      const options = { gte: Buffer.from(from, 'latin1'), lt: Buffer.from(to, 'latin1'), limit };
      const pairs = await database.iterator(options).all();
      for (const [, value] of pairs) check(value);
      return pairs;
    },
  };
}

/** The smallest key behind all keys that start with `prefix`. No prefix in use ends in 0xff all through. */
export function prefixEnd(prefix: string): string {
  let end = prefix.length;
  while (prefix.charCodeAt(end - 1) === 255) end--;
  return prefix.slice(0, end - 1) + String.fromCharCode(prefix.charCodeAt(end - 1) + 1);
}
