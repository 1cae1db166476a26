/**
 * Memory for pages, cut from larger pieces: an allocation of its own for each page costs several times as much as writing it. Pages that are
 * not needed any more are used again, by whatever run is under way.
 */
import { PAGE_BYTES } from './sectors.ts';

const PIECE_PAGES = 32;
const zeros = Buffer.alloc(PAGE_BYTES);

const MAX_FREE_PAGES = 16_384;
const free: Buffer[] = [];
let piece = zeros;
let usedBytes = piece.length;

/** A page, all zeros. */
export function zeroPage(): Buffer {
  const again = free.pop();
  if (again !== undefined) return again.fill(0);
  if (usedBytes === piece.length) {
    piece = Buffer.alloc(PIECE_PAGES * PAGE_BYTES);
    usedBytes = 0;
  }
  usedBytes += PAGE_BYTES;
  return piece.subarray(usedBytes - PAGE_BYTES, usedBytes);
}

/** Nobody looks at the page any more. */
export function giveBackPage(page: Buffer | undefined): void {
  if (page !== undefined && free.length < MAX_FREE_PAGES) free.push(page);
}

/** Of at most a page. */
export function isZero(bytes: Uint8Array): boolean {
  return bytes[0] === 0 && zeros.compare(bytes, 0, bytes.length, 0, bytes.length) === 0;
}
