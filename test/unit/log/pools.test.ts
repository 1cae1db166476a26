import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MAX_REQUEST_BYTES } from '../../../src/base/limits.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { PageBuddy } from '../../../src/log/page-buddy.ts';
import { ReadPool } from '../../../src/log/read-pool.ts';
import { slotGeometry, WIDEST_SHAPE } from '../../../src/log/segment-layout.ts';
import { usableBytes } from '../../../src/log/usable-space.ts';
import { settle } from './fake-platform.ts';

test('blocks of the buddy allocator never overlap, and all pages come back together', () => {
  const step = fc.record({ take: fc.boolean(), order: fc.nat(4), pick: fc.nat() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const buddy = new PageBuddy(48, 4);
      const used = new Set<number>();
      const held: { page: number; order: number }[] = [];
      for (const { take, order, pick } of steps) {
        if (take) {
          const page = buddy.take(order);
          if (page < 0) continue;
          expect(page % (1 << order)).toBe(0);
          for (let at = page; at < page + (1 << order); at++) {
            expect(used.has(at)).toBe(false);
            used.add(at);
          }
          held.push({ page, order });
        } else if (held.length > 0) {
          const [block] = held.splice(pick % held.length, 1);
          for (let at = block!.page; at < block!.page + (1 << block!.order); at++) used.delete(at);
          buddy.give(block!.page, block!.order);
        }
        expect(buddy.freePages).toBe(48 - used.size);
      }
      for (const { page, order } of held) buddy.give(page, order);
      expect([buddy.take(4), buddy.take(4), buddy.take(4)].sort((a, b) => a - b)).toEqual([0, 16, 32]);
      expect(buddy.take(0)).toBe(-1);
    }),
    { numRuns: 100 },
  );
});

test('who waits for a read buffer gets it in order of arrival, small ones behind large ones too', async () => {
  const pool = new ReadPool(2 * MAX_REQUEST_BYTES, Buffer.alloc);
  const first = pool.take(MAX_REQUEST_BYTES)!;
  const second = pool.take(MAX_REQUEST_BYTES)!;
  const order: string[] = [];
  const large = pool.whenBuffer(MAX_REQUEST_BYTES).then((buffer) => {
    order.push('large');
    return buffer;
  });
  const small = pool.whenBuffer(BLOCK_BYTES).then((buffer) => {
    order.push('small');
    return buffer;
  });
  await settle();
  expect(order).toEqual([]);
  first.release();
  await settle();
  expect(order).toEqual(['large']);
  expect(pool.take(BLOCK_BYTES)).toBeUndefined(); // the small one is waiting before us
  second.release();
  await settle();
  expect(order).toEqual(['large', 'small']);
  (await large).release();
  (await small).release();
  expect(pool.freeBytes).toBe(2 * MAX_REQUEST_BYTES);
});

test('a read buffer has the length asked for and is released once', () => {
  const pool = new ReadPool(MAX_REQUEST_BYTES, Buffer.alloc);
  const buffer = pool.take(5 * BLOCK_BYTES)!;
  expect(buffer.bytes).toHaveLength(5 * BLOCK_BYTES);
  expect(pool.freeBytes).toBe(MAX_REQUEST_BYTES - 8 * BLOCK_BYTES);
  buffer.release();
  expect(() => buffer.release()).toThrow(/once/);
});

test('a held buffer comes back only when it is released and let go of', () => {
  const pool = new ReadPool(MAX_REQUEST_BYTES, Buffer.alloc);
  const buffer = pool.take(MAX_REQUEST_BYTES)!;
  const letGo = pool.hold(buffer.bytes.subarray(3 * BLOCK_BYTES, 4 * BLOCK_BYTES));
  buffer.release();
  expect(pool.take(BLOCK_BYTES)).toBeUndefined();
  letGo();
  expect(pool.freeBytes).toBe(MAX_REQUEST_BYTES);
});

test('memory is made when it is needed, within the bound, and used again before more is made', () => {
  const made: number[] = [];
  const pool = new ReadPool(20 * MAX_REQUEST_BYTES, (lengthBytes) => {
    made.push(lengthBytes / MAX_REQUEST_BYTES);
    return Buffer.alloc(lengthBytes);
  });
  expect(made).toEqual([]);
  for (let round = 0; round < 100; round++) pool.take(MAX_REQUEST_BYTES)!.release();
  expect(made).toEqual([2]);
  const taken = Array.from({ length: 20 }, () => pool.take(MAX_REQUEST_BYTES)!);
  expect(made).toEqual(Array.from({ length: 10 }, () => 2));
  expect(pool.take(BLOCK_BYTES)).toBeUndefined();
  for (const [index, { bytes }] of taken.entries()) bytes.fill(index);
  expect(taken.every(({ bytes }, index) => bytes.every((byte) => byte === index))).toBe(true);
  const letGo = pool.hold(taken[13]!.bytes.subarray(BLOCK_BYTES));
  for (const buffer of taken) buffer.release();
  expect(pool.freeBytes).toBe(19 * MAX_REQUEST_BYTES);
  letGo();
  expect(pool.freeBytes).toBe(20 * MAX_REQUEST_BYTES);
});

test('every layout of a full segment fits in its slot', () => {
  for (let m = 0; m <= 3; m++) {
    for (let k = 1; k + m <= 32; k++) {
      const geometry = slotGeometry({ dataFragments: k, parityFragments: m }, 1024);
      for (let narrower = 1; narrower <= k; narrower++) {
        const fragmentBlocks = Math.ceil(1024 / narrower);
        expect(narrower * fragmentBlocks).toBeLessThanOrEqual(geometry.parityOffset);
        const parityBlocks = narrower === 1 ? 0 : m * fragmentBlocks;
        expect(geometry.parityOffset + parityBlocks).toBeLessThanOrEqual(geometry.slotBlocks);
      }
    }
  }
});

test('every layout of any shape fits in a slot for the widest', () => {
  const geometry = slotGeometry(WIDEST_SHAPE, 1024);
  for (let m = 0; m <= 3; m++) {
    for (let k = 1; k + m <= 32; k++) {
      const fragmentBlocks = Math.ceil(1024 / k);
      expect(k * fragmentBlocks).toBeLessThanOrEqual(geometry.parityOffset);
      const parityBlocks = k === 1 ? 0 : m * fragmentBlocks;
      expect(geometry.parityOffset + parityBlocks).toBeLessThanOrEqual(geometry.slotBlocks);
    }
  }
});

test('usable space is what remains after parity, and unequal nodes are used as far as parity allows', () => {
  const gib = 2 ** 30;
  const shape = { dataFragments: 4, parityFragments: 1 };
  const five = usableBytes(
    [10, 10, 10, 10, 10].map((n) => n * gib),
    shape,
  );
  expect(five / gib).toBeGreaterThan(39.5);
  expect(five / gib).toBeLessThan(40);
  const uneven = usableBytes(
    [10, 10, 10, 10, 0].map((n) => n * gib),
    shape,
  );
  expect(uneven / gib).toBeGreaterThan(29.5);
  expect(uneven / gib).toBeLessThan(30);
  expect(usableBytes([10 * gib], shape)).toBe(0);
  const big = usableBytes(
    [100, 10, 10].map((n) => n * gib),
    { dataFragments: 1, parityFragments: 1 },
  );
  expect(big / gib).toBeGreaterThan(19.5);
  expect(big / gib).toBeLessThan(20);
});

test('usable space never exceeds what the nodes have after parity, and grows with every node', () => {
  const rooms = fc.array(fc.integer({ min: 0, max: 2 ** 36 }), { minLength: 1, maxLength: 10 });
  fc.assert(
    fc.property(rooms, fc.integer({ min: 1, max: 6 }), fc.integer({ min: 0, max: 3 }), (room, k, m) => {
      const shape = { dataFragments: k, parityFragments: m };
      const usable = usableBytes(room, shape);
      const total = room.reduce((sum, bytes) => sum + bytes, 0);
      expect(usable).toBeGreaterThanOrEqual(0);
      expect(usable).toBeLessThanOrEqual((total * k) / (k + m));
      expect(usableBytes([...room, 2 ** 34], shape)).toBeGreaterThanOrEqual(usable - BLOCK_BYTES);
    }),
    { numRuns: 200 },
  );
});
