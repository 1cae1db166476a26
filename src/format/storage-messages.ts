/**
 * Bodies of the storage service's requests and replies (rpcMethods 16..24). The frame around them carries the checksum, the method and the
 * status; bulk bytes travel as the call's payload. Byte tables: docs/format/storage-messages.md.
 *
 * Statuses other than ok: missing; corrupt (body: u32 block index within the fragment); full; fenced (body: u64 term); ioError; invalid;
 * conflict (put of a generation older than the one held); busy (closing).
 */

import { must, mustBeZero, readSafe, writeSafe } from './fields.ts';
import type { FragmentDescription } from './fragment-header.ts';
import {
  decodeFragmentDescription,
  encodeFragmentDescription,
  fragmentDescriptionBytes,
} from './fragment-header.ts';

/** Names one fragment. In frees: everything at the position up to this generation. */
export interface FragmentName {
  readonly segmentId: number;
  readonly position: number;
  readonly generation: number;
}

const NAME_BYTES = 12;

function writeName(out: Buffer, name: FragmentName, offset: number): void {
  writeSafe(out, name.segmentId, offset);
  out[offset + 8] = name.position;
  out[offset + 9] = name.generation;
  out.writeUInt16LE(0, offset + 10);
}

function readName(bytes: Buffer, offset: number): FragmentName {
  mustBeZero(bytes, offset + 10, offset + NAME_BYTES);
  return { segmentId: readSafe(bytes, offset), position: bytes[offset + 8]!, generation: bytes[offset + 9]! };
}

// putFragment: the description is the body, the fragment's blocks are the payload.

export function encodePutRequest(description: FragmentDescription): Buffer {
  const out = Buffer.allocUnsafe(
    fragmentDescriptionBytes(description.fragmentBlocks, description.nodes.length),
  );
  encodeFragmentDescription(description, out, 0);
  return out;
}

export function decodePutRequest(body: Buffer): FragmentDescription {
  const description = decodeFragmentDescription(body, 0, body.length);
  must(
    body.length === fragmentDescriptionBytes(description.fragmentBlocks, description.nodes.length),
    'bytes behind the fragment description',
  );
  return description;
}

/** Where the payload of a fragment lies: in log file `fileId` from `payloadOffset` (page-aligned), in blocks as they were put. */
export interface FragmentLocation {
  readonly fileId: number;
  readonly payloadOffset: number;
  readonly fragmentBlocks: number;
}

export interface PutReply {
  readonly location: FragmentLocation;
  /** Bytes that the node may still take. */
  readonly freeBytes: number;
}

export function encodePutReply(reply: PutReply): Buffer {
  const out = Buffer.allocUnsafe(24);
  writeLocation(out, reply.location);
  writeSafe(out, reply.freeBytes, 16);
  return out;
}

export function decodePutReply(body: Buffer): PutReply {
  must(body.length === 24, 'length of a put reply');
  return { location: readLocation(body), freeBytes: readSafe(body, 16) };
}

function writeLocation(out: Buffer, location: FragmentLocation): void {
  out.writeUInt32LE(location.fileId, 0);
  out.writeUInt32LE(location.fragmentBlocks, 4);
  writeSafe(out, location.payloadOffset, 8);
}

function readLocation(body: Buffer): FragmentLocation {
  return {
    fileId: body.readUInt32LE(0),
    fragmentBlocks: body.readUInt32LE(4),
    payloadOffset: readSafe(body, 8),
  };
}

// getFragment: blocks [firstBlock, firstBlock + blockCount) into the call's `into`, verified. Another generation than asked for is `missing`.

export interface GetRequest extends FragmentName {
  readonly firstBlock: number;
  readonly blockCount: number;
}

export function encodeGetRequest(request: GetRequest): Buffer {
  const out = Buffer.allocUnsafe(NAME_BYTES + 8);
  writeName(out, request, 0);
  out.writeUInt32LE(request.firstBlock, NAME_BYTES);
  out.writeUInt32LE(request.blockCount, NAME_BYTES + 4);
  return out;
}

export function decodeGetRequest(body: Buffer): GetRequest {
  must(body.length === NAME_BYTES + 8, 'length of a get request');
  const { segmentId, position, generation } = readName(body, 0);
  return {
    segmentId,
    position,
    generation,
    firstBlock: body.readUInt32LE(NAME_BYTES),
    blockCount: body.readUInt32LE(NAME_BYTES + 4),
  };
}

/** Body of status corrupt: the first block of the fragment that does not match. */
export function encodeCorruptBlock(blockIndex: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32LE(blockIndex, 0);
  return out;
}

export function decodeCorruptBlock(body: Buffer): number {
  must(body.length === 4, 'length of a corrupt-block body');
  return body.readUInt32LE(0);
}

/** Body of status fenced, here and in the journal service: the term that was promised. */
export function encodeTerm(term: number): Buffer {
  const out = Buffer.allocUnsafe(8);
  writeSafe(out, term, 0);
  return out;
}

export function decodeTerm(body: Buffer): number {
  must(body.length === 8, 'length of a term');
  return readSafe(body, 0);
}

// freeFragments

export const MAX_FREES_PER_CALL = 4096;

export interface FreeRequest {
  readonly term: number;
  readonly names: readonly FragmentName[];
}

export function encodeFreeRequest(request: FreeRequest): Buffer {
  must(request.names.length <= MAX_FREES_PER_CALL, 'too many frees in one call');
  const out = Buffer.allocUnsafe(12 + NAME_BYTES * request.names.length);
  writeSafe(out, request.term, 0);
  out.writeUInt32LE(request.names.length, 8);
  request.names.forEach((name, i) => {
    writeName(out, name, 12 + NAME_BYTES * i);
  });
  return out;
}

export function decodeFreeRequest(body: Buffer): FreeRequest {
  must(body.length >= 12, 'free request is short');
  const count = body.readUInt32LE(8);
  must(count <= MAX_FREES_PER_CALL && body.length === 12 + NAME_BYTES * count, 'length of a free request');
  const names: FragmentName[] = [];
  for (let i = 0; i < count; i++) names.push(readName(body, 12 + NAME_BYTES * i));
  return { term: readSafe(body, 0), names };
}

export interface FreeReply {
  /** Fragments that were there; the others were gone already, which is fine. */
  readonly freed: number;
  readonly freeBytes: number;
}

export function encodeFreeReply(reply: FreeReply): Buffer {
  const out = Buffer.allocUnsafe(12);
  out.writeUInt32LE(reply.freed, 0);
  writeSafe(out, reply.freeBytes, 4);
  return out;
}

export function decodeFreeReply(body: Buffer): FreeReply {
  must(body.length === 12, 'length of a free reply');
  return { freed: body.readUInt32LE(0), freeBytes: readSafe(body, 4) };
}

// listFragments: in order of (segment, position), behind the given one; (0, 0) starts.

export const MAX_LIST_ENTRIES = 4096;

export interface ListRequest {
  readonly afterSegmentId: number;
  readonly afterPosition: number;
  readonly limit: number;
}

export function encodeListRequest(request: ListRequest): Buffer {
  const out = Buffer.alloc(16);
  writeSafe(out, request.afterSegmentId, 0);
  out[8] = request.afterPosition;
  out.writeUInt32LE(request.limit, 12);
  return out;
}

export function decodeListRequest(body: Buffer): ListRequest {
  must(body.length === 16, 'length of a list request');
  mustBeZero(body, 9, 12);
  return { afterSegmentId: readSafe(body, 0), afterPosition: body[8]!, limit: body.readUInt32LE(12) };
}

export interface ListedFragment extends FragmentName {
  readonly fragmentBlocks: number;
}

export interface ListReply {
  /** False: this is the end. */
  readonly more: boolean;
  readonly fragments: readonly ListedFragment[];
}

export function encodeListReply(reply: ListReply): Buffer {
  const out = Buffer.alloc(8 + 16 * reply.fragments.length);
  out[0] = reply.more ? 1 : 0;
  out.writeUInt32LE(reply.fragments.length, 4);
  reply.fragments.forEach((fragment, i) => {
    writeName(out, fragment, 8 + 16 * i);
    out.writeUInt32LE(fragment.fragmentBlocks, 8 + 16 * i + NAME_BYTES);
  });
  return out;
}

export function decodeListReply(body: Buffer): ListReply {
  must(body.length >= 8, 'list reply is short');
  must(body[0]! <= 1, 'flag of a list reply');
  mustBeZero(body, 1, 4);
  const count = body.readUInt32LE(4);
  must(body.length === 8 + 16 * count, 'length of a list reply');
  const fragments: ListedFragment[] = [];
  for (let i = 0; i < count; i++) {
    const at = 8 + 16 * i;
    fragments.push({ ...readName(body, at), fragmentBlocks: body.readUInt32LE(at + NAME_BYTES) });
  }
  return { more: body[0] === 1, fragments };
}

// describeFragment: request is position and segment; the reply body is the description (as in put).

export interface FragmentKey {
  readonly segmentId: number;
  readonly position: number;
}

export function encodeDescribeRequest(key: FragmentKey): Buffer {
  const out = Buffer.alloc(NAME_BYTES);
  writeSafe(out, key.segmentId, 0);
  out[8] = key.position;
  return out;
}

export function decodeDescribeRequest(body: Buffer): FragmentKey {
  must(body.length === NAME_BYTES, 'length of a describe request');
  mustBeZero(body, 9, NAME_BYTES);
  return { segmentId: readSafe(body, 0), position: body[8]! };
}

export const encodeDescribeReply = encodePutRequest;
export const decodeDescribeReply = decodePutRequest;

// fenceStorage: request and reply are a term (encodeTerm). Refused with conflict: the body is a challenge (encodeTerm).

/** For a node that lost the terms it promised: what it answered a fence with, from a primary that found itself reigning since. Reply: a term. */
export interface PledgeRequest {
  readonly term: number;
  readonly challenge: number;
}

export function encodePledgeRequest({ term, challenge }: PledgeRequest): Buffer {
  const out = Buffer.alloc(16);
  writeSafe(out, term, 0);
  writeSafe(out, challenge, 8);
  return out;
}

export function decodePledgeRequest(body: Buffer): PledgeRequest {
  must(body.length === 16, 'length of a pledge request');
  return { term: readSafe(body, 0), challenge: readSafe(body, 8) };
}

// storageStatistics: empty request.

export interface StorageStatistics {
  readonly capacityBytes: number;
  /** Fragments with their headers. */
  readonly usedBytes: number;
  readonly freeBytes: number;
  readonly fragments: number;
  readonly logFiles: number;
  readonly term: number;
  readonly puts: number;
  readonly gets: number;
  readonly frees: number;
  readonly bytesWritten: number;
  readonly bytesRead: number;
  readonly corruptBlocks: number;
}

/** Order of the u64 fields in the reply. */
const statisticsFields = [
  'capacityBytes',
  'usedBytes',
  'freeBytes',
  'fragments',
  'logFiles',
  'term',
  'puts',
  'gets',
  'frees',
  'bytesWritten',
  'bytesRead',
  'corruptBlocks',
] as const satisfies readonly (keyof StorageStatistics)[];

export function encodeStatisticsReply(value: StorageStatistics): Buffer {
  const out = Buffer.allocUnsafe(8 * statisticsFields.length);
  statisticsFields.forEach((field, i) => {
    writeSafe(out, value[field], 8 * i);
  });
  return out;
}

export function decodeStatisticsReply(body: Buffer): StorageStatistics {
  must(body.length === 8 * statisticsFields.length, 'length of a statistics reply');
  return Object.fromEntries(
    statisticsFields.map((field, i) => [field, readSafe(body, 8 * i)]),
  ) as unknown as StorageStatistics;
}

// locateFragment: for reading a local node's log file without a call (openLogFile gives the descriptor).

export function encodeLocateRequest(name: FragmentName): Buffer {
  const out = Buffer.allocUnsafe(NAME_BYTES);
  writeName(out, name, 0);
  return out;
}

export function decodeLocateRequest(body: Buffer): FragmentName {
  must(body.length === NAME_BYTES, 'length of a locate request');
  return readName(body, 0);
}

export function encodeLocateReply(location: FragmentLocation): Buffer {
  const out = Buffer.allocUnsafe(16);
  writeLocation(out, location);
  return out;
}

export function decodeLocateReply(body: Buffer): FragmentLocation {
  must(body.length === 16, 'length of a locate reply');
  return readLocation(body);
}

// openLogFile: the reply carries a read-only descriptor; its body says whether it was opened for direct reads.

export function encodeOpenLogFileRequest(fileId: number): Buffer {
  const out = Buffer.allocUnsafe(4);
  out.writeUInt32LE(fileId, 0);
  return out;
}

export function decodeOpenLogFileRequest(body: Buffer): number {
  must(body.length === 4, 'length of an open request');
  return body.readUInt32LE(0);
}

export interface OpenLogFileReply {
  readonly direct: boolean;
}

export function encodeOpenLogFileReply(reply: OpenLogFileReply): Buffer {
  return Buffer.from([reply.direct ? 1 : 0]);
}

export function decodeOpenLogFileReply(body: Buffer): OpenLogFileReply {
  must(body.length === 1 && body[0]! <= 1, 'body of an open reply');
  return { direct: body[0] === 1 };
}
