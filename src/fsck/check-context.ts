/**
 * What the checks of one round share: the view they look at, what they gathered from it, and how far they are.
 */

import type { Coordinator } from '../cluster/coordinator.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import { FormatError } from '../format/fields.ts';
import type { Checksum, ProvisionalSegment, TotalsRecord } from '../format/metadata-records.ts';
import type { FragmentClaims } from '../log/fragment-claims.ts';
import type { NameHash } from '../metadata/directory-table.ts';
import type { PrimaryManager } from '../metadata/manager.ts';
import type { StateView } from '../metadata/state-view.ts';
import type { Platform } from '../platform/platform.ts';
import { InodeIndex } from './inode-index.ts';
import type { Problem } from './problem.ts';
import { SegmentIndex } from './segment-index.ts';

/** What is checked. */
export interface CheckedVolume {
  readonly platform: Platform;
  readonly links: NodeLinks;
  /** The primary, which goes on serving. */
  readonly metadata: PrimaryManager;
  /** 32 hex digits. */
  readonly volumeId: string;
  /** Shared with whoever moves fragments while it is checked. */
  readonly claims?: FragmentClaims;
  /** Without it the coordinator's records are not looked at. */
  readonly coordinator?: Coordinator;
}

export type CheckPhase = 'metadata' | 'names' | 'extents' | 'fragments' | 'replicas';

export interface CheckProgress {
  readonly phase: CheckPhase;
  /** Of `total` inodes or segments; total is a guess while a live volume changes. */
  readonly done: number;
  readonly total: number;
  readonly bytesRead: number;
}

/** A segment that is not committed yet: its live blocks are kept inline. There are as many as a writer has under way. */
interface Provisional extends ProvisionalSegment {
  foundLive: number;
  /** Extents found, by block index: what the inline block there has to be. */
  readonly extents: Map<number, InlineExtent>;
}

export interface InlineExtent {
  readonly inode: number;
  readonly fileBlock: number;
  readonly checksum: number;
}

export class CheckContext {
  readonly volume: CheckedVolume;
  readonly view: StateView;
  readonly crc32c: Checksum;
  readonly hash: NameHash;
  /** No file system is attached. */
  readonly atRest: boolean;
  /** Read and check every byte. */
  readonly data: boolean;
  /** What is on its way has so long to arrive before it counts as left over. */
  readonly settleMs: number;
  readonly inodes = new InodeIndex();
  readonly segments = new SegmentIndex();
  readonly provisional = new Map<number, Provisional>();
  totals: TotalsRecord | undefined;
  /** Without a root nothing can be said of names, nor of what they name. */
  rootIsLost = false;
  mappedBlocks = 0;
  reservedBlocks = 0;
  fragments = 0;
  bytesRead = 0;
  readonly #onProgress: ((progress: CheckProgress) => void) | undefined;
  readonly #isCancelled: () => boolean;

  constructor(parts: {
    volume: CheckedVolume;
    view: StateView;
    hash: NameHash;
    atRest: boolean;
    data: boolean;
    settleMs: number;
    onProgress: ((progress: CheckProgress) => void) | undefined;
    isCancelled: () => boolean;
  }) {
    this.volume = parts.volume;
    this.view = parts.view;
    this.crc32c = parts.volume.platform.kernels.crc32c;
    this.hash = parts.hash;
    this.atRest = parts.atRest;
    this.data = parts.data;
    this.settleMs = parts.settleMs;
    this.#onProgress = parts.onProgress;
    this.#isCancelled = parts.isCancelled;
  }

  /** To be called now and then. Throws CheckCancelled. */
  progress(phase: CheckPhase, done: number, total: number): void {
    if (this.#isCancelled()) throw new CheckCancelled('the check was cancelled');
    this.#onProgress?.({ phase, done, total, bytesRead: this.bytesRead });
  }
}

export class CheckCancelled extends Error {
  override readonly name = 'CheckCancelled';
}

/** A check: walks over something and reports what is wrong with it. */
export type Check = (context: CheckContext) => AsyncGenerator<Problem>;

/** The decoded record, or why it cannot be. */
export function decoded<T>(decode: () => T): { value: T } | { value: undefined; why: string } {
  try {
    return { value: decode() };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { value: undefined, why: error.message };
  }
}
