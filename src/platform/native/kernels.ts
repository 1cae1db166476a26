/**
 * The two implementations of the checksum and erasure-code kernels: native, and its TypeScript twin, which defines the
 * results and serves where no addon can be. They are interchangeable byte for byte.
 */
import { assert } from '../../base/assert.ts';
import { MAX_NODES, MAX_PARITY } from '../../base/limits.ts';
import type { Kernels as PlatformKernels } from '../platform.ts';
import { combinationFor } from './galois.ts';

export interface Kernels extends PlatformKernels {
  /** With the checksum of what goes before as `seed`, the checksum of both together. */
  crc32c(bytes: Uint8Array, seed?: number): number;
}

/** What an implementation brings; arguments are valid. `combine` has at most MAX_PARITY outputs. */
export interface KernelPrimitives {
  readonly name: string;
  crc32c(bytes: Uint8Array, seed: number): number;
  crc32cBlocks(bytes: Uint8Array, blockBytes: number, out: Uint32Array, outIndex: number): void;
  encodeParity(parity: readonly Uint8Array[], data: readonly Uint8Array[], firstRow: number): void;
  combine(outs: readonly Uint8Array[], inputs: readonly Uint8Array[], coefficients: Uint8Array): void;
}

function assertEqualLengths(first: readonly Uint8Array[], second: readonly Uint8Array[]): void {
  const lengthBytes = first[0]?.length ?? second[0]?.length ?? 0;
  for (const bytes of first) assert(bytes.length === lengthBytes, 'fragments are equally long');
  for (const bytes of second) assert(bytes.length === lengthBytes, 'fragments are equally long');
}

type Wanted = readonly { index: number; out: Uint8Array }[];

function reconstructWith(
  primitives: KernelPrimitives,
  shards: readonly (Uint8Array | undefined)[],
  dataFragments: number,
  wanted: Wanted,
): void {
  const present = shards.map((shard) => shard !== undefined);
  const indices = wanted.map(({ index }) => index);
  const { sources, coefficients } = combinationFor(present, dataFragments, indices);
  const inputs = sources.map((index) => shards[index]!);
  assertEqualLengths(
    wanted.map(({ out }) => out),
    inputs,
  );
  for (let from = 0; from < wanted.length; from += MAX_PARITY) {
    const outs = wanted.slice(from, from + MAX_PARITY).map(({ out }) => out);
    const rows = coefficients.slice(from, from + MAX_PARITY);
    primitives.combine(outs, inputs, Buffer.concat(rows));
  }
}

/** Checks arguments, which are the program's own: a bad one is a bug. */
export function kernelsOf(primitives: KernelPrimitives): Kernels {
  return {
    name: primitives.name,
    crc32c: (bytes, seed = 0) => primitives.crc32c(bytes, seed),
    crc32cBlocks(bytes, blockBytes, out, outIndex) {
      assert(blockBytes > 0 && bytes.length % blockBytes === 0, 'whole blocks');
      assert(outIndex >= 0 && outIndex + bytes.length / blockBytes <= out.length, 'checksums fit');
      primitives.crc32cBlocks(bytes, blockBytes, out, outIndex);
    },
    encodeParity(parity, data, firstRow = 0) {
      assert(data.length >= 1 && data.length <= MAX_NODES, `data fragments ${data.length}`);
      assert(firstRow >= 0 && firstRow + parity.length <= MAX_PARITY, 'parity rows');
      if (parity.length === 0) return;
      assertEqualLengths(parity, data);
      primitives.encodeParity(parity, data, firstRow);
    },
    reconstruct(shards, dataFragments, parityFragments, wanted) {
      assert(shards.length === dataFragments + parityFragments, 'one entry for each fragment');
      if (wanted.length > 0) reconstructWith(primitives, shards, dataFragments, wanted);
    },
  };
}
