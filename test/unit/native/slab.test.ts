/** Shared memory: between processes, under direct I/O, and until its end. */
import { spawn } from 'node:child_process';
import { closeSync, constants, fstatSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { DiskQueue } from '../../../src/platform/native/disk-queue.ts';
import { alignedBuffer, createSlab, mapSlab } from '../../../src/platform/native/slab.ts';
import { listenUnix, type UnixChannel } from '../../../src/platform/native/unix-channel.ts';
import { openDescriptors } from './descriptors.ts';

const directory = mkdtempSync('/var/tmp/tartan-slab-');
afterAll(() => rmSync(directory, { recursive: true }));

const MIB = 1 << 20;

function mappings(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('tartan-slab').length - 1;
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 1));
}

it('is zeroed memory of a size that cannot change', () => {
  const slab = createSlab(2 * MIB);
  expect(slab.buffer.length).toBe(2 * MIB);
  expect(slab.buffer.every((byte) => byte === 0)).toBe(true);
  expect(fstatSync(slab.descriptor).size).toBe(2 * MIB);
  const path = `/proc/self/fd/${slab.descriptor}`;
  expect(() => closeSync(openSync(path, 'w'))).toThrow(expect.objectContaining({ code: 'EPERM' }));
  slab.close();
});

it('is as good where it was not touched at first', async () => {
  const slab = createSlab(2 * MIB);
  expect(fstatSync(slab.descriptor).blocks).toBe(0);
  slab.buffer.write('before', 4096);
  await slab.populate(MIB);
  expect(slab.buffer.toString('utf8', 4096, 4102)).toBe('before');
  slab.buffer.fill(0, 4096, 4102);
  const other = mapSlab(openSync(`/proc/self/fd/${slab.descriptor}`, 'r+'), 2 * MIB);
  expect(slab.buffer.every((byte) => byte === 0)).toBe(true);
  slab.buffer.write('tartan', 2 * MIB - 6);
  expect(other.buffer.toString('utf8', 2 * MIB - 6)).toBe('tartan');
  // All of it is reserved: no write can fail for want of memory later.
  expect(fstatSync(slab.descriptor).blocks * 512).toBe(2 * MIB);
  slab.close();
  other.close();
});

it('refuses to take more than there is of it, or what is closed', async () => {
  const slab = createSlab(MIB);
  await expect(slab.populate(2 * MIB)).rejects.toThrow(/touched/);
  slab.close();
  await expect(slab.populate(MIB)).rejects.toThrow(/open/);
});

it('may be closed, written and read while its memory is taken', async () => {
  const slab = createSlab(64 * MIB);
  const taken = slab.populate(64 * MIB);
  for (let at = 0; at < slab.lengthBytes; at += 4096) slab.buffer.writeUInt32LE(at, at);
  await taken;
  for (let at = 0; at < slab.lengthBytes; at += 4096) {
    if (slab.buffer.readUInt32LE(at) !== at) throw new Error(`byte ${at} is not what was written`);
  }
  const again = slab.populate(64 * MIB);
  slab.close();
  await again;
  await until(() => mappings() === 0);
});

it('is as good in huge pages, with an end that is not one', async () => {
  const lengthBytes = 6 * MIB + 4096;
  const slab = createSlab(lengthBytes);
  await slab.populate(lengthBytes);
  const own = alignedBuffer(4 * MIB + 4096);
  expect(slab.buffer.every((byte) => byte === 0)).toBe(true);
  expect(own.every((byte) => byte === 0)).toBe(true);
  const path = join(directory, 'huge');
  const fd = openSync(path, constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
  const queue = new DiskQueue();
  for (let at = 0; at < lengthBytes; at += 4096) slab.buffer.writeUInt32LE(at, at);
  await queue.write(fd, slab.buffer, 0, { durable: true });
  const from = lengthBytes - own.length;
  expect(await queue.read(fd, own, from)).toBe(own.length);
  expect(own.equals(slab.buffer.subarray(from))).toBe(true);
  await queue.close();
  closeSync(fd);
  slab.close();
});

it('is the same memory wherever it is mapped', () => {
  const slab = createSlab(MIB);
  const other = mapSlab(openSync(`/proc/self/fd/${slab.descriptor}`, 'r+'), MIB);
  slab.buffer.write('tartan', 4096);
  expect(other.buffer.toString('utf8', 4096, 4102)).toBe('tartan');
  slab.close();
  expect(other.buffer.toString('utf8', 4096, 4102)).toBe('tartan');
  other.close();
});

it('refuses what is not a slab, or shorter than it is said to be', () => {
  const before = openDescriptors('');
  const file = () => openSync(join(directory, 'file'), 'w+');
  expect(() => mapSlab(file(), 4096)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  const slab = createSlab(4096);
  const descriptor = openSync(`/proc/self/fd/${slab.descriptor}`, 'r+');
  expect(() => mapSlab(descriptor, 8192)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  slab.close();
  expect(openDescriptors('')).toBe(before);
});

it('carries direct reads and writes of another process', async () => {
  const path = join(directory, 'socket');
  const accepted = new Promise<UnixChannel>((resolve, reject) => {
    const listener = listenUnix(path, {
      onError: reject,
      onConnection: (channel) => {
        listener.close();
        resolve(channel);
      },
    });
  });
  const script = new URL('./children/slab-user.mjs', import.meta.url).pathname;
  const child = spawn(process.execPath, [script, path, join(directory, 'data')], { stdio: 'inherit' });
  const channel = await accepted;
  const slab = createSlab(2 * MIB);
  slab.buffer.fill('weave', 0, 4096);
  const answer = new Promise<string>((resolve, reject) => {
    channel.onClose = () => reject(new Error('the other process ended'));
    channel.onData = (bytes) => resolve(Buffer.from(bytes).toString());
  });
  channel.descriptors.send(slab.descriptor, Buffer.from('go'));
  expect(await answer).toBe('4096 4096');
  expect(slab.buffer.subarray(4096, 8192).equals(slab.buffer.subarray(0, 4096))).toBe(true);
  expect(readFileSync(join(directory, 'data')).equals(slab.buffer.subarray(0, 4096))).toBe(true);
  channel.close();
  slab.close();
  child.kill('SIGKILL');
});

it('stays mapped until transfers that began before its end are over', async () => {
  const fd = openSync(join(directory, 'late'), constants.O_RDWR | constants.O_CREAT | constants.O_DIRECT);
  const queue = new DiskQueue();
  const slab = createSlab(16 * MIB);
  slab.buffer.fill(7);
  const parts = Array.from({ length: 16 }, (_, index) =>
    slab.buffer.subarray(index * MIB, (index + 1) * MIB),
  );
  const writes = parts.map((part, index) => queue.write(fd, part, index * MIB));
  queue.flush();
  slab.close();
  expect(slab.buffer.length).toBe(0);
  await Promise.all(writes);
  await queue.close();
  closeSync(fd);
  const bytes = readFileSync(join(directory, 'late'));
  expect(bytes.length).toBe(16 * MIB);
  expect(bytes.every((byte) => byte === 7)).toBe(true);
  await until(() => mappings() === 0);
});

it('leaves neither descriptors nor mappings behind', async () => {
  const before = openDescriptors('tartan-slab');
  for (let round = 0; round < 30; round++) {
    const slab = createSlab(MIB);
    slab.close();
    slab.close();
  }
  expect(openDescriptors('tartan-slab')).toBe(before);
  await until(() => mappings() === 0);
});

it('is told from private aligned memory, which is zeroed too', () => {
  const buffer = alignedBuffer(10_000);
  expect(buffer.length).toBe(10_000);
  expect(buffer.every((byte) => byte === 0)).toBe(true);
  expect(() => alignedBuffer(4096, 3)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
});
