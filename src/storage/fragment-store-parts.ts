/**
 * Opens what a fragment store is made of, in the order in which one needs the other, and recovers it.
 */
import { assert } from '../base/assert.ts';
import { MIB } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import { decodeLogFileHeader, LOG_FILE_HEADER_BYTES } from '../format/storage-log-file.ts';
import {
  decodeStorageSlotState,
  encodeStorageSlotState,
  type StorageSlotState,
  slotKinds,
} from '../format/storage-slot.ts';
import type { Platform } from '../platform/platform.ts';
import { FragmentIndex } from './fragment-index.ts';
import { FragmentRecovery } from './fragment-recovery.ts';
import { LogFiles, logFileBytesFor } from './log-files.ts';
import type { Region } from './reclaimer.ts';
import { SlotDamaged, SlotFile } from './slot-file.ts';
import { StorageLost, StorageUnusable } from './storage-error.ts';
import { TombstoneRing } from './tombstone-ring.ts';

export interface FragmentStoreOptions {
  readonly directory: string;
  readonly nodeId: number;
  /** 16 bytes. */
  readonly volumeId: Buffer;
  /** Bytes that fragments may take with their headers; the disk itself limits when it is left out. */
  readonly capacityBytes?: number;
  /** Stores that fill the same disk, this one included. Default 1. */
  readonly diskSharers?: () => number;
  readonly logFileBytes?: number;
  /** Log files grow in steps of this. */
  readonly growBytes?: number;
  /** Disk space that puts leave alone. */
  readonly reserveBytes?: number;
}

export interface FragmentStoreParts {
  /** undefined: the state was lost, and with it the term. */
  readonly slot: SlotFile | undefined;
  readonly state: StorageSlotState;
  readonly index: FragmentIndex;
  readonly logs: LogFiles;
  readonly ring: TombstoneRing;
  /** To be given back to the disk. */
  readonly regions: readonly Region[];
}

const GROW_BYTES = 32 * MIB;
/** Journals and databases of all nodes on the disk live from this when it is full. */
const RESERVE_BYTES = 256 * MIB;

export async function openFragmentStoreParts(
  platform: Platform,
  options: FragmentStoreOptions,
): Promise<FragmentStoreParts> {
  const { directory, nodeId, volumeId } = options;
  assert(volumeId.length === 16, 'a volume id has 16 bytes');
  await platform.disk.makeDirectory(directory);
  // A killed process may have left names that are not durable yet: what they name is built upon from here on.
  await platform.disk.syncDirectory(directory);
  const { totalBytes } = await platform.disk.space(directory);
  const { slot, state } = await openState(platform, options);
  const { nonce } = state;
  const { index, state: indexState, files } = await FragmentIndex.open(platform, `${directory}/index`, nonce);
  const capacityBytes = Math.min(options.capacityBytes ?? totalBytes, totalBytes);
  const logs = new LogFiles(platform, {
    directory,
    nodeId,
    volumeId,
    nonce,
    logFileBytes: options.logFileBytes ?? logFileBytesFor(capacityBytes),
    growBytes: options.growBytes ?? GROW_BYTES,
    reserveBytes: options.reserveBytes ?? Math.min(RESERVE_BYTES, Math.floor(totalBytes / 32)),
  });
  logs.nextFileId = indexState?.nextFileId ?? 1;
  const ringPath = `${directory}/tombstones.ring`;
  const released = indexState?.releasedTombstones ?? 0;
  const { ring, pages } = await TombstoneRing.open(platform, ringPath, nonce, released);
  const { regions, ...found } = await new FragmentRecovery({
    platform,
    nonce,
    index,
    indexedFiles: files,
    rebuilding: indexState === undefined,
    logs,
    tombstonePages: pages,
  }).run();
  await logs.refreshSpace();
  const rebuilt = indexState === undefined;
  platform.log.info('fragments-recovered', { logFiles: logs.byId.size, rebuilt, ...found });
  return { slot, state, index, logs, ring, regions };
}

async function openState(
  platform: Platform,
  { directory, nodeId, volumeId }: FragmentStoreOptions,
): Promise<{ slot: SlotFile | undefined; state: StorageSlotState }> {
  const path = slotPathOf(directory);
  const opened = await openSlot(platform, path);
  if (opened !== undefined) {
    const state = decodeStorageSlotState(opened.payload);
    if (state.volumeId.equals(volumeId) && state.nodeId === nodeId) return { slot: opened.slot, state };
    await opened.slot.close();
    throw new StorageUnusable(`${directory} belongs to node ${state.nodeId} of another volume or place`);
  }
  const nonce = await nonceOfLogFiles(platform, { directory, nodeId, volumeId });
  if (nonce !== undefined) {
    // The slot is made when a term is known: until then each start finds that it is lost.
    platform.log.error('storage-state-lost', { path });
    return { slot: undefined, state: { term: 0, nodeId, volumeId, nonce } };
  }
  const state: StorageSlotState = { term: 0, nodeId, volumeId, nonce: platform.random.bytes(16) };
  const slot = await SlotFile.create(platform, path, slotKinds.storage, encodeStorageSlotState(state));
  return { slot, state };
}

export function slotPathOf(directory: string): string {
  return `${directory}/state.slot`;
}

/** undefined: it is not there, or neither copy can be read. */
async function openSlot(
  platform: Platform,
  path: string,
): Promise<{ slot: SlotFile; payload: Buffer } | undefined> {
  try {
    return await SlotFile.open(platform, path, slotKinds.storage);
  } catch (error) {
    if (error instanceof SlotDamaged) return undefined;
    throw error;
  }
}

/**
 * Every log file says whose it is, and so does the index. undefined: there is no log file with a fragment in it, so that nothing hangs on what the
 * state said.
 */
async function nonceOfLogFiles(
  platform: Platform,
  { directory, nodeId, volumeId }: Pick<FragmentStoreOptions, 'directory' | 'nodeId' | 'volumeId'>,
): Promise<Buffer | undefined> {
  const names = (await platform.disk.list(directory)).filter((name) => name.endsWith('.tlog')).sort();
  const page = platform.memory.allocate(LOG_FILE_HEADER_BYTES);
  let unread = false;
  for (const name of names) {
    const path = `${directory}/${name}`;
    const file = await platform.disk.open(path, { write: true, direct: true });
    const got = await file.read([page], 0).finally(() => file.close());
    if (got < LOG_FILE_HEADER_BYTES || page.every((byte) => byte === 0)) continue;
    try {
      const header = decodeLogFileHeader(page, platform.kernels.crc32c);
      if (header.nodeId === nodeId && header.volumeId.equals(volumeId)) return header.nonce;
      throw new StorageUnusable(`${path} belongs to node ${header.nodeId} of another volume or place`);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      unread = true;
    }
  }
  if (!unread) return undefined;
  const nonce = await FragmentIndex.nonceOf(platform, `${directory}/index`);
  if (nonce !== undefined) return nonce;
  throw new StorageLost(
    directory,
    `${slotPathOf(directory)}, the index and the first pages of the log files beside it are damaged or of another version: if they are damaged, remove what is in ${directory} and start the node, which is filled again from the others`,
  );
}
