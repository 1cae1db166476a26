/** Bytes that tell where they belong: a function of a key and the position, so that a misplaced or stale block never looks right. */

/** The bytes of [positionBytes, positionBytes + lengthBytes) of the endless stream of this key. */
export function pattern(key: number, positionBytes: number, lengthBytes: number): Buffer {
  const skip = positionBytes & 3;
  const words = new Int32Array((skip + lengthBytes + 3) >>> 2);
  const salt = Math.imul(key, 0x9e3779b1);
  const first = positionBytes >>> 2;
  for (let at = 0; at < words.length; at++) {
    let mixed = Math.imul((first + at) ^ salt, 0x85ebca6b);
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
    mixed ^= mixed >>> 16;
    // No byte of it is zero: zeros are what holes read as.
    words[at] = mixed | 0x01010101;
  }
  return Buffer.from(words.buffer, skip, lengthBytes);
}
