/**
 * What the adaptive replicator remembers over restarts: what the owner asks for and which layout was chosen for it, and what was seen of each node's
 * times up and down. Values of `plain` records of the metadata. Byte tables: docs/format/availability-state.md.
 */
import { MAX_NODES, MAX_PARITY } from '../base/limits.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';

export interface AvailabilityState {
  /** Nothing is laid out anew, and no other layout is chosen. */
  readonly paused: boolean;
  /** Share of time that the data may be unavailable, above 0 and below 1; undefined: nobody asks for anything. */
  readonly targetUnavailability: number | undefined;
  /** Of new segments; undefined: as the volume was made. */
  readonly shape: { readonly dataFragments: number; readonly parityFragments: number } | undefined;
  /** 0: none. */
  readonly limitBytesPerSecond: number;
  /** Wall clock of the last change of the shape; 0: never. */
  readonly changedMs: number;
}

/** Weighted, as src/replicator/model/measured.ts has them. */
export interface NodeTimesEntry {
  readonly nodeId: number;
  readonly upMs: number;
  readonly downMs: number;
  readonly failures: number;
  readonly repairs: number;
}

const VERSION = 1;
const STATE_BYTES = 28;
const TIMES_BYTES = 4;
const ENTRY_BYTES = 34;
const PAUSED = 1;

export function encodeAvailabilityState(state: AvailabilityState): Buffer {
  const bytes = Buffer.alloc(STATE_BYTES);
  bytes[0] = VERSION;
  bytes[1] = state.paused ? PAUSED : 0;
  bytes[2] = state.shape?.dataFragments ?? 0;
  bytes[3] = state.shape?.parityFragments ?? 0;
  bytes.writeDoubleLE(state.targetUnavailability ?? 0, 4);
  writeSafe(bytes, state.limitBytesPerSecond, 12);
  writeSafe(bytes, state.changedMs, 20);
  return bytes;
}

/** Throws FormatError. */
export function decodeAvailabilityState(bytes: Buffer): AvailabilityState {
  must(bytes.length === STATE_BYTES, 'length of the state of availability');
  must(bytes[0] === VERSION, 'version of the state of availability');
  must(bytes[1]! <= PAUSED, 'flags of the state of availability');
  const dataFragments = bytes[2]!;
  const parityFragments = bytes[3]!;
  must(parityFragments <= MAX_PARITY && dataFragments + parityFragments <= MAX_NODES, 'shape of segments');
  must(dataFragments > 0 || parityFragments === 0, 'shape of segments');
  const target = bytes.readDoubleLE(4);
  must(target >= 0 && target < 1, 'target of availability');
  return {
    paused: bytes[1] === PAUSED,
    targetUnavailability: target === 0 ? undefined : target,
    shape: dataFragments === 0 ? undefined : { dataFragments, parityFragments },
    limitBytesPerSecond: readSafe(bytes, 12),
    changedMs: readSafe(bytes, 20),
  };
}

export function encodeNodeTimes(entries: readonly NodeTimesEntry[]): Buffer {
  const bytes = Buffer.alloc(TIMES_BYTES + ENTRY_BYTES * entries.length);
  bytes[0] = VERSION;
  bytes[1] = entries.length;
  entries.forEach(({ nodeId, upMs, downMs, failures, repairs }, index) => {
    const at = TIMES_BYTES + ENTRY_BYTES * index;
    bytes.writeUInt16LE(nodeId, at);
    for (const [place, value] of [upMs, downMs, failures, repairs].entries()) {
      bytes.writeDoubleLE(value, at + 2 + 8 * place);
    }
  });
  return bytes;
}

/** Throws FormatError. */
export function decodeNodeTimes(bytes: Buffer): NodeTimesEntry[] {
  must(bytes.length >= TIMES_BYTES, 'length of the times of nodes');
  must(bytes[0] === VERSION, 'version of the times of nodes');
  const count = bytes[1]!;
  mustBeZero(bytes, 2, 4);
  must(
    count <= MAX_NODES && bytes.length === TIMES_BYTES + ENTRY_BYTES * count,
    'length of the times of nodes',
  );
  return Array.from({ length: count }, (_, index) => {
    const at = TIMES_BYTES + ENTRY_BYTES * index;
    const [upMs, downMs, failures, repairs] = [0, 1, 2, 3].map((place) =>
      bytes.readDoubleLE(at + 2 + 8 * place),
    ) as [number, number, number, number];
    for (const value of [upMs, downMs, failures, repairs]) {
      must(Number.isFinite(value) && value >= 0, 'times of a node');
    }
    return { nodeId: bytes.readUInt16LE(at), upMs, downMs, failures, repairs };
  });
}
