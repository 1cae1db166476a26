/**
 * The request being handled, read in place from the channel's buffer.
 *
 * One object for the life of a session: its fields are overwritten by the next request, so what outlives the turn is copied
 * by whoever keeps it. A malformed request throws EINVAL and never reads outside of what was received.
 */
import { assert } from '../base/assert.ts';
import { posixOutcome } from '../base/errno.ts';
import { IN_HEADER_BYTES, Opcode, REQUEST_BUFFER_BYTES, REQUEST_HEAD_BYTES } from './protocol.ts';
import { TWO_TO_32 } from './words.ts';

const BODY_WORD = IN_HEADER_BYTES / 4;

/** Identity of the asker. Overwritten by the next request. */
export interface MutableCaller {
  uid: number;
  gid: number;
  pid: number;
}

export class Request {
  readonly buffer: Buffer;
  readonly #words: Uint32Array;
  readonly caller: MutableCaller = { uid: 0, gid: 0, pid: 0 };
  opcode = 0;
  /** The request's name, as two words: it comes back in the reply as it was. */
  uniqueLow = 0;
  uniqueHigh = 0;
  node = 0;
  /** End of what may be read in the buffer. */
  #end = 0;
  #receivedBytes = 0;
  #cursor = 0;

  constructor() {
    const memory = new ArrayBuffer(REQUEST_BUFFER_BYTES);
    this.buffer = Buffer.from(memory);
    this.#words = new Uint32Array(memory);
  }

  /** Takes up what was received. False: not even a header, or a length that is not what was received. */
  accept(receivedBytes: number): boolean {
    if (receivedBytes < IN_HEADER_BYTES) return false;
    const words = this.#words;
    this.opcode = words[1]!;
    this.uniqueLow = words[2]!;
    this.uniqueHigh = words[3]!;
    this.node = words[4]! + words[5]! * TWO_TO_32;
    this.caller.uid = words[6]!;
    this.caller.gid = words[7]!;
    this.caller.pid = words[8]!;
    this.#receivedBytes = receivedBytes;
    this.#end = Math.min(receivedBytes, REQUEST_BUFFER_BYTES);
    this.#cursor = 0;
    return words[0]! === receivedBytes;
  }

  get expectsReply(): boolean {
    const { opcode } = this;
    return opcode !== Opcode.FORGET && opcode !== Opcode.BATCH_FORGET && opcode !== Opcode.INTERRUPT;
  }

  /** Bytes behind the head: the payload of a WRITE. */
  get payloadBytes(): number {
    return this.#receivedBytes - REQUEST_HEAD_BYTES;
  }

  /** States how long the fixed part of the body is; strings and bytes follow it. */
  fixedPart(lengthBytes: number): void {
    if (IN_HEADER_BYTES + lengthBytes > this.#end) throw posixOutcome('EINVAL');
    this.#cursor = IN_HEADER_BYTES + lengthBytes;
  }

  /** A 32-bit field at a multiple of 4 inside the fixed part. */
  word(offsetBytes: number): number {
    return this.#words[BODY_WORD + offsetBytes / 4]!;
  }

  /** A 64-bit field as a number: exact below 2^53, negative when the sign bit is set. */
  long(offsetBytes: number): number {
    const at = BODY_WORD + offsetBytes / 4;
    return this.#words[at]! + (this.#words[at + 1]! | 0) * TWO_TO_32;
  }

  /** The same for sizes and offsets in a file: never negative, and 2^53 is beyond any file. */
  size(offsetBytes: number): number {
    const value = this.long(offsetBytes);
    if (value < 0) throw posixOutcome('EINVAL');
    if (value > Number.MAX_SAFE_INTEGER) throw posixOutcome('EFBIG');
    return value;
  }

  /** A 64-bit cookie whole. */
  cookie(offsetBytes: number): bigint {
    return this.buffer.readBigUInt64LE(IN_HEADER_BYTES + offsetBytes);
  }

  /** The next NUL-terminated string, one character a byte. */
  name(): string {
    const name = this.buffer.toString('latin1', this.#cursor, this.#stringEnd());
    this.#cursor += name.length + 1;
    if (name.length === 0) throw posixOutcome('EINVAL');
    return name;
  }

  /** The next NUL-terminated string as bytes, valid in this turn. */
  string(): Uint8Array {
    const bytes = this.buffer.subarray(this.#cursor, this.#stringEnd());
    this.#cursor += bytes.length + 1;
    return bytes;
  }

  /** The next bytes, valid in this turn. */
  bytes(lengthBytes: number): Uint8Array {
    if (this.#cursor + lengthBytes > this.#end) throw posixOutcome('EINVAL');
    return this.buffer.subarray(this.#cursor, this.#cursor + lengthBytes);
  }

  #stringEnd(): number {
    assert(this.#cursor >= IN_HEADER_BYTES, 'fixedPart comes first');
    const end = this.buffer.indexOf(0, this.#cursor);
    if (end < 0 || end >= this.#end) throw posixOutcome('EINVAL');
    return end;
  }
}
