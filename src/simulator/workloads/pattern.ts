/** Bytes that tell where they belong: a function of a key and the position, so that a misplaced or stale block never looks right. */

/** The bytes of [positionBytes, positionBytes + lengthBytes) of the endless stream of this key. */
export function pattern(key: number, positionBytes: number, lengthBytes: number): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  let at = 0;
  for (let word = positionBytes >>> 2, skip = positionBytes & 3; at < lengthBytes; word++, skip = 0) {
    let mixed = Math.imul(word ^ Math.imul(key, 0x9e3779b1), 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    // No byte of it is zero: zeros are what holes read as.
    const value = (mixed | 0x01010101) >>> 0;
    for (let byte = skip; byte < 4 && at < lengthBytes; byte++) bytes[at++] = (value >>> (8 * byte)) & 0xff;
  }
  return bytes;
}
