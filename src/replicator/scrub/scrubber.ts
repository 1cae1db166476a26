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
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import { type RepairParts, repairFragment } from '../../maintenance/fragment-repair.ts';
import { Progress } from '../../maintenance/progress.ts';
import { RepairMemory } from '../../maintenance/repair-memory.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import { type Scrubbed, scrubSegment } from './scrub-segment.ts';

export interface ScrubberParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly claims: FragmentClaims;
  readonly budget: IoBudget;
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
  readonly #memory: RepairMemory;
  readonly #progress: Progress;
  readonly #findings: ScrubFinding[] = [];
  #state: ScrubState;
  #working: Promise<void> | undefined;
  #timer: Timer | undefined;
  #savedMs = 0;
  #closed = false;

  constructor(platform: Platform, parts: ScrubberParts, state: ScrubState) {
    this.#platform = platform;
    this.#parts = parts;
    this.#state = state;
    this.#memory = new RepairMemory(platform.memory);
    this.#progress = new Progress(platform.clock);
    this.wake();
  }

  get state(): ScrubState {
    return this.#state;
  }

  /** Settings, or the position; makes it durable. */
  change(changes: Partial<ScrubState>): void {
    this.#state = { ...this.#state, ...changes };
    this.#save();
    this.wake();
  }

  /** A pass begins, or goes on if one is under way. */
  start(): void {
    if (this.#state.underWay) this.change({ paused: false });
    else this.change({ paused: false, ...this.#newPass() });
  }

  #newPass(): Partial<ScrubState> {
    this.#findings.length = 0;
    const startedMs = Math.floor(this.#platform.clock.wallMs());
    return { underWay: true, position: 0, startedMs, bytesRead: 0, segments: 0, found: 0, repaired: 0 };
  }

  status(): ScrubStatus {
    const state = this.#state;
    const totals = this.#parts.metadata.totals();
    const left = state.underWay ? Math.max(0, totals.segments - state.segments) : 0;
    const each = state.segments > 0 ? state.bytesRead / state.segments : guessBytes(totals);
    const bytesLeft = Math.round(left * each);
    const isRunning = this.#working !== undefined;
    return {
      ...state,
      state: isRunning ? 'running' : state.underWay && state.paused ? 'paused' : 'idle',
      bytesPerSecond: isRunning ? this.#progress.bytesPerSecond : 0,
      bytesLeft,
      secondsLeft: isRunning ? (this.#progress.secondsLeft(bytesLeft) ?? null) : null,
      findings: this.#findings,
    };
  }

  /** Looks whether a pass goes on or is due, or when it will be. */
  wake(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#closed || this.#working !== undefined || this.#state.paused) return;
    if (!this.#state.underWay) {
      const { intervalSeconds, finishedMs } = this.#state;
      if (intervalSeconds === 0) return;
      const dueMs = finishedMs + 1000 * intervalSeconds - this.#platform.clock.wallMs();
      if (dueMs > 0) {
        this.#timer = this.#platform.timers.after(Math.min(dueMs, LONGEST_TIMER_MS), () => this.wake());
        return;
      }
      this.#state = { ...this.#state, ...this.#newPass() };
    }
    this.#working = this.#work();
  }

  async #work(): Promise<void> {
    this.#progress.restart();
    let isInterrupted = false;
    try {
      await this.#pass();
      this.#save();
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('scrub-interrupted', { why: error.message });
      isInterrupted = true;
    }
    this.#working = undefined;
    if (!isInterrupted) this.wake();
    else if (!this.#closed) this.#timer = this.#platform.timers.after(RETRY_MS, () => this.wake());
  }

  /** Goes on until the end, or until it is paused. */
  async #pass(): Promise<void> {
    const { metadata } = this.#parts;
    for (;;) {
      const page = await metadata.segments(this.#state.position, PAGE_SEGMENTS);
      for (const { segmentId } of page) {
        if (this.#closed || this.#state.paused) return;
        await this.#segment(segmentId);
        this.#state = { ...this.#state, position: segmentId, segments: this.#state.segments + 1 };
        if (this.#platform.clock.monotonicMs() - this.#savedMs > SAVE_EVERY_MS) this.#save();
      }
      if (page.length < PAGE_SEGMENTS) break;
    }
    const { found, repaired, bytesRead } = this.#state;
    this.#platform.log.info('scrub-finished', { found, repaired, bytesRead });
    const finishedMs = Math.floor(this.#platform.clock.wallMs());
    this.#state = { ...this.#state, underWay: false, position: 0, finishedMs };
  }

  #save(): void {
    this.#savedMs = this.#platform.clock.monotonicMs();
    this.#parts.save(this.#state);
  }

  async #segment(segmentId: number): Promise<void> {
    const { metadata, sources, budget, limit } = this.#parts;
    const record = metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0) return;
    const lengthBytes = record.nodes.length * record.fragmentBlocks * BLOCK_BYTES;
    await limit.take(lengthBytes);
    const done = await budget.take(lengthBytes);
    const parts = { kernels: this.#platform.kernels, sources, memory: this.#memory };
    const scrubbed = await scrubSegment(parts, record);
    done();
    this.#progress.add(scrubbed.bytesRead);
    this.#state = { ...this.#state, bytesRead: this.#state.bytesRead + scrubbed.bytesRead };
    if (scrubbed.bad.size > 0) await this.#repair(record, scrubbed);
  }

  async #repair(before: SegmentRecord, { bad, unread }: Scrubbed): Promise<void> {
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
        const isRepaired = isHeld && (await this.#repairOne(record, position, left));
        if (!isRepaired) this.#parts.onDamage(record, nodeId);
        this.#note({ segmentId, position, nodeId, repaired: isRepaired });
      }
    } finally {
      if (isHeld) claims.release(segmentId);
    }
  }

  async #repairOne(record: SegmentRecord, position: number, bad: Set<number>): Promise<boolean> {
    const { metadata, calls, sources, claims } = this.#parts;
    const parts = { platform: this.#platform, metadata, calls, sources, claims, memory: this.#memory };
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
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#working;
  }
}

function guessBytes({ segments, segmentBlocks }: { segments: number; segmentBlocks: number }): number {
  return segments === 0 ? 0 : (segmentBlocks * BLOCK_BYTES) / segments;
}
