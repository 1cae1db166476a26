/**
 * Whether the data fragments of a segment should have an extra copy on other nodes, to share the load of reading them. Pure; the answer
 * names its reason, so that it can be shown.
 *
 * A copy is made where reading pays for it and dropped where writing or space ask for it, as adaptive replication does by use (Wolfson,
 * Jajodia and Huang, "An adaptive data replication algorithm", 1997). The limits for keeping are laxer than those for making, so rates
 * that hover around one of them cause no traffic.
 */
import { assert } from '../../base/assert.ts';

export interface ReadCopyPolicy {
  readonly enabled: boolean;
  /** Times that the whole segment is read in a day: at least so often to make a copy, to keep one. */
  readonly readsPerDay: Limits;
  /** Bytes overwritten for each byte read: at most. */
  readonly writesPerRead: Limits;
  /** Free share of the nodes that would hold it: at least. */
  readonly freeShare: Limits;
  /** Reading load of the busiest holder over the mean of all nodes: at least, to make a copy. */
  readonly imbalance: number;
  /** Bytes that are read from the busiest holder in a millisecond: at least, to make a copy. Nothing is to be shared where there is no load. */
  readonly busyBytesPerMs: number;
}

interface Limits {
  readonly toMake: number;
  readonly toKeep: number;
}

export const DEFAULT_READ_COPY_POLICY: ReadCopyPolicy = {
  enabled: true,
  // Rates are measured over some ten minutes, in which a file that is read once seems to be read 144 times a day.
  readsPerDay: readsPerDayLimits(600),
  writesPerRead: { toMake: 1 / 16, toKeep: 1 / 4 },
  freeShare: { toMake: 0.25, toKeep: 0.15 },
  imbalance: 1.5,
  busyBytesPerMs: 2000,
};

export function readsPerDayLimits(toMake: number): Limits {
  return { toMake, toKeep: toMake / 4 };
}

/** Measured over some time, faded as the caller likes. Rates in bytes per millisecond. */
export interface SegmentUse {
  readonly dataBytes: number;
  readonly readBytesPerMs: number;
  /** Bytes of the segment that are overwritten or deleted: what a copy would hold in vain. */
  readonly overwrittenBytesPerMs: number;
  readonly hasCopy: boolean;
  /** Free share, 0..1, of the nodes that hold the copy or would. */
  readonly freeShare: number;
  readonly busiestHolderReadBytesPerMs: number;
  readonly meanNodeReadBytesPerMs: number;
}

export interface ReadCopyDecision {
  readonly verdict: 'make' | 'keep' | 'drop' | 'none';
  /** What decided: for 'make' and 'keep' that it pays, otherwise the first limit that says no. */
  readonly reason:
    | 'pays'
    | 'switched-off'
    | 'little-space'
    | 'read-seldom'
    | 'written-often'
    | 'load-is-light'
    | 'load-is-even';
  readonly readsPerDay: number;
  readonly writesPerRead: number;
  /** Busiest holder over mean; 0 when nothing is read. */
  readonly imbalance: number;
}

const DAY_MS = 86_400_000;

export function decideReadCopy(
  use: SegmentUse,
  policy: ReadCopyPolicy = DEFAULT_READ_COPY_POLICY,
): ReadCopyDecision {
  assert(use.dataBytes > 0, 'a segment has data');
  const figures = {
    readsPerDay: (use.readBytesPerMs * DAY_MS) / use.dataBytes,
    writesPerRead:
      use.readBytesPerMs > 0 ? use.overwrittenBytesPerMs / use.readBytesPerMs : Number.POSITIVE_INFINITY,
    imbalance:
      use.meanNodeReadBytesPerMs > 0 ? use.busiestHolderReadBytesPerMs / use.meanNodeReadBytesPerMs : 0,
  };
  const objection = firstObjection(use, policy, figures);
  if (objection !== undefined) {
    return { verdict: use.hasCopy ? 'drop' : 'none', reason: objection, ...figures };
  }
  return { verdict: use.hasCopy ? 'keep' : 'make', reason: 'pays', ...figures };
}

function firstObjection(
  use: SegmentUse,
  policy: ReadCopyPolicy,
  {
    readsPerDay,
    writesPerRead,
    imbalance,
  }: Pick<ReadCopyDecision, 'readsPerDay' | 'writesPerRead' | 'imbalance'>,
): Exclude<ReadCopyDecision['reason'], 'pays'> | undefined {
  const limit = (limits: Limits): number => (use.hasCopy ? limits.toKeep : limits.toMake);
  if (!policy.enabled) return 'switched-off';
  if (use.freeShare < limit(policy.freeShare)) return 'little-space';
  if (readsPerDay < limit(policy.readsPerDay)) return 'read-seldom';
  if (writesPerRead > limit(policy.writesPerRead)) return 'written-often';
  // With a copy the load is shared already: only its absence can show that there is much, and that it is uneven.
  if (use.hasCopy) return undefined;
  if (use.busiestHolderReadBytesPerMs < policy.busyBytesPerMs) return 'load-is-light';
  if (imbalance < policy.imbalance) return 'load-is-even';
  return undefined;
}
