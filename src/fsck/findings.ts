/**
 * What a check can find. One kind, one meaning: docs/fsck.md has the same table for people.
 */

/**
 * error: something is wrong or lost. warning: nothing is known to be wrong, but less is protected, or could be looked at, than should be. note:
 * left over from a crash or on its way out; it goes by itself, and a check with nothing but notes is clean.
 */
export type Severity = 'error' | 'warning' | 'note';

interface KindFacts {
  readonly severity: Severity;
  /** What to do about one that was not repaired. */
  readonly advice: string;
}

const WITH_REPAIR = 'run it again with --repair';
const AT_REST = 'unmount the volume and run it with --repair';
const RESTORE = 'restore the range from a backup, or delete the file';

export const findingKinds = {
  'record-damaged': { severity: 'error', advice: AT_REST },
  'totals-wrong': { severity: 'error', advice: WITH_REPAIR },
  'inode-unusable': {
    severity: 'error',
    advice: 'restore the file from a backup, or repair a lost root with the volume unmounted',
  },
  'inode-unreachable': { severity: 'error', advice: AT_REST },
  'inode-unlisted': { severity: 'error', advice: AT_REST },
  'links-wrong': { severity: 'error', advice: AT_REST },
  'mapped-count-wrong': { severity: 'error', advice: AT_REST },
  'reserved-count-wrong': { severity: 'error', advice: AT_REST },
  'entry-dangling': { severity: 'error', advice: AT_REST },
  'entry-type-wrong': { severity: 'error', advice: AT_REST },
  'entry-misplaced': { severity: 'error', advice: AT_REST },
  'entry-twice': { severity: 'error', advice: AT_REST },
  'entry-unowned': { severity: 'error', advice: AT_REST },
  'directory-count-wrong': { severity: 'error', advice: AT_REST },
  'directory-parent-wrong': { severity: 'error', advice: AT_REST },
  'directory-cycle': { severity: 'error', advice: AT_REST },
  'attribute-unowned': { severity: 'error', advice: AT_REST },
  'attribute-lost': { severity: 'error', advice: AT_REST },
  'attribute-flag-wrong': { severity: 'error', advice: AT_REST },
  'target-lost': { severity: 'error', advice: 'make the symbolic link anew' },
  'mark-unowned': { severity: 'error', advice: AT_REST },
  'extent-unowned': { severity: 'error', advice: AT_REST },
  'extent-beyond-size': { severity: 'error', advice: AT_REST },
  'extent-lost': { severity: 'error', advice: RESTORE },
  'extent-out-of-segment': { severity: 'error', advice: RESTORE },
  'extent-shared': { severity: 'error', advice: RESTORE },
  'extent-mismatch': { severity: 'error', advice: RESTORE },
  'inline-lost': { severity: 'error', advice: RESTORE },
  'inline-unowned': { severity: 'error', advice: WITH_REPAIR },
  'segment-live-wrong': { severity: 'error', advice: WITH_REPAIR },
  'segment-dead-unlisted': { severity: 'error', advice: WITH_REPAIR },
  'segment-dead-wrongly': { severity: 'error', advice: WITH_REPAIR },
  'segment-not-freed': { severity: 'note', advice: 'the next mount frees it, or --repair' },
  'segment-unreadable': { severity: 'error', advice: 'start the nodes that are down, then run it again' },
  'node-unreachable': { severity: 'warning', advice: 'start it with `tartan node start`, then run it again' },
  'fragment-missing': { severity: 'error', advice: WITH_REPAIR },
  'fragment-wrong': { severity: 'error', advice: WITH_REPAIR },
  'fragment-corrupt': { severity: 'error', advice: WITH_REPAIR },
  'fragment-orphan': { severity: 'note', advice: 'the next mount frees it, or --repair' },
  'copy-bad': { severity: 'warning', advice: 'the mount drops it, or --repair' },
  'parity-wrong': { severity: 'error', advice: WITH_REPAIR },
  'summary-wrong': { severity: 'error', advice: 'read the files in it, and write them anew' },
  'journal-damaged': { severity: 'error', advice: 'mount the volume: the member is filled again' },
  'journal-differs': { severity: 'error', advice: WITH_REPAIR },
  'replica-incomplete': { severity: 'warning', advice: 'mount the volume: the replica is filled again' },
  'replica-differs': { severity: 'error', advice: WITH_REPAIR },
  'coordinator-record-wrong': {
    severity: 'error',
    advice: 'mount the volume: a mount writes its record anew',
  },
} as const satisfies Readonly<Record<string, KindFacts>>;

export type FindingKind = keyof typeof findingKinds;

/** What a problem is about: the ids that it has. */
export interface Subject {
  readonly inode?: number;
  /** A name in the directory `inode`. */
  readonly name?: string;
  readonly segmentId?: number;
  readonly position?: number;
  readonly nodeId?: number;
}

export interface Finding {
  readonly severity: Severity;
  readonly kind: FindingKind;
  /** A path where there is one, else what and its number. */
  readonly subject: string;
  readonly detail: string;
  readonly advice: string;
  /** There is a repair for it. */
  readonly repairable: boolean;
  /** It was made. */
  readonly repaired: boolean;
  readonly ids: Subject;
}

export interface CheckSummary {
  readonly inodes: number;
  readonly segments: number;
  readonly mappedBlocks: number;
  readonly fragments: number;
  readonly bytesRead: number;
  readonly repaired: number;
  /** What is left. */
  readonly errors: number;
  readonly warnings: number;
  readonly notes: number;
  /** Findings that were counted and not listed any more. */
  readonly unlisted: number;
}
