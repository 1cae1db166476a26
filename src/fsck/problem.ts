/**
 * A problem as a check reports it, with how it could be repaired. Checks decide nothing about whether that happens.
 */
import type { RedoSink } from '../format/journal-entry.ts';
import type { MetadataState } from '../metadata/state.ts';
import type { FindingKind, Subject } from './findings.ts';

/**
 * One transaction on the state as it is now, which may have gone on since the check's view: it looks whether the problem is still there, and
 * corrects counts by the difference that was found. False: nothing to be done any more, or not possible.
 */
export type StateRepair = (redo: RedoSink, state: MetadataState) => boolean;

export interface Problem {
  readonly kind: FindingKind;
  readonly subject: Subject;
  readonly detail: string;
  /** Also while files are used. */
  readonly repair?: StateRepair;
  /** Only while no file system is attached: it would not see its inodes and names change. */
  readonly repairAtRest?: StateRepair;
  /** Work on the nodes; may make transactions of its own. False: not possible now. */
  readonly repairOnNodes?: () => Promise<boolean>;
}
