/**
 * The small linearizable store of who is who: the contract of its two engines (embedded on `level`, and etcd). One conformance suite
 * runs over both. Values are small (under 64 KiB); keys are '/'-separated ASCII.
 */
export interface CoordinatorEntry {
  readonly key: string;
  readonly value: Buffer;
  /** Grows with every change of this key; 0 stands for "absent" in compare-and-swap. */
  readonly version: number;
}

export type CoordinatorEvent =
  | { readonly kind: 'put'; readonly entry: CoordinatorEntry }
  | { readonly kind: 'delete'; readonly key: string };

/** The coordinator cannot be reached or does not answer. Expected; retry or go on without. */
export class CoordinatorUnavailable extends Error {
  override readonly name = 'CoordinatorUnavailable';
}

/** The lease named by a write has ended. */
export class LeaseGone extends Error {
  override readonly name = 'LeaseGone';
}

export interface Lease {
  readonly id: string;
  /** Called once when the lease is lost (not renewed in time); its keys are gone. */
  onLost: (() => void) | undefined;
  /** Ends the lease and deletes its keys. */
  revoke(): Promise<void>;
}

export interface Coordinator {
  get(key: string): Promise<CoordinatorEntry | undefined>;
  list(prefix: string): Promise<CoordinatorEntry[]>;
  put(key: string, value: Uint8Array, lease?: Lease): Promise<CoordinatorEntry>;
  delete(key: string): Promise<boolean>;
  /** Writes only if the key's version is `expectedVersion` (0: absent). undefined: lost, read again. Durable when it resolves. */
  compareAndSwap(
    key: string,
    expectedVersion: number,
    value: Uint8Array,
    lease?: Lease,
  ): Promise<CoordinatorEntry | undefined>;
  /** First the present entries as puts, then changes in order. Survives reconnects (re-reads and reports differences). */
  watch(prefix: string, listener: (event: CoordinatorEvent) => void): () => void;
  /** A lease that this process keeps renewing until it ends or `revoke`. */
  lease(ttlMs: number): Promise<Lease>;
  close(): Promise<void>;
}

/** Keys. Values are JSON (UTF-8). */
export const coordinatorKeys = {
  /** VolumeSettings. */
  volume: 'volume',
  node: (id: number) => `nodes/${id}`,
  nodePrefix: 'nodes/',
  /** ManagerRecord: compare-and-swapped. */
  manager: 'manager',
} as const;

export interface VolumeSettings {
  readonly formatVersion: 1;
  readonly name: string;
  /** 32 hex digits. */
  readonly volumeId: string;
  readonly dataFragments: number;
  readonly parityFragments: number;
}

export interface NodeRecord {
  readonly id: number;
  /** `unix:/path` or `tcp:host:port`. */
  readonly address: string;
  readonly domain?: string;
}

/** Who reigns: the term, where its primary answers, and the members whose logs hold every committed entry. */
export interface ManagerRecord {
  readonly term: number;
  readonly primary: string;
  readonly members: readonly number[];
}
