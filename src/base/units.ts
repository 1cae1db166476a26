/** Sizes in bytes and times in milliseconds that several layers share. */
export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;

/** The unit of checksums, of extents and of cleaning. */
export const BLOCK_BYTES = 4 * KIB;

/** Smallest multiple of `unitBytes` that is not below `lengthBytes`. Both are safe integers. */
export function roundUp(lengthBytes: number, unitBytes: number): number {
  return Math.ceil(lengthBytes / unitBytes) * unitBytes;
}
