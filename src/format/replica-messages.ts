/**
 * Bodies of the metadata replica's requests (rpcMethods 37..40): checkpoints and snapshots of the key-value state. Byte tables:
 * docs/format/replica-messages.md. Statuses as in journal-messages.ts.
 */
import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';
import { MAX_REPLICA_KEY_BYTES } from './journal-messages.ts';

/** A final value of a key; undefined deletes it. */
export interface ReplicaOperation {
  readonly key: Uint8Array;
  readonly value: Uint8Array | undefined;
}

/** Reply of checkpointState, checkpointApply and snapshotInstall, and body of their conflicts. */
export interface ReplicaState {
  /** False: never filled, lost, or a snapshot is being installed. Then appliedSequence is 0. */
  readonly complete: boolean;
  readonly appliedSequence: number;
}

export function encodeReplicaState(state: ReplicaState): Buffer {
  const out = Buffer.alloc(16);
  out[0] = state.complete ? 1 : 0;
  writeSafe(out, state.appliedSequence, 8);
  return out;
}

export function decodeReplicaState(body: Buffer): ReplicaState {
  must(body.length === 16 && body[0]! <= 1, 'replica state');
  mustBeZero(body, 1, 8);
  return { complete: body[0] === 1, appliedSequence: readSafe(body, 8) };
}

// Operations: u32 count, then for each u32 (value length + 1, or 0 for a delete), u16 key length, u16 zero, key, value.

const OPERATION_HEADER_BYTES = 8;

export function replicaOperationBytes(operation: ReplicaOperation): number {
  return OPERATION_HEADER_BYTES + operation.key.length + (operation.value?.length ?? 0);
}

function operationsBytes(operations: readonly ReplicaOperation[]): number {
  let total = 4;
  for (const operation of operations) total += replicaOperationBytes(operation);
  return total;
}

function encodeOperations(operations: readonly ReplicaOperation[], out: Buffer, offset: number): void {
  out.writeUInt32LE(operations.length, offset);
  let at = offset + 4;
  for (const { key, value } of operations) {
    must(key.length >= 1 && key.length <= MAX_REPLICA_KEY_BYTES, 'key length');
    out.writeUInt32LE(value === undefined ? 0 : value.length + 1, at);
    out.writeUInt16LE(key.length, at + 4);
    out.writeUInt16LE(0, at + 6);
    at += OPERATION_HEADER_BYTES;
    out.set(key, at);
    at += key.length;
    if (value !== undefined) {
      out.set(value, at);
      at += value.length;
    }
  }
}

/** Keys and values are views of `bytes`, which they have to fill. */
function decodeOperations(bytes: Buffer, offset: number): ReplicaOperation[] {
  must(bytes.length - offset >= 4, 'operations are short');
  const count = bytes.readUInt32LE(offset);
  const operations: ReplicaOperation[] = [];
  let at = offset + 4;
  for (let i = 0; i < count; i++) {
    must(bytes.length - at >= OPERATION_HEADER_BYTES, 'operation is cut');
    const codedLength = bytes.readUInt32LE(at);
    const keyBytes = bytes.readUInt16LE(at + 4);
    mustBeZero(bytes, at + 6, at + 8);
    at += OPERATION_HEADER_BYTES;
    must(keyBytes >= 1 && keyBytes <= MAX_REPLICA_KEY_BYTES, 'key length');
    const valueBytes = codedLength === 0 ? 0 : codedLength - 1;
    must(bytes.length - at >= keyBytes + valueBytes, 'operation is cut');
    const key = bytes.subarray(at, at + keyBytes);
    at += keyBytes;
    operations.push({ key, value: codedLength === 0 ? undefined : bytes.subarray(at, at + valueBytes) });
    at += valueBytes;
  }
  must(at === bytes.length, 'bytes behind the operations');
  return operations;
}

/**
 * A checkpoint is one atomic batch that takes the state from one sequence to another. Large ones come in parts 0, 1, ... of the same (term, from,
 * to), in order; nothing is applied before the part with `final`. conflict: appliedSequence is not fromSequence, or a part is out of order.
 */
export interface CheckpointPart {
  readonly term: number;
  readonly fromSequence: number;
  readonly toSequence: number;
  readonly part: number;
  readonly final: boolean;
  readonly operations: readonly ReplicaOperation[];
}

const CHECKPOINT_HEADER_BYTES = 32;

export function encodeCheckpointPart(request: CheckpointPart): Buffer {
  const out = Buffer.allocUnsafe(CHECKPOINT_HEADER_BYTES + operationsBytes(request.operations));
  writeSafe(out, request.term, 0);
  writeSafe(out, request.fromSequence, 8);
  writeSafe(out, request.toSequence, 16);
  out.writeUInt32LE(request.part, 24);
  out.writeUInt32LE(request.final ? 1 : 0, 28);
  encodeOperations(request.operations, out, CHECKPOINT_HEADER_BYTES);
  return out;
}

export function decodeCheckpointPart(body: Buffer): CheckpointPart {
  must(body.length >= CHECKPOINT_HEADER_BYTES, 'checkpoint part is short');
  const flags = body.readUInt32LE(28);
  must(flags <= 1, 'flags of a checkpoint part');
  return {
    term: readSafe(body, 0),
    fromSequence: readSafe(body, 8),
    toSequence: readSafe(body, 16),
    part: body.readUInt32LE(24),
    final: flags === 1,
    operations: decodeOperations(body, CHECKPOINT_HEADER_BYTES),
  };
}

/** Pages of one consistent view of the state, in key order. A view stays open between calls for a while (see the node). */
export interface SnapshotReadRequest {
  /** 0 opens a new view; the reply names it. */
  readonly viewId: number;
  /** Exclusive; empty starts. */
  readonly afterKey: Uint8Array;
  readonly maxBytes: number;
}

export function encodeSnapshotReadRequest(request: SnapshotReadRequest): Buffer {
  const out = Buffer.alloc(16 + request.afterKey.length);
  out.writeUInt32LE(request.viewId, 0);
  out.writeUInt32LE(request.maxBytes, 4);
  out.writeUInt16LE(request.afterKey.length, 8);
  out.set(request.afterKey, 16);
  return out;
}

export function decodeSnapshotReadRequest(body: Buffer): SnapshotReadRequest {
  must(body.length >= 16, 'snapshot read request is short');
  mustBeZero(body, 10, 16);
  const keyBytes = body.readUInt16LE(8);
  must(
    keyBytes <= MAX_REPLICA_KEY_BYTES && body.length === 16 + keyBytes,
    'length of a snapshot read request',
  );
  return {
    viewId: body.readUInt32LE(0),
    maxBytes: body.readUInt32LE(4),
    afterKey: body.subarray(16, 16 + keyBytes),
  };
}

export interface SnapshotPage {
  readonly viewId: number;
  /** The sequence that the whole view stands for. */
  readonly appliedSequence: number;
  /** True: no key follows, and the view is closed. */
  readonly end: boolean;
  /** Puts only. */
  readonly operations: readonly ReplicaOperation[];
}

export function encodeSnapshotPage(page: SnapshotPage): Buffer {
  const out = Buffer.allocUnsafe(16 + operationsBytes(page.operations));
  out.writeUInt32LE(page.viewId, 0);
  out.writeUInt32LE(page.end ? 1 : 0, 4);
  writeSafe(out, page.appliedSequence, 8);
  encodeOperations(page.operations, out, 16);
  return out;
}

export function decodeSnapshotPage(body: Buffer): SnapshotPage {
  must(body.length >= 16, 'snapshot page is short');
  const flags = body.readUInt32LE(4);
  must(flags <= 1, 'flags of a snapshot page');
  return {
    viewId: body.readUInt32LE(0),
    end: flags === 1,
    appliedSequence: readSafe(body, 8),
    operations: decodeOperations(body, 16),
  };
}

/**
 * Replaces the whole state: begin empties it (and it counts as not complete), pages 0, 1, ... fill it, end makes it complete at
 * appliedSequence, durably. conflict: out of order.
 */
export interface SnapshotInstallRequest {
  readonly term: number;
  readonly phase: 'begin' | 'page' | 'end';
  readonly page: number;
  readonly appliedSequence: number;
  readonly operations: readonly ReplicaOperation[];
}

const phases = ['begin', 'page', 'end'] as const;
const INSTALL_HEADER_BYTES = 24;

export function encodeSnapshotInstallRequest(request: SnapshotInstallRequest): Buffer {
  const out = Buffer.allocUnsafe(INSTALL_HEADER_BYTES + operationsBytes(request.operations));
  writeSafe(out, request.term, 0);
  writeSafe(out, request.appliedSequence, 8);
  out.writeUInt32LE(request.page, 16);
  out.writeUInt32LE(phases.indexOf(request.phase), 20);
  encodeOperations(request.operations, out, INSTALL_HEADER_BYTES);
  return out;
}

export function decodeSnapshotInstallRequest(body: Buffer): SnapshotInstallRequest {
  must(body.length >= INSTALL_HEADER_BYTES, 'snapshot install request is short');
  const phase = phases[body.readUInt32LE(20)];
  must(phase !== undefined, 'phase of a snapshot install');
  return {
    term: readSafe(body, 0),
    appliedSequence: readSafe(body, 8),
    page: body.readUInt32LE(16),
    phase,
    operations: decodeOperations(body, INSTALL_HEADER_BYTES),
  };
}
