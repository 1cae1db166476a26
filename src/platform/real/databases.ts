/**
 * Ordered key-value stores on LevelDB, by the `level` package. The adapter's errors become MachineError: ECORRUPT, EBUSY, or EIO.
 */
import { rm } from 'node:fs/promises';
import { KIB, MIB } from '../../base/units.ts';
import { type Database, type Databases, MachineError } from '../platform.ts';
import { withMachineErrors } from './machine-error.ts';

const DEFAULT_CACHE_BYTES = 8 * MIB;
const DEFAULT_WRITE_BUFFER_BYTES = 4 * MIB;

export const realDatabases: Databases = {
  async open(path, options = {}) {
    // Commands that open none do not wait for it.
    const { Level } = await import('level');
    const database = new Level<Buffer, Buffer>(path, {
      keyEncoding: 'buffer',
      valueEncoding: 'buffer',
      cacheSize: options.cacheBytes ?? DEFAULT_CACHE_BYTES,
      writeBufferSize: options.writeBufferBytes ?? DEFAULT_WRITE_BUFFER_BYTES,
      // Values are compact binary already, and every byte of processor time is the file system's.
      compression: false,
      blockSize: 4 * KIB,
    });
    try {
      await database.open();
    } catch (error) {
      throw openFailure(error, path);
    }
    return database as unknown as Database;
  },
  destroy: (path) =>
    withMachineErrors(`remove database ${path}`, () => rm(path, { recursive: true, force: true })),
};

/** abstract-level wraps the cause: LEVEL_LOCKED, LEVEL_CORRUPTION and LEVEL_IO_ERROR come from classic-level. */
function openFailure(error: unknown, path: string): unknown {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  if (!(cause instanceof Error) || !('code' in cause)) return error;
  switch (cause.code) {
    case 'LEVEL_LOCKED':
      return new MachineError('EBUSY', `database ${path} is in use`);
    case 'LEVEL_CORRUPTION':
      return new MachineError('ECORRUPT', `database ${path} is corrupt: ${cause.message}`);
    default:
      return new MachineError('EIO', `database ${path} cannot be opened: ${cause.message}`);
  }
}
