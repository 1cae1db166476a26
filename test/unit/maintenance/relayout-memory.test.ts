/** Segments that are laid out anew, when what lies where it is read to is wrong, or comes too late. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { NodeLink, NodeLinks } from '../../../src/cluster/nodes.ts';
import { type CallOptions, type RpcClient, RpcError, rpcMethods } from '../../../src/cluster/rpc.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import type { RepairParts } from '../../../src/maintenance/fragment-repair.ts';
import { NodeCalls } from '../../../src/maintenance/node-calls.ts';
import { RepairMemory } from '../../../src/maintenance/repair-memory.ts';
import { layOutAnew } from '../../../src/maintenance/segment-relayout.ts';
import { SegmentSources } from '../../../src/maintenance/segment-source.ts';
import { SharedPieces } from '../../../src/maintenance/shared-pieces.ts';
import type { DiskFile, Platform } from '../../../src/platform/platform.ts';
import { CheckWorld } from '../fsck/world.ts';

const FILE_BYTES = 500_000;
const PIECE_BYTES = 1024 * 1024;
const LONG_MS = 10_000;
let world: CheckWorld;
let file: number;
let segment: SegmentRecord;
let shared: SharedPieces;
let sources: SegmentSources;

beforeEach(async () => {
  world = await CheckWorld.open(undefined, 4, 3);
  file = await world.writeFile('file', FILE_BYTES);
  await world.volume!.fileSystem.syncAll();
  [segment] = (await world.segments()) as [SegmentRecord];
  shared = new SharedPieces([0, 1].map(() => world.platform.memory.allocate(PIECE_BYTES)));
});

afterEach(async () => {
  sources.close();
  await world.close();
});

function parts(platform: Platform = world.platform, links: NodeLinks = world.links): RepairParts {
  const calls = new NodeCalls(links);
  sources = new SegmentSources(platform, links, calls);
  const memory = new RepairMemory(platform.memory, shared);
  return { ...{ platform, metadata: world.metadata, calls, sources, memory }, claims: world.volume!.claims };
}

async function layOut(with_: RepairParts): Promise<string> {
  const { claims } = world.volume!;
  expect(claims.hold(segment.segmentId)).toBe(true);
  try {
    return await layOutAnew(with_, { record: segment, bad: new Set(), nodes: segment.nodes });
  } finally {
    claims.release(segment.segmentId);
  }
}

async function expectReadable(): Promise<void> {
  const bytes = await world.readFile(file, FILE_BYTES);
  for (let offset = 0; offset < FILE_BYTES; offset += 64 * 1024) {
    const length = Math.min(64 * 1024, FILE_BYTES - offset);
    expect(bytes.subarray(offset, offset + length).equals(Buffer.alloc(length, `file ${offset} `))).toBe(
      true,
    );
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await world.platform.timers.sleep(5);
}

test('a damaged fragment that was read into its place is overwritten by what the others make', async () => {
  await world.corrupt(segment.nodes[1]!, segment.segmentId, 1);
  const used = parts();
  expect(await layOut(used)).toBe('moved');
  expect(world.metadata.segment(segment.segmentId)).toMatchObject({ generation: 1, dataFragments: 3 });
  await expectReadable();
  expect((await world.check({ data: true })).findings).toEqual([]);
  used.memory.release();
  expect(shared.freeCount).toBe(2);
});

/** Reads that take so long are given up soon; those of the disk end when they are told to. */
function slowDisk(): { platform: Platform; endReads: () => void } {
  const { platform } = world;
  const held: (() => void)[] = [];
  const slow = (real: DiskFile) =>
    new Proxy(real, {
      get(target, name) {
        if (name === 'readThen') {
          return (into: Uint8Array, positionBytes: number, done: (result: number) => void) =>
            target.readThen(into, positionBytes, (result) => held.push(() => done(result)));
        }
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  return {
    platform: {
      ...platform,
      memory: {
        ...platform.memory,
        openDescriptor: (descriptor, direct) => slow(platform.memory.openDescriptor(descriptor, direct)),
      },
      timers: {
        sleep: (delayMs) => platform.timers.sleep(delayMs),
        defer: (run) => platform.timers.defer(run),
        waitAwake: (isWaiting) => platform.timers.waitAwake(isWaiting),
        after: (delayMs, run) => platform.timers.after(delayMs >= LONG_MS ? 50 : delayMs, run),
      },
    },
    endReads: () => {
      for (const end of held.splice(0)) end();
    },
  };
}

test('what a disk may still read into is used by nobody until it has', async () => {
  const { platform, endReads } = slowDisk();
  const used = parts(platform);
  expect(await layOut(used)).toBe('unreadable');
  used.memory.payload(4096);
  expect(shared.freeCount).toBe(0);
  used.memory.release();
  expect(shared.freeCount).toBe(1);
  endReads();
  await until(() => shared.freeCount === 2);
  expect(world.metadata.segment(segment.segmentId)).toEqual(segment);
  await expectReadable();
});

/** One of the nodes answers no put, and lets go of what it was lent when it is told to. */
function silentNode(silent: number): { links: NodeLinks; letGo: () => void } {
  let letGo: () => void = () => undefined;
  const settled = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  const client = (real: RpcClient): RpcClient => ({
    ...{ address: real.address, closed: real.closed, local: real.local, onClose: undefined },
    close: () => real.close(),
    call: (method: number, body: Uint8Array, options?: CallOptions) =>
      method === rpcMethods.putFragment
        ? Promise.reject(new RpcError('timeout', 'no answer in time', settled))
        : real.call(method, body, options),
  });
  const clients = new Map<number, RpcClient>();
  const link = (real: NodeLink): NodeLink =>
    new Proxy(real, {
      get(target, name) {
        if (name === 'client' && target.client !== undefined && target.id === silent) {
          if (!clients.has(silent)) clients.set(silent, client(target.client));
          return clients.get(silent);
        }
        const value = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  const { links } = world;
  return {
    letGo,
    links: {
      get links() {
        return new Map([...links.links].map(([id, each]) => [id, link(each)]));
      },
      onChange: (listener) => links.onChange(listener),
      settle: (timeoutMs) => links.settle(timeoutMs),
      reach: (nodeIds) => links.reach(nodeIds),
      close: () => undefined,
    },
  };
}

test('what a node may still store from is used by nobody until it has let go of it', async () => {
  const { links, letGo } = silentNode(segment.nodes[2]!);
  const used = parts(world.platform, links);
  expect(await layOut(used)).toBe('refused');
  used.memory.payload(4096);
  expect(shared.freeCount).toBe(0);
  used.memory.release();
  expect(shared.freeCount).toBe(1);
  letGo();
  await until(() => shared.freeCount === 2);
  expect(world.metadata.segment(segment.segmentId)).toEqual(segment);
  await expectReadable();
});
