/** Messages to the kernel that no request asked for: its caches are to forget something. For shared mounts. */
import { Notification, OUT_HEADER_BYTES } from './protocol.ts';
import { putLong } from './words.ts';

/** The inode's attributes, and its pages from `offsetBytes` on; a negative offset: attributes only, length 0: to the end. */
export function inodeInvalidation(inode: number, offsetBytes: number, lengthBytes: number): Uint8Array {
  const { bytes, words } = message(Notification.INVAL_INODE, 24);
  putLong(words, 4, inode);
  putLong(words, 6, offsetBytes);
  putLong(words, 8, lengthBytes);
  return bytes;
}

/** The name in that directory. */
export function entryInvalidation(parent: number, name: string): Uint8Array {
  const { bytes, words } = message(Notification.INVAL_ENTRY, 16 + name.length + 1);
  putLong(words, 4, parent);
  words[6] = name.length;
  bytes.write(name, OUT_HEADER_BYTES + 16, 'latin1');
  return bytes;
}

function message(code: number, bodyBytes: number): { bytes: Buffer; words: Uint32Array } {
  const lengthBytes = OUT_HEADER_BYTES + bodyBytes;
  const memory = new ArrayBuffer((lengthBytes + 7) & ~7);
  const words = new Uint32Array(memory);
  words[0] = lengthBytes;
  words[1] = code;
  return { bytes: Buffer.from(memory, 0, lengthBytes), words };
}
