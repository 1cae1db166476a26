/**
 * A storage node: the stores of one data directory, served on one address.
 *
 *   DIR/storage   fragments (fragment-store.ts)      DIR/journal   journal entries      DIR/journal/replica   checkpointed state
 *
 * Closing is orderly: no new calls, what is under way ends, the index is checkpointed. A node that is killed instead recovers at its next start.
 */
import { ReplicaStore } from '../cluster/replica-store.ts';
import { serveRpc } from '../cluster/rpc-server.ts';
import { UnknownVersion } from '../format/fields.ts';
import type { Address, Platform } from '../platform/platform.ts';
import { FragmentStore } from './fragment-store.ts';
import { JournalStore } from './journal-store.ts';
import { nodeHandler } from './node-service.ts';
import { ReplicaService } from './replica-service.ts';
import { laterVersion } from './storage-error.ts';

export interface StorageNodeOptions {
  /** The node's own directory; made if it is not there. */
  readonly directory: string;
  /** 1..65535. */
  readonly nodeId: number;
  /** 32 hex digits. */
  readonly volumeId: string;
  /** The volume's key: callers prove that they know it. */
  readonly key: Uint8Array;
  readonly address: Address;
  /** Bytes that fragments may take with their headers; the disk limits when it is left out. */
  readonly capacityBytes?: number;
  /** Nodes that fill the same disk as this one, itself included, by now: what is free is theirs in equal parts. Absent: it alone. */
  readonly diskSharers?: () => number;
  /** Of each file of the journal, unless the default will do. */
  readonly journalFileBytes?: number;
}

export interface StorageNode {
  /** Where it listens: with the port that was picked. */
  readonly address: Address;
  readonly fragments: FragmentStore;
  readonly journal: JournalStore;
  readonly replica: ReplicaService;
  close(): Promise<void>;
}

async function openReplica(platform: Platform, directory: string): Promise<ReplicaStore> {
  try {
    return await ReplicaStore.open(platform, { directory });
  } catch (error) {
    throw error instanceof UnknownVersion ? laterVersion(directory, error) : error;
  }
}

/** Rejects with StorageUnusable when the directory is another node's or cannot be understood, with MachineError when it cannot be used. */
export async function startStorageNode(
  platform: Platform,
  options: StorageNodeOptions,
): Promise<StorageNode> {
  const { directory, nodeId, capacityBytes, diskSharers, journalFileBytes } = options;
  const volumeId = Buffer.from(options.volumeId, 'hex');
  // First: its lock keeps a second process of the node away from the other files.
  const replica = new ReplicaService(platform, await openReplica(platform, `${directory}/journal/replica`));
  const journal = await JournalStore.open(platform, {
    directory: `${directory}/journal`,
    volumeId,
    ...(journalFileBytes === undefined ? {} : { fileBytes: journalFileBytes }),
  });
  const fragments = await FragmentStore.open(platform, {
    directory: `${directory}/storage`,
    nodeId,
    volumeId,
    ...(diskSharers === undefined ? {} : { diskSharers }),
    ...(capacityBytes === undefined ? {} : { capacityBytes }),
  });
  const server = await serveRpc(platform, options.address, {
    key: options.key,
    handler: nodeHandler({ nodeId, log: platform.log, fragments, journal, replica }),
  });
  return {
    address: server.address,
    fragments,
    journal,
    replica,
    async close() {
      await server.close();
      await fragments.close();
      await replica.close();
      await journal.close();
    },
  };
}
