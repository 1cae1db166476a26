/**
 * Appends records to files, each followed by fsync, and says on standard output which ones are acknowledged: `file record` lines. Goes on
 * until the file system fails under it. Arguments: directory, number of files.
 */
import { fsyncSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { recordBytes } from './records.mjs';

const [directory, fileCount] = process.argv.slice(2);
const descriptors = Array.from({ length: Number(fileCount) }, (_, file) =>
  openSync(join(directory, `acknowledged-${file}`), 'a'),
);
try {
  for (let record = 0; ; record++) {
    for (const [file, descriptor] of descriptors.entries()) {
      writeSync(descriptor, recordBytes(file, record));
      fsyncSync(descriptor);
      writeSync(1, `${file} ${record}\n`);
    }
  }
} catch {
  // The mount was killed: what was acknowledged until now is on standard output.
}
