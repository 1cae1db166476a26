/**
 * What the control service (rpc method `control`) of the supervisor and of the mount process understands. JSON in UTF-8,
 * both ways; the two ends are always of one build, but unknown commands are refused all the same. docs/format/control.md
 */

import type { CopySettings } from '../../format/maintenance-state.ts';
import type { CheckProgress } from '../../fsck/check-volume.ts';
import type { CheckSummary, Finding } from '../../fsck/findings.ts';
import type { JournalReport } from '../../metadata/journal-report.ts';
import type { AvailabilityReport } from '../../replicator/adapt/adapter.ts';
import type { DrainReport } from '../../replicator/balance/balancer.ts';
import type { CopyStatus, SegmentCopies } from '../../replicator/copies/copy-report.ts';
import type { PlanRequest } from '../../replicator/plan/contract.ts';
import type { ExitCode } from '../failure.ts';
import type { Frontend } from '../volume/volume-file.ts';

export type SupervisorRequest =
  | { readonly command: 'facts' }
  /** The volume's file has other nodes than it had. */
  | { readonly command: 'take-nodes' }
  | { readonly command: 'start-node'; readonly id: number }
  | { readonly command: 'stop-node'; readonly id: number; readonly signal: 'SIGTERM' | 'SIGKILL' }
  /** Answered when no node is about to start. */
  | { readonly command: 'await-nodes' }
  | { readonly command: 'start-mount'; readonly mount: MountSettings }
  | { readonly command: 'stop-mount'; readonly lazy: boolean }
  | { readonly command: 'set-restart'; readonly restart: boolean }
  | { readonly command: 'explain'; readonly inode: number }
  /** Stops every process of the volume, then the supervisor itself. */
  | { readonly command: 'shut-down'; readonly lazy: boolean };

export type MountRequest =
  | { readonly command: 'facts' }
  | { readonly command: 'explain'; readonly inode: number }
  | { readonly command: 'unmount'; readonly lazy: boolean }
  /** Answered when the link to a node that has started is up. */
  | { readonly command: 'meet-node'; readonly id: number }
  /** What the planner is asked for the volume as it is: PlanningFacts, or null where too few nodes are left. */
  | { readonly command: 'plan' }
  | { readonly command: 'check-start'; readonly settings: CheckSettings }
  | { readonly command: 'check-poll' }
  | { readonly command: 'check-cancel' }
  | { readonly command: 'upkeep'; readonly job: UpkeepJob; readonly action: UpkeepAction };

export type UpkeepJob = 'heal' | 'scrub' | 'availability' | 'balance' | 'copies';

export type UpkeepAction =
  | { readonly kind: 'status' | 'start' | 'pause' | 'resume' }
  /** 0: none. */
  | { readonly kind: 'limit'; readonly bytesPerSecond: number }
  /** Of heal. */
  | { readonly kind: 'grace'; readonly ms: number }
  /** Of balance: empties a node, takes it into use again, or lets go of one that holds nothing. */
  | { readonly kind: 'drain' | 'undrain' | 'release'; readonly id: number }
  /** Of copies. */
  | { readonly kind: 'switch'; readonly on: boolean }
  | ({ readonly kind: 'when' } & Partial<CopyConditions>)
  /** Of scrub; 0: never. */
  | { readonly kind: 'every'; readonly seconds: number }
  /** Of availability: share of time that the data may be unavailable; 0: whatever it is. */
  | { readonly kind: 'target'; readonly unavailability: number };

/** As the planner has it, with a list instead of a map. */
export interface PlanningFacts extends Omit<PlanRequest, 'domainUnavailability'> {
  readonly domainUnavailability: readonly (readonly [domain: string, unavailability: number])[];
  /** null: nobody asked for anything. */
  readonly wantedUnavailability: number | null;
}

/** When fragments are copied. */
export type CopyConditions = Pick<CopySettings, 'windowSeconds' | 'readsPerDay' | 'busyBytesPerSecond'>;

export interface CheckSettings {
  readonly data: boolean;
  readonly repair: boolean;
}

/** Of a check that runs: what was found since the last time. */
export interface CheckReport {
  readonly findings: readonly Finding[];
  readonly progress: CheckProgress | null;
  /** Present once it is over and everything was told. */
  readonly summary: CheckSummary | null;
}

export interface MountSettings {
  readonly mountPoint: string;
  readonly frontend: Frontend;
  readonly readOnly: boolean;
}

/** `busy`: the mount point is in use. */
export type ControlReply<T> =
  | { readonly ok: true; readonly value: T }
  | {
      readonly ok: false;
      readonly reason: 'failed' | 'busy';
      readonly exitCode: ExitCode;
      readonly message: string;
    };

export interface NodeFacts {
  readonly id: number;
  readonly address: string;
  readonly pid: number | null;
  readonly process: 'absent' | 'starting' | 'running';
  readonly detail: string;
  /** Somebody asked for it to be down. */
  readonly stoppedOnPurpose: boolean;
  readonly failure: string | null;
  readonly link: 'up' | 'slow' | 'down';
  /** null: no label. */
  readonly domain: string | null;
  readonly usedBytes: number;
  readonly capacityBytes: number;
}

export interface MountFacts {
  readonly path: string;
  readonly pid: number | null;
  readonly process: 'absent' | 'starting' | 'running';
  readonly detail: string;
  readonly failure: string | null;
  /** Absent when the process does not answer. */
  readonly statistics: MountStatistics | null;
}

/** Work in the background. */
export interface WorkFacts {
  readonly kind: UpkeepJob;
  readonly state: 'idle' | 'waiting' | 'running' | 'paused' | 'stuck';
  readonly doneBytes: number;
  readonly leftBytes: number;
  readonly bytesPerSecond: number;
  readonly secondsLeft: number | null;
}

/** What the mount process, which hosts the primary manager, knows. */
export interface MountStatistics {
  readonly journal: JournalReport;
  readonly metadataTrouble: string | null;
  readonly logTrouble: string | null;
  readonly files: number;
  readonly totalBytes: number;
  readonly usedBytes: number;
  readonly availableBytes: number;
  readonly segments: number;
  readonly degradedSegments: number;
  readonly unreadableSegments: number;
  readonly bytesToRepair: number;
  readonly work: readonly WorkFacts[];
  readonly availability: AvailabilityReport;
  readonly draining: readonly DrainReport[];
  /** Extra ones of fragments that are read a lot. */
  readonly copies: Pick<CopyStatus, 'copiedSegments' | 'copies' | 'bytes'>;
  readonly blocksRebuilt: number;
  readonly corruptBlocks: number;
  readonly cleaning: CleaningStatistics;
}

/** Since the mount began. */
export interface CleaningStatistics {
  readonly running: boolean;
  readonly cleanedSegments: number;
  readonly movedBytes: number;
  /** File data that users wrote into segments. */
  readonly writtenBytes: number;
  /** Room that dead blocks take. */
  readonly reclaimableBytes: number;
}

export interface VolumeFacts {
  readonly supervisorPid: number;
  readonly restart: boolean;
  readonly nodes: readonly NodeFacts[];
  readonly mount: MountFacts | null;
  /** From the coordinator, also when no primary runs. */
  readonly manager: { readonly term: number; readonly members: readonly number[] } | null;
}

export interface ExplainedExtent {
  readonly fileBlock: number;
  readonly blocks: number;
  /** 0: a hole. */
  readonly segmentId: number;
  readonly blockIndex: number;
}

export interface ExplainedSegment {
  readonly segmentId: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
  readonly fragmentBlocks: number;
  /** Node of each fragment, data first. */
  readonly nodes: readonly number[];
  /** What is thought of copying it; null: nothing, its blocks are in the journal. */
  readonly use: SegmentCopies | null;
  /** Its blocks are in the journal of these nodes and not yet in a segment of their own. */
  readonly journaledOn: readonly number[] | null;
}

export interface Explanation {
  readonly inode: number;
  readonly sizeBytes: number;
  readonly extents: readonly ExplainedExtent[];
  readonly segments: readonly ExplainedSegment[];
  /** There are more extents than are listed. */
  readonly truncated: boolean;
}
