/**
 * Bytes that tell where they belong: a function of a key and the position, so that a misplaced or stale block never looks right. Each block is a stretch of
 * the same random bytes, from a place that follows from key and block, with both of them at its beginning. No byte is zero: zeros are what holes read as.
 */
import { Arena } from '../../base/arena.ts';
import { BLOCK_BYTES, KIB } from '../../base/units.ts';

const NOT_ZERO = 0x01010101;
const STRETCHES_BYTES = 256 * KIB;
const arena = new Arena();
const stretches = randomBytes(STRETCHES_BYTES + BLOCK_BYTES);
const label = new Int32Array(2);
const labelBytes = new Uint8Array(label.buffer);

/** The bytes of [positionBytes, positionBytes + lengthBytes) of the endless stream of this key. They may be kept. */
export function pattern(key: number, positionBytes: number, lengthBytes: number): Buffer {
  const bytes = arena.take(lengthBytes);
  for (let at = 0; at < lengthBytes; ) {
    const inBlock = (positionBytes + at) % BLOCK_BYTES;
    const length = Math.min(BLOCK_BYTES - inBlock, lengthBytes - at);
    fill(bytes, at, length, key, (positionBytes + at - inBlock) / BLOCK_BYTES, inBlock);
    at += length;
  }
  return bytes;
}

function fill(bytes: Buffer, at: number, length: number, key: number, block: number, inBlock: number): void {
  const mixed = mix(block ^ Math.imul(key, 0x9e3779b1));
  const from = ((mixed >>> 2) % (STRETCHES_BYTES / 4)) * 4 + inBlock;
  stretches.copy(bytes, at, from, from + length);
  label[0] = mixed | NOT_ZERO;
  label[1] = mix(mixed ^ key) | NOT_ZERO;
  for (let index = inBlock; index < labelBytes.length && index < inBlock + length; index++)
    bytes[at + index - inBlock] = labelBytes[index]!;
}

function mix(word: number): number {
  let mixed = Math.imul(word, 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return mixed ^ (mixed >>> 16);
}

function randomBytes(lengthBytes: number): Buffer {
  const words = new Int32Array(lengthBytes / 4);
  for (let at = 0; at < words.length; at++) words[at] = mix(at + 1) | NOT_ZERO;
  return Buffer.from(words.buffer);
}
