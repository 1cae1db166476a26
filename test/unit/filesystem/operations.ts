/** Operations for a paired run as fast-check draws them, and a paired run of a file system in this process. */
import fc from 'fast-check';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import type { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { type Kind, type Operation, WEIGHTS } from '../../../src/simulator/model/operation.ts';
import { PairedRun } from '../../../src/simulator/model/paired-run.ts';

/** Offsets near block borders and anywhere, over some segments of a small test log. */
const offsets = fc.oneof(
  fc
    .tuple(fc.nat(48), fc.integer({ min: -2, max: 2 }))
    .map(([block, delta]) => Math.max(0, block * BLOCK_BYTES + delta)),
  fc.nat(48 * BLOCK_BYTES),
);
const lengths = fc.oneof(
  fc.nat(3 * BLOCK_BYTES),
  fc.nat(12).map((blocks) => blocks * BLOCK_BYTES),
  fc.nat(40 * BLOCK_BYTES),
);

export const operations: fc.Arbitrary<Operation> = fc.record({
  kind: fc.oneof(
    ...(Object.entries(WEIGHTS) as [Kind, number][]).map(([kind, weight]) => ({
      weight,
      arbitrary: fc.constant(kind),
    })),
  ),
  node: fc.nat(9),
  name: fc.oneof({ weight: 12, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: fc.constant(4) }),
  other: fc.nat(9),
  offset: offsets,
  length: lengths,
});

/** `root`: the directory of the file system under test that stands for the model's root. */
export function pairedRun(model: MemoryFileSystem, fileSystem: FileSystem, root = 1): PairedRun {
  return new PairedRun(model, {
    call: async (_what, operation) => operation(fileSystem),
    root,
    comparesTimes: true,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
    tolerates: () => false,
    synced: () => undefined,
  });
}
