/**
 * One moment of the whole metadata, as it lies in the primary's own store, however the volume goes on: what a check of the volume walks over.
 * Reads are in pages; nothing is kept in memory here. Closed exactly once.
 */
import type { ReplicaStore } from '../cluster/replica-store.ts';

export interface StateView {
  /** The journal entry that the view stands behind. */
  readonly appliedSequence: number;
  /** Records with from <= key < to in key order, at most `limit`. */
  range(from: string, to: string, limit: number): Promise<[Buffer, Buffer][]>;
  close(): Promise<void>;
}

/** No checkpoint may be under way. */
export function openStateView(store: ReplicaStore): StateView {
  const { database } = store;
  const snapshot = database.snapshot();
  return {
    appliedSequence: store.state.appliedSequence,
    range: (from, to, limit) =>
      database
        .iterator({ gte: Buffer.from(from, 'latin1'), lt: Buffer.from(to, 'latin1'), limit, snapshot })
        .all(),
    close: () => snapshot.close(),
  };
}
