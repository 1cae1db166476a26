/**
 * What a replica of the metadata state says about itself, as a value in its own database. Byte table: docs/format/replica-state.md.
 */
import { must, mustBeZero, mustKnowVersion, readSafe, writeSafe } from './fields.ts';
import type { ReplicaState } from './replica-messages.ts';
import type { Checksum } from './storage-log-file.ts';

/** The one key that starts with a zero byte: metadata keys start with a letter. */
export const replicaStateKey = Buffer.from([0]);
const VERSION = 1;
const LENGTH_BYTES = 16;

export function encodeStoredReplicaState(state: ReplicaState, checksum: Checksum): Buffer {
  const out = Buffer.alloc(LENGTH_BYTES);
  out.writeUInt16LE(VERSION, 4);
  out[6] = state.complete ? 1 : 0;
  writeSafe(out, state.appliedSequence, 8);
  out.writeUInt32LE(checksum(out.subarray(4)), 0);
  return out;
}

export function decodeStoredReplicaState(bytes: Buffer, checksum: Checksum): ReplicaState {
  must(bytes.length >= LENGTH_BYTES, 'length of a replica state');
  must(bytes.readUInt32LE(0) === checksum(bytes.subarray(4)), 'checksum of a replica state');
  mustKnowVersion(bytes.readUInt16LE(4), VERSION, 'replica state');
  must(bytes.length === LENGTH_BYTES && bytes[6]! <= 1, 'fields of a replica state');
  mustBeZero(bytes, 7, 8);
  return { complete: bytes[6] === 1, appliedSequence: readSafe(bytes, 8) };
}
