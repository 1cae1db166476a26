import fc from 'fast-check';
import { afterEach, expect, test } from 'vitest';
import { MAX_REQUEST_BYTES } from '../../../src/base/limits.ts';
import { BLOCK_BYTES } from '../../../src/base/units.ts';
import { rpcMethods } from '../../../src/cluster/rpc.ts';
import { LogUnreadable } from '../../../src/log/log.ts';
import { settle } from './fake-platform.ts';
import { type FixtureOptions, LogFixture } from './log-fixture.ts';

const open: LogFixture[] = [];
function fixture(options: FixtureOptions = {}): LogFixture {
  const made = new LogFixture({ segmentBlocks: 16, slotCount: 40, ...options });
  open.push(made);
  return made;
}
afterEach(() => {
  for (const made of open.splice(0)) made.close();
});

async function oneSegment(options: FixtureOptions = {}, blocks = 12): Promise<LogFixture> {
  const log = fixture(options);
  log.append(1, 0, blocks);
  await log.sealAndSettle();
  return log;
}

function calls(log: LogFixture, method: number): number {
  return log.cluster.nodes.reduce((sum, node) => sum + (node.calls.get(method) ?? 0), 0);
}

function segmentOf(log: LogFixture) {
  return log.durable[0]!.record;
}

test('fragments just written are read from the disk without asking where they lie', async () => {
  const log = await oneSegment();
  await log.verifyAll();
  expect(calls(log, rpcMethods.locateFragment)).toBe(0);
  expect(calls(log, rpcMethods.getFragment)).toBe(0);
  expect(log.reader.statistics()).toMatchObject({ blocksRead: 12, blocksRebuilt: 0 });
});

test('a fragment of unknown place is located once', async () => {
  const log = await oneSegment();
  log.locations.forgetSegment(segmentOf(log).segmentId);
  await Promise.all([log.read(segmentOf(log).segmentId, 0, 1), log.read(segmentOf(log).segmentId, 1, 1)]);
  await log.read(segmentOf(log).segmentId, 2, 1);
  expect(calls(log, rpcMethods.locateFragment)).toBe(1);
});

test('nodes on other machines are read by calls', async () => {
  const log = fixture();
  for (const node of log.cluster.nodes) node.local = false;
  log.append(1, 0, 12);
  await log.sealAndSettle();
  await log.verifyAll();
  expect(calls(log, rpcMethods.getFragment)).toBe(3);
  expect(calls(log, rpcMethods.openLogFile)).toBe(0);
});

test('a note of a place that went stale makes the reader ask the node', async () => {
  const log = await oneSegment();
  const { segmentId, nodes, fragmentBlocks } = segmentOf(log);
  const location = { fileId: 1, payloadOffset: 1 << 20, fragmentBlocks };
  log.locations.note({ segmentId, generation: 0, position: 0, nodeId: nodes[0]!, location });
  await log.verifyAll();
  expect(log.reader.statistics()).toMatchObject({ corruptBlocks: 0, blocksRebuilt: 0 });
});

test('a corrupt block is rebuilt, counted, and never returned', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[1]!).corrupt(segmentId, 1, 2);
  await log.verifyAll();
  expect(log.reader.statistics()).toMatchObject({ corruptBlocks: 4, blocksRebuilt: 4 });
  expect(log.platform.events).toContain('fragment-corrupt');
});

test('a corrupt source is left out of a rebuild when another one can be had', async () => {
  const log = await oneSegment({ nodes: 6, parity: 2 });
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[0]!).kill();
  log.cluster.node(nodes[2]!).corrupt(segmentId, 2, 0);
  await log.verifyAll();
});

test('corruption beyond the parity is an error and not other bytes', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[1]!).corrupt(segmentId, 1, 0);
  log.cluster.node(nodes[3]!).corrupt(segmentId, 3, 0);
  await expect(log.read(segmentId, 4, 1)).rejects.toMatchObject({ name: 'LogUnreadable', reason: 'lost' });
  expect(await log.read(segmentId, 5, 1)).toEqual(
    log.written[0]!.bytes.subarray(5 * BLOCK_BYTES, 6 * BLOCK_BYTES),
  );
});

test('a rebuild reads no more of the other fragments than the range it needs', async () => {
  const log = fixture({ segmentBlocks: 1024, slotCount: 4 });
  for (const node of log.cluster.nodes) node.local = false;
  for (let block = 0; block < 1023; block += 33) log.append(1, block, 33);
  await log.sealAndSettle();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[0]!).kill();
  const bytes = await log.read(segmentId, 3, 1);
  expect(bytes).toEqual(log.written[0]!.bytes.subarray(3 * BLOCK_BYTES, 4 * BLOCK_BYTES));
  expect(calls(log, rpcMethods.getFragment)).toBe(4);
  expect(log.reader.statistics().blocksRebuilt).toBe(1);
});

test('with a node away, reading a segment in large pieces reads each fragment once', async () => {
  const log = fixture({ segmentBlocks: 1024, slotCount: 4 });
  for (const node of log.cluster.nodes) node.local = false;
  for (let block = 0; block < 1023; block += 33) log.append(1, block, 33);
  await log.sealAndSettle();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[2]!).kill();
  const read = await Promise.all([0, 200, 400, 600, 800].map((from) => log.read(segmentId, from, 200)));
  const expected = Buffer.concat(log.written.map(({ bytes }) => bytes));
  expect(Buffer.concat(read).equals(expected.subarray(0, 1000 * BLOCK_BYTES))).toBe(true);
  // 256 blocks a fragment in columns of 64: four columns of three data fragments and the parity.
  expect(calls(log, rpcMethods.getFragment)).toBe(16);
  expect(log.reader.statistics().blocksRebuilt).toBe(256);
});

test('a corrupt source met while a node is away does not spoil what is read at large', async () => {
  const log = fixture({ nodes: 6, parity: 2, segmentBlocks: 1024, slotCount: 4 });
  for (let block = 0; block < 1023; block += 33) log.append(1, block, 33);
  await log.sealAndSettle();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[2]!).kill();
  log.cluster.node(nodes[1]!).corrupt(segmentId, 1, 70);
  const bytes = await log.read(segmentId, 512, 200);
  const expected = Buffer.concat(log.written.map((written) => written.bytes));
  expect(bytes.equals(expected.subarray(512 * BLOCK_BYTES, 712 * BLOCK_BYTES))).toBe(true);
});

test('a frozen node delays no read of what its disk holds, and others are rebuilt in time', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  await log.read(segmentId, 0, 1);
  const node = log.cluster.node(nodes[0]!);
  node.freeze();
  await log.read(segmentId, 1, 1);
  expect(log.platform.time.nowMs).toBeLessThan(600);
  log.locations.forgetSegment(segmentId);
  const startMs = log.platform.time.nowMs;
  const bytes = await log.read(segmentId, 2, 1);
  expect(bytes).toEqual(log.written[0]!.bytes.subarray(2 * BLOCK_BYTES, 3 * BLOCK_BYTES));
  expect(log.platform.time.nowMs - startMs).toBeLessThan(2000);
  expect(log.reader.statistics().blocksRebuilt).toBe(1);
});

test('a stuck disk is read around, its buffer is kept until the transfer ends, and then it is used again', async () => {
  const log = await oneSegment();
  const record = segmentOf(log);
  await log.verifyAll();
  const release = log.cluster.node(record.nodes[0]!).stickDisk();
  const total = 4 * MAX_REQUEST_BYTES;
  const buffer = log.reader.takeBuffer(BLOCK_BYTES)!;
  const checksums = log.checksums.get(record.segmentId)!;
  const reading = log.reader.readBlocks(record, 0, 1, checksums, 0, buffer.bytes);
  await log.platform.time.pass(500);
  await reading;
  expect(Buffer.from(buffer.bytes)).toEqual(log.written[0]!.bytes.subarray(0, BLOCK_BYTES));
  expect(log.reader.statistics()).toMatchObject({ slowReads: 1, blocksRebuilt: 1 });
  buffer.release();
  const others = Array.from({ length: total / MAX_REQUEST_BYTES - 1 }, () =>
    log.reader.takeBuffer(MAX_REQUEST_BYTES),
  );
  expect(others.every((other) => other !== undefined)).toBe(true);
  expect(log.reader.takeBuffer(MAX_REQUEST_BYTES)).toBeUndefined();
  // While it is stuck nobody waits for it again.
  const startMs = log.platform.time.nowMs;
  await log.read(record.segmentId, 1, 1);
  expect(log.platform.time.nowMs - startMs).toBeLessThan(100);
  release();
  await settle();
  expect(log.reader.takeBuffer(MAX_REQUEST_BYTES)).toBeDefined();
  const rebuilt = log.reader.statistics().blocksRebuilt;
  await log.read(record.segmentId, 1, 1);
  expect(log.reader.statistics().blocksRebuilt).toBe(rebuilt);
});

test('without parity a node that answers late is waited for', async () => {
  const log = fixture({ nodes: 3, data: 3, parity: 0 });
  for (const node of log.cluster.nodes) node.local = false;
  log.append(1, 0, 8);
  await log.sealAndSettle();
  const { segmentId, nodes } = segmentOf(log);
  const node = log.cluster.node(nodes[0]!);
  node.slowAfterMs = 60_000;
  node.freeze();
  const reading = log.read(segmentId, 0, 1);
  await log.platform.time.pass(1500);
  node.thaw();
  expect(await reading).toEqual(log.written[0]!.bytes.subarray(0, BLOCK_BYTES));
});

test('a segment freed on its nodes is stale, and one without enough nodes is lost', async () => {
  const log = await oneSegment();
  const record = segmentOf(log);
  log.writer.free(record);
  await settle();
  await expect(log.read(record.segmentId, 0, 1)).rejects.toMatchObject({ reason: 'stale' });
  log.append(1, 20, 4);
  await log.sealAndSettle();
  const second = log.durable[1]!.record;
  log.cluster.node(second.nodes[0]!).kill();
  log.cluster.node(second.nodes[1]!).kill();
  const lost = log.read(second.segmentId, 0, 1);
  await expect(lost).rejects.toBeInstanceOf(LogUnreadable);
  await expect(lost).rejects.toMatchObject({ reason: 'lost' });
  const told = () => log.platform.events.filter((event) => event === 'read-lost').length;
  expect(told()).toBe(1);
  // A file is read to its end: one line a second is enough.
  await expect(log.read(second.segmentId, 1, 1)).rejects.toMatchObject({ reason: 'lost' });
  expect(told()).toBe(1);
});

test('before a read is given up, nodes that are not connected are tried once more', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  const [first, second] = [log.cluster.node(nodes[0]!), log.cluster.node(nodes[1]!)];
  first.kill();
  second.kill();
  const reached: (readonly number[])[] = [];
  log.cluster.onReach = (ids) => {
    reached.push(ids);
    second.restart();
    return true;
  };
  await log.read(segmentId, 0, 4);
  expect(reached).toEqual([nodes]);
  second.kill();
  log.cluster.onReach = () => false;
  await expect(log.read(segmentId, 0, 4)).rejects.toMatchObject({ reason: 'lost' });
});

test('a node that comes back while a slow one is waited for is asked before a read is given up', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  const [first, second] = [log.cluster.node(nodes[0]!), log.cluster.node(nodes[1]!)];
  log.cluster.onReach = () => false;
  second.kill();
  first.frozen = [];
  const reading = log.read(segmentId, 0, 4);
  // Taken for slow, and what would have to be rebuilt instead takes the second.
  await log.platform.time.pass(1_000);
  second.restart();
  await settle();
  first.kill();
  await log.platform.time.pass(1_000);
  await reading;
});

test('before a read is given up, nodes that are taken for slow are asked all the same', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[0]!).kill();
  log.cluster.node(nodes[1]!).setState('slow');
  await log.read(segmentId, 0, 4);
});

test('files of a node whose connection ended are closed, and opened anew when it returns', async () => {
  const log = await oneSegment();
  const { segmentId, nodes } = segmentOf(log);
  await log.verifyAll();
  const node = log.cluster.node(nodes[0]!);
  expect(node.file.openCount).toBe(1);
  node.kill();
  await settle();
  expect(node.file.openCount).toBe(0);
  node.restart();
  await log.read(segmentId, 0, 1);
  expect(node.file.openCount).toBe(1);
  log.reader.close();
  await settle();
  expect(log.cluster.nodes.every(({ file }) => file.openCount === 0)).toBe(true);
});

test('many degraded reads at once share the scratch memory and all of them end', async () => {
  const log = fixture({ segmentBlocks: 1024, slotCount: 4 });
  for (let block = 0; block < 1023; block += 33) log.append(1, block, 33);
  await log.sealAndSettle();
  const { segmentId, nodes } = segmentOf(log);
  log.cluster.node(nodes[0]!).kill();
  const expected = Buffer.concat(log.written.map(({ bytes }) => bytes));
  const reads = Array.from({ length: 200 }, (_, i) => log.read(segmentId, i, 30));
  for (const [i, bytes] of (await Promise.all(reads)).entries()) {
    expect(bytes.equals(expected.subarray(i * BLOCK_BYTES, (i + 30) * BLOCK_BYTES))).toBe(true);
  }
});

test('any m lost, corrupt or frozen fragments of any segment leave every block readable', async () => {
  const scenario = fc.record({
    data: fc.integer({ min: 1, max: 6 }),
    parity: fc.integer({ min: 0, max: 3 }),
    spare: fc.integer({ min: 0, max: 2 }),
    lengths: fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 6 }),
    damage: fc.array(fc.constantFrom('kill' as const, 'corrupt' as const, 'freeze' as const), {
      minLength: 3,
      maxLength: 3,
    }),
    remote: fc.boolean(),
    seed: fc.nat(),
  });
  await fc.assert(
    fc.asyncProperty(scenario, async ({ data, parity, spare, lengths, damage, remote, seed }) => {
      const log = new LogFixture({
        nodes: data + parity + spare,
        data,
        parity,
        segmentBlocks: 16,
        slotCount: 40,
      });
      try {
        for (const node of log.cluster.nodes) node.local = !remote;
        for (const [file, length] of lengths.entries()) {
          log.append(file + 1, file * 7, length);
          if (length % 3 === 0) log.writer.seal(true);
        }
        await log.sealAndSettle();
        if (remote) log.locations.forgetSegment(log.durable[0]!.record.segmentId);
        const ids = log.cluster.nodes.map(({ id }) => id);
        const chosen = Array.from({ length: parity }, (_, i) => ids.splice((seed + i) % ids.length, 1)[0]!);
        for (const [index, id] of chosen.entries()) {
          const node = log.cluster.node(id);
          if (damage[index] === 'kill') node.kill();
          else if (damage[index] === 'freeze') node.freeze();
          else
            for (const key of node.fragments.keys()) {
              const [segmentId, position] = key.split('/').map(Number);
              node.corrupt(segmentId!, position!, 0);
            }
        }
        await log.verifyAll();
      } finally {
        log.close();
      }
    }),
    { numRuns: 60 },
  );
});
