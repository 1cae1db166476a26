/**
 * Opens a volume's metadata as its primary: recovery, the first ensemble, and what the last reign left to be finished.
 */

import { MIB } from '../base/units.ts';
import type { Coordinator } from '../cluster/coordinator.ts';
import { DrainingNodes } from '../cluster/draining-nodes.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { ReplicaStore } from '../cluster/replica-store.ts';
import { FormatError, UnknownVersion } from '../format/fields.ts';
import type { Platform } from '../platform/platform.ts';
import { Checkpointer } from './checkpointer.ts';
import { nameHash } from './directory-table.ts';
import { Ensemble } from './ensemble.ts';
import { S_IFDIR } from './inode-rules.ts';
import { PrimaryManager } from './manager.ts';
import { MetadataUnavailable } from './metadata.ts';
import { adoptLog, claimTerm, type RecoveryParts, replay } from './recovery.ts';
import { Recruiter } from './recruiter.ts';
import { MetadataState, ROOT } from './state.ts';
import { stateReader } from './state-reader.ts';

export interface MetadataOptions {
  readonly coordinator: Coordinator;
  readonly links: NodeLinks;
  /** For the own view: a cache that may be lost. */
  readonly directory: string;
  /** The journal bears the loss of as many nodes as new segments do. May change while the volume is open. */
  readonly parityFragments: number;
  /** Nodes that the journal is to leave. */
  readonly draining?: DrainingNodes;
  /** 32 hex digits. */
  readonly volumeId: string;
  /** Names this process, unlike any other that ever opens the volume. */
  readonly primary: string;
  /** Owner of the root directory of a new volume. */
  readonly owner: { readonly uid: number; readonly gid: number };
  /** How long nodes are waited for before opening fails. */
  readonly waitMs?: number;
}

const DEFAULT_WAIT_MS = 30_000;
const LEAST_MEMBERS = 3;
const STORE_CACHE_BYTES = 16 * MIB;
const STORE_WRITE_BUFFER_BYTES = 8 * MIB;

/** Rejects with MetadataUnavailable or CoordinatorUnavailable when the volume cannot be opened now. */
export async function openMetadata(platform: Platform, options: MetadataOptions): Promise<PrimaryManager> {
  let store: ReplicaStore | undefined;
  try {
    store = await ReplicaStore.open(platform, {
      directory: options.directory,
      cacheBytes: STORE_CACHE_BYTES,
      writeBufferBytes: STORE_WRITE_BUFFER_BYTES,
    });
    return await open(platform, options, store);
  } catch (error) {
    await store?.close();
    if (error instanceof UnknownVersion) {
      const why = `the metadata was written by another version of tartanfs (${error.message})`;
      throw new MetadataUnavailable(why);
    }
    if (!(error instanceof FormatError)) throw error;
    throw new MetadataUnavailable(`${error.message}: mount again, which copies it from a node`);
  }
}

async function open(
  platform: Platform,
  options: MetadataOptions,
  store: ReplicaStore,
): Promise<PrimaryManager> {
  const { coordinator, links, primary, owner } = options;
  const { draining = new DrainingNodes() } = options;
  const parityFragments = () => options.parityFragments;
  const size = () => {
    const able = draining.placeable([...links.links.values()], parityFragments());
    return Math.min(able.length, Math.max(LEAST_MEMBERS, parityFragments() + 1)) || 1;
  };
  const waitMs = options.waitMs ?? DEFAULT_WAIT_MS;
  const parts: RecoveryParts = { platform, coordinator, links, primary, store, ensembleSize: size, waitMs };
  const record = await claimTerm(parts);
  const adopted = await adoptLog(parts, record);

  const { crc32c } = platform.kernels;
  let manager: PrimaryManager | undefined;
  const reader = stateReader(store.database, crc32c, () => {
    manager?.ownStoreDamaged();
    // The next opening copies a member's.
    store.markDamaged().catch((error: unknown) => {
      platform.log.error('own-store-not-marked', { why: String(error) });
    });
  });
  const state = new MetadataState(
    reader,
    crc32c,
    nameHash(Number.parseInt(options.volumeId.slice(0, 8), 16)),
  );
  await state.load(reader);
  await replay(platform, adopted, state);

  const ensemble = new Ensemble(
    { platform, coordinator, links, primary },
    crc32c,
    adopted.term,
    adopted.retained,
    (sequence) => manager?.committed(sequence),
  );
  await formFirst(platform, ensemble, adopted.members, waitMs);
  const checkpointer = new Checkpointer(platform, state, ensemble.journal, store);
  const recruiter = new Recruiter({
    platform,
    coordinator,
    links,
    ensemble,
    checkpointer,
    store,
    draining,
    parityFragments,
    size,
    damagedReplicas: adopted.damagedReplicas,
  });
  manager = new PrimaryManager({
    platform,
    term: ensemble.journal.term,
    state,
    reader,
    ensemble,
    checkpointer,
    recruiter,
    store,
  });
  try {
    if (state.nextInode === ROOT) {
      const seconds = Math.floor(platform.clock.wallMs() / 1000);
      const time = { seconds, nanoseconds: 0 };
      manager.format({ mode: S_IFDIR | 0o755, ...owner, rdev: 0, time });
      await manager.sync();
    }
    await manager.finishLeftovers();
  } catch (error) {
    recruiter.close();
    ensemble.journal.stop(new MetadataUnavailable('the volume could not be opened'));
    await checkpointer.close();
    throw error;
  }
  recruiter.check();
  // Or the next opening would replay the same once more, if nobody changes anything until then.
  if (adopted.retained.lengthBytes > 0) checkpointer.noteChange();
  platform.log.info('metadata-opened', {
    term: manager.term,
    sequence: ensemble.journal.lastSequence,
    replayedBytes: adopted.retained.lengthBytes,
  });
  return manager;
}

async function formFirst(
  platform: Platform,
  ensemble: Ensemble,
  members: readonly number[],
  waitMs: number,
): Promise<void> {
  const { journal } = ensemble;
  journal.members = members.map((id) => ensemble.member(id));
  const timer = platform.timers.after(waitMs, () => {
    journal.stop(new MetadataUnavailable('no ensemble of storage nodes could be formed'));
  });
  await ensemble.change();
  timer.cancel();
  if (journal.stopped !== undefined) throw journal.stopped;
}
