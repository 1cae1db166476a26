/**
 * Codec of the coordinator's remote calls. Byte tables: docs/format/coordinator-messages.md. Frames around them carry the checksum.
 *
 * Bodies of get, delete and list are just the key or prefix, in ASCII.
 */
import { readSafeU64, writeSafeU64 } from './integers.ts';

const VERSION = 1;
const WRITE_BYTES = 24;
const WATCH_BYTES = 16;
const CHANGES_BYTES = 16;
const CHANGE_BYTES = 16;
const LEASE_BYTES = 16;
const KIND_PUT = 0;
const KIND_DELETE = 1;

export interface WriteMessage {
  readonly key: string;
  readonly value: Buffer;
  /** For compare-and-swap; 0 in a put. */
  readonly expectedVersion: number;
  /** 0: none. */
  readonly leaseId: number;
}

export interface WatchMessage {
  readonly prefix: string;
  /** The last change that the caller has seen; 0: none. */
  readonly sinceRevision: number;
  /** How long the server may wait for a change before it answers with none. */
  readonly waitMs: number;
}

/** A put when `value` is there, else a delete. */
export interface Change {
  readonly key: string;
  readonly version: number;
  readonly value: Buffer | undefined;
}

export interface ChangesMessage {
  /** The changes are all there is under the prefix, not what happened since. */
  readonly complete: boolean;
  readonly revision: number;
  readonly changes: readonly Change[];
}

export const leaseAction = { grant: 1, renew: 2, revoke: 3 } as const;
export type LeaseAction = (typeof leaseAction)[keyof typeof leaseAction];

export interface LeaseMessage {
  readonly action: LeaseAction;
  /** 0 in a grant; the reply's is the lease. */
  readonly leaseId: number;
  /** 0 unless a grant. */
  readonly ttlMs: number;
}

export function encodeWrite(message: WriteMessage): Buffer {
  const key = Buffer.from(message.key, 'latin1');
  const bytes = Buffer.alloc(WRITE_BYTES + key.length + message.value.length);
  bytes.writeUInt16LE(VERSION, 0);
  bytes.writeUInt16LE(key.length, 2);
  writeSafeU64(bytes, message.expectedVersion, 8);
  writeSafeU64(bytes, message.leaseId, 16);
  key.copy(bytes, WRITE_BYTES);
  message.value.copy(bytes, WRITE_BYTES + key.length);
  return bytes;
}

export function decodeWrite(bytes: Buffer): WriteMessage | undefined {
  if (bytes.length < WRITE_BYTES || bytes.readUInt16LE(0) !== VERSION || bytes.readUInt32LE(4) !== 0) {
    return undefined;
  }
  const keyEnd = WRITE_BYTES + bytes.readUInt16LE(2);
  const expectedVersion = readSafeU64(bytes, 8);
  const leaseId = readSafeU64(bytes, 16);
  if (bytes.length < keyEnd || expectedVersion === undefined || leaseId === undefined) return undefined;
  const key = bytes.toString('latin1', WRITE_BYTES, keyEnd);
  return { key, value: Buffer.from(bytes.subarray(keyEnd)), expectedVersion, leaseId };
}

export function encodeWatch(message: WatchMessage): Buffer {
  const bytes = Buffer.alloc(WATCH_BYTES + message.prefix.length);
  bytes.writeUInt16LE(VERSION, 0);
  bytes.writeUInt32LE(message.waitMs, 4);
  writeSafeU64(bytes, message.sinceRevision, 8);
  bytes.write(message.prefix, WATCH_BYTES, 'latin1');
  return bytes;
}

export function decodeWatch(bytes: Buffer): WatchMessage | undefined {
  if (bytes.length < WATCH_BYTES || bytes.readUInt16LE(0) !== VERSION || bytes.readUInt16LE(2) !== 0) {
    return undefined;
  }
  const sinceRevision = readSafeU64(bytes, 8);
  if (sinceRevision === undefined) return undefined;
  return { prefix: bytes.toString('latin1', WATCH_BYTES), sinceRevision, waitMs: bytes.readUInt32LE(4) };
}

export function encodeChanges(message: ChangesMessage): Buffer {
  const head = Buffer.alloc(CHANGES_BYTES);
  head.writeUInt16LE(VERSION, 0);
  head.writeUInt16LE(message.complete ? 1 : 0, 2);
  head.writeUInt32LE(message.changes.length, 4);
  writeSafeU64(head, message.revision, 8);
  return Buffer.concat([head, ...message.changes.flatMap(changeParts)]);
}

function changeParts({ key, version, value }: Change): Buffer[] {
  const head = Buffer.alloc(CHANGE_BYTES);
  const name = Buffer.from(key, 'latin1');
  head.writeUInt16LE(value === undefined ? KIND_DELETE : KIND_PUT, 0);
  head.writeUInt16LE(name.length, 2);
  head.writeUInt32LE(value?.length ?? 0, 4);
  writeSafeU64(head, version, 8);
  return value === undefined ? [head, name] : [head, name, value];
}

export function decodeChanges(bytes: Buffer): ChangesMessage | undefined {
  if (bytes.length < CHANGES_BYTES || bytes.readUInt16LE(0) !== VERSION) return undefined;
  const complete = bytes.readUInt16LE(2);
  const count = bytes.readUInt32LE(4);
  const revision = readSafeU64(bytes, 8);
  if (complete > 1 || revision === undefined) return undefined;
  const changes: Change[] = [];
  let at = CHANGES_BYTES;
  for (let index = 0; index < count; index++) {
    if (bytes.length < at + CHANGE_BYTES) return undefined;
    const kind = bytes.readUInt16LE(at);
    const keyAt = at + CHANGE_BYTES;
    const valueAt = keyAt + bytes.readUInt16LE(at + 2);
    const end = valueAt + bytes.readUInt32LE(at + 4);
    const version = readSafeU64(bytes, at + 8);
    if (kind > KIND_DELETE || end > bytes.length || version === undefined) return undefined;
    const value = kind === KIND_PUT ? Buffer.from(bytes.subarray(valueAt, end)) : undefined;
    if (value === undefined && end !== valueAt) return undefined;
    changes.push({ key: bytes.toString('latin1', keyAt, valueAt), version, value });
    at = end;
  }
  return at === bytes.length ? { complete: complete === 1, revision, changes } : undefined;
}

export function encodeLease(message: LeaseMessage): Buffer {
  const bytes = Buffer.alloc(LEASE_BYTES);
  bytes.writeUInt16LE(VERSION, 0);
  bytes.writeUInt16LE(message.action, 2);
  bytes.writeUInt32LE(message.ttlMs, 4);
  writeSafeU64(bytes, message.leaseId, 8);
  return bytes;
}

export function decodeLease(bytes: Buffer): LeaseMessage | undefined {
  if (bytes.length !== LEASE_BYTES || bytes.readUInt16LE(0) !== VERSION) return undefined;
  const action = bytes.readUInt16LE(2);
  const leaseId = readSafeU64(bytes, 8);
  if (action < leaseAction.grant || action > leaseAction.revoke || leaseId === undefined) return undefined;
  return { action: action as LeaseAction, leaseId, ttlMs: bytes.readUInt32LE(4) };
}
