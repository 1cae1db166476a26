/**
 * Brings segments into the shape that was chosen for the volume: those that have another one are laid out anew in their place, with the fewest parity
 * fragments first. New segments need none of it.
 *
 * The old layout stays whole until the record names the new one (maintenance/segment-relayout.ts), so protection is never below both. Rebuilding goes first: it does
 * nothing while that is at work, nor to a segment one of whose nodes is away. What lacks only width waits until no node has come or gone for a while: rebuilding makes
 * segments narrower where no spare node is left, and a node that flaps would have them laid out each time it is back. What is done is in the segment table; nothing
 * else is remembered.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import { type NodeLinks, upNodes } from '../../cluster/nodes.ts';
import { placeSegment } from '../../cluster/placement.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import { fragmentBlocksFor, type Shape } from '../../log/segment-layout.ts';
import { isSameShape } from '../../log/target-shape.ts';
import { storedFragmentBytes } from '../../log/writable-nodes.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import { Progress } from '../../maintenance/progress.ts';
import { RepairMemory } from '../../maintenance/repair-memory.ts';
import { layOutAnew } from '../../maintenance/segment-relayout.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import type { PlaceClass, SegmentPlaces } from '../heal/segment-places.ts';

export interface ConverterParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly budget: IoBudget;
  readonly limit: RateLimit;
  /** They get nothing. */
  readonly draining: DrainingNodes;
  /** What segments are to be; undefined: as they are. */
  readonly shape: () => Shape | undefined;
  /** No node has come or gone for a while. */
  readonly isSettled: () => boolean;
  /** Something more urgent is under way. */
  readonly mustWait: () => boolean;
  /** Room for both layouts of a few segments, beside what others count on. */
  readonly hasRoom: () => boolean;
}

export interface ConverterStatus {
  readonly state: 'idle' | 'waiting' | 'running' | 'paused' | 'stuck';
  readonly segmentsLeft: number;
  /** Data, without parity. */
  readonly leftBytes: number;
  readonly doneBytes: number;
  readonly bytesPerSecond: number;
  /** null: nobody can tell yet. */
  readonly secondsLeft: number | null;
}

const WORKERS = 2;
const BATCH_SEGMENTS = 16;
const RETRY_MS = 5_000;
const ROTATIONS = 2 ** 16;

export class Converter {
  readonly #platform: Platform;
  readonly #parts: ConverterParts;
  readonly #memories: RepairMemory[];
  readonly #progress: Progress;
  readonly #unsubscribe: () => void;
  /** Not to be tried again until the next retry. */
  readonly #postponed = new Set<number>();
  #paused: boolean;
  #lacksRoom = false;
  #working: Promise<void> | undefined;
  #retry: Timer | undefined;
  #closed = false;
  #endWaiting: () => void = () => undefined;
  /** Nobody waits for a turn any longer. */
  readonly #closing = new Promise<void>((resolve) => {
    this.#endWaiting = resolve;
  });

  constructor(platform: Platform, parts: ConverterParts, paused: boolean) {
    this.#platform = platform;
    this.#parts = parts;
    this.#paused = paused;
    this.#progress = new Progress(platform.clock);
    this.#memories = Array.from({ length: WORKERS }, () => new RepairMemory(platform.memory));
    this.#unsubscribe = parts.links.onChange(() => this.wake());
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    if (!paused) this.wake();
  }

  get isWorking(): boolean {
    return this.#working !== undefined;
  }

  status(): ConverterStatus {
    const { segments, bytes: leftBytes } = this.#left();
    const working = this.#working !== undefined;
    return {
      state: this.#state(segments),
      segmentsLeft: segments,
      leftBytes,
      doneBytes: this.#progress.doneBytes,
      bytesPerSecond: working ? this.#progress.bytesPerSecond : 0,
      secondsLeft: working ? (this.#progress.secondsLeft(leftBytes) ?? null) : null,
    };
  }

  #state(segments: number): ConverterStatus['state'] {
    if (segments === 0) return 'idle';
    if (this.#paused) return 'paused';
    if (this.#working !== undefined) return 'running';
    return this.#lacksRoom ? 'stuck' : 'waiting';
  }

  #left(): { segments: number; bytes: number } {
    const left = { segments: 0, bytes: 0 };
    for (const place of this.#others()) {
      left.segments += place.segments.size;
      left.bytes += place.blocks * place.dataFragments * BLOCK_BYTES;
    }
    return left;
  }

  /** Classes of segments of another shape, those with the least parity first. */
  #others(): PlaceClass[] {
    const shape = this.#parts.shape();
    if (shape === undefined) return [];
    return [...this.#parts.places.classes()]
      .filter((place) => !isSameShape(shapeOf(place), shape))
      .sort((a, b) => shapeOf(a).parityFragments - shapeOf(b).parityFragments);
  }

  /** Of those, what may be laid out now. */
  #due(): PlaceClass[] {
    const parity = this.#parts.shape()?.parityFragments;
    const isSettled = this.#parts.isSettled();
    return this.#others().filter(
      (place) =>
        (isSettled || shapeOf(place).parityFragments !== parity) &&
        place.nodes.every((nodeId) => this.#isUp(nodeId)),
    );
  }

  /** Looks whether there is something to do now. */
  wake(): void {
    if (this.#closed || this.#paused || this.#working !== undefined) return;
    if (this.#others().length === 0) return;
    if (this.#due().length === 0) {
      this.#retryLater();
      return;
    }
    this.#working = this.#work().finally(() => {
      this.#working = undefined;
      if (!this.#closed) this.#retryLater();
    });
  }

  #retryLater(): void {
    this.#retry?.cancel();
    this.#retry = this.#platform.timers.after(RETRY_MS, () => {
      this.#postponed.clear();
      this.wake();
    });
  }

  async #work(): Promise<void> {
    this.#progress.restart();
    let segments = 0;
    try {
      for (;;) {
        const queue = this.#batch();
        if (queue.length === 0) break;
        const done = await Promise.all(this.#memories.map((memory) => this.#take(queue, memory)));
        segments += done.reduce((sum, count) => sum + count, 0);
      }
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('laying-out-anew-interrupted', { why: error.message });
    }
    if (segments > 0) this.#platform.log.info('laid-out-anew', { segments, bytes: this.#progress.doneBytes });
  }

  #batch(): number[] {
    const batch: number[] = [];
    if (this.#isHeldUp()) return batch;
    for (const place of this.#due()) {
      for (const segmentId of place.segments) {
        if (batch.length === BATCH_SEGMENTS) return batch;
        if (!this.#postponed.has(segmentId)) batch.push(segmentId);
      }
    }
    return batch;
  }

  #isHeldUp(): boolean {
    this.#lacksRoom = !this.#parts.hasRoom();
    return this.#closed || this.#paused || this.#lacksRoom || this.#parts.mustWait();
  }

  /** Returns how many were done. */
  async #take(queue: number[], memory: RepairMemory): Promise<number> {
    for (let done = 0; ; ) {
      if (this.#isHeldUp()) return done;
      const segmentId = queue.shift();
      if (segmentId === undefined) return done;
      if (await this.#convert(segmentId, memory)) done++;
      else this.#postponed.add(segmentId);
    }
  }

  /** False: not now. */
  async #convert(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const { metadata, claims, budget, limit } = this.#parts;
    const before = metadata.segment(segmentId);
    if (before === undefined) return false;
    const lengthBytes = (before.dataFragments + before.nodes.length) * before.fragmentBlocks * BLOCK_BYTES;
    const turn = limit.take(lengthBytes).then(() => budget.take(lengthBytes));
    const done = await Promise.race([turn, this.#closing]);
    if (this.#isHeldUp() || !claims.hold(segmentId)) return false;
    try {
      // Waiting took a while.
      const record = metadata.segment(segmentId);
      const shape = this.#parts.shape();
      if (record === undefined || record.liveBlocks === 0 || shape === undefined) return false;
      if (isSameShape(record, shape) || !(await this.#layOut(record, shape, memory))) return false;
      done?.();
      return true;
    } finally {
      claims.release(segmentId);
    }
  }

  async #layOut(record: SegmentRecord, shape: Shape, memory: RepairMemory): Promise<boolean> {
    const { links, draining, metadata, calls, sources, claims } = this.#parts;
    const parts = { platform: this.#platform, metadata, calls, sources, claims, memory };
    const blocks = record.dataBlocks + record.summaryBlocks;
    const { dataFragments, parityFragments } = shape;
    const layout = placeSegment(draining.placeable(upNodes(links), parityFragments), {
      ...{ dataFragments, parityFragments, rotation: record.segmentId % ROTATIONS },
      fragmentBytes: (k) => storedFragmentBytes(fragmentBlocksFor(blocks, k), k + parityFragments),
    });
    // Narrower than it is to be, it would have to be laid out once more.
    if (layout === undefined || layout.dataFragments !== dataFragments) return false;
    const { nodes } = layout;
    const outcome = await layOutAnew(parts, { record, bad: new Set(), nodes, parityFragments });
    if (outcome !== 'moved') return false;
    this.#progress.add(record.dataFragments * record.fragmentBlocks * BLOCK_BYTES);
    return true;
  }

  #isUp(nodeId: number): boolean {
    return this.#parts.links.links.get(nodeId)?.state === 'up';
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#endWaiting();
    this.#unsubscribe();
    this.#retry?.cancel();
    await this.#working;
  }
}

function shapeOf({ nodes, dataFragments }: PlaceClass): Shape {
  return { dataFragments, parityFragments: nodes.length - dataFragments };
}
