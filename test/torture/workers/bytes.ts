/** Bytes that are a function of a number, and files read whole. */
import { closeSync, constants, fsyncSync, openSync, readSync } from 'node:fs';

export const MIB = 1024 * 1024;

export function fillPattern(target: Uint32Array, seed: number): void {
  let state = seed >>> 0;
  for (let index = 0; index < target.length; index++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    target[index] = state;
  }
}

export function patternBytes(seed: number, lengthBytes: number): Buffer {
  const words = new Uint32Array(Math.ceil(lengthBytes / 4));
  fillPattern(words, seed);
  return Buffer.from(words.buffer, 0, lengthBytes);
}

/** Past the kernel's cache: the bytes come from the nodes. */
export function readDirectly(path: string, lengthBytes: number, offsetBytes = 0): Buffer {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECT);
  try {
    return readFully(descriptor, lengthBytes, offsetBytes);
  } finally {
    closeSync(descriptor);
  }
}

/** Shorter only where the file ends. */
export function readFully(descriptor: number, lengthBytes: number, offsetBytes: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  let done = 0;
  while (done < lengthBytes) {
    const count = readSync(descriptor, bytes, done, Math.min(MIB, lengthBytes - done), offsetBytes + done);
    if (count === 0) break;
    done += count;
  }
  return bytes.subarray(0, done);
}

export function syncDirectory(path: string): void {
  const descriptor = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

/** Where the first byte is that is neither as expected nor zero; -1 if there is none. */
export function firstForeignByte(found: Buffer, expected: Buffer): number {
  const common = Math.min(found.length, expected.length);
  if (found.length <= expected.length && found.equals(expected.subarray(0, common))) return -1;
  for (let index = 0; index < found.length; index++) {
    if (found[index] !== 0 && found[index] !== expected[index]) return index;
  }
  return -1;
}
