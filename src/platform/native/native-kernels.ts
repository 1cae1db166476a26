/** The kernels of the native addon, at the best level of instructions that this processor has. See kernels.ts. */
import { assert } from '../../base/assert.ts';
import { nativeAddon } from './addon.ts';
import { type KernelPrimitives, kernelsOf } from './kernels.ts';

const addon = nativeAddon();

const primitives: KernelPrimitives = {
  name: 'native',
  crc32c: addon.crc32c,
  crc32cBlocks(bytes, blockBytes, out, outIndex) {
    assert(addon.crc32cBlocks(bytes, blockBytes, out, outIndex) === 0, 'the kernel accepts its arguments');
  },
  encodeParity(parity, data, firstRow) {
    assert(addon.encodeParity(parity, data, firstRow) === 0, 'the kernel accepts its arguments');
  },
  combine(outs, inputs, coefficients) {
    assert(addon.combine(outs, inputs, coefficients) === 0, 'the kernel accepts its arguments');
  },
};

export const nativeKernels = kernelsOf(primitives);

/** The levels of instructions that this processor has, worst first. The last one is in use. */
export function kernelLevels(): string[] {
  return addon.kernelLevels();
}

/** For tests and measurements. */
export function forceKernelLevel(name: string): void {
  assert(addon.forceKernelLevel(name) === 0, `kernel level ${name}`);
}
