/**
 * The programs that run on the simulated machines: the production code of the coordinator, a storage node and a mount without the kernel,
 * composed as the processes of the command line compose it.
 */

import { KIB } from '../../base/units.ts';
import { formatAddress } from '../../cluster/address.ts';
import { coordinatorKeys } from '../../cluster/coordinator.ts';
import { type EmbeddedCoordinator, openEmbeddedCoordinator } from '../../cluster/coordinator-embedded.ts';
import { remoteCoordinator } from '../../cluster/coordinator-remote.ts';
import { coordinatorHandler } from '../../cluster/coordinator-service.ts';
import { encodeRecord } from '../../cluster/node-record.ts';
import { serveRpc } from '../../cluster/rpc-server.ts';
import { openVolume, type Volume } from '../../filesystem/volume.ts';
import type { Address, Platform } from '../../platform/platform.ts';
import { StorageLost } from '../../storage/storage-error.ts';
import { type StorageNode, startStorageNode } from '../../storage/storage-node.ts';
import type { ClusterShape } from './shape.ts';

/** Same for all runs: nobody in here guesses it. */
const KEY = Buffer.alloc(32, 7);
export const VOLUME_ID = '5a17a17f55a17a17f55a17a17f55a17a';
const METADATA_WAIT_MS = 8_000;
/** Little more than the largest append: a run sees many of them filled, trimmed and used again. */
const JOURNAL_FILE_BYTES = 640 * KIB;

export interface Layout {
  readonly shape: ClusterShape;
  readonly coordinatorAddress: Address;
  nodeAddress(id: number): Address;
  /** The volume is to know it by now. */
  isMember(id: number): boolean;
}

export async function coordinatorProgram(platform: Platform, layout: Layout): Promise<EmbeddedCoordinator> {
  const database = await platform.databases.open('/coordinator');
  const engine = await openEmbeddedCoordinator(platform, database);
  for (let id = 1; id <= layout.shape.nodes; id++) {
    const key = coordinatorKeys.node(id);
    const isListed = (await engine.get(key)) !== undefined;
    if (layout.isMember(id) && !isListed) await addMember(engine, layout, id);
    else if (!layout.isMember(id) && isListed) await engine.delete(key);
  }
  await serveRpc(platform, layout.coordinatorAddress, { key: KEY, handler: coordinatorHandler(engine) });
  return engine;
}

export async function addMember(engine: EmbeddedCoordinator, layout: Layout, id: number): Promise<void> {
  const record = { id, address: formatAddress(layout.nodeAddress(id)) };
  await engine.put(coordinatorKeys.node(id), encodeRecord(record));
}

/** With an owner who does what the message says when all that names a store is rotten. */
export async function nodeProgram(platform: Platform, layout: Layout, id: number): Promise<StorageNode> {
  try {
    return await startNode(platform, layout, id);
  } catch (error) {
    if (!(error instanceof StorageLost)) throw error;
    platform.log.warn('store-emptied', { why: error.message });
    await platform.disk.remove(error.directory);
    throw error; // and started again
  }
}

function startNode(platform: Platform, layout: Layout, id: number): Promise<StorageNode> {
  const { nodes, capacityBytes, oneMachine } = layout.shape;
  return startStorageNode(platform, {
    directory: `/node-${id}`,
    nodeId: id,
    volumeId: VOLUME_ID,
    key: KEY,
    address: layout.nodeAddress(id),
    capacityBytes,
    diskSharers: () => (oneMachine ? nodes : 1),
    journalFileBytes: JOURNAL_FILE_BYTES,
  });
}

export async function mountProgram(platform: Platform, layout: Layout, name: string): Promise<Volume> {
  const { dataFragments, parityFragments, segmentBlocks, slotCount } = layout.shape;
  const { graceMs, layoutPolicy } = layout.shape;
  const coordinator = remoteCoordinator(platform, layout.coordinatorAddress, { key: KEY });
  const volume = await openVolume(platform, {
    coordinator,
    key: KEY,
    volumeId: VOLUME_ID,
    dataFragments,
    parityFragments,
    directory: `/${name}`,
    name,
    owner: { uid: 0, gid: 0 },
    metadataWaitMs: METADATA_WAIT_MS,
    slab: { segmentBlocks, slotCount },
    ...(graceMs === undefined ? {} : { healGraceMs: graceMs }),
    ...(layoutPolicy === undefined ? {} : { layoutPolicy }),
  });
  return {
    ...volume,
    async close() {
      await volume.close();
      await coordinator.close();
    },
  };
}
