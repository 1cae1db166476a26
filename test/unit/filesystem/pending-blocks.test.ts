import fc from 'fast-check';
import { expect, it } from 'vitest';
import {
  indexOf,
  LinePool,
  locationOf,
  NONE,
  PendingBlocks,
  slotOf,
} from '../../../src/filesystem/pending-blocks.ts';

const block = fc.oneof(
  fc.nat(100),
  fc.nat(40).map((near) => 2 ** 31 - 41 + near),
);
const steps = fc.array(
  fc.record({
    kind: fc.constantFrom('set', 'set', 'removeAt', 'removeRange'),
    block,
    count: fc.integer({ min: 1, max: 60 }),
    location: fc.tuple(fc.nat(30), fc.nat(900)).map(([slot, index]) => locationOf(slot, index)),
  }),
);

it('pending blocks are a map from blocks to locations, and give their memory back', () => {
  fc.assert(
    fc.property(steps, (sequence) => {
      const pool = new LinePool();
      const pending = new PendingBlocks(pool);
      const model = new Map<number, number>();
      for (const { kind, block: first, count, location } of sequence) {
        if (kind === 'set') {
          const replaced: number[] = [];
          const expected: number[] = [];
          for (let at = 0; at < count; at++) {
            const former = model.get(first + at);
            if (former !== undefined) expected.push(former);
            model.set(first + at, location + at);
          }
          pending.set(first, count, location, (former) => replaced.push(former));
          expect(replaced).toEqual(expected);
        } else if (kind === 'removeAt') {
          const at = model.get(first);
          expect(pending.removeAt(first, location)).toBe(at === location && model.delete(first));
          if (at !== undefined) expect(pending.removeAt(first, at)).toBe(model.delete(first));
        } else {
          const removed = new Map<number, number>();
          pending.removeRange(first, first + count, (at, fileBlock) => removed.set(fileBlock, at));
          for (const [fileBlock, at] of model) {
            if (fileBlock < first || fileBlock >= first + count) continue;
            expect(removed.get(fileBlock)).toBe(at);
            removed.delete(fileBlock);
            model.delete(fileBlock);
          }
          expect(removed.size).toBe(0);
        }
        expect(pending.blockCount).toBe(model.size);
        const behind = [...model.keys()].filter((one) => one >= first);
        expect(pending.next(first)).toBe(behind.length > 0 ? Math.min(...behind) : undefined);
        const locations = new Int32Array(count);
        pending.read(first, count, locations);
        for (let at = 0; at < count; at++) expect(locations[at]).toBe(model.get(first + at) ?? NONE);
      }
      pending.removeRange(0, Number.POSITIVE_INFINITY, () => undefined);
      expect(pool.linesInUse).toBe(0);
    }),
  );
});

it('a location tells its slot and block index', () => {
  expect(slotOf(locationOf(16_383, 1055))).toBe(16_383);
  expect(indexOf(locationOf(16_383, 1055))).toBe(1055);
});
