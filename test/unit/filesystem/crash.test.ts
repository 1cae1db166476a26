/**
 * Crashes at random moments, with a journal cut at a random place behind what was synced.
 *
 * What must hold afterwards: of a file that was synced and not touched since, every byte. Of others, each block is as it was after one of the
 * operations since the last sync (or zero where the file was shorter), the size likewise, and extending the file shows zeros.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { BLOCK_BYTES, roundUp } from '../../../src/base/units.ts';
import { readAll, root, smallWorld, World } from './harness.ts';

interface Step {
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
const steps: fc.Arbitrary<Step> = fc.record({
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

class CrashRun {
  world!: World;
  readonly #histories = Array.from({ length: FILES }, () => new History());
  #open: { inode: number; handle: number }[] = [];
  #seed = 0;

  async start(choice: number): Promise<void> {
    this.world = await World.open(smallWorld(choice));
    for (let file = 0; file < FILES; file++)
      await this.world.fileSystem.create(1, `f${file}`, 0o644, 0, root);
    await this.world.fileSystem.syncAll();
    await this.#openAll();
  }

  async step({ kind, file, offset, length }: Step): Promise<void> {
    const { fileSystem, writer } = this.world;
    const { inode, handle } = this.#open[file]!;
    const history = this.#histories[file]!;
    writer.latencyTurns = length % 9;
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
    const { metadata } = this.world;
    const spare = metadata.operations.length - metadata.durableOperations;
    await this.world.crash(metadata.durableOperations + (choice % (spare + 1)));
    await this.#openAll();
    for (const [file, { inode, handle }] of this.#open.entries()) {
      const { fileSystem } = this.world;
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
    await this.world.fileSystem.syncAll();
    this.#checkSegments();
  }

  /** Live counts agree with the extents, and every extent's segment is stored. */
  #checkSegments(): void {
    const { metadata, store } = this.world;
    for (const [segmentId, count] of metadata.countLive()) {
      const record = metadata.segment(segmentId);
      if (record === undefined) continue;
      expect(record.liveBlocks).toBe(count);
      expect(store.has(segmentId)).toBe(true);
    }
  }

  async #openAll(): Promise<void> {
    this.#open = [];
    for (let file = 0; file < FILES; file++) {
      const found = await this.world.fileSystem.lookup(1, `f${file}`, root);
      const handle = await this.world.fileSystem.open(found!.inode, 0, root);
      this.#open.push({ inode: found!.inode, handle });
    }
  }
}

it('after a crash synced bytes are there and no byte is one that never was', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 5, maxLength: 80, size: 'max' }), async (sequence) => {
      const run = new CrashRun();
      await run.start(sequence.length);
      try {
        for (const step of sequence) await run.step(step);
        await run.step({ kind: 'crash', file: 0, offset: sequence.length, length: 1 });
      } finally {
        run.world.writer.close();
      }
    }),
    { interruptAfterTimeLimit: 100_000, numRuns: Number(process.env.MODEL_RUNS ?? 60) },
  );
});
