/**
 * Overwrites random ranges of one file, buffered and past the cache, reads them back, and syncs. Every unit of 512 bytes carries its place
 * and a version: a unit shows the last version that was written; after the mount was killed, one that is not older than the last fsync.
 */
import { closeSync, constants, fsyncSync, openSync, writeSync } from 'node:fs';
import { Dice } from '../dice.ts';
import { fillPattern, MIB, readFully } from './bytes.ts';
import { runWorker, type Workload, Wrong } from './worker.ts';

const FILE = 'overwritten';
const UNIT_BYTES = 512;
const UNITS_A_PAGE = 8;
const UNITS = (16 * MIB) / UNIT_BYTES;
const MOST_UNITS_WRITTEN = 512;
const UNITS_READ = 256;

const unitSeed = (unit: number, version: number): number => Math.imul(unit + 1, 2_654_435_761) ^ version;

class Overwrite implements Workload {
  readonly #dice: Dice;
  /** Of each unit: the last version written, and the one that a crash may not go behind. 0: never written. */
  readonly #written = new Uint32Array(UNITS);
  readonly #acknowledged = new Uint32Array(UNITS);
  #version = 0;
  #buffered: number | undefined;
  #direct: number | undefined;

  constructor(seed: number) {
    this.#dice = new Dice(seed, 'overwrite');
    this.#open(constants.O_CREAT);
    fsyncSync(this.#buffered ?? -1);
  }

  #open(flags = 0): void {
    this.#buffered = openSync(FILE, constants.O_RDWR | flags);
    this.#direct = openSync(FILE, constants.O_RDWR | constants.O_DIRECT);
  }

  step(): void {
    const kind = this.#dice.between(0, 99);
    if (kind < 55) this.#write(this.#buffered, 1);
    else if (kind < 65) this.#write(this.#direct, UNITS_A_PAGE);
    else if (kind < 80) this.#sync();
    else this.#readBack(kind < 90 ? this.#direct : this.#buffered);
  }

  /** `grain`: start and length are multiples of it, in units. */
  #write(descriptor: number | undefined, grain: number): void {
    const large = this.#dice.chance(0.1);
    const count = grain * this.#dice.between(1, (large ? MOST_UNITS_WRITTEN : 4 * UNITS_A_PAGE) / grain);
    const start = grain * this.#dice.between(0, (UNITS - count) / grain);
    this.#version += 1;
    const words = new Uint32Array((count * UNIT_BYTES) / 4);
    for (let unit = start; unit < start + count; unit++) {
      this.#written[unit] = this.#version;
      fillUnit(words, unit - start, unit, this.#version);
    }
    const bytes = Buffer.from(words.buffer);
    let done = 0;
    while (done < bytes.length) {
      done += writeSync(descriptor ?? -1, bytes, done, bytes.length - done, start * UNIT_BYTES + done);
    }
  }

  #sync(): void {
    fsyncSync(this.#buffered ?? -1);
    this.#acknowledged.set(this.#written);
  }

  #readBack(descriptor: number | undefined): void {
    const start = UNITS_READ * this.#dice.between(0, UNITS / UNITS_READ - 1);
    const versions = this.#versionsFound(descriptor, start, UNITS_READ);
    this.#expectLastWritten(versions, start);
  }

  #expectLastWritten(versions: Uint32Array, start: number): void {
    for (const [index, version] of versions.entries()) {
      if (version !== this.#written[start + index]) throw this.#wrong(start + index, version);
    }
  }

  #wrong(unit: number, version: number): Wrong {
    return new Wrong(
      `${FILE}: unit ${unit} (byte ${unit * UNIT_BYTES}) has version ${version}; ` +
        `written was ${this.#written[unit]}, acknowledged ${this.#acknowledged[unit]}`,
    );
  }

  #versionsFound(descriptor: number | undefined, start: number, count: number): Uint32Array {
    const bytes = readFully(descriptor ?? -1, count * UNIT_BYTES, start * UNIT_BYTES);
    const versions = new Uint32Array(count);
    const words = new Uint32Array(count * (UNIT_BYTES / 4));
    Buffer.from(words.buffer).set(bytes);
    const expected = new Uint32Array(UNIT_BYTES / 4);
    for (let index = 0; index < count; index++) {
      const from = index * expected.length;
      const found = words.subarray(from, from + expected.length);
      const version = found[1] ?? 0;
      if (version === 0 && found.every((word) => word === 0)) continue;
      fillUnit(expected, 0, start + index, version);
      if (!found.every((word, at) => word === expected[at])) {
        throw new Wrong(
          `${FILE}: unit ${start + index} (byte ${(start + index) * UNIT_BYTES}) is none that was written: ` +
            `${Buffer.from(found.slice(0, 4).buffer).toString('hex')}...`,
        );
      }
      versions[index] = version;
    }
    return versions;
  }

  recover(): string {
    this.#open();
    const versions = this.#versionsFound(this.#direct, 0, UNITS);
    let lost = 0;
    for (const [unit, version] of versions.entries()) {
      if (version < (this.#acknowledged[unit] ?? 0) || version > (this.#written[unit] ?? 0)) {
        throw this.#wrong(unit, version);
      }
      if (version !== this.#written[unit]) lost += 1;
    }
    // What a new mount shows was committed: no later crash takes it back.
    this.#written.set(versions);
    this.#acknowledged.set(versions);
    return `${UNITS} units, ${lost} of them older than the last write without fsync`;
  }

  verify(): string {
    if (this.#direct === undefined) this.#open();
    this.#expectLastWritten(this.#versionsFound(this.#direct, 0, UNITS), 0);
    return `${UNITS} units as they were last written`;
  }

  abandon(): void {
    for (const descriptor of [this.#buffered, this.#direct]) {
      try {
        if (descriptor !== undefined) closeSync(descriptor);
      } catch {
        // The mount is gone; what it owed us is in the model.
      }
    }
    this.#buffered = undefined;
    this.#direct = undefined;
  }
}

function fillUnit(words: Uint32Array, at: number, unit: number, version: number): void {
  const length = UNIT_BYTES / 4;
  const target = words.subarray(at * length, (at + 1) * length);
  fillPattern(target, unitSeed(unit, version));
  target[0] = unit;
  target[1] = version;
}

await runWorker((seed) => new Overwrite(seed));
