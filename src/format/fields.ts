/**
 * What decoders share that refuse their input by throwing (integers.ts has the bare fields). Little-endian throughout.
 * A decoder checks every length before it uses it and throws FormatError; what that means (a torn write, a hostile peer, a newer
 * version) is for its caller to say.
 */
import { assert } from '../base/assert.ts';
import { readSafeU64, writeSafeU64 } from './integers.ts';

export class FormatError extends Error {
  override readonly name = 'FormatError';
}

/** Sound, and of a version that this program does not know: not to be taken for damage, which is repaired by writing over it. */
export class UnknownVersion extends FormatError {}

/** To be called when the checksum was found right. */
export function mustKnowVersion(version: number, known: number, what: string): void {
  if (version !== known) throw new UnknownVersion(`${what}: version ${version} is not known, only ${known}`);
}

/** Refuses the input unless the condition holds. */
export function must(condition: boolean, message: string): asserts condition {
  if (!condition) throw new FormatError(message);
}

/** A u64 that holds a safe integer. The caller has checked that 8 bytes are there. */
export function readSafe(bytes: Buffer, offset: number): number {
  const value = readSafeU64(bytes, offset);
  must(value !== undefined, 'integer over 2^53');
  return value;
}

export function writeSafe(bytes: Buffer, value: number, offset: number): void {
  assert(Number.isSafeInteger(value) && value >= 0, 'a safe unsigned integer');
  writeSafeU64(bytes, value, offset);
}

/** Reserved bytes have to be zero, so that a later version may give them a meaning. */
export function mustBeZero(bytes: Buffer, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    // The message is made for a refusal only: this runs for every record.
    if (bytes[i] !== 0) throw new FormatError(`reserved byte ${i} is not zero`);
  }
}

/** The same bytes as a Buffer, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
