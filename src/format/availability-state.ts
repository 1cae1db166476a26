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
  /** Node ids by stripe group, disjoint, as they were chosen with the shape; none: any nodes share segments. */
  readonly groups: readonly (readonly number[])[];
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
/** Of a state with groups. */
const GROUPS_VERSION = 2;
const STATE_BYTES = 28;
const GROUPED_NODE_BYTES = 3;
const TIMES_BYTES = 4;
const ENTRY_BYTES = 34;
const PAUSED = 1;

export function encodeAvailabilityState(state: AvailabilityState): Buffer {
  const bytes = Buffer.alloc(STATE_BYTES);
  bytes[0] = state.groups.length === 0 ? VERSION : GROUPS_VERSION;
  bytes[1] = state.paused ? PAUSED : 0;
  bytes[2] = state.shape?.dataFragments ?? 0;
  bytes[3] = state.shape?.parityFragments ?? 0;
  bytes.writeDoubleLE(state.targetUnavailability ?? 0, 4);
  writeSafe(bytes, state.limitBytesPerSecond, 12);
  writeSafe(bytes, state.changedMs, 20);
  return state.groups.length === 0 ? bytes : Buffer.concat([bytes, encodeGroups(state.groups)]);
}

function encodeGroups(groups: AvailabilityState['groups']): Buffer {
  const entries = groups.flatMap((group, index) => group.map((nodeId) => ({ nodeId, index })));
  const bytes = Buffer.alloc(1 + GROUPED_NODE_BYTES * entries.length);
  bytes[0] = entries.length;
  entries.forEach(({ nodeId, index }, at) => {
    bytes.writeUInt16LE(nodeId, 1 + GROUPED_NODE_BYTES * at);
    bytes[3 + GROUPED_NODE_BYTES * at] = index;
  });
  return bytes;
}

/** Throws FormatError. */
export function decodeAvailabilityState(bytes: Buffer): AvailabilityState {
  const isGrouped = bytes[0] === GROUPS_VERSION;
  must(bytes.length === STATE_BYTES || (isGrouped && bytes.length > STATE_BYTES), LENGTH);
  must(isGrouped || bytes[0] === VERSION, 'version of the state of availability');
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
    groups: isGrouped ? decodeGroups(bytes.subarray(STATE_BYTES)) : [],
    limitBytesPerSecond: readSafe(bytes, 12),
    changedMs: readSafe(bytes, 20),
  };
}

const LENGTH = 'length of the state of availability';

function decodeGroups(bytes: Buffer): number[][] {
  const count = bytes[0] ?? 0;
  must(bytes.length === 1 + GROUPED_NODE_BYTES * count, LENGTH);
  const groups: number[][] = [];
  for (let at = 1; at < bytes.length; at += GROUPED_NODE_BYTES) {
    const index = bytes[at + 2]!;
    must(index === groups.length || index === groups.length - 1, 'order of the groups of nodes');
    if (index === groups.length) groups.push([]);
    groups[index]!.push(bytes.readUInt16LE(at));
  }
  must(groups.length >= 2 && count <= MAX_NODES, 'number of groups of nodes');
  must(new Set(groups.flat()).size === count, 'nodes in two groups');
  return groups;
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
