/**
 * A page that holds a little state which has to survive a torn write: the file has two copies, written one after the other. Also the two
 * states kept so: the fragment store's and the journal's. Byte table: docs/format/storage-slot.md.
 */
import { assert } from '../base/assert.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { must, mustBeZero, mustKnowVersion, readSafe, writeSafe } from './fields.ts';
import { type Checksum, NONCE_BYTES } from './storage-log-file.ts';

/** 'TSLT' */
const MAGIC = 0x544c_5354;
const VERSION = 1;
const HEADER_BYTES = 24;

/** What the page is about. On disk: never renumber. */
export const slotKinds = { storage: 1, journal: 2 } as const;
export type SlotKind = (typeof slotKinds)[keyof typeof slotKinds];

export interface Slot {
  readonly kind: SlotKind;
  /** Grows with every write: the higher one of two valid copies counts. */
  readonly serial: number;
  readonly payload: Buffer;
}

export function encodeSlot(slot: Slot, out: Buffer, checksum: Checksum): void {
  assert(
    out.length === BLOCK_BYTES && slot.payload.length <= BLOCK_BYTES - HEADER_BYTES,
    'a slot is one page',
  );
  out.fill(0);
  out.writeUInt32LE(MAGIC, 4);
  out.writeUInt16LE(VERSION, 8);
  out.writeUInt16LE(slot.kind, 10);
  out.writeUInt32LE(slot.payload.length, 12);
  writeSafe(out, slot.serial, 16);
  out.set(slot.payload, HEADER_BYTES);
  out.writeUInt32LE(checksum(out.subarray(4)), 0);
}

export function decodeSlot(kind: SlotKind, bytes: Buffer, checksum: Checksum): Slot {
  must(bytes.length === BLOCK_BYTES, 'slot is short');
  must(bytes.readUInt32LE(4) === MAGIC, 'not a slot');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of a slot');
  mustKnowVersion(bytes.readUInt16LE(8), VERSION, 'state slot');
  must(bytes.readUInt16LE(10) === kind, 'kind of a slot');
  const lengthBytes = bytes.readUInt32LE(12);
  must(lengthBytes <= BLOCK_BYTES - HEADER_BYTES, 'length of a slot');
  const end = HEADER_BYTES + lengthBytes;
  mustBeZero(bytes, end, BLOCK_BYTES);
  return { kind, serial: readSafe(bytes, 16), payload: Buffer.from(bytes.subarray(HEADER_BYTES, end)) };
}

export interface StorageSlotState {
  /** Puts and frees of older terms are refused. */
  readonly term: number;
  readonly nodeId: number;
  readonly volumeId: Buffer;
  readonly nonce: Buffer;
}

export function encodeStorageSlotState(state: StorageSlotState): Buffer {
  const out = Buffer.alloc(48);
  writeSafe(out, state.term, 0);
  out.writeUInt16LE(state.nodeId, 8);
  out.set(state.volumeId, 16);
  out.set(state.nonce, 32);
  return out;
}

export function decodeStorageSlotState(payload: Buffer): StorageSlotState {
  must(payload.length === 48, 'length of a storage state');
  mustBeZero(payload, 10, 16);
  return {
    term: readSafe(payload, 0),
    nodeId: payload.readUInt16LE(8),
    volumeId: Buffer.from(payload.subarray(16, 32)),
    nonce: Buffer.from(payload.subarray(32, 32 + NONCE_BYTES)),
  };
}

export interface JournalSlotState {
  /** Appends of older terms are refused. */
  readonly term: number;
  /** Everything up to here was trimmed or lies in a snapshot. */
  readonly baseSequence: number;
  /** Term of entry baseSequence. */
  readonly baseTerm: number;
  /** Journal files of earlier laps are free, whatever they hold. */
  readonly firstLap: number;
}

export function encodeJournalSlotState(state: JournalSlotState): Buffer {
  const out = Buffer.allocUnsafe(32);
  writeSafe(out, state.term, 0);
  writeSafe(out, state.baseSequence, 8);
  writeSafe(out, state.baseTerm, 16);
  writeSafe(out, state.firstLap, 24);
  return out;
}

export function decodeJournalSlotState(payload: Buffer): JournalSlotState {
  must(payload.length === 32, 'length of a journal state');
  return {
    term: readSafe(payload, 0),
    baseSequence: readSafe(payload, 8),
    baseTerm: readSafe(payload, 16),
    firstLap: readSafe(payload, 24),
  };
}
