/**
 * Rebuilds what lies on nodes that are gone, and what is bad on nodes that answer, and adds the parity of what was written while too few nodes were there,
 * segment by segment, most endangered first.
 *
 * A node is gone once it has been down for the grace period, or at once when somebody says so; one that only hangs is not. Nothing runs while nothing
 * is endangered: changes of links, findings of the inventory, of scrubbing and of readers, and timers wake it. What cannot be healed now is tried
 * again after a while, or when a node comes or goes. It keeps no record of its own of what is done: the segment table is.
 */

import { BLOCK_BYTES } from '../../base/units.ts';
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import { type NodeLink, type NodeLinks, upNodes } from '../../cluster/nodes.ts';
import type { PlacementNode } from '../../cluster/placement.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import type { TargetLayout } from '../../log/target-shape.ts';
import { BackgroundWork } from '../../maintenance/background-work.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import type { RepairMemory } from '../../maintenance/repair-memory.ts';
import type { SharedPieces } from '../../maintenance/shared-pieces.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import { healSegment } from './heal-segment.ts';
import type { HealableNow, RedundancyCount, SegmentPlaces } from './segment-places.ts';

export interface HealerParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly budget: IoBudget;
  readonly pieces: SharedPieces;
  readonly limit: RateLimit;
  /** They get nothing. */
  readonly draining: DrainingNodes;
  /** What new segments aim for. */
  readonly shape: TargetLayout;
  /** What no segment is to have less of. */
  readonly leastParity: number;
}

export interface HealStatus extends RedundancyCount {
  readonly state: 'idle' | 'waiting' | 'running' | 'paused' | 'stuck';
  readonly goneNodes: readonly number[];
  readonly healedSegments: number;
  readonly doneBytes: number;
  readonly bytesPerSecond: number;
  /** null: nobody can tell yet. */
  readonly secondsLeft: number | null;
}

const WORKERS = 3;
const BATCH_SEGMENTS = 24;
const RETRY_MS = 5_000;

export class Healer {
  readonly #platform: Platform;
  readonly #parts: HealerParts;
  readonly #work: BackgroundWork<number>;
  readonly #unsubscribe: () => void;
  /** Since when nodes are down. */
  readonly #downSinceMs = new Map<number, number>();
  /** Somebody said that they will not come back soon. */
  readonly #givenUp = new Set<number>();
  #graceMs: number;
  #paused: boolean;
  #graceTimer: Timer | undefined;
  #closed = false;
  #healed = 0;

  constructor(
    platform: Platform,
    parts: HealerParts,
    settings: { graceMs: number; paused: boolean; givenUp: readonly number[] },
  ) {
    this.#platform = platform;
    this.#parts = parts;
    this.#work = new BackgroundWork(platform, {
      ...{
        workers: WORKERS,
        claims: parts.claims,
        limit: parts.limit,
        budget: parts.budget,
        pieces: parts.pieces,
      },
      isNeeded: () => this.#isNeeded(),
      isHeldUp: () => this.#paused,
      batch: () => this.#batch(),
      carryOut: (segmentId, memory) => this.#heal(segmentId, memory),
      segmentOf: (segmentId) => segmentId,
      retryInMs: () => (this.#isNeeded() ? RETRY_MS : undefined),
      onEnd: (segments) => {
        parts.budget.atRisk = false;
        this.#log(segments);
      },
      onInterrupted: ({ message }) => platform.log.warn('healing-interrupted', { why: message }),
    });
    this.#graceMs = settings.graceMs;
    this.#paused = settings.paused;
    for (const nodeId of settings.givenUp) this.#givenUp.add(nodeId);
    this.#unsubscribe = parts.links.onChange((link) => this.#onLink(link));
    // Not within the transaction that told of it.
    parts.places.onDegraded = () => platform.timers.defer(() => this.wake());
    for (const link of parts.links.links.values()) this.#onLink(link);
  }

  set graceMs(graceMs: number) {
    this.#graceMs = graceMs;
    this.wake();
  }

  /** Every node that is down now is gone: no grace. */
  startNow(): void {
    for (const nodeId of this.#downSinceMs.keys()) this.#givenUp.add(nodeId);
    this.#retryNow();
  }

  /** It is not waited for any more. */
  isGone(nodeId: number): boolean {
    return this.#isGone(nodeId);
  }

  get givenUp(): readonly number[] {
    return [...this.#givenUp];
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    if (!paused) this.wake();
  }

  /** A reader or a scrub met a fragment that is not what it should be. What it went by may be outdated by now: the segment is noted as it is. */
  noteDamage({ segmentId, generation }: SegmentRecord, nodeId: number): void {
    const record = this.#parts.metadata.segment(segmentId);
    if (record?.generation !== generation) return;
    this.#parts.places.noteDamage(record, nodeId);
    this.wake();
  }

  get isWorking(): boolean {
    return this.#work.isRunning;
  }

  status(): HealStatus {
    const { places } = this.#parts;
    const count = places.count((nodeId) => this.#isUp(nodeId));
    const goneNodes = this.#knownNodes().filter((nodeId) => this.#isGone(nodeId));
    const left = this.#bytesLeft();
    return {
      ...count,
      goneNodes,
      state: this.#state(count, left),
      healedSegments: this.#healed,
      doneBytes: this.#work.progress.doneBytes,
      bytesPerSecond: this.#work.bytesPerSecond,
      secondsLeft: this.#work.secondsLeft(left),
    };
  }

  /** Of fragments that have to be rebuilt. */
  #bytesLeft(): number {
    return this.#parts.places.bytesToHeal(this.#healable);
  }

  get #healable(): HealableNow {
    return {
      isGone: (nodeId) => this.#isGone(nodeId),
      isUp: (nodeId) => this.#isUp(nodeId),
      parityNow: this.#parityNow,
    };
  }

  /** Of the nodes that take fragments one holds data. */
  get #parityNow(): number {
    return Math.max(0, Math.min(this.#parts.leastParity, this.#placeable().length - 1));
  }

  #state(count: RedundancyCount, left: number): HealStatus['state'] {
    if (this.#work.isRunning) return 'running';
    if (count.degradedSegments === 0) return 'idle';
    if (this.#paused) return 'paused';
    return left > 0 ? 'stuck' : 'waiting';
  }

  #knownNodes(): number[] {
    return [...new Set([...this.#parts.links.links.keys(), ...this.#downSinceMs.keys()])].sort(
      (a, b) => a - b,
    );
  }

  #isUp(nodeId: number): boolean {
    return this.#parts.links.links.get(nodeId)?.state === 'up';
  }

  #isGone(nodeId: number): boolean {
    const nowMs = this.#platform.clock.monotonicMs();
    // Nobody lists it: it was removed, or is not listed yet.
    if (!this.#parts.links.links.has(nodeId) && !this.#downSinceMs.has(nodeId)) {
      this.#downSinceMs.set(nodeId, nowMs);
    }
    const sinceMs = this.#downSinceMs.get(nodeId);
    if (sinceMs === undefined) return false;
    return this.#givenUp.has(nodeId) || nowMs - sinceMs >= this.#graceMs;
  }

  #onLink(link: NodeLink): void {
    if (!this.#parts.links.links.has(link.id)) {
      // Removed from the volume.
      this.#downSinceMs.delete(link.id);
      this.#givenUp.delete(link.id);
    } else if (link.state !== 'down') {
      this.#downSinceMs.delete(link.id);
      if (link.state === 'up') this.#givenUp.delete(link.id);
    } else if (!this.#downSinceMs.has(link.id)) {
      this.#downSinceMs.set(link.id, this.#platform.clock.monotonicMs());
    }
    this.#retryNow();
  }

  #retryNow(): void {
    this.#watchGrace();
    this.#work.retryNow();
  }

  /** Looks whether there is something to do now, or when there will be. */
  wake(): void {
    this.#watchGrace();
    this.#work.wake();
  }

  /** Wakes it when the next node that is down counts as gone. */
  #watchGrace(): void {
    if (this.#closed) return;
    this.#graceTimer?.cancel();
    const nowMs = this.#platform.clock.monotonicMs();
    const ends = [...this.#downSinceMs]
      .filter(([nodeId]) => !this.#isGone(nodeId))
      .map(([, sinceMs]) => sinceMs + this.#graceMs - nowMs);
    this.#graceTimer =
      ends.length === 0 ? undefined : this.#platform.timers.after(Math.min(...ends) + 1, () => this.wake());
  }

  #isNeeded(): boolean {
    return !this.#paused && this.#bytesLeft() > 0;
  }

  #batch(): number[] {
    return this.#parts.places.endangered(BATCH_SEGMENTS, this.#healable, (segmentId) =>
      this.#work.isPostponed(segmentId),
    );
  }

  #log(segments: number): void {
    const bytes = this.#work.progress.doneBytes;
    if (segments > 0) this.#platform.log.info('healed', { segments, bytes });
  }

  /** False: not now. */
  async #heal(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const { metadata, places, budget } = this.#parts;
    const record = metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0) return false;
    const damaged = [...places.damagedOn(segmentId)];
    const isBad = (nodeId: number) => this.#isGone(nodeId) || damaged.includes(nodeId);
    const lacking = Math.max(0, this.#parityNow - record.parityFragments);
    const fragments = record.nodes.filter(isBad).length + lacking;
    if (fragments === 0) {
      for (const nodeId of damaged) places.noteRepaired(segmentId, nodeId);
      return true;
    }
    const lengthBytes = fragments * record.fragmentBlocks * BLOCK_BYTES;
    budget.atRisk = record.nodes.filter((id) => this.#isUp(id) && !isBad(id)).length <= record.dataFragments;
    const moved = await this.#work.turn(lengthBytes, this.#movedBytes(record, fragments));
    if (moved === undefined) return false;
    return this.#work.claimed(segmentId, async () => {
      if (!(await this.#rebuild(record, isBad, memory))) return false;
      moved();
      for (const nodeId of damaged) places.noteRepaired(segmentId, nodeId);
      this.#healed++;
      this.#work.progress.add(lengthBytes);
      return true;
    });
  }

  async #rebuild(
    record: SegmentRecord,
    isBad: (nodeId: number) => boolean,
    memory: RepairMemory,
  ): Promise<boolean> {
    const { metadata, calls, sources, claims, shape } = this.#parts;
    const parts = { platform: this.#platform, metadata, calls, sources, claims, memory };
    const outcome = await healSegment(parts, record, {
      dataFragments: shape.dataFragments,
      parityFragments: this.#parityNow,
      isBad,
      isUp: (nodeId) => this.#isUp(nodeId),
      live: () => this.#placeable(),
      up: () => upNodes(this.#parts.links),
      onDamage: (damaged, nodeId) => this.noteDamage(damaged, nodeId),
      groups: () => shape.groups,
    });
    return outcome === 'healed';
  }

  /** Read and written: where no spare nodes are left, the whole segment is laid out anew. */
  #movedBytes({ nodes, dataFragments, fragmentBlocks }: SegmentRecord, fragments: number): number {
    const spare = this.#placeable().filter(({ id }) => !nodes.includes(id)).length;
    const written = spare >= fragments ? fragments : nodes.length;
    return (dataFragments + written) * fragmentBlocks * BLOCK_BYTES;
  }

  #placeable(): PlacementNode[] {
    const { links, draining, shape } = this.#parts;
    return draining.placeable(upNodes(links), shape.parityFragments);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#parts.places.onDegraded = undefined;
    this.#unsubscribe();
    this.#graceTimer?.cancel();
    await this.#work.close();
  }
}
