/**
 * Codec of the frame: what travels between the processes of a volume. Byte table: docs/format/frame.md.
 *
 * A frame is a header of 48 bytes, a body, and bulk bytes ("payload") that either follow inline or lie in memory both sides map.
 * The checksum in front covers header and body. It is computed by the caller, who holds the kernels: encodeFrameHeader leaves the field
 * zero, and decodeFrameHeader does not look at it. Decoding checks everything that can be checked without the body.
 *
 * A header is decoded into an object that the caller reuses: frames are the hot path.
 */
import { readSafeU64, writeSafeU64 } from './integers.ts';

export const FRAME_HEADER_BYTES = 48;
export const FRAME_VERSION = 1;
const FRAME_MAGIC = 0x54;

/** Never renumber. */
export const frameKind = {
  request: 1,
  reply: 2,
  /** Client to server: a slab to map, its descriptor attached. Body: u64 length. */
  slab: 3,
  /** Client to server: no more requests; close when nothing of this connection touches the slab any more. */
  goodbye: 4,
  /** Server to client, first of all. Body: the server's nonce. */
  hello: 16,
  /** Client to server. Body: the client's nonce and proof. */
  proof: 17,
  /** Server to client. Body: the server's proof. */
  welcome: 18,
} as const;
export type FrameKind = (typeof frameKind)[keyof typeof frameKind];

/** How bulk bytes travel. */
export const bulkMode = {
  none: 0,
  /** Behind the body, in the stream. */
  inline: 1,
  /** In the slab that the client shared. */
  slab: 2,
} as const;
export type BulkMode = (typeof bulkMode)[keyof typeof bulkMode];

/** Set when a descriptor was attached to this frame. */
export const FRAME_FLAG_DESCRIPTOR = 1;

export interface FrameHeader {
  kind: FrameKind;
  hasDescriptor: boolean;
  requestId: number;
  /** Method of a request, status of a reply, else 0. */
  code: number;
  payloadMode: BulkMode;
  intoMode: BulkMode;
  bodyBytes: number;
  payloadBytes: number;
  /** CRC32C of an inline payload, else 0. */
  payloadChecksum: number;
  /** Room for the bulk bytes of the reply. */
  intoBytes: number;
  /** Position in the slab, else 0. */
  payloadOffset: number;
  intoOffset: number;
}

export function emptyFrameHeader(): FrameHeader {
  return {
    kind: frameKind.request,
    hasDescriptor: false,
    requestId: 0,
    code: 0,
    payloadMode: bulkMode.none,
    intoMode: bulkMode.none,
    bodyBytes: 0,
    payloadBytes: 0,
    payloadChecksum: 0,
    intoBytes: 0,
    payloadOffset: 0,
    intoOffset: 0,
  };
}

/** Writes all of the header but the checksum, which is CRC32C of what follows it up to the end of the body. */
export function encodeFrameHeader(header: FrameHeader, bytes: Buffer, offset: number): void {
  bytes.writeUInt32LE(0, offset);
  bytes[offset + 4] = FRAME_MAGIC;
  bytes[offset + 5] = FRAME_VERSION;
  bytes[offset + 6] = header.kind;
  bytes[offset + 7] = header.hasDescriptor ? FRAME_FLAG_DESCRIPTOR : 0;
  bytes.writeUInt32LE(header.requestId, offset + 8);
  bytes.writeUInt16LE(header.code, offset + 12);
  bytes[offset + 14] = header.payloadMode;
  bytes[offset + 15] = header.intoMode;
  bytes.writeUInt32LE(header.bodyBytes, offset + 16);
  bytes.writeUInt32LE(header.payloadBytes, offset + 20);
  bytes.writeUInt32LE(header.payloadChecksum, offset + 24);
  bytes.writeUInt32LE(header.intoBytes, offset + 28);
  writeSafeU64(bytes, header.payloadOffset, offset + 32);
  writeSafeU64(bytes, header.intoOffset, offset + 40);
}

const knownKinds: ReadonlySet<number> = new Set(Object.values(frameKind));

/**
 * Fills `header` from 48 bytes. Returns what is wrong with them, or undefined. Lengths are only checked for being possible: bounds
 * belong to the receiver.
 */
export function decodeFrameHeader(bytes: Buffer, offset: number, header: FrameHeader): string | undefined {
  if (bytes[offset + 4] !== FRAME_MAGIC) return 'not a frame';
  if (bytes[offset + 5] !== FRAME_VERSION) return `unknown frame version ${bytes[offset + 5]}`;
  const kind = bytes[offset + 6]!;
  const flags = bytes[offset + 7]!;
  const payloadMode = bytes[offset + 14]!;
  const intoMode = bytes[offset + 15]!;
  if (!knownKinds.has(kind)) return `unknown frame kind ${kind}`;
  if ((flags & ~FRAME_FLAG_DESCRIPTOR) !== 0) return `unknown frame flags ${flags}`;
  if (payloadMode > bulkMode.slab || intoMode > bulkMode.slab) return 'unknown bulk mode';
  const payloadOffset = readSafeU64(bytes, offset + 32);
  const intoOffset = readSafeU64(bytes, offset + 40);
  if (payloadOffset === undefined || intoOffset === undefined) return 'slab offset out of range';
  header.kind = kind as FrameKind;
  header.hasDescriptor = flags !== 0;
  header.requestId = bytes.readUInt32LE(offset + 8);
  header.code = bytes.readUInt16LE(offset + 12);
  header.payloadMode = payloadMode as BulkMode;
  header.intoMode = intoMode as BulkMode;
  header.bodyBytes = bytes.readUInt32LE(offset + 16);
  header.payloadBytes = bytes.readUInt32LE(offset + 20);
  header.payloadChecksum = bytes.readUInt32LE(offset + 24);
  header.intoBytes = bytes.readUInt32LE(offset + 28);
  header.payloadOffset = payloadOffset;
  header.intoOffset = intoOffset;
  return inconsistency(header);
}

/** Fields that say the same thing twice must agree, and fields that are not in use must be zero. */
function inconsistency(header: FrameHeader): string | undefined {
  const { payloadMode, intoMode } = header;
  if (payloadMode === bulkMode.none && header.payloadBytes !== 0) return 'payload length without payload';
  if (payloadMode !== bulkMode.inline && header.payloadChecksum !== 0)
    return 'checksum without inline payload';
  if (payloadMode !== bulkMode.slab && header.payloadOffset !== 0) return 'payload offset without slab';
  if (intoMode === bulkMode.none && header.intoBytes !== 0) return 'reply room without a mode';
  if (intoMode !== bulkMode.slab && header.intoOffset !== 0) return 'reply offset without slab';
  if (header.kind === frameKind.request) return undefined;
  if (intoMode !== bulkMode.none) return 'reply room outside a request';
  if (header.kind === frameKind.reply) {
    return header.payloadOffset === 0 ? undefined : 'slab offset in a reply';
  }
  if (payloadMode !== bulkMode.none) return 'payload in a control frame';
  return header.code === 0 && header.requestId === 0 ? undefined : 'number in a control frame';
}
