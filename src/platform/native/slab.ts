/**
 * Memory for transfers: slabs that processes of one machine share, and private aligned buffers. Both are allocated and
 * touched once, at the start, because first touch is slow; who needs pieces of them keeps a pool. What is rarely needed may be left untouched.
 */
import { closeSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Slab as PlatformSlab } from '../platform.ts';
import { checked, nativeAddon } from './addon.ts';

export interface Slab extends PlatformSlab {
  readonly descriptor: number;
}

/** Maps memory of another process, and takes ownership of the descriptor, also when that fails. Pages count as this process's once it uses them. */
export function mapSlab(descriptor: number, lengthBytes: number): Slab {
  return mapped(descriptor, lengthBytes, 0);
}

function mapped(descriptor: number, lengthBytes: number, touchedBytes: number): Slab {
  const addon = nativeAddon();
  assert(lengthBytes > 0 && lengthBytes % BLOCK_BYTES === 0, `slab of ${lengthBytes} bytes`);
  const memory = addon.slabMap(descriptor, lengthBytes, touchedBytes);
  if (typeof memory === 'number') closeSync(descriptor);
  const arrayBuffer = checked<ArrayBuffer>(memory, `map ${lengthBytes} bytes of shared memory`);
  let open = true;
  return {
    lengthBytes,
    descriptor,
    buffer: Buffer.from(arrayBuffer),
    close() {
      if (!open) return;
      open = false;
      closeSync(descriptor);
      // Views become empty now; the mapping goes when the last transfer from or to it is over.
      assert(addon.detachBuffer(arrayBuffer) === 0, 'the slab is not in use elsewhere');
    },
  };
}

/** New shared memory, zeroed. Its size can never change. What is not touched is reserved all the same. */
export function createSlab(lengthBytes: number, touchedBytes: number = lengthBytes): Slab {
  assert(lengthBytes > 0 && lengthBytes % BLOCK_BYTES === 0, `slab of ${lengthBytes} bytes`);
  assert(touchedBytes >= 0 && touchedBytes <= lengthBytes, `${touchedBytes} bytes of it are touched`);
  const descriptor = nativeAddon().slabCreate(lengthBytes);
  return mapped(
    checked(descriptor, `create ${lengthBytes} bytes of shared memory`),
    lengthBytes,
    touchedBytes,
  );
}

/** Private zeroed memory for direct I/O. */
export function alignedBuffer(lengthBytes: number, alignmentBytes: number = BLOCK_BYTES): Buffer {
  const memory = nativeAddon().alignedMemory(lengthBytes, alignmentBytes);
  return Buffer.from(checked<ArrayBuffer>(memory, `allocate ${lengthBytes} bytes`));
}
