/**
 * Memory for pages, cut from larger pieces: an allocation of its own for each page costs several times as much as writing it. A piece goes
 * when none of its pages is in use.
 */
import { PAGE_BYTES } from './sectors.ts';

const PIECE_PAGES = 32;
const zeros = Buffer.alloc(PAGE_BYTES);

let piece = zeros;
let usedBytes = piece.length;

/** A new page, all zeros. */
export function zeroPage(): Buffer {
  if (usedBytes === piece.length) {
    piece = Buffer.alloc(PIECE_PAGES * PAGE_BYTES);
    usedBytes = 0;
  }
  usedBytes += PAGE_BYTES;
  return piece.subarray(usedBytes - PAGE_BYTES, usedBytes);
}

/** Of at most a page. */
export function isZero(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
