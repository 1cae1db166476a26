/**
 * Little-endian u64 fields that hold safe integers. BigInt is avoided: these run on every call.
 */
const TWO_32 = 2 ** 32;

/** The value of a u64 field, or undefined when it is beyond 2^53 - 1 (a field that no writer of ours makes). */
export function readSafeU64(bytes: Buffer, offset: number): number | undefined {
  const value = bytes.readUInt32LE(offset) + bytes.readUInt32LE(offset + 4) * TWO_32;
  return Number.isSafeInteger(value) ? value : undefined;
}

/** `value` is a safe integer and not negative. */
export function writeSafeU64(bytes: Buffer, value: number, offset: number): void {
  bytes.writeUInt32LE(value % TWO_32, offset);
  bytes.writeUInt32LE(Math.floor(value / TWO_32), offset + 4);
}
