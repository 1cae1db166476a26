/** Blocks that the models keep, many and short-lived: cut from larger memory. */
import { Arena } from '../../base/arena.ts';
import { BLOCK_BYTES } from '../../base/units.ts';

const arena = new Arena();
const zeros = Buffer.alloc(BLOCK_BYTES);

/** A new block that begins with these parts; the rest is zeros. */
export function newBlock(...parts: readonly Uint8Array[]): Uint8Array {
  const block = arena.take(BLOCK_BYTES);
  let at = 0;
  for (const part of parts) {
    block.set(part, at);
    at += part.length;
  }
  if (at < BLOCK_BYTES) block.fill(0, at);
  return block;
}

/** Of at most a block. */
export function isZero(bytes: Uint8Array): boolean {
  return zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
