/**
 * Codec of the ping reply of a storage node. Byte table: docs/format/ping.md. The request's body is empty.
 *
 * The node says who it is, so that a caller notices when an address is answered by another node.
 */
import { readSafeU64, writeSafeU64 } from './integers.ts';

export interface PingReply {
  readonly nodeId: number;
  /** Bytes it may still take. */
  readonly freeBytes: number;
  readonly capacityBytes: number;
  readonly usedBytes: number;
}

export const PING_REPLY_BYTES = 32;
const VERSION = 1;

export function encodePingReply(reply: PingReply): Buffer {
  const bytes = Buffer.alloc(PING_REPLY_BYTES);
  bytes.writeUInt16LE(VERSION, 0);
  bytes.writeUInt16LE(reply.nodeId, 2);
  writeSafeU64(bytes, reply.freeBytes, 8);
  writeSafeU64(bytes, reply.capacityBytes, 16);
  writeSafeU64(bytes, reply.usedBytes, 24);
  return bytes;
}

/** undefined: not a ping reply of a version known here. */
export function decodePingReply(bytes: Buffer): PingReply | undefined {
  if (bytes.length !== PING_REPLY_BYTES || bytes.readUInt16LE(0) !== VERSION || bytes.readUInt32LE(4) !== 0) {
    return undefined;
  }
  const nodeId = bytes.readUInt16LE(2);
  const freeBytes = readSafeU64(bytes, 8);
  const capacityBytes = readSafeU64(bytes, 16);
  const usedBytes = readSafeU64(bytes, 24);
  if (freeBytes === undefined || capacityBytes === undefined || usedBytes === undefined) return undefined;
  return { nodeId, freeBytes, capacityBytes, usedBytes };
}
