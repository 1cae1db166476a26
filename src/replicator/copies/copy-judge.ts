/**
 * Which copies a segment should have, on which nodes, and why: by its use and that of the nodes (use-meter.ts), the policy with the user's settings
 * (plan/read-copies.ts), and the room that nodes have. A node that refused a copy of a segment is left alone with it for a while.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import type { NodeLinks } from '../../cluster/nodes.ts';
import type { CopySettings } from '../../format/maintenance-state.ts';
import type { FragmentCopy, SegmentRecord } from '../../format/segment-record.ts';
import { copiesOf } from '../../log/fragment-holders.ts';
import { storedFragmentBytes } from '../../log/writable-nodes.ts';
import type { Clock } from '../../platform/platform.ts';
import { type CopyNode, placeCopies } from '../plan/copy-places.ts';
import {
  DEFAULT_READ_COPY_POLICY,
  decideReadCopy,
  type ReadCopyDecision,
  type ReadCopyPolicy,
  readsPerDayLimits,
} from '../plan/read-copies.ts';
import type { CopyReason } from './copy-report.ts';
import type { UseMeter } from './use-meter.ts';

export interface CopyJudgeParts {
  readonly clock: Clock;
  readonly links: NodeLinks;
  readonly draining: DrainingNodes;
  readonly meter: UseMeter;
}

export interface CopyJudgement {
  readonly decision: Omit<ReadCopyDecision, 'reason'> & { readonly reason: CopyReason };
  /** Beside those that are there. */
  readonly wanted: readonly FragmentCopy[];
}

/** A node keeps room for so many times what it gets. */
const ROOM_FACTOR = 4;
/** A node that freed a copy refuses it for a while. */
const REFUSED_MS = 600_000;
const MOST_REFUSED = 4096;

export class CopyJudge {
  settings: CopySettings;
  readonly #parts: CopyJudgeParts;
  /** Until when a node does not want a segment's copy. */
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(parts: CopyJudgeParts, settings: CopySettings) {
    this.#parts = parts;
    this.settings = settings;
  }

  /** What copies there are and what more there might be are decided on one by one: the first with the laxer limits of keeping. */
  judge(record: SegmentRecord): CopyJudgement {
    const { meter } = this.#parts;
    const policy = this.#policy();
    const nodes = this.#nodes(record, policy);
    const rates = nodes.map(({ readBytesPerMs }) => readBytesPerMs);
    const meanNodeReadBytesPerMs = rates.reduce((sum, rate) => sum + rate, 0) / Math.max(1, rates.length);
    const copies = copiesOf(record);
    const uncopied = record.nodes
      .slice(0, record.dataFragments)
      .filter((_, position) => !copies.some((copy) => copy.position === position));
    const use = {
      dataBytes: record.dataBlocks * BLOCK_BYTES,
      ...meter.segment(record.segmentId),
      busiestHolderReadBytesPerMs: Math.max(0, ...uncopied.map((id) => meter.nodeReadBytesPerMs(id))),
      meanNodeReadBytesPerMs,
    };
    const more = decideReadCopy({ ...use, hasCopy: false, freeShare: 1 }, policy);
    const least = Math.max(policy.busyBytesPerMs, policy.imbalance * meanNodeReadBytesPerMs);
    const wanted = more.verdict === 'make' ? placeCopies(record, nodes, least) : [];
    if (copies.length > 0) {
      const freeShare = Math.min(...copies.map(({ nodeId }) => this.#freeShare(nodeId)));
      const decision = decideReadCopy({ ...use, hasCopy: true, freeShare }, policy);
      return { decision, wanted: decision.verdict === 'keep' ? wanted : [] };
    }
    if (more.verdict !== 'make' || wanted.length > 0) return { decision: more, wanted };
    return { decision: { ...more, verdict: 'none', reason: this.#whyNowhere(record) }, wanted };
  }

  noteRefused(segmentId: number, nodeId: number): void {
    if (this.#refusedUntilMs.size >= MOST_REFUSED) this.#refusedUntilMs.clear();
    this.#refusedUntilMs.set(refusalKey(segmentId, nodeId), this.#parts.clock.monotonicMs() + REFUSED_MS);
  }

  #policy(): ReadCopyPolicy {
    const { enabled, readsPerDay, busyBytesPerSecond } = this.settings;
    return {
      ...DEFAULT_READ_COPY_POLICY,
      enabled,
      readsPerDay: readsPerDayLimits(readsPerDay),
      busyBytesPerMs: busyBytesPerSecond / 1000,
    };
  }

  /** All nodes that are meant to hold fragments and answer. */
  #nodes({ segmentId, fragmentBlocks, nodes: holders }: SegmentRecord, policy: ReadCopyPolicy): CopyNode[] {
    const { clock, links, draining, meter } = this.#parts;
    const needBytes = ROOM_FACTOR * storedFragmentBytes(fragmentBlocks, holders.length);
    return [...links.links.values()]
      .filter(({ id, state }) => state === 'up' && !draining.has(id))
      .map(({ id, domain, freeBytes }) => ({
        ...{ id, domain, readBytesPerMs: meter.nodeReadBytesPerMs(id) },
        isAble:
          freeBytes >= needBytes &&
          this.#freeShare(id) >= policy.freeShare.toMake &&
          (this.#refusedUntilMs.get(refusalKey(segmentId, id)) ?? 0) <= clock.monotonicMs(),
      }));
  }

  #freeShare(nodeId: number): number {
    const link = this.#parts.links.links.get(nodeId);
    // One that is away says nothing: it is not for its room that a copy on it would go.
    if (link === undefined || link.state === 'down') return 1;
    return link.capacityBytes > 0 ? link.freeBytes / link.capacityBytes : 0;
  }

  #whyNowhere(record: SegmentRecord): CopyReason {
    const { links, draining } = this.#parts;
    const isSpare = [...links.links.values()].some(
      ({ id, state }) => state === 'up' && !draining.has(id) && !record.nodes.includes(id),
    );
    return isSpare ? 'little-space' : 'no-node-left';
  }
}

const refusalKey = (segmentId: number, nodeId: number): string => `${segmentId}/${nodeId}`;
