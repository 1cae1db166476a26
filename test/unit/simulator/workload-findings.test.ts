/** Each workload notices file systems that lie, in the ways it is there for. */
import { describe, expect, it } from 'vitest';
import { ErrnoError } from '../../../src/base/errno.ts';
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import { CheckFailed, type Workload } from '../../../src/simulator/contract.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { AppendWorkload } from '../../../src/simulator/workloads/append.ts';
import { BankWorkload } from '../../../src/simulator/workloads/bank.ts';
import { FillWorkload } from '../../../src/simulator/workloads/fill.ts';
import { OverwriteWorkload } from '../../../src/simulator/workloads/overwrite.ts';
import { PosixWorkload } from '../../../src/simulator/workloads/posix.ts';
import { StreamWorkload } from '../../../src/simulator/workloads/stream.ts';
import { smallWorld, World } from '../filesystem/harness.ts';
import { TestLoad } from './workload-context.ts';

type Lie = (fileSystem: FileSystem) => Partial<FileSystem>;

/** The file system with some methods replaced. */
function lying(lie: Lie): (fileSystem: FileSystem) => FileSystem {
  return (fileSystem) => {
    const lies = lie(fileSystem) as Record<string | symbol, unknown>;
    return new Proxy(fileSystem, {
      get(target, property) {
        const value = lies[property] ?? Reflect.get(target, property);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  };
}

const MIB = 1024 * 1024;
const make: Record<string, () => Workload> = {
  posix: () => new PosixWorkload(),
  append: () => new AppendWorkload(),
  bank: () => new BankWorkload(),
  stream: () => new StreamWorkload('stream', { fileBytes: MIB / 2 }),
  fill: () => new FillWorkload('fill', { fileBytes: MIB / 4, mostBytes: MIB }),
  overwrite: () => new OverwriteWorkload(),
};

/** Every so many calls. */
function nowAndThen(every: number): () => boolean {
  let count = 0;
  return () => ++count % every === 0;
}

const lies: readonly [name: string, workloads: readonly string[], lie: Lie][] = [
  [
    'gives a wrong byte to a reader now and then',
    ['posix', 'append', 'stream', 'fill', 'overwrite', 'bank'],
    (fileSystem) => {
      const wrong = nowAndThen(7);
      return {
        async read(...call) {
          const result = await fileSystem.read(...call);
          const bytes = Buffer.concat(result.parts);
          result.release();
          if (wrong() && bytes.length > 0) bytes[bytes.length >> 1]! ^= 1;
          return { parts: [bytes], lengthBytes: bytes.length, release: () => undefined };
        },
      };
    },
  ],
  [
    'drops a write now and then',
    ['posix', 'append', 'stream', 'fill', 'overwrite'],
    (fileSystem) => {
      const dropped = nowAndThen(5);
      return { write: (...call) => (dropped() ? undefined : fileSystem.write(...call)) };
    },
  ],
  [
    'exchanges by renaming only',
    ['posix', 'bank'],
    (fileSystem) => ({
      rename: (from, name, to, other, flags, caller) =>
        fileSystem.rename(from, name, to, other, flags & ~2, caller),
    }),
  ],
  ['removes nothing when a file is unlinked', ['posix', 'bank'], () => ({ unlink: () => undefined })],
  [
    'fails with EIO now and then, though no fault explains it',
    ['posix', 'append', 'stream', 'fill', 'overwrite'],
    (fileSystem) => {
      const fails = nowAndThen(50);
      return {
        getAttributes(inode) {
          if (fails()) throw new ErrnoError('EIO');
          return fileSystem.getAttributes(inode);
        },
        write(...call) {
          if (fails()) throw new ErrnoError('EIO');
          return fileSystem.write(...call);
        },
      };
    },
  ],
  [
    'does not give the space of deleted files back',
    ['fill'],
    () => ({
      statistics: () => ({
        ...{ totalBlocks: 1000, freeBlocks: 500, availableBlocks: 500, inodes: 10, freeInodes: 5 },
      }),
    }),
  ],
];

describe.each(lies)('a file system that %s', (_name, workloads, lie) => {
  it.each(workloads)('is found by %s', async (name) => {
    const served = { fileSystem: new MemoryFileSystem() as FileSystem };
    const load = new TestLoad(served, { seed: 3, operations: 3000, wrap: lying(lie) });
    await expect(load.run(make[name]!())).rejects.toBeInstanceOf(CheckFailed);
  });
});

const crashLies: readonly [name: string, workloads: readonly string[], lie: Lie][] = [
  [
    'acknowledges syncs of files without doing them',
    ['posix', 'append', 'stream', 'overwrite'],
    () => ({ fsync: () => undefined }),
  ],
  [
    'acknowledges syncs of directories and of everything without doing them',
    ['posix', 'bank'],
    () => ({ fsyncDirectory: () => undefined, syncAll: () => Promise.resolve() }),
  ],
];

describe.each(crashLies)('a file system that %s', (_name, workloads, lie) => {
  it.each(workloads)('is found by %s when it crashes', async (name) => {
    const found: unknown[] = [];
    for (let seed = 1; seed <= 4 && found.length === 0; seed++) {
      const world = await World.open(smallWorld(2));
      world.writer.latencyTurns = 3;
      const served = {
        get fileSystem() {
          return world.fileSystem;
        },
        crash: () => world.crash(),
      };
      const options = { seed, operations: 1500, crashChance: 0.03, wrap: lying(lie) };
      await new TestLoad(served, options).run(make[name]!()).catch((error: unknown) => found.push(error));
      world.writer.close();
    }
    expect(found[0]).toBeInstanceOf(CheckFailed);
  });
});
