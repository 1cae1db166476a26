/**
 * What the planner is told and what it answers. Units: bytes, milliseconds, shares 0..1. No processes, no clock: the caller measures,
 * asks, and carries out.
 */
import type { DomainUnavailability } from '../model/failures.ts';

export interface PlanNode {
  readonly id: number;
  /** Failure domain label. */
  readonly domain: string;
  readonly capacityBytes: number;
  readonly freeBytes: number;
  /** Measured share of time that the node is down, 0..1. */
  readonly unavailability: number;
  /** 'leaving' still answers but is to be emptied; 'gone' will not come back, and what it held has to be rebuilt. */
  readonly role: 'member' | 'leaving' | 'gone';
}

/** Segments that are alike, counted together. */
export interface SegmentClass {
  /** All nodes that the segments are spread over: at least dataFragments + parityFragments, each segment using that many of them. */
  readonly nodes: readonly number[];
  readonly dataFragments: number;
  readonly parityFragments: number;
  readonly segments: number;
  /** Bytes in the data fragments, before parity. */
  readonly dataBytes: number;
}

export interface Layout {
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Disjoint sets of nodes. A segment is striped over k + m nodes of one set, on distinct domains while the set has so many. */
  readonly groups: readonly (readonly number[])[];
}

/** What may change; the nodes of a request are those before it. */
export type PlanEvent =
  | { readonly kind: 'join'; readonly nodes: readonly PlanNode[] }
  | { readonly kind: 'leave' | 'lost'; readonly ids: readonly number[] }
  | { readonly kind: 'label'; readonly id: number; readonly domain: string }
  | { readonly kind: 'drift'; readonly id: number; readonly unavailability: number };

export interface PlanPolicy {
  /** 1 - A that the owner asks for, such as 1e-5. */
  readonly targetUnavailability: number;
  readonly minParity: number;
  readonly maxParity: number;
  /** Most fragments of a segment. */
  readonly maxWidth: number;
  /** Those of them that hold data. */
  readonly maxDataFragments: number;
  /** Bytes read and written per millisecond that changes of layout may take of all nodes together. */
  readonly backgroundBytesPerMs: number;
  /** The same for rebuilding what a lost node held. */
  readonly rebuildBytesPerMs: number;
  /** How long a node may be away before it is rebuilt. */
  readonly rebuildGraceMs: number;
  /** Time in which a lost node should be rebuilt; groups are made wide enough for it where that meets the target. */
  readonly rebuildWithinMs: number;
  /** A layout that does so may cost so many times as much as one that does not. */
  readonly rebuildWorth: number;
  /** Mean time until a node is lost for good. */
  readonly nodeLifetimeMs: number;
  /** Bytes worth moving now to have one byte more of capacity from then on. */
  readonly spaceWeight: number;
  /** Share of a group's capacity that may be filled. */
  readonly fillLimit: number;
  /** A layout with less parity than now is taken only if its unavailability is below this share of the target. */
  readonly relaxMargin: number;
  /** While the target is met, a change has to cost less than this share of leaving alone. */
  readonly worthwhileCost: number;
  /** A choice has to stay the same for so long before it is carried out. */
  readonly settleMs: number;
  /** After a change, one that the target does not demand waits for so long. */
  readonly quietMs: number;
}

export interface PlanRequest {
  readonly nodes: readonly PlanNode[];
  readonly classes: readonly SegmentClass[];
  /** What new segments are laid out by now. */
  readonly current: Layout;
  readonly policy: PlanPolicy;
  readonly domainUnavailability?: DomainUnavailability;
}

export type LayoutAction = 'keep' | 'migrate' | 'widen' | 'narrow' | 'add-parity' | 'drop-parity';

/** Steps are carried out one after the other; within one, each segment's new fragments are durable and committed before old ones are freed. */
export interface PlanStep {
  readonly kind: 'use-for-new-segments' | 'add-parity' | 'move-fragments' | 'rewrite' | 'drop-parity';
  /** How many segments it touches, as far as totals tell: not an integer. */
  readonly segments: number;
  readonly readBytes: number;
  readonly writeBytes: number;
  /** The fewest parity fragments that any segment has from the start to the end of the step. */
  readonly lowestParity: number;
}

export interface Candidate {
  readonly actions: readonly LayoutAction[];
  readonly layout: Layout;
  /** Predicted 1 - A once everything is in this layout. An upper bound where groups share nodes or domains. */
  readonly unavailability: number;
  /** Expected share of the data that cannot be read at a time. */
  readonly unavailableFraction: number;
  readonly meanTimeToDataLossMs: number;
  /** Time to rebuild an average node, from its loss. */
  readonly rebuildMs: number;
  readonly storedBytes: number;
  /** Stored over data bytes, less 1. */
  readonly spaceOverhead: number;
  /** Data bytes that the members hold in this layout when full. */
  readonly usableBytes: number;
  readonly readBytes: number;
  /** Bytes to move: written to nodes that do not have them yet. */
  readonly writeBytes: number;
  readonly durationMs: number;
  /** Bytes: read and written, and the capacity that gives no usable bytes, weighted by spaceWeight. */
  readonly cost: number;
  readonly meetsTarget: boolean;
  readonly fits: boolean;
  readonly rebuildsInTime: boolean;
  readonly steps: readonly PlanStep[];
}

/** Any one of these, everything else being equal, would make some layout meet the target. */
export type Remedy =
  | { readonly kind: 'add-nodes'; readonly count: number; readonly layout: Layout }
  | { readonly kind: 'allow-parity'; readonly parityFragments: number }
  | { readonly kind: 'better-nodes'; readonly unavailabilityAtMost: number };

export interface Plan {
  /** Leaving alone first, then the others by cost. */
  readonly candidates: readonly Candidate[];
  readonly choice: Candidate;
  /** Why it was chosen: 'content': nothing better than what is; 'best-effort': nothing meets the target. */
  readonly why: 'content' | 'restores-target' | 'cheaper' | 'best-effort';
  /** Only when nothing meets the target. Empty if nothing that was tried would. */
  readonly remedies: readonly Remedy[];
}
