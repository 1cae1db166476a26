/**
 * Structures of the protocol as runs of 32-bit little-endian words, which is what the host has, too: Node runs Linux on little-endian
 * machines only. A 64-bit field is two words, low one first; storing into a Uint32Array takes a number modulo 2^32, so the low
 * word needs no masking, and negative times come out in two's complement.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import type { Attributes } from '../filesystem/file-system.ts';

export const TWO_TO_32 = 4294967296;
/** Exclusive mounts change under nobody's feet: the kernel may keep names and attributes for this long. */
export const VALID_SECONDS = 30 * 24 * 3600;

export const ATTRIBUTES_WORDS = 22;
export const ENTRY_WORDS = 32;

export function putLong(words: Uint32Array, at: number, value: number): void {
  words[at] = value;
  words[at + 1] = Math.floor(value / TWO_TO_32);
}

/** struct fuse_attr. */
export function putAttributes(words: Uint32Array, at: number, attributes: Attributes): void {
  putLong(words, at, attributes.inode);
  putLong(words, at + 2, attributes.sizeBytes);
  putLong(words, at + 4, attributes.blocks512);
  putLong(words, at + 6, attributes.atimeSeconds);
  putLong(words, at + 8, attributes.mtimeSeconds);
  putLong(words, at + 10, attributes.ctimeSeconds);
  words[at + 12] = attributes.atimeNanoseconds;
  words[at + 13] = attributes.mtimeNanoseconds;
  words[at + 14] = attributes.ctimeNanoseconds;
  words[at + 15] = attributes.mode;
  words[at + 16] = attributes.linkCount;
  words[at + 17] = attributes.uid;
  words[at + 18] = attributes.gid;
  words[at + 19] = attributes.rdev;
  words[at + 20] = BLOCK_BYTES;
  words[at + 21] = 0;
}

/** struct fuse_entry_out. */
export function putEntry(words: Uint32Array, at: number, attributes: Attributes): void {
  putLong(words, at, attributes.inode);
  words.fill(0, at + 2, at + 10);
  words[at + 4] = VALID_SECONDS;
  words[at + 6] = VALID_SECONDS;
  putAttributes(words, at + 10, attributes);
}

/** An entry that says: no such name, and that may be remembered. */
export function putAbsence(words: Uint32Array, at: number): void {
  words.fill(0, at, at + ENTRY_WORDS);
  words[at + 4] = VALID_SECONDS;
}
