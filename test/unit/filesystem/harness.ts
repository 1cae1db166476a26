/**
 * A file system over stand-ins for the metadata and the log, with a clock that stands still until the test moves it, and crashes.
 */
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import { createFileSystem } from '../../../src/filesystem/tartan-file-system.ts';
import { nativeKernels } from '../../../src/platform/native/native-kernels.ts';
import type { Logger, Platform } from '../../../src/platform/platform.ts';
import { type SegmentStore, StandInReader, StandInWriter } from './stand-in-log.ts';
import { StandInMetadata } from './stand-in-metadata.ts';

export const silent: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  child: () => silent,
};

/** Wall clock in milliseconds, moved by hand. Timers are real. */
export class ManualClock {
  nowMs = 1_700_000_000_000;
  wallMs(): number {
    return this.nowMs;
  }
  fileTime() {
    return this.time();
  }
  monotonicMs(): number {
    return performance.now();
  }
  time() {
    return { seconds: Math.floor(this.nowMs / 1000), nanoseconds: (this.nowMs % 1000) * 1_000_000 };
  }
}

export function testPlatform(clock: ManualClock): Platform {
  const timers: Platform['timers'] = {
    after(delayMs, run) {
      const timer = setTimeout(run, delayMs).unref();
      return { cancel: () => clearTimeout(timer) };
    },
    sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs).unref()),
    defer: (run) => setImmediate(run),
    waitAwake: () => undefined,
  };
  const memory = { allocate: (lengthBytes: number) => Buffer.alloc(lengthBytes) };
  return { clock, timers, memory, log: silent, kernels: nativeKernels } as unknown as Platform;
}

export interface WorldOptions {
  readonly segmentBlocks?: number;
  readonly slotCount?: number;
}

/** What a mount consists of, and what outlives it. */
export class World {
  readonly clock = new ManualClock();
  readonly platform = testPlatform(this.clock);
  readonly store: SegmentStore = new Map();
  readonly #options: Required<WorldOptions>;
  readonly #rootTime = this.clock.time();
  metadata = new StandInMetadata(1, this.#rootTime);
  writer!: StandInWriter;
  reader!: StandInReader;
  fileSystem!: FileSystem;

  private constructor(options: WorldOptions) {
    this.#options = { segmentBlocks: options.segmentBlocks ?? 1024, slotCount: options.slotCount ?? 8 };
  }

  static async open(options: WorldOptions = {}): Promise<World> {
    const world = new World(options);
    await world.#start();
    return world;
  }

  /** Everything in memory is lost, and of the journal what is behind the first `keptOperations`. */
  async crash(keptOperations = this.metadata.durableOperations): Promise<void> {
    this.writer.close();
    this.metadata.onSegmentDead = undefined;
    this.metadata = this.metadata.crashed(keptOperations, this.#rootTime);
    await this.#start();
  }

  async close(): Promise<void> {
    await this.fileSystem.close();
    this.writer.close();
  }

  async #start(): Promise<void> {
    const { metadata } = this;
    this.writer = new StandInWriter(this.store, { term: metadata.term, ...this.#options });
    this.reader = new StandInReader(this.store);
    const { writer, reader } = this;
    this.fileSystem = await createFileSystem(this.platform, { metadata, writer, reader });
  }
}

export const root = { uid: 0, gid: 0, pid: 1 };

/** Bytes that differ from block to block and from seed to seed. */
export function patterned(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(lengthBytes);
  for (let at = 0; at < lengthBytes; at++) bytes[at] = (at * 31 + (at >> 8) * 17 + seed * 101 + 1) & 0xff;
  return bytes;
}

export async function readAll(
  fileSystem: FileSystem,
  inode: number,
  handle: number,
  offsetBytes: number,
  lengthBytes: number,
): Promise<Buffer> {
  const result = await fileSystem.read(inode, handle, offsetBytes, lengthBytes);
  const bytes = Buffer.concat(result.parts);
  result.release();
  if (bytes.length !== result.lengthBytes) throw new Error('parts do not add up to the length');
  return bytes;
}

/** Tiny segments, so that rare paths are common; some hold more than an inline commit may, some less. */
export function smallWorld(choice: number): WorldOptions {
  const segmentBlocks = [8, 24, 64][choice % 3]!;
  return { segmentBlocks, slotCount: Math.ceil(600 / segmentBlocks) };
}
