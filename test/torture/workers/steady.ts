/**
 * Writes steadily, as an application does, and says when each operation ended: `write` appends 16 KiB and lets the kernel write back,
 * `direct` writes 64 KiB past the cache, `fsync` appends 4 KiB and syncs. Goes on until it is killed. An error ends it with 1.
 * Arguments: directory, kind. Standard output: milliseconds since 1970, one a line.
 */
import { constants, fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB } from './bytes.ts';

const kinds = {
  write: { lengthBytes: 16 * 1024, flags: 0, syncs: false },
  direct: { lengthBytes: 64 * 1024, flags: constants.O_DIRECT, syncs: false },
  fsync: { lengthBytes: 4 * 1024, flags: 0, syncs: true },
} as const;

const PAUSE_MS = 1;
/** Starts at the front again, so that a long measurement does not fill the disk. */
const LARGEST_FILE_BYTES = 64 * MIB;

const [directory = '', name = ''] = process.argv.slice(2);
const kind = kinds[name as keyof typeof kinds];
const descriptor = openSync(
  join(directory, `steady-${name}`),
  constants.O_WRONLY | constants.O_CREAT | kind.flags,
);
const bytes = Buffer.alloc(kind.lengthBytes, name);
for (let offset = 0; ; offset = (offset + bytes.length) % LARGEST_FILE_BYTES) {
  writeSync(descriptor, bytes, 0, bytes.length, offset);
  if (kind.syncs) fsyncSync(descriptor);
  writeSync(1, `${performance.timeOrigin + performance.now()}\n`);
  await sleep(PAUSE_MS);
}
