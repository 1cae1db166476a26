/** What is told of copies: of all of them, and of one segment's. */
import type { FragmentCopy } from '../../format/segment-record.ts';
import type { ReadCopyDecision } from '../plan/read-copies.ts';

/** Beside those of the policy: no node is left that holds nothing of the segment. */
export type CopyReason = ReadCopyDecision['reason'] | 'no-node-left';

export interface SegmentCopies {
  readonly copies: readonly FragmentCopy[];
  readonly readBytesPerSecond: number;
  readonly overwrittenBytesPerSecond: number;
  readonly verdict: ReadCopyDecision['verdict'];
  readonly reason: CopyReason;
  readonly readsPerDay: number;
  /** null: nothing is read. */
  readonly writesPerRead: number | null;
  readonly imbalance: number;
}

export interface CopyStatus {
  readonly state: 'off' | 'idle' | 'working' | 'waiting';
  readonly copiedSegments: number;
  readonly copies: number;
  readonly bytes: number;
  /** Since the volume was opened. */
  readonly made: number;
  readonly dropped: number;
  /** What is read from each node now. */
  readonly nodes: readonly { readonly id: number; readonly readBytesPerSecond: number }[];
}
