/**
 * What rebuilding, balancing, copies and scrubbing remember over restarts: settings, and how far a pass is. Values of `plain` records of the metadata. Byte tables:
 * docs/format/maintenance-state.md.
 */
import { assert } from '../base/assert.ts';
import { MAX_NODES } from '../base/limits.ts';
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';

export interface HealSettings {
  readonly paused: boolean;
  /** 0: none. */
  readonly limitBytesPerSecond: number;
  /** How long a node is down before it counts as gone. */
  readonly graceMs: number;
  /** Nodes that somebody gave up: gone without grace until they answer. */
  readonly givenUp: readonly number[];
}

export interface BalanceSettings {
  readonly paused: boolean;
  /** 0: none. */
  readonly limitBytesPerSecond: number;
  /** Nodes that are to be emptied. */
  readonly draining: readonly number[];
  /** Those of them that are about to leave the volume, and get nothing at all. */
  readonly released: readonly number[];
}

export interface CopySettings {
  readonly enabled: boolean;
  /** 0: none. */
  readonly limitBytesPerSecond: number;
  /** Over how long use is measured: what is older counts for less than 1 / e. */
  readonly windowSeconds: number;
  /** Copies are made of what is read at least so often, and while the busiest of its nodes is read from at least so fast. */
  readonly readsPerDay: number;
  readonly busyBytesPerSecond: number;
}

export interface ScrubState {
  readonly paused: boolean;
  /** A pass is under way. */
  readonly underWay: boolean;
  /** 0: none. */
  readonly limitBytesPerSecond: number;
  /** From the end of a pass to the start of the next; 0: none begins by itself. */
  readonly intervalSeconds: number;
  /** Segments up to this one are done. */
  readonly position: number;
  /** Wall clock; 0: never. What `intervalSeconds` counts from when no pass has ended is the volume's first opening, which counts as one. */
  readonly startedMs: number;
  readonly finishedMs: number;
  /** Of the pass under way, or the last one. */
  readonly bytesRead: number;
  readonly segments: number;
  readonly found: number;
  readonly repaired: number;
}

const VERSION = 1;
const HEAL_BYTES = 16;
const BALANCE_BYTES = 16;
const COPIES_BYTES = 28;
const SCRUB_BYTES = 60;
const PAUSED = 1;
const UNDER_WAY = 2;
const ENABLED = 1;

export function encodeHealSettings(settings: HealSettings): Buffer {
  const bytes = Buffer.alloc(HEAL_BYTES + 2 * settings.givenUp.length);
  bytes[0] = VERSION;
  bytes[1] = settings.paused ? PAUSED : 0;
  bytes.writeUInt16LE(settings.givenUp.length, 2);
  bytes.writeUInt32LE(settings.graceMs, 4);
  writeSafe(bytes, settings.limitBytesPerSecond, 8);
  settings.givenUp.forEach((node, index) => {
    bytes.writeUInt16LE(node, HEAL_BYTES + 2 * index);
  });
  return bytes;
}

/** Throws FormatError. */
export function decodeHealSettings(bytes: Buffer): HealSettings {
  must(bytes.length >= HEAL_BYTES, 'length of the settings of rebuilding');
  must(bytes[0] === VERSION, 'version of the settings of rebuilding');
  must(bytes[1]! <= PAUSED, 'flags of the settings of rebuilding');
  const count = bytes.readUInt16LE(2);
  must(count <= MAX_NODES && bytes.length === HEAL_BYTES + 2 * count, 'length of the settings of rebuilding');
  return {
    paused: bytes[1] === PAUSED,
    graceMs: bytes.readUInt32LE(4),
    limitBytesPerSecond: readSafe(bytes, 8),
    givenUp: Array.from({ length: count }, (_, index) => bytes.readUInt16LE(HEAL_BYTES + 2 * index)),
  };
}

export function encodeBalanceSettings(settings: BalanceSettings): Buffer {
  const { draining, released } = settings;
  const others = draining.filter((node) => !released.includes(node));
  const nodes = [...released, ...others];
  assert(nodes.length === draining.length, 'a node that is released is draining');
  const bytes = Buffer.alloc(BALANCE_BYTES + 2 * nodes.length);
  bytes[0] = VERSION;
  bytes[1] = settings.paused ? PAUSED : 0;
  bytes.writeUInt16LE(nodes.length, 2);
  bytes.writeUInt16LE(released.length, 4);
  writeSafe(bytes, settings.limitBytesPerSecond, 8);
  nodes.forEach((node, index) => {
    bytes.writeUInt16LE(node, BALANCE_BYTES + 2 * index);
  });
  return bytes;
}

/** Throws FormatError. */
export function decodeBalanceSettings(bytes: Buffer): BalanceSettings {
  must(bytes.length >= BALANCE_BYTES, 'length of the settings of balancing');
  must(bytes[0] === VERSION, 'version of the settings of balancing');
  must(bytes[1]! <= PAUSED, 'flags of the settings of balancing');
  const count = bytes.readUInt16LE(2);
  must(
    count <= MAX_NODES && bytes.length === BALANCE_BYTES + 2 * count,
    'length of the settings of balancing',
  );
  const releasedCount = bytes.readUInt16LE(4);
  must(releasedCount <= count, 'released nodes of the settings of balancing');
  mustBeZero(bytes, 6, 8);
  const nodes = Array.from({ length: count }, (_, index) => bytes.readUInt16LE(BALANCE_BYTES + 2 * index));
  return {
    paused: bytes[1] === PAUSED,
    limitBytesPerSecond: readSafe(bytes, 8),
    draining: [...nodes].sort((a, b) => a - b),
    released: nodes.slice(0, releasedCount),
  };
}

export function encodeCopySettings(settings: CopySettings): Buffer {
  const bytes = Buffer.alloc(COPIES_BYTES);
  bytes[0] = VERSION;
  bytes[1] = settings.enabled ? ENABLED : 0;
  bytes.writeUInt32LE(settings.windowSeconds, 4);
  writeSafe(bytes, settings.limitBytesPerSecond, 8);
  writeSafe(bytes, settings.busyBytesPerSecond, 16);
  bytes.writeUInt32LE(settings.readsPerDay, 24);
  return bytes;
}

/** Throws FormatError. */
export function decodeCopySettings(bytes: Buffer): CopySettings {
  must(bytes.length === COPIES_BYTES, 'length of the settings of copies');
  must(bytes[0] === VERSION, 'version of the settings of copies');
  must(bytes[1]! <= ENABLED, 'flags of the settings of copies');
  mustBeZero(bytes, 2, 4);
  const windowSeconds = bytes.readUInt32LE(4);
  must(windowSeconds > 0, 'window of the settings of copies');
  return {
    enabled: bytes[1] === ENABLED,
    windowSeconds,
    limitBytesPerSecond: readSafe(bytes, 8),
    busyBytesPerSecond: readSafe(bytes, 16),
    readsPerDay: bytes.readUInt32LE(24),
  };
}

export function encodeScrubState(state: ScrubState): Buffer {
  const bytes = Buffer.alloc(SCRUB_BYTES);
  bytes[0] = VERSION;
  bytes[1] = (state.paused ? PAUSED : 0) | (state.underWay ? UNDER_WAY : 0);
  bytes.writeUInt32LE(state.intervalSeconds, 4);
  writeSafe(bytes, state.limitBytesPerSecond, 8);
  writeSafe(bytes, state.position, 16);
  writeSafe(bytes, state.startedMs, 24);
  writeSafe(bytes, state.finishedMs, 32);
  writeSafe(bytes, state.bytesRead, 40);
  bytes.writeUInt32LE(state.segments, 48);
  bytes.writeUInt32LE(state.found, 52);
  bytes.writeUInt32LE(state.repaired, 56);
  return bytes;
}

/** Throws FormatError. */
export function decodeScrubState(bytes: Buffer): ScrubState {
  must(bytes.length === SCRUB_BYTES, 'length of the state of scrubbing');
  must(bytes[0] === VERSION, 'version of the state of scrubbing');
  const flags = bytes[1]!;
  must(flags <= (PAUSED | UNDER_WAY), 'flags of the state of scrubbing');
  mustBeZero(bytes, 2, 4);
  return {
    paused: (flags & PAUSED) !== 0,
    underWay: (flags & UNDER_WAY) !== 0,
    intervalSeconds: bytes.readUInt32LE(4),
    limitBytesPerSecond: readSafe(bytes, 8),
    position: readSafe(bytes, 16),
    startedMs: readSafe(bytes, 24),
    finishedMs: readSafe(bytes, 32),
    bytesRead: readSafe(bytes, 40),
    segments: bytes.readUInt32LE(48),
    found: bytes.readUInt32LE(52),
    repaired: bytes.readUInt32LE(56),
  };
}
