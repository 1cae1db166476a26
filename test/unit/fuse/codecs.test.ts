import { expect, it } from 'vitest';
import type { DirectoryEntry } from '../../../src/filesystem/file-system.ts';
import { DirectoryFill } from '../../../src/fuse/directory-fill.ts';
import { INIT_OUT_BYTES, negotiate, putInitReply } from '../../../src/fuse/init.ts';
import { hasFatalSignal } from '../../../src/fuse/interrupt.ts';
import { Lull } from '../../../src/fuse/lull.ts';
import { parseMountTable } from '../../../src/fuse/mount-table.ts';
import { entryInvalidation, inodeInvalidation } from '../../../src/fuse/notify.ts';
import { modeAfterChown, modeAfterWrite } from '../../../src/fuse/privileges.ts';
import { InitFlag, InitFlag2 } from '../../../src/fuse/protocol.ts';
import { ENTRY_WORDS, putEntry } from '../../../src/fuse/words.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';

const offer = { major: 7, minor: 45, maxReadAheadBytes: 131072, flags: 0x7fffffff, flags2: 0xffffffff };

it('asks a new kernel for write-back and 1 MiB requests, and never for what the kernel does better', () => {
  const reply = negotiate(offer);
  if (typeof reply === 'string') throw new Error(reply);
  expect(reply.flags & InitFlag.WRITEBACK_CACHE).not.toBe(0);
  expect([reply.maxWriteBytes, reply.maxPages]).toEqual([1 << 20, 256]);
  const POSIX_LOCKS = 1 << 1;
  const FLOCK_LOCKS = 1 << 10;
  const AUTO_INVAL_DATA = 1 << 12;
  expect(reply.flags & (POSIX_LOCKS | FLOCK_LOCKS | AUTO_INVAL_DATA)).toBe(0);
  expect(reply.flags2).toBe(InitFlag2.DIRECT_IO_ALLOW_MMAP);
});

it('takes only what the kernel offers', () => {
  const reply = negotiate({ ...offer, minor: 31, flags: InitFlag.ASYNC_READ | InitFlag.BIG_WRITES });
  expect(reply).toMatchObject({
    minor: 31,
    flags: InitFlag.ASYNC_READ | InitFlag.BIG_WRITES,
    flags2: 0,
    maxWriteBytes: 131072,
    maxPages: 32,
  });
});

it('refuses kernels that are too old and falls back with kernels that are too new', () => {
  expect(negotiate({ ...offer, minor: 30 })).toBe('too-old');
  expect(negotiate({ ...offer, major: 6 })).toBe('too-old');
  expect(negotiate({ ...offer, major: 8 })).toBe('other-major');
});

it('lays the reply to INIT out as the kernel reads it', () => {
  const words = new Uint32Array(INIT_OUT_BYTES / 4).fill(0xffffffff);
  const reply = negotiate(offer);
  if (typeof reply === 'string') throw new Error(reply);
  putInitReply(words, reply);
  const bytes = Buffer.from(words.buffer);
  expect(bytes.readUInt32LE(0)).toBe(7);
  expect(bytes.readUInt16LE(16)).toBe(reply.maxBackground);
  expect(bytes.readUInt16LE(18)).toBe(reply.congestionThreshold);
  expect(bytes.readUInt32LE(20)).toBe(1 << 20);
  expect(bytes.readUInt16LE(28)).toBe(256);
  expect(bytes.readUInt32LE(32)).toBe(InitFlag2.DIRECT_IO_ALLOW_MMAP);
  expect(bytes.subarray(36).every((byte) => byte === 0)).toBe(true);
});

it('encodes attributes with large sizes and times before 1970', () => {
  const model = new MemoryFileSystem(() => ({ seconds: -2, nanoseconds: 5 }));
  const words = new Uint32Array(ENTRY_WORDS);
  putEntry(words, 0, { ...model.getAttributes(1), sizeBytes: 2 ** 43 + 1, blocks512: 2 ** 34 });
  const bytes = Buffer.from(words.buffer);
  expect(bytes.readBigUInt64LE(48)).toBe(2n ** 43n + 1n);
  expect(bytes.readBigUInt64LE(56)).toBe(2n ** 34n);
  expect(bytes.readBigInt64LE(64)).toBe(-2n);
  expect(bytes.readUInt32LE(88)).toBe(5);
});

it('packs directory entries until one does not fit, and forgets them when they are not delivered', () => {
  const model = new MemoryFileSystem();
  for (let i = 0; i < 10; i++) model.makeDirectory(1, `directory-${i}`, 0o755, { uid: 0, gid: 0, pid: 0 });
  const fill = DirectoryFill.take(1000, true);
  const accepted: DirectoryEntry[] = [];
  model.readDirectory(1, 0, 0n, true, (entry) => {
    const fits = fill.sink(entry);
    if (fits) accepted.push(entry);
    return fits;
  });
  const { bytes } = fill;
  const buffer = Buffer.from(bytes);
  expect(bytes.length).toBeLessThanOrEqual(1000);
  expect(accepted.map(({ name }) => name).slice(0, 3)).toEqual(['.', '..', 'directory-0']);
  // '.' comes without an inode to look up, with its number and cookie behind.
  expect([buffer.readBigUInt64LE(0), buffer.readBigUInt64LE(128), buffer.readBigUInt64LE(136)]).toEqual([
    0n,
    1n,
    1n,
  ]);
  expect(buffer.subarray(128 + 24, 128 + 25).toString()).toBe('.');
  fill.forgetAll(model);
  for (let i = 0; i < 10; i++) {
    const { inode } = model.lookup(1, `directory-${i}`)!;
    // One from making, one from this look-up: no third one is left.
    model.forget(inode, 2);
    model.removeDirectory(1, `directory-${i}`);
  }
  expect(model.inodeCount).toBe(1);
  fill.release();
});

it('reads mount tables with escaped names and optional fields', () => {
  const text =
    '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n' +
    '37 35 0:44 / /mnt/tartan rw - fuse.tartan a\\134b rw,user_id=0\n';
  expect(parseMountTable(text)).toEqual([
    { device: '98:0', mountPoint: '/mnt 2', type: 'ext3', source: '/dev/root' },
    { device: '0:44', mountPoint: '/mnt/tartan', type: 'fuse.tartan', source: 'a\\b' },
  ]);
});

it('lays notifications out with no number, which tells them from replies', () => {
  const inode = Buffer.from(inodeInvalidation(2 ** 40, -1, 0));
  expect([inode.length, inode.readUInt32LE(0), inode.readInt32LE(4)]).toEqual([40, 40, 2]);
  expect([inode.readBigUInt64LE(8), inode.readBigUInt64LE(16), inode.readBigInt64LE(24)]).toEqual([
    0n,
    2n ** 40n,
    -1n,
  ]);
  const entry = Buffer.from(entryInvalidation(7, 'näme'));
  expect([entry.length, entry.readUInt32LE(24), entry.at(-1)]).toEqual([16 + 16 + 5, 4, 0]);
});

it('drops privilege bits as the kernel would', () => {
  expect(modeAfterWrite(0o106777)).toBe(0o100777);
  expect(modeAfterWrite(0o106767)).toBe(0o102767);
  expect(modeAfterWrite(0o042777)).toBe(0o042777);
  expect(modeAfterChown(0o104755)).toBe(0o100755);
});

it('tells a process that is being killed from one that has a handler', () => {
  const status = (sigPnd: string, shdPnd: string, sigIgn: string, sigCgt: string) =>
    `Name:\tx\nSigQ:\t1/2\nSigPnd:\t${sigPnd}\nShdPnd:\t${shdPnd}\nSigBlk:\t0\nSigIgn:\t${sigIgn}\nSigCgt:\t${sigCgt}\n`;
  const KILL = '0000000000000100';
  const TERM = '0000000000004000';
  const CHILD = '0000000000010000';
  expect(hasFatalSignal(status(KILL, '0', '0', '0'))).toBe(true);
  expect(hasFatalSignal(status('0', TERM, '0', '0'))).toBe(true);
  expect(hasFatalSignal(status('0', TERM, '0', TERM))).toBe(false);
  expect(hasFatalSignal(status('0', TERM, TERM, '0'))).toBe(false);
  expect(hasFatalSignal(status('0', CHILD, '0', '0'))).toBe(false);
  expect(hasFatalSignal(status('0', '0', '0', '0'))).toBe(false);
});

it('stops waiting awake when that is in vain, and tries again now and then', () => {
  const lull = new Lull();
  expect(lull.waitUs(0, 0)).toBe(0);
  expect(lull.waitUs(1, 1)).toBe(0);
  const waits = Array.from({ length: 200 }, () => {
    const waitUs = lull.waitUs(1, 0);
    lull.outcome(false);
    return waitUs > 0;
  });
  const tries = waits.filter((isTry) => isTry).length;
  expect(tries).toBeGreaterThan(4);
  expect(tries).toBeLessThan(10);
});
