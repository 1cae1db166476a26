/** The kernels: every level of instructions against the TypeScript twin, and both against what is known elsewhere. */
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import type { Kernels } from '../../../src/platform/native/kernels.ts';
import {
  forceKernelLevel,
  kernelLevels,
  nativeKernels,
} from '../../../src/platform/native/native-kernels.ts';
import { scriptKernels } from '../../../src/platform/native/script-kernels.ts';

const isal = new URL('./children/isal.py', import.meta.url).pathname;
const levels = kernelLevels();
const bestLevel = levels.at(-1)!;
afterAll(() => forceKernelLevel(bestLevel));

/** Bytes that look random, at an address that is `offset` away from an aligned one. */
function noise(lengthBytes: number, seed: number, offset = 0): Uint8Array {
  const bytes = new Uint8Array(lengthBytes + offset).subarray(offset);
  let state = (seed ^ 0x9e3779b9) >>> 0 || 1;
  for (let at = 0; at < lengthBytes; at++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[at] = state;
  }
  return bytes;
}

function shardsOf(dataCount: number, lengthBytes: number, seed: number, offset = 0): Uint8Array[] {
  return Array.from({ length: dataCount }, (_, index) => noise(lengthBytes, seed * 64 + index, offset));
}

function encode(kernels: Kernels, data: Uint8Array[], rows: number, firstRow = 0): Uint8Array[] {
  const parity = Array.from({ length: rows }, () => new Uint8Array(data[0]!.length).fill(0xaa));
  kernels.encodeParity(parity, data, firstRow);
  return parity;
}

/** Every way to lose 1 to `most` of `count` fragments. */
function* losses(count: number, most: number, from = 0, taken: number[] = []): Generator<number[]> {
  if (taken.length > 0) yield taken;
  if (taken.length === most) return;
  for (let next = from; next < count; next++) yield* losses(count, most, next + 1, [...taken, next]);
}

function expectRecovery(kernels: Kernels, dataCount: number, parityCount: number, lengthBytes: number): void {
  const data = shardsOf(dataCount, lengthBytes, dataCount);
  const all = [...data, ...encode(kernels, data, parityCount)];
  for (const lost of losses(all.length, parityCount)) {
    const present = all.map((shard, index) => (lost.includes(index) ? undefined : shard));
    const wanted = lost.map((index) => ({ index, out: new Uint8Array(lengthBytes) }));
    kernels.reconstruct(present, dataCount, parityCount, wanted);
    for (const { index, out } of wanted) {
      if (Buffer.compare(out, all[index]!) !== 0) throw new Error(`lost ${lost}: ${index} is wrong`);
    }
  }
}

const implementations: [string, () => Kernels][] = [
  ['script', () => scriptKernels],
  ...levels.map((level): [string, () => Kernels] => [
    `native ${level}`,
    () => {
      forceKernelLevel(level);
      return nativeKernels;
    },
  ]),
];

describe.each(implementations)('%s kernels', (_name, choose) => {
  it('give the published CRC32C of "123456789", of nothing and of 32 zeros', () => {
    const kernels = choose();
    expect(kernels.crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
    expect(kernels.crc32c(new Uint8Array(0))).toBe(0);
    expect(kernels.crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  });

  it('checksum any bytes at any address as the twin does, also in two steps', () => {
    const kernels = choose();
    const lengths = fc.oneof(fc.nat(600), fc.nat(20_000));
    fc.assert(
      fc.property(lengths, fc.nat(70), fc.nat(), fc.nat(20_000), (lengthBytes, offset, seed, cut) => {
        const bytes = noise(lengthBytes, seed, offset);
        const sum = scriptKernels.crc32c(bytes);
        expect(kernels.crc32c(bytes)).toBe(sum);
        expect(kernels.crc32c(bytes.subarray(cut), kernels.crc32c(bytes.subarray(0, cut)))).toBe(sum);
      }),
      { numRuns: 200 },
    );
  });

  it('checksum each block into its place and nothing beside it', () => {
    const kernels = choose();
    for (const blockBytes of [64, 520, 4096]) {
      const bytes = noise(blockBytes * 5, blockBytes, 3);
      const sums = new Uint32Array(8).fill(7);
      kernels.crc32cBlocks(bytes, blockBytes, sums, 2);
      const expected = Array.from({ length: 5 }, (_, block) =>
        scriptKernels.crc32c(bytes.subarray(block * blockBytes, (block + 1) * blockBytes)),
      );
      expect([...sums]).toEqual([7, 7, ...expected, 7]);
    }
  });

  it('encode any shape as the twin does', () => {
    const kernels = choose();
    const rows = fc.constantFrom<[number, number]>([1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [3, 0]);
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 32 }),
        rows,
        fc.nat(1200),
        fc.nat(9),
        (dataCount, shape, length, offset) => {
          const data = shardsOf(dataCount, length, length, offset);
          expect(encode(kernels, data, ...shape)).toEqual(encode(scriptKernels, data, ...shape));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('make the first parity row the XOR of the data', () => {
    const data = shardsOf(7, 777, 1);
    const expected = data[0]!.map((_, at) => data.reduce((sum, shard) => sum ^ shard[at]!, 0));
    expect(encode(choose(), data, 1)).toEqual([expected]);
  });

  it('add a parity row later without changing the ones before', () => {
    const kernels = choose();
    const data = shardsOf(9, 500, 2);
    const all = encode(kernels, data, 3);
    expect(encode(kernels, data, 2)).toEqual(all.slice(0, 2));
    expect(encode(kernels, data, 1, 2)).toEqual(all.slice(2));
  });

  it('rebuild every combination of lost fragments of small stripes', () => {
    const kernels = choose();
    for (let dataCount = 1; dataCount <= 6; dataCount++) {
      for (let parityCount = 1; parityCount <= 3; parityCount++) {
        expectRecovery(kernels, dataCount, parityCount, 8);
      }
    }
    expectRecovery(kernels, 4, 2, 4099);
  });
});

describe('the code', () => {
  it('survives every loss of up to 3 of the 35 fragments of the widest stripe', () => {
    forceKernelLevel(bestLevel);
    expectRecovery(nativeKernels, 32, 3, 8);
  });

  it('rebuilds fragments although more were lost than are wanted, and parity beside data', () => {
    const data = shardsOf(5, 100, 3);
    const all = [...data, ...encode(nativeKernels, data, 3)];
    const present = all.map((shard, index) => ([0, 3, 6].includes(index) ? undefined : shard));
    const outs = [3, 6].map((index) => ({ index, out: new Uint8Array(100) }));
    nativeKernels.reconstruct(present, 5, 3, outs);
    expect(outs.map(({ out }) => out)).toEqual([all[3], all[6]]);
  });

  it('refuses to rebuild from fewer fragments than hold data', () => {
    const out = new Uint8Array(8);
    const shards = [new Uint8Array(8), undefined, undefined];
    expect(() => nativeKernels.reconstruct(shards, 2, 1, [{ index: 1, out }])).toThrow(/parity left/);
  });

  it('refuses fragments of different lengths', () => {
    const data = [new Uint8Array(8), new Uint8Array(9)];
    expect(() => nativeKernels.encodeParity([new Uint8Array(8)], data)).toThrow(/equally long/);
  });

  it('agrees with ISA-L on checksum and parity', (context) => {
    const data = shardsOf(11, 4096, 4);
    const request = JSON.stringify(data.map((shard) => Buffer.from(shard).toString('hex')));
    const run = spawnSync('python3', [isal], { input: request, encoding: 'utf8' });
    if (run.status === 3) context.skip('libisal is not installed (Debian: libisal-dev)');
    expect(run.stderr).toBe('');
    const answer = JSON.parse(run.stdout) as { crc: number[]; parity: string[] };
    expect(data.map((shard) => nativeKernels.crc32c(shard))).toEqual(answer.crc);
    const parity = encode(nativeKernels, data, 3).map((shard) => Buffer.from(shard).toString('hex'));
    expect(parity).toEqual(answer.parity);
  });
});
