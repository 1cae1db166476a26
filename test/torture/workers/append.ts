/**
 * Appends records to files and syncs: what fsync acknowledged is there for ever; behind it are bytes that were written, or zeros where the
 * kernel wrote back later pages first.
 */
import { closeSync, fsyncSync, ftruncateSync, openSync, statSync, unlinkSync, writeSync } from 'node:fs';
import { recordBytes } from '../../e2e/support/records.mjs';
import { Dice } from '../dice.ts';
import { firstForeignByte, MIB, readDirectly, syncDirectory } from './bytes.ts';
import { runWorker, type Workload, Wrong } from './worker.ts';

const FILES = 3;
const LARGEST_FILE_BYTES = 12 * MIB;
const MOST_RECORDS_UNSYNCED = 6;

class AppendedFile {
  readonly #number: number;
  readonly #dice: Dice;
  #generation = 0;
  #descriptor: number | undefined;
  #records = 0;
  #writtenBytes = 0;
  #acknowledgedRecords = 0;
  #acknowledgedBytes = 0;
  #unsyncedLimit = 1;

  constructor(number: number, dice: Dice) {
    this.#number = number;
    this.#dice = dice;
  }

  get acknowledgedBytes(): number {
    return this.#acknowledgedBytes;
  }

  get #path(): string {
    return `append-${this.#number}-${this.#generation}`;
  }

  append(): void {
    const descriptor = this.#open();
    const bytes = recordBytes(this.#number, this.#records);
    this.#records += 1;
    this.#writtenBytes += bytes.length;
    let done = 0;
    while (done < bytes.length) done += writeSync(descriptor, bytes, done);
    if (this.#records - this.#acknowledgedRecords < this.#unsyncedLimit) return;
    fsyncSync(descriptor);
    this.#acknowledge();
    this.#unsyncedLimit = this.#dice.between(1, MOST_RECORDS_UNSYNCED);
    if (this.#writtenBytes > LARGEST_FILE_BYTES) this.#startAnew();
  }

  #open(): number {
    if (this.#descriptor === undefined) {
      this.#descriptor = openSync(this.#path, 'a');
      syncDirectory('.');
    }
    return this.#descriptor;
  }

  #acknowledge(): void {
    this.#acknowledgedRecords = this.#records;
    this.#acknowledgedBytes = this.#writtenBytes;
  }

  #startAnew(): void {
    this.#check(this.#writtenBytes, this.#writtenBytes);
    this.abandon();
    const old = this.#path;
    this.#generation += 1;
    this.#records = 0;
    this.#writtenBytes = 0;
    this.#acknowledge();
    unlinkSync(old);
  }

  verify(): void {
    if (this.#writtenBytes > 0) this.#check(this.#writtenBytes, this.#writtenBytes);
  }

  recover(): void {
    if (this.#writtenBytes === 0) return;
    if (this.#acknowledgedBytes === 0 && !isThere(this.#path)) {
      this.#records = 0;
      this.#writtenBytes = 0;
      return;
    }
    this.#check(this.#acknowledgedBytes, this.#writtenBytes);
    this.#cut(this.#acknowledgedBytes);
    this.#records = this.#acknowledgedRecords;
    this.#writtenBytes = this.#acknowledgedBytes;
    this.#check(this.#acknowledgedBytes, this.#acknowledgedBytes);
  }

  /** Synced: a mount that is killed once more may take a cut back that is not, and the tail with it. */
  #cut(bytes: number): void {
    const descriptor = openSync(this.#path, 'r+');
    try {
      ftruncateSync(descriptor, bytes);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
  }

  #check(leastBytes: number, mostBytes: number): void {
    const expected = Buffer.concat(
      Array.from({ length: this.#records }, (_, record) => recordBytes(this.#number, record)),
    );
    const found = readDirectly(this.#path, expected.length + 1);
    const wrong = (what: string): Wrong =>
      new Wrong(`${this.#path}: ${what}; acknowledged ${leastBytes}, written ${mostBytes} bytes`);
    if (found.length < leastBytes || found.length > mostBytes) throw wrong(`it has ${found.length} bytes`);
    for (let offset = 0; offset < leastBytes; offset++) {
      if (found[offset] !== expected[offset]) throw wrong(`acknowledged byte ${offset} differs`);
    }
    const tail = firstForeignByte(found.subarray(leastBytes), expected.subarray(leastBytes));
    if (tail >= 0) throw wrong(`byte ${leastBytes + tail} was never written so`);
  }

  abandon(): void {
    const descriptor = this.#descriptor;
    this.#descriptor = undefined;
    if (descriptor === undefined) return;
    try {
      closeSync(descriptor);
    } catch {
      // The mount is gone; what it owed us is in the model.
    }
  }
}

function isThere(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

class Append implements Workload {
  readonly #files: AppendedFile[];
  #turn = 0;

  constructor(seed: number) {
    const dice = new Dice(seed, 'append');
    this.#files = Array.from({ length: FILES }, (_, file) => new AppendedFile(file, dice));
  }

  step(): void {
    this.#files[this.#turn]?.append();
    this.#turn = (this.#turn + 1) % FILES;
  }

  recover(): string {
    for (const file of this.#files) file.recover();
    return this.#summary();
  }

  verify(): string {
    for (const file of this.#files) file.verify();
    return this.#summary();
  }

  abandon(): void {
    for (const file of this.#files) file.abandon();
  }

  #summary(): string {
    const bytes = this.#files.reduce((sum, file) => sum + file.acknowledgedBytes, 0);
    return `${FILES} files, ${(bytes / MIB).toFixed(1)} MiB acknowledged and found`;
  }
}

await runWorker((seed) => new Append(seed));
