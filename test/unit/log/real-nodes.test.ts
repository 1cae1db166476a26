/** The log over real storage nodes: real sockets, shared memory, passed descriptors, direct I/O, and TCP beside it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import { formatAddress } from '../../../src/cluster/address.ts';
import type { Coordinator, CoordinatorEntry, CoordinatorEvent } from '../../../src/cluster/coordinator.ts';
import { nodeLinks } from '../../../src/cluster/node-links.ts';
import type { NodeLinks } from '../../../src/cluster/nodes.ts';
import type { SegmentRecord } from '../../../src/format/segment-record.ts';
import { FragmentLocations } from '../../../src/log/fragment-locations.ts';
import { createSegmentReader } from '../../../src/log/segment-reader.ts';
import { createSegmentWriter } from '../../../src/log/segment-writer.ts';
import { createWriteSlab } from '../../../src/log/write-slab.ts';
import type { Address } from '../../../src/platform/platform.ts';
import { realLogger } from '../../../src/platform/real/logger.ts';
import { realPlatform } from '../../../src/platform/real/real-platform.ts';
import { type StorageNode, startStorageNode } from '../../../src/storage/storage-node.ts';

const platform = realPlatform({ log: realLogger({ level: 'error' }) });
const key = Buffer.alloc(32, 5);
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** Knows the nodes' addresses and nothing else. */
function addressBook(nodes: readonly StorageNode[]): Coordinator {
  const entries = nodes.map((node, index): CoordinatorEntry => {
    const record = { id: index + 1, address: formatAddress(node.address) };
    return { key: `nodes/${index + 1}`, value: Buffer.from(JSON.stringify(record)), version: 1 };
  });
  const book: Pick<Coordinator, 'list' | 'watch'> = {
    list: () => Promise.resolve(entries),
    watch: (_, listener: (event: CoordinatorEvent) => void) => {
      for (const entry of entries) listener({ kind: 'put', entry });
      return () => {};
    },
  };
  return book as Coordinator;
}

async function startLog(kind: 'unix' | 'tcp', nodeCount: number, data: number, parity: number) {
  const directory = mkdtempSync('/var/tmp/tartan-log-test-');
  closers.push(() => rmSync(directory, { recursive: true, force: true }));
  const nodes: StorageNode[] = [];
  for (let id = 1; id <= nodeCount; id++) {
    const address: Address =
      kind === 'unix'
        ? { kind, path: join(directory, `node-${id}.sock`) }
        : { kind, host: '127.0.0.1', port: 0 };
    const volumeId = '0123456789abcdef0123456789abcdef';
    nodes.push(
      await startStorageNode(platform, {
        directory: join(directory, `node-${id}`),
        nodeId: id,
        volumeId,
        key,
        address,
        capacityBytes: 64 * MIB,
      }),
    );
  }
  const stopped = new Set<StorageNode>();
  const stop = async (id: number) => {
    const node = nodes[id - 1]!;
    stopped.add(node);
    await node.close();
  };
  closers.push(async () => {
    for (const node of nodes) if (!stopped.has(node)) await node.close();
  });
  const slab = createWriteSlab(
    platform.memory,
    { dataFragments: data, parityFragments: parity },
    { slotCount: 4 },
  );
  const links = nodeLinks(platform, addressBook(nodes), { key, slab: slab.slab });
  closers.push(() => links.close());
  await links.settle(5000);
  const locations = new FragmentLocations();
  const writer = createSegmentWriter(platform, { links, slab, locations, term: 1 });
  const reader = createSegmentReader(platform, { links, locations, poolBytes: 8 * MIB });
  closers.push(() => {
    writer.close();
    reader.close();
  });
  const durable: { record: SegmentRecord; checksums: Uint32Array; bytes: Buffer }[] = [];
  writer.onDurable = ({ record, contents }) => {
    const bytes = Buffer.from(writer.pendingBytes(record.segmentId, 0, record.dataBlocks)!);
    durable.push({ record, checksums: contents.checksums.slice(), bytes });
    writer.release(record.segmentId);
  };
  const verify = async () => {
    for (const { record, checksums, bytes } of durable) {
      for (let from = 0; from < record.dataBlocks; from += 256) {
        const count = Math.min(256, record.dataBlocks - from);
        const buffer = await reader.whenBuffer(count * BLOCK_BYTES);
        await reader.readBlocks(record, from, count, checksums, from, buffer.bytes);
        const expected = bytes.subarray(from * BLOCK_BYTES, (from + count) * BLOCK_BYTES);
        expect(expected.equals(buffer.bytes)).toBe(true);
        buffer.release();
      }
    }
  };
  return { links, locations, writer, reader, durable, verify, stop };
}

async function whenDown(links: NodeLinks, id: number): Promise<void> {
  while (links.links.get(id)!.state !== 'down') await platform.timers.sleep(5);
}

describe.each(['unix', 'tcp'] as const)('over %s', (kind) => {
  test('what is written reads back, also with a node gone, and new segments do without it', async () => {
    const { links, locations, writer, reader, durable, verify, stop } = await startLog(kind, 4, 2, 1);
    for (let file = 1; file <= 6; file++) {
      while (writer.landing() === undefined) await writer.whenRoom();
      writer.append(file, 0, platform.random.bytes(MIB));
    }
    await writer.drain();
    expect(durable.length).toBeGreaterThan(1);
    await verify();
    for (const { record } of durable) locations.forgetSegment(record.segmentId);
    await verify();
    expect(reader.statistics()).toMatchObject({ blocksRebuilt: 0, corruptBlocks: 0, slowReads: 0 });
    const victim = durable[0]!.record.nodes[0]!;
    await stop(victim);
    await whenDown(links, victim);
    await verify();
    expect(reader.statistics().blocksRebuilt).toBeGreaterThan(0);
    writer.append(9, 0, platform.random.bytes(MIB));
    await writer.drain();
    expect(durable.at(-1)!.record).toMatchObject({ dataFragments: 2, parityFragments: 1 });
    expect(durable.at(-1)!.record.nodes).not.toContain(victim);
    await verify();
  });

  test('freed space comes back', async () => {
    const { links, writer, durable } = await startLog(kind, 3, 2, 1);
    const freeBytes = () => [...links.links.values()].map((link) => link.freeBytes);
    const before = freeBytes();
    writer.append(1, 0, platform.random.bytes(MIB));
    await writer.drain();
    expect(freeBytes().every((bytes, index) => bytes < before[index]!)).toBe(true);
    writer.free(durable[0]!.record);
    while (freeBytes().some((bytes, index) => bytes !== before[index])) await platform.timers.sleep(10);
  });
});
