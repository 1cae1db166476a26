/**
 * What the adaptive replicator remembers over restarts: what the owner asks for and which layout was chosen for it, what was seen of the times up and down
 * of each node and of each failure domain, and how much the nodes were seen to carry. Values of `plain` records of the metadata. Byte tables: docs/format/availability-state.md.
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
interface Times {
  readonly upMs: number;
  readonly downMs: number;
  readonly failures: number;
  readonly repairs: number;
}

export interface NodeTimesEntry extends Times {
  readonly nodeId: number;
}

export interface DomainTimesEntry extends Times {
  readonly domain: string;
}

const VERSION = 1;
/** Of a state with groups. */
const GROUPS_VERSION = 2;
const STATE_BYTES = 28;
const GROUPED_NODE_BYTES = 3;
const TIMES_BYTES = 4;
const ENTRY_BYTES = 34;
const MAX_LABEL_BYTES = 63;
const RATE_BYTES = 12;
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
  entries.forEach(({ nodeId, ...times }, index) => {
    const at = TIMES_BYTES + ENTRY_BYTES * index;
    bytes.writeUInt16LE(nodeId, at);
    writeTimes(bytes, times, at + 2);
  });
  return bytes;
}

function writeTimes(bytes: Buffer, { upMs, downMs, failures, repairs }: Times, at: number): void {
  for (const [place, value] of [upMs, downMs, failures, repairs].entries()) {
    bytes.writeDoubleLE(value, at + 8 * place);
  }
}

function readTimes(bytes: Buffer, at: number): Times {
  const [upMs, downMs, failures, repairs] = [0, 1, 2, 3].map((place) =>
    bytes.readDoubleLE(at + 8 * place),
  ) as [number, number, number, number];
  for (const value of [upMs, downMs, failures, repairs]) {
    must(Number.isFinite(value) && value >= 0, 'times up and down');
  }
  return { upMs, downMs, failures, repairs };
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
    return { nodeId: bytes.readUInt16LE(at), ...readTimes(bytes, at + 2) };
  });
}

export function encodeDomainTimes(entries: readonly DomainTimesEntry[]): Buffer {
  const parts = entries.map(({ domain, ...times }) => {
    const label = Buffer.from(domain, 'latin1');
    const part = Buffer.alloc(1 + label.length + TIMES_LENGTH);
    part[0] = label.length;
    label.copy(part, 1);
    writeTimes(part, times, 1 + label.length);
    return part;
  });
  return Buffer.concat([Buffer.from([VERSION, entries.length, 0, 0]), ...parts]);
}

const TIMES_LENGTH = 32;

/** Throws FormatError. */
export function decodeDomainTimes(bytes: Buffer): DomainTimesEntry[] {
  must(bytes.length >= TIMES_BYTES, 'length of the times of domains');
  must(bytes[0] === VERSION, 'version of the times of domains');
  mustBeZero(bytes, 2, 4);
  const entries: DomainTimesEntry[] = [];
  let at = TIMES_BYTES;
  while (at < bytes.length) {
    const labelBytes = bytes[at]!;
    must(labelBytes >= 1 && labelBytes <= MAX_LABEL_BYTES, 'label of a domain');
    must(at + 1 + labelBytes + TIMES_LENGTH <= bytes.length, 'length of the times of domains');
    const domain = bytes.toString('latin1', at + 1, at + 1 + labelBytes);
    at += 1 + labelBytes;
    entries.push({ domain, ...readTimes(bytes, at) });
    at += TIMES_LENGTH;
  }
  must(entries.length === bytes[1] && entries.length <= MAX_NODES, 'number of domains');
  return entries;
}

/** Bytes per second. */
export function encodeCarriedRate(bytesPerSecond: number): Buffer {
  const bytes = Buffer.alloc(RATE_BYTES);
  bytes[0] = VERSION;
  bytes.writeDoubleLE(bytesPerSecond, 4);
  return bytes;
}

/** Throws FormatError. */
export function decodeCarriedRate(bytes: Buffer): number {
  must(bytes.length === RATE_BYTES, 'length of the rate of the nodes');
  must(bytes[0] === VERSION, 'version of the rate of the nodes');
  mustBeZero(bytes, 1, 4);
  const bytesPerSecond = bytes.readDoubleLE(4);
  must(Number.isFinite(bytesPerSecond) && bytesPerSecond > 0, 'rate of the nodes');
  return bytesPerSecond;
}
