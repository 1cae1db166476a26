import { readSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES, MIB } from '../../../src/base/units.ts';
import { type RpcClient, type RpcReply, rpcMethods, rpcStatus } from '../../../src/cluster/rpc.ts';
import { connectRpc } from '../../../src/cluster/rpc-connect.ts';
import * as journalMessages from '../../../src/format/journal-messages.ts';
import { decodePingReply } from '../../../src/format/ping.ts';
import * as replicaMessages from '../../../src/format/replica-messages.ts';
import * as messages from '../../../src/format/storage-messages.ts';
import type { Address, Slab } from '../../../src/platform/platform.ts';
import { type StorageNode, startStorageNode } from '../../../src/storage/storage-node.ts';
import { makeFragment, platform, scratchDirectory, volumeId } from './support.ts';

const key = Buffer.alloc(32, 9);
const nothing = Buffer.alloc(0);
const open: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

async function startNode(directory: string, address: Address): Promise<StorageNode> {
  const node = await startStorageNode(platform, {
    directory,
    nodeId: 4,
    volumeId: volumeId.toString('hex'),
    key,
    address,
    capacityBytes: 100 * MIB,
  });
  open.push(node);
  return node;
}

async function connect(node: StorageNode, slab?: Slab): Promise<RpcClient> {
  const client = await connectRpc(platform, node.address, slab === undefined ? { key } : { key, slab });
  open.push(client);
  return client;
}

function mustBeOk(reply: RpcReply): RpcReply {
  expect(reply.status, reply.body.toString()).toBe(rpcStatus.ok);
  return reply;
}

describe.each(['unix', 'tcp'] as const)('a storage node over %s', (kind) => {
  const addressIn = (directory: string): Address =>
    kind === 'unix' ? { kind, path: join(directory, 'node.sock') } : { kind, host: '127.0.0.1', port: 0 };

  test('stores, returns, lists, describes, locates and frees fragments', async () => {
    const directory = scratchDirectory();
    const node = await startNode(directory, addressIn(directory));
    const slab = platform.memory.createSlab(4 * MIB);
    open.push(slab);
    const client = await connect(node, slab);
    const { description, payload } = makeFragment(2 ** 40 + 7, 1, 64);
    const bulk = slab.buffer.subarray(MIB, MIB + payload.length);
    payload.copy(bulk);

    const put = mustBeOk(
      await client.call(rpcMethods.putFragment, messages.encodePutRequest(description), { payload: bulk }),
    );
    const { location, freeBytes } = messages.decodePutReply(put.body);
    expect(freeBytes).toBe(100 * MIB - 65 * BLOCK_BYTES);

    const into = slab.buffer.subarray(2 * MIB, 2 * MIB + 3 * BLOCK_BYTES);
    const get = { ...description, firstBlock: 5, blockCount: 3 };
    const got = mustBeOk(await client.call(rpcMethods.getFragment, messages.encodeGetRequest(get), { into }));
    expect(got.payloadBytes).toBe(3 * BLOCK_BYTES);
    expect(into.equals(payload.subarray(5 * BLOCK_BYTES, 8 * BLOCK_BYTES))).toBe(true);

    const listed = await client.call(
      rpcMethods.listFragments,
      messages.encodeListRequest({ afterSegmentId: 0, afterPosition: 0, limit: 10 }),
    );
    expect(messages.decodeListReply(listed.body)).toEqual({
      more: false,
      fragments: [{ segmentId: 2 ** 40 + 7, position: 1, generation: 0, fragmentBlocks: 64 }],
    });
    const described = await client.call(
      rpcMethods.describeFragment,
      messages.encodeDescribeRequest(description),
    );
    expect(messages.decodeDescribeReply(described.body)).toEqual(description);
    const located = await client.call(rpcMethods.locateFragment, messages.encodeLocateRequest(description));
    expect(messages.decodeLocateReply(located.body)).toEqual(location);

    const opened = await client.call(
      rpcMethods.openLogFile,
      messages.encodeOpenLogFileRequest(location.fileId),
    );
    if (kind === 'unix') {
      expect(messages.decodeOpenLogFileReply(mustBeOk(opened).body)).toEqual({ direct: true });
      const file = platform.memory.openDescriptor(opened.descriptor!, true);
      expect(readSync(file.descriptor!, into, 0, into.length, location.payloadOffset)).toBe(into.length);
      expect(into.equals(payload.subarray(0, into.length))).toBe(true);
      await file.close();
    } else {
      expect(opened.status).toBe(rpcStatus.invalid);
    }

    const ping = await client.call(rpcMethods.ping, nothing);
    expect(decodePingReply(ping.body)).toEqual({
      nodeId: 4,
      freeBytes,
      capacityBytes: 100 * MIB,
      usedBytes: 65 * BLOCK_BYTES,
    });
    const statistics = await client.call(rpcMethods.storageStatistics, nothing);
    expect(messages.decodeStatisticsReply(statistics.body)).toMatchObject({ fragments: 1, puts: 1, gets: 1 });

    const free = messages.encodeFreeRequest({ term: 1, names: [description] });
    const freed = await client.call(rpcMethods.freeFragments, free);
    expect(messages.decodeFreeReply(freed.body)).toEqual({ freed: 1, freeBytes: 100 * MIB });
    const gone = await client.call(rpcMethods.getFragment, messages.encodeGetRequest(get), { into });
    expect(gone.status).toBe(rpcStatus.missing);
  });

  test('states refusals by their status: fenced with the term, corrupt with the block, invalid, conflict', async () => {
    const directory = scratchDirectory();
    const client = await connect(await startNode(directory, addressIn(directory)));
    const { description, payload } = makeFragment(77, 0, 4, { term: 2 });
    mustBeOk(await client.call(rpcMethods.fenceStorage, messages.encodeTerm(2)));
    const fenced = await client.call(rpcMethods.fenceStorage, messages.encodeTerm(1));
    expect(fenced.status).toBe(rpcStatus.fenced);
    expect(messages.decodeTerm(fenced.body)).toBe(2);
    const damaged = Buffer.from(payload);
    damaged[BLOCK_BYTES] = damaged[BLOCK_BYTES]! ^ 1;
    const corrupt = await client.call(rpcMethods.putFragment, messages.encodePutRequest(description), {
      payload: damaged,
    });
    expect(corrupt.status).toBe(rpcStatus.corrupt);
    expect(messages.decodeCorruptBlock(corrupt.body)).toBe(1);
    const withoutPayload = await client.call(rpcMethods.putFragment, messages.encodePutRequest(description));
    expect(withoutPayload.status).toBe(rpcStatus.invalid);
    const nonsense = await client.call(rpcMethods.locateFragment, Buffer.from('nonsense'));
    expect(nonsense.status).toBe(rpcStatus.invalid);
    expect((await client.call(9999, nothing)).status).toBe(rpcStatus.invalid);
    const append = { term: 1, previousSequence: 5, previousTerm: 1, entries: [] };
    const conflict = await client.call(rpcMethods.journalAppend, journalMessages.encodeAppendRequest(append));
    expect(conflict.status).toBe(rpcStatus.conflict);
    expect(journalMessages.decodeJournalState(conflict.body)).toMatchObject({ term: 0, lastSequence: 0 });
  });

  test('keeps journal entries and the checkpointed state through a restart', async () => {
    const directory = scratchDirectory();
    const node = await startNode(directory, addressIn(directory));
    let client = await connect(node);
    const state = async (method: number, body: Uint8Array) =>
      journalMessages.decodeJournalState(mustBeOk(await client.call(method, body)).body);
    await state(rpcMethods.journalFence, messages.encodeTerm(3));
    const entries = ['a', 'b', 'c'].map((text) => ({ term: 3, bytes: Buffer.from(text) }));
    const append = { term: 3, previousSequence: 0, previousTerm: 0, entries };
    const appended = await state(rpcMethods.journalAppend, journalMessages.encodeAppendRequest(append));
    expect(appended.lastSequence).toBe(3);

    const install = async (
      phase: 'begin' | 'page' | 'end',
      operations: replicaMessages.ReplicaOperation[] = [],
    ) =>
      client.call(
        rpcMethods.snapshotInstall,
        replicaMessages.encodeSnapshotInstallRequest({
          term: 3,
          phase,
          page: 0,
          appliedSequence: 0,
          operations,
        }),
      );
    mustBeOk(await install('begin'));
    mustBeOk(await install('page', [{ key: Buffer.from('k0'), value: Buffer.from('v0') }]));
    mustBeOk(await install('end'));
    const part = (number: number, final: boolean, operations: replicaMessages.ReplicaOperation[]) =>
      client.call(
        rpcMethods.checkpointApply,
        replicaMessages.encodeCheckpointPart({
          term: 3,
          fromSequence: 0,
          toSequence: 2,
          part: number,
          final,
          operations,
        }),
      );
    mustBeOk(await part(0, false, [{ key: Buffer.from('k1'), value: Buffer.from('v1') }]));
    const last = mustBeOk(await part(1, true, [{ key: Buffer.from('k0'), value: undefined }]));
    expect(replicaMessages.decodeReplicaState(last.body)).toEqual({ complete: true, appliedSequence: 2 });
    const again = await part(0, true, []);
    expect(again.status).toBe(rpcStatus.conflict);
    expect(replicaMessages.decodeReplicaState(again.body)).toEqual({ complete: true, appliedSequence: 2 });
    const trim = journalMessages.encodeTrimRequest({ term: 3, sequence: 2 });
    expect(await state(rpcMethods.journalTrim, trim)).toMatchObject({ firstSequence: 3 });

    for (const one of open.splice(0).reverse()) await one.close();
    client = await connect(await startNode(directory, addressIn(directory)));
    expect(await state(rpcMethods.journalState, nothing)).toMatchObject({
      term: 3,
      firstSequence: 3,
      lastSequence: 3,
    });
    const read = journalMessages.encodeReadRequest({ fromSequence: 3, maxBytes: 1000 });
    const [third] = journalMessages.decodeReadReply((await client.call(rpcMethods.journalRead, read)).body);
    expect(Buffer.from(third!.bytes).toString()).toBe('c');
    const view = { viewId: 0, afterKey: nothing, maxBytes: 1000 };
    const page = await client.call(rpcMethods.snapshotRead, replicaMessages.encodeSnapshotReadRequest(view));
    expect(replicaMessages.decodeSnapshotPage(page.body)).toEqual({
      viewId: 1,
      appliedSequence: 2,
      end: true,
      operations: [{ key: Buffer.from('k1'), value: Buffer.from('v1') }],
    });
    const old = replicaMessages.encodeCheckpointPart({
      term: 2,
      fromSequence: 2,
      toSequence: 3,
      part: 0,
      final: true,
      operations: [],
    });
    expect((await client.call(rpcMethods.checkpointApply, old)).status).toBe(rpcStatus.fenced);
  });
});
