/**
 * Reads every fragment of the volume now and then, so that damage is found while there is still enough to repair it from. One pass goes over the
 * segments in the order of their numbers; what is bad is repaired at once by the primitive of all background work, or given to the healer.
 *
 * How far it is survives a restart, to within the last half minute. A pass is started by somebody or by the schedule.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { ScrubState } from '../../format/maintenance-state.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import { hasCopy, holdings } from '../../log/fragment-holders.ts';
import { BackgroundWork } from '../../maintenance/background-work.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import { type RepairParts, repairFragment } from '../../maintenance/fragment-repair.ts';
import type { RepairMemory } from '../../maintenance/repair-memory.ts';
import type { SharedPieces } from '../../maintenance/shared-pieces.ts';
import type { Platform } from '../../platform/platform.ts';
import { type Scrubbed, scrubSegment } from './scrub-segment.ts';

export interface ScrubberParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly claims: FragmentClaims;
  readonly budget: IoBudget;
  readonly pieces: SharedPieces;
  readonly limit: RateLimit;
  /** What could not be repaired at once. */
  readonly onDamage: (record: SegmentRecord, nodeId: number) => void;
  readonly save: (state: ScrubState) => void;
}

export interface ScrubFinding {
  readonly segmentId: number;
  readonly position: number;
  readonly nodeId: number;
  readonly repaired: boolean;
}

export interface ScrubStatus extends ScrubState {
  readonly state: 'idle' | 'running' | 'paused';
  readonly bytesPerSecond: number;
  readonly bytesLeft: number;
  readonly secondsLeft: number | null;
  /** The last ones. */
  readonly findings: readonly ScrubFinding[];
}

const PAGE_SEGMENTS = 64;
const SAVE_EVERY_MS = 30_000;
const RETRY_MS = 10_000;
const MOST_FINDINGS = 100;
const LONGEST_TIMER_MS = 24 * 3600 * 1000;

export class Scrubber {
  readonly #platform: Platform;
  readonly #parts: ScrubberParts;
  readonly #work: BackgroundWork<number>;
  readonly #findings: ScrubFinding[] = [];
  #state: ScrubState;
  /** Where the pass ends: what is written meanwhile is not read again. */
  #endsAt: number | undefined;
  #savedMs = 0;

  constructor(platform: Platform, parts: ScrubberParts, state: ScrubState) {
    this.#platform = platform;
    this.#parts = parts;
    this.#state = state;
    this.#work = new BackgroundWork(platform, {
      ...{ workers: 1, claims: parts.claims, limit: parts.limit, budget: parts.budget, pieces: parts.pieces },
      isNeeded: () => !this.#state.paused && (this.#state.underWay || this.#dueInMs() <= 0),
      isHeldUp: () => this.#state.paused,
      batch: () => this.#page(),
      carryOut: (segmentId, memory) => this.#segment(segmentId, memory),
      segmentOf: (segmentId) => segmentId,
      retryInMs: () => this.#lookInMs(),
      onEnd: () => this.#save(),
      onInterrupted: ({ message }) => platform.log.warn('scrub-interrupted', { why: message }),
    });
    this.#work.wake();
  }

  get state(): ScrubState {
    return this.#state;
  }

  /** Settings, or the position; makes it durable. */
  change(changes: Partial<ScrubState>): void {
    this.#state = { ...this.#state, ...changes };
    this.#save();
    this.#work.wake();
  }

  /** A pass begins, or goes on if one is under way. */
  start(): void {
    if (this.#state.underWay) this.change({ paused: false });
    else this.change({ paused: false, ...this.#newPass() });
  }

  #newPass(): Partial<ScrubState> {
    this.#findings.length = 0;
    this.#endsAt = undefined;
    const startedMs = Math.floor(this.#platform.clock.wallMs());
    return { underWay: true, position: 0, startedMs, bytesRead: 0, segments: 0, found: 0, repaired: 0 };
  }

  status(): ScrubStatus {
    const state = this.#state;
    const totals = this.#parts.metadata.totals();
    const left = state.underWay ? Math.max(0, totals.segments - state.segments) : 0;
    const each = state.segments > 0 ? state.bytesRead / state.segments : guessBytes(totals);
    const bytesLeft = Math.round(left * each);
    const { isRunning } = this.#work;
    return {
      ...state,
      state: isRunning ? 'running' : state.underWay && state.paused ? 'paused' : 'idle',
      bytesPerSecond: this.#work.bytesPerSecond,
      bytesLeft,
      secondsLeft: this.#work.secondsLeft(bytesLeft),
      findings: this.#findings,
    };
  }

  #dueInMs(): number {
    const { intervalSeconds, finishedMs } = this.#state;
    if (intervalSeconds === 0) return Number.POSITIVE_INFINITY;
    return finishedMs + 1000 * intervalSeconds - this.#platform.clock.wallMs();
  }

  #lookInMs(): number | undefined {
    if (this.#state.paused) return undefined;
    if (this.#state.underWay) return RETRY_MS;
    const dueMs = this.#dueInMs();
    return dueMs === Number.POSITIVE_INFINITY ? undefined : Math.max(0, Math.min(dueMs, LONGEST_TIMER_MS));
  }

  /** The next segments of the pass; none: it is over. */
  async #page(): Promise<number[]> {
    if (!this.#state.underWay) {
      if (this.#dueInMs() > 0) return [];
      this.#state = { ...this.#state, ...this.#newPass() };
    }
    const { position } = this.#state;
    if (this.#endsAt === undefined || position < this.#endsAt) {
      const page = await this.#parts.metadata.segments(position, PAGE_SEGMENTS);
      if (page.length < PAGE_SEGMENTS) this.#endsAt = page.at(-1)?.segmentId;
      if (page.length > 0) return page.map(({ segmentId }) => segmentId);
    }
    this.#endPass();
    return [];
  }

  #endPass(): void {
    const { found, repaired, bytesRead } = this.#state;
    this.#platform.log.info('scrub-finished', { found, repaired, bytesRead });
    const finishedMs = Math.floor(this.#platform.clock.wallMs());
    this.#state = { ...this.#state, underWay: false, position: 0, finishedMs };
  }

  #save(): void {
    this.#savedMs = this.#platform.clock.monotonicMs();
    this.#parts.save(this.#state);
  }

  /** False: not now. */
  async #segment(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const { metadata } = this.#parts;
    const record = metadata.segment(segmentId);
    if (record !== undefined && record.liveBlocks > 0) {
      const fragments = holdings(record).length;
      const moved = await this.#work.turn(fragments * record.fragmentBlocks * BLOCK_BYTES);
      if (moved === undefined) return false;
      await this.#scrub(record, memory, moved);
    }
    this.#state = { ...this.#state, position: segmentId, segments: this.#state.segments + 1 };
    if (this.#platform.clock.monotonicMs() - this.#savedMs > SAVE_EVERY_MS) this.#save();
    return true;
  }

  async #scrub(record: SegmentRecord, memory: RepairMemory, onRead: () => void): Promise<void> {
    const { kernels } = this.#platform;
    const scrubbed = await scrubSegment({ kernels, sources: this.#parts.sources, memory }, record);
    onRead();
    this.#work.progress.add(scrubbed.bytesRead);
    this.#state = { ...this.#state, bytesRead: this.#state.bytesRead + scrubbed.bytesRead };
    const now = this.#parts.metadata.segment(record.segmentId);
    for (const { position, nodeId } of scrubbed.badCopies) {
      if (now === undefined || !hasCopy(now, { position, nodeId })) continue;
      // Whoever keeps copies drops it.
      this.#parts.onDamage(record, nodeId);
      this.#note({ segmentId: record.segmentId, position, nodeId, repaired: false });
    }
    if (scrubbed.bad.size > 0) await this.#repair(record, scrubbed, memory);
  }

  async #repair(before: SegmentRecord, { bad, unread }: Scrubbed, memory: RepairMemory): Promise<void> {
    const { metadata, claims } = this.#parts;
    const { segmentId } = before;
    const record = metadata.segment(segmentId);
    // Freed or moved while it was read: what is there now is another thing.
    if (record === undefined || record.liveBlocks === 0 || record.generation !== before.generation) return;
    const left = new Set([...bad, ...unread]);
    const isHeld = claims.hold(segmentId);
    try {
      for (const position of bad) {
        const nodeId = record.nodes[position]!;
        if (nodeId !== before.nodes[position]) continue;
        const isRepaired = isHeld && (await this.#repairOne(record, position, { bad: left, memory }));
        if (!isRepaired) this.#parts.onDamage(record, nodeId);
        this.#note({ segmentId, position, nodeId, repaired: isRepaired });
      }
    } finally {
      if (isHeld) claims.release(segmentId);
    }
  }

  async #repairOne(
    record: SegmentRecord,
    position: number,
    { bad, memory }: { bad: Set<number>; memory: RepairMemory },
  ): Promise<boolean> {
    const { metadata, calls, sources, claims } = this.#parts;
    const parts = { platform: this.#platform, metadata, calls, sources, claims, memory };
    const targets = [record.nodes[position]!];
    return (await repairFragment(parts, { record, position, bad, targets })) === 'restored';
  }

  #note(finding: ScrubFinding): void {
    const { segmentId, position, nodeId, repaired } = finding;
    this.#platform.log.warn('scrub-found', { segmentId, position, node: nodeId, repaired });
    this.#findings.push(finding);
    if (this.#findings.length > MOST_FINDINGS) this.#findings.shift();
    const found = this.#state.found + 1;
    this.#state = { ...this.#state, found, repaired: this.#state.repaired + (repaired ? 1 : 0) };
  }

  /** `save` is not called any more once it resolves. */
  close(): Promise<void> {
    return this.#work.close();
  }
}

function guessBytes({ segments, segmentBlocks }: { segments: number; segmentBlocks: number }): number {
  return segments === 0 ? 0 : (segmentBlocks * BLOCK_BYTES) / segments;
}
