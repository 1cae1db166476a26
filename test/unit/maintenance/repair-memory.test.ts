/** Memory of background work, and what becomes of it when somebody may still touch it. */
import { expect, test } from 'vitest';
import { createWriteSlab } from '../../../src/log/write-slab.ts';
import { RepairMemory } from '../../../src/maintenance/repair-memory.ts';
import { SharedPieces } from '../../../src/maintenance/shared-pieces.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';

const PIECE_BYTES = 64 * 1024;
const { memory } = realPlatform();

function pieces(count: number): { buffers: Buffer[]; shared: SharedPieces } {
  const buffers = Array.from({ length: count }, () => memory.allocate(PIECE_BYTES));
  return { buffers, shared: new SharedPieces(buffers) };
}

/** Which of the pieces it lies in. */
const pieceOf = (buffers: readonly Buffer[], view: Buffer) =>
  buffers.findIndex(({ buffer }) => buffer === view.buffer);

function untilThen(): { settled: Promise<void>; settle: () => void } {
  let settle: () => void = () => undefined;
  const settled = new Promise<void>((resolve) => {
    settle = resolve;
  });
  return { settled, settle };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('whoever finds no shared piece, or none that is long enough, has memory of its own', () => {
  const { buffers, shared } = pieces(1);
  const one = new RepairMemory(memory, shared);
  const other = new RepairMemory(memory, shared);
  expect(pieceOf(buffers, one.payload(PIECE_BYTES))).toBe(0);
  expect(pieceOf(buffers, other.payload(4096))).toBe(-1);
  const long = one.payload(2 * PIECE_BYTES);
  expect([long.length, pieceOf(buffers, long)]).toEqual([2 * PIECE_BYTES, -1]);
  one.release();
  expect(pieceOf(buffers, other.payload(4096))).toBe(0);
  other.release();
  expect(shared.freeCount).toBe(1);
});

test('a piece stays with its owner from one payload to the next', () => {
  const { buffers, shared } = pieces(2);
  const one = new RepairMemory(memory, shared);
  const first = pieceOf(buffers, one.payload(4096));
  expect(pieceOf(buffers, one.payload(8192))).toBe(first);
  expect(shared.freeCount).toBe(1);
});

test('what a call may still touch is used by nobody before all of them are over', async () => {
  const { buffers, shared } = pieces(2);
  const one = new RepairMemory(memory, shared);
  const given = pieceOf(buffers, one.payload(4096));
  const [read, put] = [untilThen(), untilThen()];
  const strip = one.strip(0, 1);
  one.giveUp(read.settled);
  one.giveUp(put.settled);
  expect(one.strip(0, 1).buffer).not.toBe(strip.buffer);
  expect(pieceOf(buffers, one.payload(4096))).toBe(1 - given);
  one.release();
  expect(shared.freeCount).toBe(1);
  read.settle();
  await turn();
  expect(shared.freeCount).toBe(1);
  put.settle();
  await turn();
  expect(shared.freeCount).toBe(2);
});

test('a piece that was given up stays out of use while its owner is still at work with it', async () => {
  const { shared } = pieces(1);
  const one = new RepairMemory(memory, shared);
  one.payload(4096);
  one.giveUp(Promise.resolve());
  await turn();
  expect(shared.freeCount).toBe(0);
  one.release();
  await turn();
  expect(shared.freeCount).toBe(1);
});

test('memory of its own is given up for good', () => {
  const one = new RepairMemory(memory);
  const before = one.payload(4096);
  expect(one.payload(4096).buffer).toBe(before.buffer);
  one.giveUp(new Promise(() => undefined));
  expect(one.payload(4096).buffer).not.toBe(before.buffer);
});

test('a piece is given back once', () => {
  const { buffers, shared } = pieces(1);
  expect(() => shared.give(buffers[0]!)).toThrow(/once/);
});

test('the pieces of a slab are as long as its slots, lie behind all of them, and belong to no writer', () => {
  const shape = { dataFragments: 4, parityFragments: 1 };
  const options = { segmentBlocks: 16, slotCount: 6, cleanerSlots: 2, repairSlots: 3 };
  const slab = createWriteSlab(memory, shape, options);
  const offsetOf = ({ byteOffset }: Buffer) => byteOffset - slab.slab.buffer.byteOffset;
  const { length } = slab.slot(0);
  expect(slab.slotCount).toBe(8);
  expect(slab.repairSlots.map((piece) => [offsetOf(piece), piece.length])).toEqual(
    [8, 9, 10].map((index) => [index * length, length]),
  );
  expect(slab.slab.lengthBytes).toBe(11 * length);
});
