/** The disk queue on both engines: results, order of buffers, bounds, and what happens at the end. */
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskQueue, readSync, writeSync } from '../../../src/platform/native/disk-queue.ts';
import { alignedBuffer } from '../../../src/platform/native/slab.ts';
import { openDescriptors } from './descriptors.ts';

// Not in /tmp, which may be memory without direct I/O.
const directory = mkdtempSync('/var/tmp/tartan-disk-');
afterAll(() => rmSync(directory, { recursive: true }));

const path = join(directory, 'file');
const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
let fd = -1;
beforeEach(() => {
  fd = openSync(path, flags);
});
afterEach(() => closeSync(fd));

function pattern(lengthBytes: number, seed: number): Buffer {
  const bytes = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes; at++) bytes[at] = at * 7 + (at >> 8) + seed;
  return bytes;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function runChild(...args: string[]) {
  const child = new URL('./children/in-flight.mjs', import.meta.url).pathname;
  return spawnSync(process.execPath, [child, path, ...args], {
    encoding: 'utf8',
    timeout: 20_000,
  });
}

it('uses io_uring where the kernel has it', async () => {
  const queue = new DiskQueue();
  const setting = Number(readFileSync('/proc/sys/kernel/io_uring_disabled', 'utf8'));
  if (setting === 0) expect(queue.engine).toBe('io_uring');
  await queue.close();
});

describe.each([false, true])('with forceThreads %s', (forceThreads) => {
  let queue: DiskQueue;
  beforeEach(() => {
    queue = new DiskQueue({ forceThreads });
  });
  afterEach(() => queue.close());

  it('reads back what it wrote, at its place', async () => {
    const bytes = pattern(10_000, 1);
    await queue.write(fd, bytes, 5000);
    const back = Buffer.alloc(10_000);
    expect(await queue.read(fd, back, 5000)).toBe(10_000);
    expect(back.equals(bytes)).toBe(true);
    expect(statSync(path).size).toBe(15_000);
  });

  it('gathers and scatters up to eight buffers, and refuses nine', async () => {
    const parts = Array.from({ length: 8 }, (_, index) => pattern(100 * (index + 1), index));
    await queue.write(fd, parts, 3, { durable: true });
    const backs = parts.map((part) => Buffer.alloc(part.length));
    expect(await queue.read(fd, backs, 3)).toBe(3600);
    expect(backs).toEqual(parts);
    await expect(queue.write(fd, [...parts, parts[0]!], 0)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('reads less only at the end of the file', async () => {
    await queue.write(fd, pattern(6000, 2), 0);
    const parts = [Buffer.alloc(4096), Buffer.alloc(4096)];
    expect(await queue.read(fd, parts, 0)).toBe(6000);
    expect(await queue.read(fd, Buffer.alloc(10), 6000)).toBe(0);
  });

  it('transfers directly from aligned memory, also a short end, and refuses unaligned memory', async () => {
    await queue.write(fd, pattern(6000, 3), 0);
    const direct = openSync(path, constants.O_RDWR | constants.O_DIRECT);
    const memory = alignedBuffer(16384);
    expect(await queue.read(direct, memory, 0)).toBe(6000);
    expect(memory.subarray(0, 6000).equals(pattern(6000, 3))).toBe(true);
    await queue.write(direct, [memory.subarray(4096, 8192), memory.subarray(0, 4096)], 0, { durable: true });
    expect(readFileSync(path).subarray(4096, 8192).equals(pattern(6000, 3).subarray(0, 4096))).toBe(true);
    await expect(queue.read(direct, memory.subarray(1, 4097), 0)).rejects.toMatchObject({ code: 'EINVAL' });
    closeSync(direct);
  });

  it('says which error it was', async () => {
    await expect(queue.read(1_000_000, Buffer.alloc(1), 0)).rejects.toMatchObject({ code: 'EBADF' });
    const full = openSync('/dev/full', constants.O_WRONLY);
    await expect(queue.write(full, Buffer.alloc(512), 0)).rejects.toMatchObject({ code: 'ENOSPC' });
    closeSync(full);
    await expect(queue.sync(1_000_000)).rejects.toMatchObject({ code: 'EBADF' });
    await expect(queue.read(fd, Buffer.alloc(1), -1)).rejects.toMatchObject({ code: 'EINVAL' });
  });

  it('allocates, zeroes and gives back space', async () => {
    await queue.allocate(fd, 0, 1 << 20);
    expect(statSync(path).size).toBe(1 << 20);
    await queue.write(fd, pattern(65536, 4), 0);
    await queue.sync(fd);
    const before = statSync(path).blocks;
    await queue.punchHole(fd, 0, 32768);
    expect(before - statSync(path).blocks).toBe(64);
    await queue.zeroRange(fd, 32768, 4096);
    const bytes = readFileSync(path);
    expect(bytes.subarray(0, 36864).every((byte) => byte === 0)).toBe(true);
    expect(bytes.subarray(36864, 65536).equals(pattern(65536, 4).subarray(36864))).toBe(true);
  });

  it('carries thousands of operations at once, each with its own result', async () => {
    const count = 3000;
    await queue.write(fd, pattern(count, 5), 0);
    const expected = pattern(count, 5);
    const backs = Array.from({ length: count }, () => Buffer.alloc(7));
    const results = await Promise.all(backs.map((back, at) => queue.read(fd, back, at)));
    expect(results).toEqual(backs.map((_, at) => Math.min(7, count - at)));
    for (const [at, back] of backs.entries()) expect(back[0]).toBe(expected[at]);
    expect(queue.inFlight).toBe(0);
  });

  it('refuses what is beyond its bound and goes on afterwards', async () => {
    const byte = Buffer.alloc(1);
    const accepted = Array.from({ length: 4096 }, () => queue.read(fd, byte, 0));
    await expect(queue.read(fd, byte, 0)).rejects.toMatchObject({ code: 'EAGAIN' });
    await Promise.all(accepted);
    expect(await queue.read(fd, byte, 0)).toBe(0);
  });

  it('accepts new operations from within a completion and never mixes ids up', async () => {
    const bytes = pattern(4096, 6);
    writeFileSync(path, bytes);
    let left = 2000;
    await new Promise<void>((resolve, reject) => {
      const next = (): void => {
        const at = left-- % 4096;
        if (at < 0) return;
        const back = Buffer.alloc(1);
        queue.submitRead(fd, back, at, (result) => {
          if (result !== 1 || back[0] !== bytes[at]) reject(new Error(`read at ${at}: ${result}`));
          if (left <= 0 && queue.inFlight === 0) resolve();
          else if (left > 0) next();
        });
      };
      for (let started = 0; started < 50; started++) next();
    });
  });

  it('starts at once when flushed', async () => {
    const done = queue.write(fd, pattern(100, 7), 0);
    queue.flush();
    await done;
    expect(statSync(path).size).toBe(100);
  });

  it('finishes what it accepted before it is closed, and takes nothing afterwards', async () => {
    const finished: number[] = [];
    for (let at = 0; at < 100; at++)
      void queue.write(fd, pattern(4096, at), at * 4096).then(() => finished.push(at));
    await queue.close();
    expect(finished.length).toBe(100);
    expect(statSync(path).size).toBe(409_600);
    await expect(queue.read(fd, Buffer.alloc(1), 0)).rejects.toThrow(/open/);
  });

  it('leaves no descriptor behind', async () => {
    const count = () =>
      openDescriptors('io_uring') + openDescriptors('eventpoll') + openDescriptors('eventfd');
    const before = count();
    for (let round = 0; round < 20; round++) {
      const other = new DiskQueue({ forceThreads });
      await other.read(fd, Buffer.alloc(1), 0);
      await other.close();
    }
    expect(count()).toBe(before);
  });

  const engine = forceThreads ? 'threads' : 'ring';
  it('keeps buffers alive that nobody else holds', async () => {
    const done = Array.from({ length: 200 }, (_, at) => queue.write(fd, pattern(65536, at), at * 65536));
    collectGarbage();
    await Promise.all(done);
    const bytes = readFileSync(path);
    for (let at = 0; at < 200; at++) {
      expect(bytes.subarray(at * 65536, (at + 1) * 65536).equals(pattern(65536, at))).toBe(true);
    }
  });

  it('does not keep a process running that waits for nothing', () => {
    expect(runChild(engine, 'idle')).toMatchObject({ status: 0, stderr: '', stdout: 'idle\n' });
  });

  it('lets a process exit while operations are in flight', () => {
    expect(runChild(engine, 'exit')).toMatchObject({ status: 0, stderr: '', signal: null });
  });

  it('lets a thread end while operations are in flight', () => {
    expect(runChild(engine, 'worker')).toMatchObject({ status: 0, stderr: '', stdout: 'ended\n' });
  });
});

describe('synchronous transfers', () => {
  it('read and write whole buffers in this turn', () => {
    writeSync(fd, pattern(5000, 8), 10, { durable: true });
    const back = Buffer.alloc(6000);
    expect(readSync(fd, back, 10)).toBe(5000);
    expect(back.subarray(0, 5000).equals(pattern(5000, 8))).toBe(true);
  });

  it('throw the error of the system', () => {
    expect(() => readSync(1_000_000, Buffer.alloc(1), 0)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => writeSync(fd, Buffer.alloc(1), -1)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
