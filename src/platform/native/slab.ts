/**
 * Memory for transfers: slabs that processes of one machine share, and private aligned buffers. Both are touched once, at the start, because
 * first touch is slow; who needs pieces of them keeps a pool. What is rarely needed may be left untouched.
 */
import { closeSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import { BLOCK_BYTES } from '../../base/units.ts';
import type { Slab as PlatformSlab } from '../platform.ts';
import { checked, nativeAddon } from './addon.ts';

export interface Slab extends PlatformSlab {
  readonly descriptor: number;
}

/** Maps memory of another process, and takes ownership of the descriptor, also when that fails. */
export function mapSlab(descriptor: number, lengthBytes: number): Slab {
  const addon = nativeAddon();
  assert(lengthBytes > 0 && lengthBytes % BLOCK_BYTES === 0, `slab of ${lengthBytes} bytes`);
  const memory = addon.slabMap(descriptor, lengthBytes);
  if (typeof memory === 'number') closeSync(descriptor);
  const arrayBuffer = checked<ArrayBuffer>(memory, `map ${lengthBytes} bytes of shared memory`);
  let open = true;
  return {
    lengthBytes,
    descriptor,
    buffer: Buffer.from(arrayBuffer),
    async populate(touchedBytes) {
      assert(open, 'the slab is open');
      assert(touchedBytes >= 0 && touchedBytes <= lengthBytes, `${touchedBytes} bytes of it are touched`);
      checked(
        await addon.slabPopulate(descriptor, arrayBuffer, touchedBytes),
        `take ${lengthBytes} bytes of shared memory`,
      );
    },
    close() {
      if (!open) return;
      open = false;
      closeSync(descriptor);
      // Views become empty now; the mapping goes when the last transfer from or to it is over.
      assert(addon.detachBuffer(arrayBuffer) === 0, 'the slab is not in use elsewhere');
    },
  };
}

/** New shared memory, zeroed. Its size can never change. */
export function createSlab(lengthBytes: number): Slab {
  assert(lengthBytes > 0 && lengthBytes % BLOCK_BYTES === 0, `slab of ${lengthBytes} bytes`);
  const descriptor = nativeAddon().slabCreate(lengthBytes);
  return mapSlab(checked(descriptor, `create ${lengthBytes} bytes of shared memory`), lengthBytes);
}

/** Private zeroed memory for direct I/O. */
export function alignedBuffer(lengthBytes: number, alignmentBytes: number = BLOCK_BYTES): Buffer {
  const memory = nativeAddon().alignedMemory(lengthBytes, alignmentBytes);
  return Buffer.from(checked<ArrayBuffer>(memory, `allocate ${lengthBytes} bytes`));
}
