/**
 * The memory of segments that are not committed yet: slots in one slab that is shared with the storage nodes of this machine, so
 * that fragments go to them by reference. Owns nothing else; who uses which slot is the writer's matter.
 *
 * Nodes only ever read it. A node that was frozen may read a fragment's memory after the slot has another use: the checksums that
 * came with the call tell it so, and it refuses the fragment (docs/decisions: slots are reused without waiting for stuck nodes).
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES, MIB } from '../base/units.ts';
import type { Memory, Slab } from '../platform/platform.ts';
import { FULL_SEGMENT_BLOCKS, type Shape, type SlotGeometry, slotGeometry } from './segment-layout.ts';

const WRITE_SLAB_BYTES = 64 * MIB;
/** One open, one behind it for the landing, and two on their way. */
const MIN_SLOTS = 4;
const MAX_SLOTS = 64;

export interface WriteSlab {
  /** To be shared with the nodes when connecting to them. */
  readonly slab: Slab;
  readonly shape: Shape;
  readonly geometry: SlotGeometry;
  readonly slotCount: number;
  /** The memory of a slot. */
  slot(index: number): Buffer;
  /** Some of the slots, for a writer of their own. */
  part(first: number, count: number): WriteSlab;
  /** Memory behind all slots, in pieces of the length of one. */
  readonly repairSlots: readonly Buffer[];
  /** Takes the memory of all slots, and reserves that behind them (see Slab). */
  populate(): Promise<void>;
}

export interface WriteSlabOptions {
  /** Blocks of a full segment; smaller ones make rare paths common in tests. */
  readonly segmentBlocks?: number;
  readonly slotCount?: number;
  /** Slots behind those, for the cleaner. */
  readonly cleanerSlots?: number;
  /** Slots behind those, for background work that puts fragments. Their memory is taken when they are first used. */
  readonly repairSlots?: number;
  /** What the slots hold at most, if the shape may change. Their number follows from the shape at first: they become larger, not fewer. */
  readonly widest?: Shape;
}

export function createWriteSlab(memory: Memory, shape: Shape, options: WriteSlabOptions = {}): WriteSlab {
  const segmentBlocks = options.segmentBlocks ?? FULL_SEGMENT_BLOCKS;
  const fitting = Math.floor(
    WRITE_SLAB_BYTES / (slotGeometry(shape, segmentBlocks).slotBlocks * BLOCK_BYTES),
  );
  const geometry = slotGeometry(options.widest ?? shape, segmentBlocks);
  const slotBytes = geometry.slotBlocks * BLOCK_BYTES;
  const slotCount = options.slotCount ?? Math.min(MAX_SLOTS, Math.max(MIN_SLOTS, fitting));
  assert(slotCount >= MIN_SLOTS, `${slotCount} slots`);
  const allSlots = slotCount + (options.cleanerSlots ?? 0);
  const { repairSlots = 0 } = options;
  const slab = memory.createSlab((allSlots + repairSlots) * slotBytes);
  const slot = (index: number) => slab.buffer.subarray(index * slotBytes, (index + 1) * slotBytes);
  const part = (first: number, count: number): WriteSlab => ({
    slab,
    shape,
    geometry,
    slotCount: count,
    slot: (index) => slot(first + index),
    part: (from, length) => part(first + from, length),
    repairSlots: Array.from({ length: repairSlots }, (_, index) => slot(allSlots + index)),
    populate: () => slab.populate(allSlots * slotBytes),
  });
  return part(0, allSlots);
}
