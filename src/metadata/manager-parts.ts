/** What the primary metadata manager is made of, by open.ts, and how that is taken apart: in the order in which one needs the other. */
import type { ReplicaStore } from '../cluster/replica-store.ts';
import type { Platform, Timer } from '../platform/platform.ts';
import type { Checkpointer } from './checkpointer.ts';
import type { Ensemble } from './ensemble.ts';
import { MetadataUnavailable } from './metadata.ts';
import type { Recruiter } from './recruiter.ts';
import type { MetadataState } from './state.ts';
import type { StateReader } from './state-reader.ts';

/** What close waits for the journal, and then for a checkpoint that spares the next start a replay. */
const CLOSE_SYNC_MS = 5000;
const CLOSE_CHECKPOINT_MS = 15_000;

export interface ManagerParts {
  readonly platform: Platform;
  /** Of this reign: what segment ids are made from. */
  readonly term: number;
  readonly state: MetadataState;
  readonly reader: StateReader;
  readonly ensemble: Ensemble;
  readonly checkpointer: Checkpointer;
  readonly recruiter: Recruiter;
  /** The own one, closed with the manager. */
  readonly store: ReplicaStore;
}

/** Commits and checkpoints what can be; what cannot is found in the journal by the next start. `sync` waits until everything is committed. */
export async function closeManagerParts(parts: ManagerParts, sync: () => Promise<void>): Promise<void> {
  const { ensemble, checkpointer, recruiter, platform, store } = parts;
  recruiter.close();
  try {
    await within(platform, CLOSE_SYNC_MS, sync());
    await within(platform, CLOSE_CHECKPOINT_MS, checkpointer.checkpoint());
  } catch (error) {
    if (!(error instanceof MetadataUnavailable)) throw error;
    platform.log.warn('metadata-closed-uncommitted', { why: error.message });
  }
  ensemble.journal.stop(new MetadataUnavailable('the metadata manager is closed'));
  await checkpointer.close();
  await store.close();
}

async function within(platform: Platform, delayMs: number, work: Promise<void>): Promise<void> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new MetadataUnavailable('the journal did not answer in time');
    timer = platform.timers.after(delayMs, () => reject(error));
  });
  try {
    await Promise.race([work, late]);
  } finally {
    timer?.cancel();
  }
}
