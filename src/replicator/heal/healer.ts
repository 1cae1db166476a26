/**
 * Rebuilds what lies on nodes that are gone, and what is bad on nodes that answer, segment by segment, most endangered first.
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
import type { Shape } from '../../log/segment-layout.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import { Progress } from '../../maintenance/progress.ts';
import { RepairMemory } from '../../maintenance/repair-memory.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import { healSegment } from './heal-segment.ts';
import type { RedundancyCount, SegmentPlaces } from './segment-places.ts';

export interface HealerParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly budget: IoBudget;
  readonly limit: RateLimit;
  /** They get nothing. */
  readonly draining: DrainingNodes;
  /** What new segments aim for. */
  readonly shape: Shape;
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
const MOST_POSTPONED = 100_000;

export class Healer {
  readonly #platform: Platform;
  readonly #parts: HealerParts;
  readonly #memories: RepairMemory[];
  readonly #progress: Progress;
  readonly #unsubscribe: () => void;
  /** Since when nodes are down. */
  readonly #downSinceMs = new Map<number, number>();
  /** Somebody said that they will not come back soon. */
  readonly #givenUp = new Set<number>();
  /** Not to be tried again until the next retry. */
  readonly #postponed = new Set<number>();
  #graceMs: number;
  #paused: boolean;
  #working: Promise<void> | undefined;
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  #closed = false;
  #healed = 0;

  constructor(
    platform: Platform,
    parts: HealerParts,
    settings: { graceMs: number; paused: boolean; givenUp: readonly number[] },
  ) {
    this.#platform = platform;
    this.#parts = parts;
    this.#progress = new Progress(platform.clock);
    this.#memories = Array.from({ length: WORKERS }, () => new RepairMemory(platform.memory));
    this.#graceMs = settings.graceMs;
    this.#paused = settings.paused;
    for (const nodeId of settings.givenUp) this.#givenUp.add(nodeId);
    this.#unsubscribe = parts.links.onChange((link) => this.#onLink(link));
    for (const link of parts.links.links.values()) this.#onLink(link);
  }

  set graceMs(graceMs: number) {
    this.#graceMs = graceMs;
    this.wake();
  }

  /** Every node that is down now is gone: no grace. */
  startNow(): void {
    for (const nodeId of this.#downSinceMs.keys()) this.#givenUp.add(nodeId);
    this.#postponed.clear();
    this.wake();
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

  /** A reader or a scrub met a fragment that is not what it should be. */
  noteDamage(record: SegmentRecord, nodeId: number): void {
    this.#parts.places.noteDamage(record, nodeId);
    this.wake();
  }

  get isWorking(): boolean {
    return this.#working !== undefined;
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
      doneBytes: this.#progress.doneBytes,
      bytesPerSecond: this.#working === undefined ? 0 : this.#progress.bytesPerSecond,
      secondsLeft: this.#working === undefined ? null : (this.#progress.secondsLeft(left) ?? null),
    };
  }

  /** Of fragments that have to be rebuilt. */
  #bytesLeft(): number {
    return this.#parts.places.bytesOn((nodeId) => this.#isGone(nodeId));
  }

  #state(count: RedundancyCount, left: number): HealStatus['state'] {
    if (this.#working !== undefined) return 'running';
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
    this.#postponed.clear();
    this.wake();
  }

  /** Looks whether there is something to do now, or when there will be. */
  wake(): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    const nowMs = this.#platform.clock.monotonicMs();
    const ends = [...this.#downSinceMs]
      .filter(([nodeId]) => !this.#isGone(nodeId))
      .map(([, sinceMs]) => sinceMs + this.#graceMs - nowMs);
    this.#timer =
      ends.length === 0 ? undefined : this.#platform.timers.after(Math.min(...ends) + 1, () => this.wake());
    if (this.#paused || this.#working !== undefined || this.#bytesLeft() === 0) return;
    this.#working = this.#work().finally(() => {
      this.#working = undefined;
    });
  }

  async #work(): Promise<void> {
    this.#progress.restart();
    const before = this.#healed;
    try {
      while (!this.#closed && !this.#paused) {
        const batch = this.#parts.places.endangered(
          BATCH_SEGMENTS,
          (nodeId) => this.#isGone(nodeId),
          (nodeId) => this.#isUp(nodeId),
          (segmentId) => this.#postponed.has(segmentId),
        );
        if (batch.length === 0) break;
        const queue = [...batch];
        await Promise.all(this.#memories.map((memory) => this.#take(queue, memory)));
      }
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('healing-interrupted', { why: error.message });
    }
    this.#parts.budget.atRisk = false;
    const segments = this.#healed - before;
    if (segments > 0) this.#platform.log.info('healed', { segments, bytes: this.#progress.doneBytes });
    if (this.#closed || this.#retry !== undefined) return;
    // What was put off, and what the metadata could not take.
    this.#retry = this.#platform.timers.after(RETRY_MS, () => {
      this.#retry = undefined;
      this.#postponed.clear();
      this.wake();
    });
  }

  async #take(queue: number[], memory: RepairMemory): Promise<void> {
    for (;;) {
      const segmentId = queue.shift();
      if (segmentId === undefined || this.#closed || this.#paused) return;
      if (await this.#heal(segmentId, memory)) continue;
      if (this.#postponed.size >= MOST_POSTPONED) this.#postponed.clear();
      this.#postponed.add(segmentId);
    }
  }

  /** False: not now. */
  async #heal(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const { metadata, places, claims, budget, limit } = this.#parts;
    const record = metadata.segment(segmentId);
    if (record === undefined || record.liveBlocks === 0) return false;
    const damaged = [...places.damagedOn(segmentId)];
    const isBad = (nodeId: number) => this.#isGone(nodeId) || damaged.includes(nodeId);
    const fragments = record.nodes.filter(isBad).length;
    if (fragments === 0) {
      for (const nodeId of damaged) places.noteRepaired(segmentId, nodeId);
      return true;
    }
    const lengthBytes = fragments * record.fragmentBlocks * BLOCK_BYTES;
    budget.atRisk = record.nodes.filter((id) => this.#isUp(id) && !isBad(id)).length <= record.dataFragments;
    await limit.take(lengthBytes);
    const done = await budget.take(this.#movedBytes(record, fragments));
    if (this.#closed || !claims.hold(segmentId)) return false;
    try {
      const { calls, sources } = this.#parts;
      const parts = { platform: this.#platform, metadata, calls, sources, claims, memory };
      const outcome = await healSegment(parts, record, {
        dataFragments: this.#parts.shape.dataFragments,
        isBad,
        isUp: (nodeId) => this.#isUp(nodeId),
        live: () => this.#placeable(),
      });
      if (outcome !== 'healed') return false;
      for (const nodeId of damaged) places.noteRepaired(segmentId, nodeId);
      this.#healed++;
      this.#progress.add(lengthBytes);
      done();
      return true;
    } finally {
      claims.release(segmentId);
    }
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
    this.#unsubscribe();
    this.#timer?.cancel();
    this.#retry?.cancel();
    await this.#working;
  }
}
