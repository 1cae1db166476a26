/**
 * Random operations on a few files with crashes in between, on anything that can crash.
 *
 * What must hold afterwards: of a file that was synced and not touched since, every byte. Of others, each block is as it was after one of the
 * operations since the last sync (or zero where the file was shorter), the size likewise, and extending the file shows zeros.
 */
import fc from 'fast-check';
import { expect } from 'vitest';
import { BLOCK_BYTES, roundUp } from '../../../src/base/units.ts';
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import { readAll, root } from './harness.ts';

export interface CrashingWorld {
  /** Of the present reign. */
  readonly fileSystem: FileSystem;
  /** Loses what is not durable; `choice` picks how much of it. */
  crash(choice: number): Promise<void>;
  /** How slowly segments become durable, where that can be told. */
  slowDown(turns: number): void;
  /** After everything was synced. */
  check(): void;
}

export interface Step {
  readonly kind: 'write' | 'truncate' | 'punch' | 'fsync' | 'syncAll' | 'pause' | 'crash';
  readonly file: number;
  readonly offset: number;
  readonly length: number;
}

const FILES = 3;
const place = fc.oneof(
  fc.nat(40).map((block) => block * BLOCK_BYTES),
  fc.nat(40 * BLOCK_BYTES),
);
export const crashSteps: fc.Arbitrary<Step> = fc.record({
  kind: fc.oneof(
    { weight: 12, arbitrary: fc.constant('write' as const) },
    { weight: 3, arbitrary: fc.constant('truncate' as const) },
    { weight: 1, arbitrary: fc.constant('punch' as const) },
    { weight: 3, arbitrary: fc.constant('fsync' as const) },
    { weight: 1, arbitrary: fc.constant('syncAll' as const) },
    { weight: 3, arbitrary: fc.constant('pause' as const) },
    { weight: 1, arbitrary: fc.constant('crash' as const) },
  ),
  file: fc.nat(FILES - 1),
  offset: place,
  length: fc.oneof(
    fc.integer({ min: 1, max: 20 * BLOCK_BYTES }),
    fc.constantFrom(BLOCK_BYTES, 8 * BLOCK_BYTES),
  ),
});

/** The contents of one file after each operation since it was last synced; the last one is what readers see. */
class History {
  versions: Buffer[] = [Buffer.alloc(0)];
  /** Sizes that a torn operation may have left: a write over several segments. */
  smallestSize = 0;
  largestSize = 0;

  get now(): Buffer {
    return this.versions.at(-1)!;
  }

  push(bytes: Buffer): void {
    this.versions.push(bytes);
    this.smallestSize = Math.min(this.smallestSize, bytes.length);
    this.largestSize = Math.max(this.largestSize, bytes.length);
  }

  synced(bytes = this.now): void {
    this.versions = [bytes];
    this.smallestSize = bytes.length;
    this.largestSize = bytes.length;
  }

  check(found: Buffer): void {
    expect(found.length).toBeGreaterThanOrEqual(this.smallestSize);
    expect(found.length).toBeLessThanOrEqual(this.largestSize);
    if (this.versions.length === 1) {
      expect(found.equals(this.now)).toBe(true);
      return;
    }
    for (let at = 0; at < found.length; at += BLOCK_BYTES) {
      const block = found.subarray(at, at + BLOCK_BYTES);
      const fits = this.versions.some((version) => zeroPadded(version, at, block.length).equals(block));
      if (!fits) throw new Error(`block at ${at} of ${found.length} was never so`);
    }
  }
}

function zeroPadded(bytes: Buffer, at: number, lengthBytes: number): Buffer {
  const out = Buffer.alloc(lengthBytes);
  bytes.copy(out, 0, Math.min(at, bytes.length), at + lengthBytes);
  return out;
}

function resized(bytes: Buffer, lengthBytes: number): Buffer {
  return zeroPadded(bytes, 0, lengthBytes);
}

export class CrashRun {
  readonly #world: CrashingWorld;
  readonly #prefix: string;
  readonly #histories = Array.from({ length: FILES }, () => new History());
  #open: { inode: number; handle: number }[] = [];
  #seed = 0;

  private constructor(world: CrashingWorld, prefix: string) {
    this.#world = world;
    this.#prefix = prefix;
  }

  /** Files are called `prefix` and a number. */
  static async start(world: CrashingWorld, prefix: string): Promise<CrashRun> {
    const run = new CrashRun(world, prefix);
    for (let file = 0; file < FILES; file++)
      await world.fileSystem.create(1, `${prefix}${file}`, 0o644, 0, root);
    await world.fileSystem.syncAll();
    await run.#openAll();
    return run;
  }

  async step({ kind, file, offset, length }: Step): Promise<void> {
    const { fileSystem } = this.#world;
    const { inode, handle } = this.#open[file]!;
    const history = this.#histories[file]!;
    this.#world.slowDown(length % 9);
    switch (kind) {
      case 'write': {
        this.#seed += 1;
        const bytes = Buffer.alloc(length, this.#seed);
        await fileSystem.write(inode, handle, offset, [bytes], false);
        const next = resized(history.now, Math.max(history.now.length, offset + length));
        bytes.copy(next, offset);
        history.push(next);
        return;
      }
      case 'truncate':
        await fileSystem.setAttributes(inode, { sizeBytes: offset }, root);
        if (offset < history.now.length) {
          // The end of its last block becomes zero first.
          const between = Buffer.from(history.now);
          between.fill(0, offset, Math.min(between.length, roundUp(offset, BLOCK_BYTES)));
          history.push(between);
        }
        history.push(resized(history.now, offset));
        return;
      case 'punch': {
        await fileSystem.fallocate(inode, handle, 3, offset, length);
        const next = Buffer.from(history.now);
        next.fill(0, Math.min(offset, next.length), Math.min(offset + length, next.length));
        history.push(next);
        return;
      }
      case 'fsync':
        await fileSystem.fsync(inode, handle, false);
        history.synced();
        return;
      case 'syncAll':
        await fileSystem.syncAll();
        for (const each of this.#histories) each.synced();
        return;
      case 'pause':
        for (let turn = 0; turn < length % 13; turn++) await new Promise((resolve) => setImmediate(resolve));
        return;
      case 'crash':
        await this.#crash(offset);
    }
  }

  async #crash(choice: number): Promise<void> {
    await this.#world.crash(choice);
    await this.#openAll();
    for (const [file, { inode, handle }] of this.#open.entries()) {
      const { fileSystem } = this.#world;
      const { sizeBytes } = await fileSystem.getAttributes(inode);
      const found = await readAll(fileSystem, inode, handle, 0, sizeBytes);
      const history = this.#histories[file]!;
      history.check(found);
      await fileSystem.setAttributes(inode, { sizeBytes: sizeBytes + 2 * BLOCK_BYTES }, root);
      const behind = await readAll(fileSystem, inode, handle, sizeBytes, 2 * BLOCK_BYTES);
      expect(behind.equals(Buffer.alloc(2 * BLOCK_BYTES))).toBe(true);
      await fileSystem.setAttributes(inode, { sizeBytes }, root);
      history.synced(found);
    }
    await this.#world.fileSystem.syncAll();
    this.#world.check();
  }

  async #openAll(): Promise<void> {
    this.#open = [];
    for (let file = 0; file < FILES; file++) {
      const found = await this.#world.fileSystem.lookup(1, `${this.#prefix}${file}`, root);
      const handle = await this.#world.fileSystem.open(found!.inode, 0, root);
      this.#open.push({ inode: found!.inode, handle });
    }
  }
}
