/**
 * A platform for tests of the log: time moves only when a test says so, memory is plain, and the "descriptors" that fake nodes pass
 * name buffers in a table. Kernels are the TypeScript ones, the logger collects events.
 */
import { scriptKernels } from '../../../src/platform/native/script-kernels.ts';
import {
  type DiskFile,
  type Logger,
  MachineError,
  type Memory,
  type Platform,
  type Timer,
  type Timers,
} from '../../../src/platform/platform.ts';

export class VirtualTime {
  nowMs = 0;
  readonly #timers = new Set<{ dueMs: number; run: () => void }>();

  readonly timers: Timers = {
    after: (delayMs, run): Timer => {
      const timer = { dueMs: this.nowMs + delayMs, run };
      this.#timers.add(timer);
      return { cancel: () => this.#timers.delete(timer) };
    },
    sleep: (delayMs) => new Promise((resolve) => this.timers.after(delayMs, resolve)),
    defer: (run) => setImmediate(run),
    waitAwake: () => undefined,
  };

  get pendingTimers(): number {
    return this.#timers.size;
  }

  /** Lets everything that is ready run, then moves on to the next timer, until `durationMs` have passed. */
  async pass(durationMs: number): Promise<void> {
    const endMs = this.nowMs + durationMs;
    for (;;) {
      await settle();
      let next: { dueMs: number; run: () => void } | undefined;
      for (const timer of this.#timers) if (next === undefined || timer.dueMs < next.dueMs) next = timer;
      if (next === undefined || next.dueMs > endMs) break;
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.dueMs);
      next.run();
    }
    this.nowMs = endMs;
    await settle();
  }
}

/** Lets promise reactions and deferred work run until nothing is left to do. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 8; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** What a disk of a fake node holds; reads can be made to hang. */
export interface FakeLogFile {
  bytes: Buffer;
  /** Present while the disk does not answer; resolves when it does again. */
  stuck: Promise<void> | undefined;
  openCount: number;
}

export interface FakePlatform extends Platform {
  readonly time: VirtualTime;
  readonly events: string[];
  /** Files by descriptor. */
  readonly descriptors: Map<number, FakeLogFile>;
}

export function fakePlatform(): FakePlatform {
  const time = new VirtualTime();
  const events: string[] = [];
  const descriptors = new Map<number, FakeLogFile>();
  const logger: Logger = {
    debug: () => {},
    info: (event) => events.push(event),
    warn: (event) => events.push(event),
    error: (event) => events.push(event),
    child: () => logger,
  };
  const memory: Memory = {
    allocate: (lengthBytes) => Buffer.alloc(lengthBytes),
    createSlab: (lengthBytes) => {
      const buffer = Buffer.from(new ArrayBuffer(lengthBytes));
      return { lengthBytes, buffer, descriptor: undefined, populate: async () => {}, close: () => {} };
    },
    mapSlab: () => {
      throw new Error('not in these tests');
    },
    openDescriptor: (descriptor) => openFake(descriptors.get(descriptor)!, descriptor),
  };
  const absent = new Proxy({}, { get: (_, name) => () => Promise.reject(new Error(`no ${String(name)}`)) });
  return {
    time,
    events,
    descriptors,
    clock: {
      wallMs: () => time.nowMs,
      fileTime: () => ({ seconds: Math.floor(time.nowMs / 1000), nanoseconds: 0 }),
      monotonicMs: () => time.nowMs,
    },
    timers: time.timers,
    random: { bytes: (lengthBytes) => Buffer.alloc(lengthBytes), below: () => 0 },
    log: logger,
    disk: absent as Platform['disk'],
    network: absent as Platform['network'],
    memory,
    databases: absent as Platform['databases'],
    kernels: scriptKernels,
  };
}

function openFake(file: FakeLogFile, descriptor: number): DiskFile {
  file.openCount++;
  const refuse = () => Promise.reject(new MachineError('EBADF', 'read-only'));
  const read = async (into: Uint8Array, position: number): Promise<number> => {
    await file.stuck;
    const there = file.bytes.subarray(position, position + into.length);
    into.set(there);
    return there.length;
  };
  return {
    path: `descriptor ${descriptor}`,
    direct: true,
    descriptor,
    read: ([into], position) => read(into!, position),
    readThen: (into, position, done) => void read(into, position).then(done),
    readSync: () => 0,
    write: refuse,
    writeSync: () => {},
    sync: refuse,
    allocate: refuse,
    punchHole: refuse,
    truncate: refuse,
    size: () => Promise.resolve(file.bytes.length),
    close: async () => {
      file.openCount--;
    },
  };
}
