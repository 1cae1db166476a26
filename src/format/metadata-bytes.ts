/**
 * Growable writer and checked reader of bytes, shared by the codecs of metadata records and of journal operations.
 *
 * Little-endian. A varint is LEB128 of an unsigned safe integer (at most 8 bytes); a signed one is folded (0, -1, 1, -2, ...). The reader
 * checks every length before it uses it and throws FormatError. The writer's buffer is reused: what was written is valid
 * until `clear`.
 */
import { assert } from '../base/assert.ts';
import { must, readSafe, writeSafe } from './fields.ts';

const TWO_28 = 2 ** 28;

export class ByteWriter {
  #buffer: Buffer;
  lengthBytes = 0;

  constructor(capacityBytes = 256) {
    this.#buffer = Buffer.allocUnsafeSlow(capacityBytes);
  }

  /** The bytes written so far, not copied. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.lengthBytes);
  }

  /** The bytes written so far, for keeps. */
  copy(): Buffer {
    return Buffer.from(this.view());
  }

  /** The bytes written so far, into memory of that length. */
  copyTo(into: Buffer): void {
    this.#buffer.copy(into, 0, 0, this.lengthBytes);
  }

  clear(): void {
    this.lengthBytes = 0;
  }

  #room(lengthBytes: number): void {
    const needed = this.lengthBytes + lengthBytes;
    if (needed <= this.#buffer.length) return;
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#buffer.length));
    this.#buffer.copy(grown, 0, 0, this.lengthBytes);
    this.#buffer = grown;
  }

  u8(value: number): void {
    this.#room(1);
    this.#buffer[this.lengthBytes++] = value;
  }

  u16(value: number): void {
    this.#room(2);
    const at = this.lengthBytes;
    this.#buffer[at] = value;
    this.#buffer[at + 1] = value >>> 8;
    this.lengthBytes = at + 2;
  }

  u32(value: number): void {
    this.#room(4);
    const at = this.lengthBytes;
    const buffer = this.#buffer;
    buffer[at] = value;
    buffer[at + 1] = value >>> 8;
    buffer[at + 2] = value >>> 16;
    buffer[at + 3] = value >>> 24;
    this.lengthBytes = at + 4;
  }

  /** values[from..to), four bytes each. */
  u32s(values: Uint32Array, from: number, to: number): void {
    this.#room(4 * (to - from));
    const buffer = this.#buffer;
    let at = this.lengthBytes;
    for (let i = from; i < to; i++, at += 4) {
      const value = values[i]!;
      buffer[at] = value;
      buffer[at + 1] = value >>> 8;
      buffer[at + 2] = value >>> 16;
      buffer[at + 3] = value >>> 24;
    }
    this.lengthBytes = at;
  }

  u64(value: number): void {
    this.#room(8);
    writeSafe(this.#buffer, value, this.lengthBytes);
    this.lengthBytes += 8;
  }

  varint(value: number): void {
    this.#room(8);
    const buffer = this.#buffer;
    let at = this.lengthBytes;
    let rest = value;
    while (rest >= TWO_28) {
      buffer[at++] = (rest % 128) | 128;
      rest = Math.floor(rest / 128);
    }
    while (rest >= 128) {
      buffer[at++] = (rest & 127) | 128;
      rest >>>= 7;
    }
    buffer[at++] = rest;
    this.lengthBytes = at;
  }

  signedVarint(value: number): void {
    this.varint(value < 0 ? -2 * value - 1 : 2 * value);
  }

  raw(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.#buffer.set(bytes, this.lengthBytes);
    this.lengthBytes += bytes.length;
  }

  /** A byte string with its length in front. */
  text(value: string): void {
    const { length } = value;
    this.varint(length);
    this.rawText(value);
  }

  rawText(value: string): void {
    const { length } = value;
    this.#room(length);
    let at = this.lengthBytes;
    if (length > 32) this.#buffer.write(value, at, length, 'latin1');
    else for (let i = 0; i < length; i++) this.#buffer[at++] = value.charCodeAt(i);
    this.lengthBytes += length;
  }

  /** Overwrites four bytes written before. */
  patchU32(value: number, offset: number): void {
    assert(offset + 4 <= this.lengthBytes, 'patch of bytes that were written');
    this.#buffer.writeUInt32LE(value, offset);
  }

  patchU64(value: number, offset: number): void {
    assert(offset + 8 <= this.lengthBytes, 'patch of bytes that were written');
    writeSafe(this.#buffer, value, offset);
  }
}

export class ByteReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, offset = 0) {
    this.#bytes = bytes;
    this.#at = offset;
  }

  get remainingBytes(): number {
    return this.#bytes.length - this.#at;
  }

  #take(lengthBytes: number): number {
    must(lengthBytes <= this.remainingBytes, 'record is cut');
    const at = this.#at;
    this.#at = at + lengthBytes;
    return at;
  }

  u8(): number {
    return this.#bytes[this.#take(1)]!;
  }

  u16(): number {
    return this.#bytes.readUInt16LE(this.#take(2));
  }

  u32(): number {
    return this.#bytes.readUInt32LE(this.#take(4));
  }

  u64(): number {
    return readSafe(this.#bytes, this.#take(8));
  }

  varint(): number {
    let value = 0;
    let factor = 1;
    for (let i = 0; i < 8; i++) {
      const byte = this.u8();
      value += (byte & 127) * factor;
      if (byte < 128) {
        must(Number.isSafeInteger(value), 'varint over 2^53');
        return value;
      }
      factor *= 128;
    }
    must(false, 'varint is too long');
  }

  signedVarint(): number {
    const folded = this.varint();
    return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
  }

  /** A view. */
  raw(lengthBytes: number): Buffer {
    const at = this.#take(lengthBytes);
    return this.#bytes.subarray(at, at + lengthBytes);
  }

  text(): string {
    return this.rawText(this.varint());
  }

  rawText(lengthBytes: number): string {
    const at = this.#take(lengthBytes);
    return this.#bytes.toString('latin1', at, at + lengthBytes);
  }

  zeros(lengthBytes: number): void {
    const at = this.#take(lengthBytes);
    for (let i = at; i < at + lengthBytes; i++) must(this.#bytes[i] === 0, 'reserved byte is not zero');
  }

  end(): void {
    must(this.remainingBytes === 0, 'bytes behind the record');
  }
}
