/** The bytes of a file against a plain model: what readers see, and what each sector may hold after a power loss. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { DiskSpace } from '../../../src/simulator/disks/disk-space.ts';
import { StoredFile } from '../../../src/simulator/disks/stored-file.ts';
import { createDice } from '../../../src/simulator/machine/dice.ts';
import { BLOCK } from './disk-bed.ts';

const SECTOR = 512;
const MAX_BYTES = 24 * BLOCK;

type Step =
  | { readonly kind: 'write'; readonly sector: number; readonly sectors: number; readonly durable: boolean }
  | { readonly kind: 'punch'; readonly block: number; readonly blocks: number }
  | { readonly kind: 'truncate'; readonly sectors: number }
  | { readonly kind: 'sync' };

const sectors = fc.integer({ min: 0, max: 80 });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant('write' as const),
      sector: sectors,
      sectors: fc.integer({ min: 1, max: 80 }),
      durable: fc.boolean(),
    }),
    fc.record({
      kind: fc.constant('punch' as const),
      block: fc.integer({ min: 0, max: 12 }),
      blocks: fc.integer({ min: 1, max: 8 }),
    }),
    fc.record({ kind: fc.constant('truncate' as const), sectors }),
    fc.record({ kind: fc.constant('sync' as const) }),
  ),
  { maxLength: 25 },
);

/** What readers see, and for each sector what the disk may have of it. */
class Model {
  readonly now = Buffer.alloc(MAX_BYTES);
  readonly possible = Array.from({ length: MAX_BYTES / SECTOR }, () => new Set([0]));
  sizes = new Set([0]);
  size = 0;

  set(sector: number, value: number, durable: boolean): void {
    this.now.fill(value, sector * SECTOR, (sector + 1) * SECTOR);
    if (durable) this.possible[sector]!.clear();
    this.possible[sector]!.add(value);
  }

  resize(sizeBytes: number): void {
    for (let sector = sizeBytes / SECTOR; sector < this.size / SECTOR; sector++) this.set(sector, 0, false);
    this.size = sizeBytes;
    this.sizes.add(sizeBytes);
  }

  syncSize(): void {
    this.sizes = new Set([this.size]);
  }

  sync(): void {
    this.syncSize();
    for (const [sector, values] of this.possible.entries()) {
      values.clear();
      values.add(this.now[sector * SECTOR]!);
    }
  }
}

function apply(step: Step, index: number, file: StoredFile, model: Model): void {
  switch (step.kind) {
    case 'write': {
      const bytes = Buffer.alloc(step.sectors * SECTOR, index + 1);
      file.extend(step.sector * SECTOR, bytes.length, 'write');
      file.store(bytes, step.sector * SECTOR, step.durable);
      const end = (step.sector + step.sectors) * SECTOR;
      if (end > model.size) model.resize(end);
      for (let at = 0; at < step.sectors; at++) model.set(step.sector + at, index + 1, step.durable);
      if (step.durable) model.syncSize();
      return;
    }
    case 'punch':
      file.punchHole(step.block * BLOCK, step.blocks * BLOCK);
      for (let at = 0; at < step.blocks * 8; at++) model.set(step.block * 8 + at, 0, false);
      return;
    case 'truncate':
      file.truncate(step.sectors * SECTOR);
      model.resize(step.sectors * SECTOR);
      return;
    case 'sync':
      file.endSync(file.beginSync());
      model.sync();
      return;
  }
}

function bytesOf(file: StoredFile): Buffer {
  const bytes = Buffer.alloc(file.sizeBytes, 0xee);
  file.read(bytes, 0);
  return bytes;
}

test('reads give what was written, and a power loss leaves in each sector something it has held', () => {
  fc.assert(
    fc.property(steps, fc.nat(), (list, seed) => {
      const space = new DiskSpace(2 * MAX_BYTES);
      const file = new StoredFile(space, createDice(seed));
      file.setLinked(true);
      const model = new Model();
      for (const [index, step] of list.entries()) apply(step, index, file, model);
      expect(bytesOf(file).equals(model.now.subarray(0, model.size))).toBe(true);

      file.losePower();
      expect(model.sizes).toContain(file.sizeBytes);
      const left = bytesOf(file);
      for (let at = 0; at < left.length; at += SECTOR) {
        const sector = left.subarray(at, at + SECTOR);
        const [value] = sector;
        expect(sector.every((byte) => byte === value)).toBe(true);
        expect([...model.possible[at / SECTOR]!]).toContain(value);
      }
      file.losePower();
      expect(bytesOf(file).equals(left)).toBe(true);
      file.truncate(0);
      expect(space.freeBytes).toBe(2 * MAX_BYTES);
    }),
    { numRuns: 300, seed: 1 },
  );
});

test('what was synced before a power loss is there exactly', () => {
  fc.assert(
    fc.property(steps, fc.nat(), (list, seed) => {
      const file = new StoredFile(new DiskSpace(2 * MAX_BYTES), createDice(seed));
      const model = new Model();
      for (const [index, step] of list.entries()) apply(step, index, file, model);
      file.endSync(file.beginSync());
      file.losePower();
      expect(bytesOf(file).equals(model.now.subarray(0, model.size))).toBe(true);
    }),
    { numRuns: 100, seed: 1 },
  );
});
