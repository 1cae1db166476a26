/**
 * The small-file program: run in a process of its own, once for each phase, with the directory, the phase and the number of files as
 * arguments. Prints operations a second. The same calls for every file system: open, write, close; stat; open, read, close; unlink.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readSync,
  rmdirSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { BLOCK_BYTES } from '../../base/units.ts';
import type { FilePhase } from './jobs.ts';

const FILES_PER_DIRECTORY = 200;
const MS_PER_SECOND = 1000;

function* paths(directory: string, count: number): Generator<string> {
  for (let index = 0; index < count; index++) {
    yield join(directory, `d${Math.floor(index / FILES_PER_DIRECTORY)}`, `file-${index}`);
  }
}

function directories(directory: string, count: number): string[] {
  return Array.from({ length: Math.ceil(count / FILES_PER_DIRECTORY) }, (_, index) =>
    join(directory, `d${index}`),
  );
}

const content = Buffer.alloc(BLOCK_BYTES, 'tartan ');
const scratch = Buffer.alloc(BLOCK_BYTES);

const phases: Readonly<Record<FilePhase, (path: string) => void>> = {
  create(path) {
    const descriptor = openSync(path, 'wx');
    writeSync(descriptor, content);
    closeSync(descriptor);
  },
  stat(path) {
    if (statSync(path).size !== BLOCK_BYTES) throw new Error(`${path} has the wrong size`);
  },
  read(path) {
    const descriptor = openSync(path, 'r');
    const length = readSync(descriptor, scratch, 0, BLOCK_BYTES, 0);
    closeSync(descriptor);
    if (length !== BLOCK_BYTES || !scratch.equals(content)) throw new Error(`${path} has the wrong content`);
  },
  unlink: unlinkSync,
};

const [directory = '', phase = '', countText = ''] = process.argv.slice(2);
const count = Number(countText);
const operation = phases[phase as FilePhase];
if (phase === 'create')
  for (const path of directories(directory, count)) mkdirSync(path, { recursive: true });
// Warm means warm: file systems that fetch attributes once more after a file was closed have done so.
if (phase === 'stat') for (const path of paths(directory, count)) operation(path);
const startMs = performance.now();
for (const path of paths(directory, count)) operation(path);
const elapsedMs = performance.now() - startMs;
if (phase === 'unlink') for (const path of directories(directory, count)) rmdirSync(path);
process.stdout.write(`${(count * MS_PER_SECOND) / elapsedMs}\n`);
