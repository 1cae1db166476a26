/**
 * Brings segments into the layout that was chosen for the volume, those with the fewest parity fragments first: where only the parity differs, fragments are added
 * or dropped (maintenance/parity-change.ts); others, and those that no node takes one more fragment of, are laid out anew in their place
 * (maintenance/segment-relayout.ts). What lies across the layout's groups has its fragments moved into one. New segments need none of it.
 *
 * Either way protection is never below both. Rebuilding goes first: it does nothing while that is at work, nor to a segment one of whose nodes is away. What has
 * its parity waits until no node has come or gone for a while: rebuilding makes segments narrower where no spare node is left, and a node that flaps would have
 * them laid out each time it is back, and moved. What is done is in the segment table; nothing else is remembered.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import type { NodeGroups } from '../../cluster/node-groups.ts';
import { type NodeLinks, upNodes } from '../../cluster/nodes.ts';
import { type PlacementNode, placeSegment } from '../../cluster/placement.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import { fragmentBlocksFor, type Shape } from '../../log/segment-layout.ts';
import { isSameShape } from '../../log/target-shape.ts';
import { storedFragmentBytes } from '../../log/writable-nodes.ts';
import { BackgroundWork } from '../../maintenance/background-work.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import {
  addParity,
  dropParity,
  type ParityAddition,
  type ParityOutcome,
} from '../../maintenance/parity-change.ts';
import { nextParityHolder } from '../../maintenance/parity-holder.ts';
import type { RepairMemory } from '../../maintenance/repair-memory.ts';
import { layOutAnew } from '../../maintenance/segment-relayout.ts';
import type { SharedPieces } from '../../maintenance/shared-pieces.ts';
import type { Platform } from '../../platform/platform.ts';
import { moveOne, ROOM_FACTOR } from '../balance/move-segment.ts';
import type { PlaceClass, SegmentPlaces } from '../heal/segment-places.ts';
import { type GatherMove, planGathering } from './gather-plan.ts';

export interface ConverterParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly budget: IoBudget;
  readonly pieces: SharedPieces;
  readonly limit: RateLimit;
  /** They get nothing. */
  readonly draining: DrainingNodes;
  /** What segments are to be; undefined: as they are. */
  readonly shape: () => Shape | undefined;
  /** That each segment is to lie within one of. */
  readonly groups: () => NodeGroups;
  /** Listed, not gone, and not to be emptied, whether or not they answer now. */
  readonly members: () => readonly PlacementNode[];
  /** No node has come or gone for a while. */
  readonly isSettled: () => boolean;
  /** Something more urgent is under way. */
  readonly mustWait: () => boolean;
  /** Room for both layouts of a few segments, beside what others count on. */
  readonly hasRoom: () => boolean;
  readonly onDamage: (record: SegmentRecord, nodeId: number) => void;
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
  readonly #work: BackgroundWork<number>;
  readonly #unsubscribe: () => void;
  #paused: boolean;
  #lacksRoom = false;

  constructor(platform: Platform, parts: ConverterParts, paused: boolean) {
    this.#platform = platform;
    this.#parts = parts;
    this.#paused = paused;
    this.#work = new BackgroundWork(platform, {
      ...{
        workers: WORKERS,
        claims: parts.claims,
        limit: parts.limit,
        budget: parts.budget,
        pieces: parts.pieces,
      },
      isNeeded: () => this.#isNeeded(),
      isHeldUp: () => this.#paused || parts.mustWait(),
      batch: () => this.#batch(),
      carryOut: (segmentId, memory) => this.#convert(segmentId, memory),
      segmentOf: (segmentId) => segmentId,
      retryInMs: () => (this.#isNeeded() ? RETRY_MS : undefined),
      onEnd: (segments) => this.#log(segments),
      onInterrupted: ({ message }) => platform.log.warn('laying-out-anew-interrupted', { why: message }),
    });
    this.#unsubscribe = parts.links.onChange(() => this.wake());
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    if (!paused) this.wake();
  }

  get isWorking(): boolean {
    return this.#work.isRunning;
  }

  status(): ConverterStatus {
    const { segments, bytes: leftBytes } = this.#left();
    return {
      state: this.#state(segments),
      segmentsLeft: segments,
      leftBytes,
      doneBytes: this.#work.progress.doneBytes,
      bytesPerSecond: this.#work.bytesPerSecond,
      secondsLeft: this.#work.secondsLeft(leftBytes),
    };
  }

  #state(segments: number): ConverterStatus['state'] {
    if (segments === 0) return 'idle';
    if (this.#paused) return 'paused';
    if (this.#work.isRunning) return 'running';
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

  /** Classes of segments of another shape, or across groups, those with the least parity first. */
  #others(): PlaceClass[] {
    const shape = this.#parts.shape();
    if (shape === undefined) return [];
    const groups = this.#parts.groups();
    const members = groups.length === 0 ? [] : this.#parts.members();
    return [...this.#parts.places.classes()]
      .filter(
        (place) =>
          !isSameShape(shapeOf(place), shape) || planGathering(place.nodes, members, groups, 0).length > 0,
      )
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
    this.#work.wake();
  }

  #isNeeded(): boolean {
    return !this.#paused && this.#others().length > 0;
  }

  #log(segments: number): void {
    const bytes = this.#work.progress.doneBytes;
    if (segments > 0) this.#platform.log.info('laid-out-anew', { segments, bytes });
  }

  #batch(): number[] {
    const batch: number[] = [];
    const shape = this.#parts.shape();
    this.#lacksRoom = false;
    for (const place of this.#due()) {
      if (!this.#fits(shapeOf(place), shape!)) continue;
      if (isSameShape(shapeOf(place), shape!) && !this.#canGather(place)) continue;
      for (const segmentId of place.segments) {
        if (batch.length === BATCH_SEGMENTS) return batch;
        if (!this.#work.isPostponed(segmentId)) batch.push(segmentId);
      }
    }
    return batch;
  }

  /** Dropping parity takes no room, and gives some. */
  #fits(from: Shape, to: Shape): boolean {
    if (isDrop(from, to) || this.#parts.hasRoom()) return true;
    this.#lacksRoom = true;
    return false;
  }

  /** Read and written: what the turn is for. */
  #movedBytes(record: SegmentRecord, to: Shape): number {
    if (!isSameShape(record, to)) return reshapedBytes(record, to);
    const { nodes, fragmentBlocks } = record;
    return 2 * this.#gathering(nodes, fragmentBlocks).length * fragmentBlocks * BLOCK_BYTES;
  }

  #canGather({ nodes, blocks, segments }: PlaceClass): boolean {
    if (this.#gathering(nodes, blocks / segments.size).length > 0) return true;
    this.#lacksRoom = true;
    return false;
  }

  #gathering(nodes: readonly number[], fragmentBlocks: number): GatherMove[] {
    const members = this.#parts.members().filter(({ id }) => this.#isUp(id));
    const needBytes = ROOM_FACTOR * storedFragmentBytes(Math.ceil(fragmentBlocks), nodes.length);
    return planGathering(nodes, members, this.#parts.groups(), needBytes);
  }

  /** False: not now. */
  async #convert(segmentId: number, memory: RepairMemory): Promise<boolean> {
    const { metadata } = this.#parts;
    const before = metadata.segment(segmentId);
    const wanted = this.#parts.shape();
    if (before === undefined || wanted === undefined) return false;
    const moved = await this.#work.turn(this.#movedBytes(before, wanted));
    if (moved === undefined) return false;
    return this.#work.claimed(segmentId, async () => {
      // Waiting took a while.
      const record = metadata.segment(segmentId);
      const shape = this.#parts.shape();
      if (record === undefined || record.liveBlocks === 0 || shape === undefined) return false;
      if (!this.#fits(record, shape)) return false;
      const isDone = isSameShape(record, shape)
        ? await this.#gather(record, memory)
        : await this.#reshape(record, shape, memory);
      if (!isDone) return false;
      moved();
      this.#work.progress.add(record.dataFragments * record.fragmentBlocks * BLOCK_BYTES);
      return true;
    });
  }

  #repairParts(memory: RepairMemory): RepairParts {
    const { metadata, calls, sources, claims } = this.#parts;
    return { platform: this.#platform, metadata, calls, sources, claims, memory };
  }

  /** Into one group, fragment by fragment. */
  async #gather(record: SegmentRecord, memory: RepairMemory): Promise<boolean> {
    const { segmentId } = record;
    const moves = this.#gathering(record.nodes, record.fragmentBlocks);
    const nodes = { live: () => upNodes(this.#parts.links), isUp: (nodeId: number) => this.#isUp(nodeId) };
    for (const move of moves) {
      const outcome = await moveOne(this.#repairParts(memory), { segmentId, ...move }, nodes);
      if (outcome === 'damaged') this.#parts.onDamage(record, move.from);
      if (outcome !== 'moved') return false;
    }
    return moves.length > 0;
  }

  async #reshape(record: SegmentRecord, shape: Shape, memory: RepairMemory): Promise<boolean> {
    const parts = this.#repairParts(memory);
    if (record.dataFragments === shape.dataFragments) {
      const outcome = await this.#changeParity(parts, record, shape.parityFragments);
      if (outcome !== 'refused') return outcome === 'changed';
    }
    return this.#layOut(parts, record, shape);
  }

  async #changeParity(
    parts: RepairParts,
    record: SegmentRecord,
    parityFragments: number,
  ): Promise<ParityOutcome> {
    const damaged = new Set<number>();
    const outcome =
      parityFragments < record.parityFragments
        ? await dropParity(parts, record, parityFragments, damaged)
        : await addParity(parts, {
            ...{ record, parityFragments, damaged },
            nextNode: this.#nextHolder(record, parityFragments),
          });
    const now = parts.metadata.segment(record.segmentId);
    if (now === undefined) return outcome;
    for (const position of damaged) this.#parts.onDamage(now, record.nodes[position]!);
    return outcome;
  }

  #nextHolder(record: SegmentRecord, parityFragments: number): ParityAddition['nextNode'] {
    const { links, draining, groups } = this.#parts;
    const up = () => upNodes(links);
    const takers = () => draining.placeable(up(), parityFragments);
    return nextParityHolder({ record, parityFragments, up, takers, groups });
  }

  async #layOut(parts: RepairParts, record: SegmentRecord, shape: Shape): Promise<boolean> {
    const { links, draining } = this.#parts;
    const blocks = record.dataBlocks + record.summaryBlocks;
    const { dataFragments, parityFragments } = shape;
    const layout = placeSegment(draining.placeable(upNodes(links), parityFragments), {
      ...{ dataFragments, parityFragments, rotation: record.segmentId % ROTATIONS },
      fragmentBytes: (k) => storedFragmentBytes(fragmentBlocksFor(blocks, k), k + parityFragments),
      groups: this.#parts.groups(),
    });
    // Narrower than it is to be, it would have to be laid out once more.
    if (layout === undefined || layout.dataFragments !== dataFragments) return false;
    const { nodes } = layout;
    const outcome = await layOutAnew(parts, { record, bad: new Set(), nodes, parityFragments });
    return outcome === 'moved';
  }

  #isUp(nodeId: number): boolean {
    return this.#parts.links.links.get(nodeId)?.state === 'up';
  }

  async close(): Promise<void> {
    this.#unsubscribe();
    await this.#work.close();
  }
}

function isDrop(from: Shape, to: Shape): boolean {
  return from.dataFragments === to.dataFragments && from.parityFragments > to.parityFragments;
}

/** Read and written for another shape. */
function reshapedBytes({ dataFragments, parityFragments, fragmentBlocks }: SegmentRecord, to: Shape): number {
  if (isDrop({ dataFragments, parityFragments }, to)) return 0;
  const written =
    dataFragments === to.dataFragments
      ? to.parityFragments - parityFragments
      : dataFragments * (1 + to.parityFragments / to.dataFragments);
  return (dataFragments + Math.max(0, written)) * fragmentBlocks * BLOCK_BYTES;
}

function shapeOf({ nodes, dataFragments }: PlaceClass): Shape {
  return { dataFragments, parityFragments: nodes.length - dataFragments };
}
