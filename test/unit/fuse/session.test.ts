import fc from 'fast-check';
import { expect, it } from 'vitest';
import { posixOutcome } from '../../../src/base/errno.ts';
import type { FileSystem, ReadResult } from '../../../src/filesystem/file-system.ts';
import { Opcode } from '../../../src/fuse/protocol.ts';
import { MemoryFileSystem } from '../../../src/simulator/model/memory-file-system.ts';
import { body, SessionDriver } from './session-driver.ts';

const caller = { uid: 0, gid: 0, pid: 0 };
const SETTLED = () => new Promise((resolve) => setImmediate(resolve));

/** The model with some methods replaced. */
function modelWith(replaced: Partial<FileSystem>): { model: MemoryFileSystem; fileSystem: FileSystem } {
  const model = new MemoryFileSystem();
  const fileSystem = new Proxy(model as FileSystem, {
    get(_, property) {
      const own = Reflect.get(replaced, property);
      const method: unknown = own ?? Reflect.get(model, property);
      return typeof method === 'function' && own === undefined ? method.bind(model) : method;
    },
  });
  return { model, fileSystem };
}

it('looks a name up, and says in a cacheable way that there is none', () => {
  const model = new MemoryFileSystem();
  const made = model.makeDirectory(1, 'there', 0o755, caller);
  const driver = new SessionDriver(model);
  const found = driver.ask(Opcode.LOOKUP, 1, body({ text: 'there' }))!;
  expect([found.error, found.body.length, Number(found.body.readBigUInt64LE(0))]).toEqual([
    0,
    128,
    made.inode,
  ]);
  const absent = driver.ask(Opcode.LOOKUP, 1, body({ text: 'absent' }))!;
  expect([absent.error, Number(absent.body.readBigUInt64LE(0))]).toEqual([0, 0]);
  expect(Number(absent.body.readBigUInt64LE(16))).toBeGreaterThan(1000);
});

it('makes files for the caller that the request names', () => {
  const model = new MemoryFileSystem();
  const driver = new SessionDriver(model);
  driver.ask(Opcode.MKDIR, 1, body({ u32: 0o750 }, { u32: 0 }, { text: 'd' }));
  const made = model.lookup(1, 'd')!;
  expect([made.uid, made.gid, made.mode & 0o777]).toEqual([1000, 2000, 0o750]);
});

it('writes a payload that landed, and reads it back', () => {
  const model = new MemoryFileSystem();
  const { attributes } = model.create(1, 'f', 0o644, 0, caller);
  const driver = new SessionDriver(model);
  const fixed = body({ u64: 1 }, { u64: 5 }, { u32: 7 }, { u32: 0 }, { u64: 0 }, { u32: 0 }, { u32: 0 });
  const written = driver.ask(Opcode.WRITE, attributes.inode, Buffer.concat([fixed, Buffer.from('payload')]))!;
  expect([written.error, written.body.readUInt32LE(0)]).toEqual([0, 7]);
  const readIn = body({ u64: 1 }, { u64: 0 }, { u32: 100 }, { u32: 0 }, { u64: 0 }, { u32: 0 }, { u32: 0 });
  expect(driver.ask(Opcode.READ, attributes.inode, readIn)!.body.toString()).toBe('\0\0\0\0\0payload');
});

it('refuses a write whose length is not that of its payload', () => {
  const model = new MemoryFileSystem();
  const { attributes } = model.create(1, 'f', 0o644, 0, caller);
  const driver = new SessionDriver(model);
  const fixed = body({ u64: 1 }, { u64: 0 }, { u32: 8 }, { u32: 0 }, { u64: 0 }, { u32: 0 }, { u32: 0 });
  const reply = driver.ask(Opcode.WRITE, attributes.inode, Buffer.concat([fixed, Buffer.from('payload')]))!;
  expect(reply.error).toBe(-22);
});

it('receives nothing while there is no room for a payload, and goes on when there is', async () => {
  let hasRoom = false;
  let makeRoom: () => void = () => undefined;
  const room = new Promise<void>((resolve) => {
    makeRoom = resolve;
  });
  const { fileSystem } = modelWith({
    writeLanding: () => (hasRoom ? [new Uint8Array(1 << 20)] : undefined),
    whenWritable: () => room,
  });
  const driver = new SessionDriver(fileSystem);
  expect(driver.ask(Opcode.GETATTR, 1, Buffer.alloc(16))).toBeUndefined();
  expect([driver.isPolling, driver.queued]).toEqual([false, 1]);
  hasRoom = true;
  makeRoom();
  await SETTLED();
  driver.turn();
  expect(driver.replies[0]!.error).toBe(0);
});

it('gives other handles of the event loop their turn', () => {
  const driver = new SessionDriver(new MemoryFileSystem());
  for (let i = 0; i < 1000; i++) driver.queue(Opcode.GETATTR, 1, Buffer.alloc(16));
  driver.turn();
  expect(driver.queued).toBeGreaterThan(0);
  while (driver.queued > 0) driver.turn();
  expect(driver.replies.length).toBe(1000);
});

it('answers unknown opcodes ENOSYS and unexpected errors EIO, with a log line', () => {
  const { fileSystem } = modelWith({
    getAttributes: () => {
      throw new TypeError('a bug');
    },
  });
  const driver = new SessionDriver(fileSystem);
  expect(driver.ask(4095, 1)!.error).toBe(-38);
  expect(driver.ask(Opcode.GETATTR, 1, Buffer.alloc(16))!.error).toBe(-5);
  expect(driver.logged.map(({ event }) => event)).toEqual(['fuse-request-failed']);
});

it('answers later what comes later, also when it fails', async () => {
  const { fileSystem } = modelWith({
    getAttributes: async () => {
      throw posixOutcome('ESTALE');
    },
  });
  const driver = new SessionDriver(fileSystem);
  const unique = driver.queue(Opcode.GETATTR, 1, Buffer.alloc(16));
  driver.turn();
  expect(driver.replyTo(unique)).toBeUndefined();
  await SETTLED();
  expect(driver.replyTo(unique)!.error).toBe(-116);
});

it('takes back what a reply held that the kernel did not take', () => {
  const model = new MemoryFileSystem();
  const driver = new SessionDriver(model);
  driver.sendResult = -2;
  const create = body({ u32: 2 }, { u32: 0o100644 }, { u32: 0 }, { u32: 0 }, { text: 'f' });
  driver.ask(Opcode.CREATE, 1, create);
  expect(model.openHandleCount).toBe(0);
  model.unlink(1, 'f');
  expect(model.inodeCount).toBe(1);
});

it('answers an interrupted read at once when its process is gone, and drops the result', async () => {
  let finish: (result: ReadResult) => void = () => undefined;
  let released = 0;
  const { model, fileSystem } = modelWith({
    read: () =>
      new Promise<ReadResult>((resolve) => {
        finish = resolve;
      }),
  });
  const { attributes } = model.create(1, 'f', 0o644, 0, caller);
  const driver = new SessionDriver(fileSystem);
  const noSuchProcess = 0x7ffffff0;
  const read = driver.queue(Opcode.READ, attributes.inode, Buffer.alloc(40), noSuchProcess);
  driver.turn();
  driver.ask(Opcode.INTERRUPT, 0, body({ u64: read }));
  expect(driver.replyTo(read)!.error).toBe(-4);
  finish({ parts: [Buffer.from('late')], lengthBytes: 4, release: () => void released++ });
  await SETTLED();
  expect([driver.replies.length, released]).toEqual([1, 1]);
});

it('asks again later whether a process that goes on is being killed, and lets changes run to their end', async () => {
  let finish: () => void = () => undefined;
  const waiting = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const { fileSystem } = modelWith({ fsyncDirectory: () => waiting, unlink: () => waiting });
  const driver = new SessionDriver(fileSystem);
  const sync = driver.queue(Opcode.FSYNCDIR, 1, Buffer.alloc(16));
  const removal = driver.queue(Opcode.UNLINK, 1, body({ text: 'f' }), 0x7ffffff0);
  driver.turn();
  const first = driver.queue(Opcode.INTERRUPT, 0, body({ u64: sync }));
  const second = driver.queue(Opcode.INTERRUPT, 0, body({ u64: removal }));
  driver.turn();
  expect(driver.replies).toEqual([]);
  driver.expireTimers();
  expect(driver.replyTo(first)!.error).toBe(-11);
  expect(driver.replyTo(second)).toBeUndefined();
  finish();
  await SETTLED();
  expect([driver.replyTo(sync)!.error, driver.replyTo(removal)!.error]).toEqual([0, 0]);
});

it('ends when the kernel lets go', async () => {
  const driver = new SessionDriver(new MemoryFileSystem());
  driver.session.close();
  await driver.session.ended;
  expect(driver.isClosed).toBe(true);
  await expect(driver.session.initialized).rejects.toMatchObject({ code: 'ENOTCONN' });
});

it('survives any bytes as a request, and answers each that has a header', async () => {
  const opcodes = fc.oneof(fc.constantFrom(...Object.values(Opcode)), fc.nat(5000));
  const message = fc.record({ opcode: opcodes, node: fc.nat(3), body: fc.uint8Array({ maxLength: 200 }) });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { maxLength: 20 }), async (messages) => {
      // No kernel forgets or closes what it does not hold; for the model that would be a bug of ours.
      const { model, fileSystem } = modelWith({ forget: () => undefined, release: () => undefined });
      model.create(1, 'f', 0o644, 0, caller);
      const driver = new SessionDriver(fileSystem);
      for (const { opcode, node, body: bytes } of messages) {
        driver.queue(opcode, node, bytes);
        driver.turn();
      }
      await SETTLED();
      const silent: number[] = [Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT];
      const expected = messages.filter(({ opcode }) => !silent.includes(opcode));
      expect(driver.replies.length).toBe(expected.length);
    }),
    { numRuns: 300 },
  );
});

it('does not read behind a request into the one before', () => {
  const driver = new SessionDriver(new MemoryFileSystem());
  driver.ask(Opcode.LOOKUP, 1, body({ text: 'a-long-name-that-stays-in-the-buffer' }));
  // No terminating NUL within the message.
  const reply = driver.ask(Opcode.LOOKUP, 1, Buffer.from('a'))!;
  expect(reply.error).toBe(-22);
});

it('refuses a request that says another length than it has', () => {
  const driver = new SessionDriver(new MemoryFileSystem());
  const message = Buffer.alloc(60);
  message.writeUInt32LE(100, 0);
  message.writeUInt32LE(Opcode.GETATTR, 4);
  driver.queueRaw(message);
  driver.queueRaw(Buffer.alloc(3));
  driver.turn();
  expect(driver.replies.map(({ error }) => error)).toEqual([-5]);
  expect(driver.logged.map(({ event }) => event)).toEqual([
    'fuse-malformed-request',
    'fuse-malformed-request',
  ]);
});
