/**
 * Moves fragments between nodes, segment by segment: off nodes that are to be emptied; then it brings segments that were written or rebuilt narrow back
 * to the width that the volume means them to have; then it moves fragments of a segment apart that lie where they are likely to be lost together; then whole segments from groups
 * of the layout that are much fuller than others; then fragments from nodes that are fuller than others to emptier ones of their group.
 *
 * It gives way: rebuilding and a change of the layout go first, users have their share of the nodes' time, and no writer waits for it. Evening out and widening
 * wait until no node has come or gone for a while, so that one that flaps causes nothing. What is done is in the segment table; only settings
 * and which nodes are draining are remembered.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { DrainingNodes } from '../../cluster/draining-nodes.ts';
import type { NodeLink, NodeLinks } from '../../cluster/nodes.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import type { FragmentClaims } from '../../log/fragment-claims.ts';
import type { TargetLayout } from '../../log/target-shape.ts';
import { BackgroundWork } from '../../maintenance/background-work.ts';
import type { IoBudget, RateLimit } from '../../maintenance/budget.ts';
import type { RepairParts } from '../../maintenance/fragment-repair.ts';
import type { RepairMemory } from '../../maintenance/repair-memory.ts';
import type { SharedPieces } from '../../maintenance/shared-pieces.ts';
import type { Platform } from '../../platform/platform.ts';
import { placeableShape } from '../adapt/request.ts';
import type { PlaceClass, SegmentPlaces } from '../heal/segment-places.ts';
import { type BalanceNode, type EvenMove, planEvenMoves, Uses } from './balance-plan.ts';
import { type GroupMove, groupExcessBytes, planGroupMoves } from './group-plan.ts';
import { leaveNodes, type Members, type MoveOutcome, moveOne, needed, relayOut } from './move-segment.ts';
import { planSpreadMoves, spreadBytes } from './spread-plan.ts';

export interface BalancerParts extends Omit<RepairParts, 'memory' | 'platform' | 'claims'> {
  readonly links: NodeLinks;
  readonly claims: FragmentClaims;
  readonly places: SegmentPlaces;
  readonly budget: IoBudget;
  readonly pieces: SharedPieces;
  readonly limit: RateLimit;
  readonly draining: DrainingNodes;
  /** What new segments aim for. */
  readonly shape: TargetLayout;
  readonly isGone: (nodeId: number) => boolean;
  /** Something more urgent is under way. */
  readonly mustWait: () => boolean;
  /** Room for both layouts of a few segments, beside what others count on. */
  readonly hasRoom: () => boolean;
  readonly onDamage: (record: SegmentRecord, nodeId: number) => void;
  /** Nodes have settled when none has come or gone for so long. */
  readonly settleMs: number;
}

/** A node that is to be emptied. */
export interface DrainReport {
  readonly id: number;
  /** What still lies on it. */
  readonly bytesLeft: number;
  /** It still holds the journal, too. */
  readonly journal: boolean;
}

export interface BalanceStatus {
  /** blocked: `reason` says what is in the way, and that it does not go by itself. */
  readonly state: 'idle' | 'working' | 'paused' | 'blocked';
  /** Why nothing moves now, or why it is not known yet what has to. */
  readonly reason?: string;
  /** All that the volume is known to have. */
  readonly nodes: readonly { readonly id: number; readonly isUp: boolean }[];
  readonly draining: readonly DrainReport[];
  readonly bytesLeft: number;
  readonly bytesPerSecond: number;
  /** null: nobody can tell yet. */
  readonly secondsLeft: number | null;
  /** Bytes since the volume was opened. */
  readonly moved: number;
}

type Task =
  | { readonly kind: 'leave' | 'widen'; readonly segmentId: number }
  | ({ readonly kind: 'regroup' } & GroupMove)
  | ({ readonly kind: 'even' } & EvenMove);

const WORKERS = 2;
const BATCH_SEGMENTS = 16;
const RETRY_MS = 5_000;
/** Use drifts apart while files are written and deleted, too. */
const LOOK_MS = 30_000;

export class Balancer {
  readonly #platform: Platform;
  readonly #parts: BalancerParts;
  readonly #work: BackgroundWork<Task>;
  readonly #unsubscribe: readonly (() => void)[];
  readonly #members: Members;
  readonly #connected = new Set<number>();
  #settledAtMs: number;
  #paused: boolean;
  #evening = false;
  /** It is not even, and nothing that may move would make it more so. */
  #isEvenEnough = false;
  /** The last batch for draining nodes found nodes without room. */
  #foundFull = false;
  #moved = 0;

  constructor(platform: Platform, parts: BalancerParts, paused: boolean) {
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
      isNeeded: () => !this.#paused && parts.places.isLoaded,
      isHeldUp: () => this.#paused || parts.mustWait(),
      batch: () => this.#batch(),
      carryOut: (task, memory) => this.#do(task, memory),
      segmentOf: ({ segmentId }) => segmentId,
      retryInMs: () => this.#lookInMs(),
      onRetry: () => this.#forgetObstacles(),
      onEnd: (tasks) => this.#log(tasks),
      onInterrupted: ({ message }) => platform.log.warn('balancing-interrupted', { why: message }),
    });
    this.#settledAtMs = platform.clock.monotonicMs() + parts.settleMs;
    const { links, draining, shape } = parts;
    for (const link of links.links.values()) if (link.state !== 'down') this.#connected.add(link.id);
    this.#members = {
      live: () => this.#live(),
      count: () => this.memberIds.length,
      isUp: (nodeId) => this.#isUp(nodeId),
      isDraining: (nodeId) => draining.has(nodeId),
      get dataFragments() {
        return shape.dataFragments;
      },
      groups: () => shape.groups,
    };
    this.#unsubscribe = [
      links.onChange((link) => this.#onLink(link)),
      draining.onChange(() => this.#work.retryNow()),
    ];
  }

  set paused(paused: boolean) {
    this.#paused = paused;
    if (!paused) this.#work.retryNow();
  }

  /** What the nodes are now is what they will be: nothing is waited for. */
  startNow(): void {
    this.#settledAtMs = this.#platform.clock.monotonicMs();
    this.#work.retryNow();
  }

  #forgetObstacles(): void {
    this.#foundFull = false;
    this.#isEvenEnough = false;
  }

  #onLink(link: NodeLink): void {
    const isConnected = link.state !== 'down' && this.#parts.links.links.has(link.id);
    if (isConnected !== this.#connected.has(link.id)) {
      if (isConnected) this.#connected.add(link.id);
      else this.#connected.delete(link.id);
      this.#settledAtMs = this.#platform.clock.monotonicMs() + this.#parts.settleMs;
    }
    this.#work.retryNow();
  }

  status(): BalanceStatus {
    const { links } = this.#parts;
    const left = this.#drains();
    const leaving = left.reduce((sum, { bytesLeft }) => sum + bytesLeft, 0);
    const bytesLeft =
      leaving + this.#widenBytes() + this.#spreadBytes() + this.#groupBytes() + this.#evenBytes();
    const holdsJournal = left.some(({ journal }) => journal);
    const blocked = leaving > 0 || holdsJournal ? this.#blockedBy() : undefined;
    const reason = blocked ?? this.#reason();
    return {
      state: this.#state(bytesLeft > 0 || holdsJournal, blocked !== undefined),
      ...(reason === undefined ? {} : { reason }),
      nodes: [...links.links.keys()].map((id) => ({ id, isUp: this.#isUp(id) })),
      draining: left,
      bytesLeft,
      bytesPerSecond: this.#work.bytesPerSecond,
      secondsLeft: this.#work.secondsLeft(bytesLeft),
      moved: this.#moved,
    };
  }

  #drains(): DrainReport[] {
    const { links, places, draining, metadata } = this.#parts;
    const members = metadata.ensemble.map(({ nodeId }) => nodeId);
    return draining.ids
      .filter((id) => links.links.has(id))
      .map((id) => ({ id, bytesLeft: places.bytesHeld(id), journal: members.includes(id) }));
  }

  #state(isLeft: boolean, isBlocked: boolean): BalanceStatus['state'] {
    // The last of what was begun may be more than what has to be.
    if (!isLeft && !this.#work.isRunning) return 'idle';
    if (this.#paused) return 'paused';
    return isBlocked ? 'blocked' : 'working';
  }

  /** Why nodes cannot be emptied. */
  #blockedBy(): string | undefined {
    const { parityFragments } = this.#parts.shape;
    const others = this.memberIds.length;
    if (others <= parityFragments) {
      return `without the draining nodes ${others} would be left, and full parity needs ${parityFragments + 1}`;
    }
    return this.#foundFull ? 'the other nodes have no room' : undefined;
  }

  #reason(): string | undefined {
    const { places, mustWait } = this.#parts;
    if (!places.isLoaded) return 'not all segments are known yet';
    if (mustWait()) return 'rebuilding goes first';
    const away = this.#awayIds();
    if (away.length > 0) return `${away.map((id) => `node ${id}`).join(', ')} away`;
    return undefined;
  }

  /** Looks whether there is something to do now, or when there will be. */
  wake(): void {
    this.#work.wake();
  }

  #lookInMs(): number | undefined {
    if (this.#paused || !this.#parts.places.isLoaded) return undefined;
    const settlesInMs = this.#settledAtMs - this.#platform.clock.monotonicMs();
    const isWaiting =
      this.#work.postponedCount > 0 || this.#parts.draining.ids.length > 0 || this.#parts.mustWait();
    const usualMs = isWaiting ? RETRY_MS : LOOK_MS;
    return settlesInMs > 0 ? Math.min(settlesInMs + 1, usualMs) : usualMs;
  }

  #log(tasks: number): void {
    if (tasks > 0) this.#platform.log.info('balanced', { bytes: this.#work.progress.doneBytes });
  }

  #batch(): Task[] {
    const leaving = this.#leaving();
    if (leaving.length > 0) return leaving;
    if (!this.isSettled) return [];
    const narrow = this.#segmentsOf(this.#narrow());
    if (narrow.length > 0) return narrow.map((segmentId) => ({ kind: 'widen', segmentId }));
    const apart = this.#spreadMoves();
    if (apart.length > 0) return apart.map((move): Task => ({ kind: 'even', ...move }));
    const regrouped = this.#groupMoves();
    if (regrouped.length > 0) return regrouped.map((move): Task => ({ kind: 'regroup', ...move }));
    return this.#evenMoves().map((move): Task => ({ kind: 'even', ...move }));
  }

  #leaving(): Task[] {
    const { draining, places, shape } = this.#parts;
    if (draining.ids.length === 0 || this.memberIds.length <= shape.parityFragments) return [];
    const classes = [...places.classes()].filter(({ nodes }) => nodes.some((id) => draining.has(id)));
    return this.#segmentsOf(classes).map((segmentId) => ({ kind: 'leave', segmentId }));
  }

  #segmentsOf(classes: readonly PlaceClass[]): number[] {
    const batch: number[] = [];
    for (const { segments } of classes) {
      for (const segmentId of segments) {
        if (batch.length === BATCH_SEGMENTS) return batch;
        if (!this.#work.isPostponed(segmentId)) batch.push(segmentId);
      }
    }
    return batch;
  }

  #spreadMoves(): EvenMove[] {
    if (this.#awayIds().length > 0) return [];
    const isExcluded = (segmentId: number) => this.#work.isPostponed(segmentId);
    const { places, shape } = this.#parts;
    return planSpreadMoves(this.#live(), places.classes(), isExcluded, BATCH_SEGMENTS, shape.groups);
  }

  #spreadBytes(): number {
    return this.#awayIds().length > 0 ? 0 : spreadBytes(this.#live(), this.#parts.places.classes());
  }

  /** Where groups are apart, nothing evens out between them by itself but what is written. */
  #groupMoves(): GroupMove[] {
    const { places, shape, hasRoom } = this.#parts;
    if (shape.groups.length === 0 || this.#awayIds().length > 0 || !hasRoom()) return [];
    const isExcluded = (segmentId: number) => this.#work.isPostponed(segmentId);
    return planGroupMoves(this.#live(), shape.groups, [...places.classes()], isExcluded, BATCH_SEGMENTS);
  }

  #groupBytes(): number {
    const { places, shape } = this.#parts;
    if (shape.groups.length === 0 || !places.isLoaded || this.#awayIds().length > 0) return 0;
    return groupExcessBytes(this.#live(), shape.groups, [...places.classes()]);
  }

  #evenMoves(): EvenMove[] {
    const uses = this.#uses();
    this.#evening = uses.some((each) => each.isUneven(this.#evening));
    if (!this.#evening) return [];
    const classes = [...this.#parts.places.classes()];
    const moves: EvenMove[] = [];
    // What lies across groups may have a fragment to move in more than one.
    const isExcluded = (segmentId: number): boolean =>
      this.#work.isPostponed(segmentId) || moves.some((move) => move.segmentId === segmentId);
    for (const each of uses) moves.push(...planEvenMoves(each, classes, isExcluded, BATCH_SEGMENTS));
    this.#isEvenEnough = moves.length === 0 && this.#work.postponedCount === 0;
    if (this.#isEvenEnough) this.#evening = false;
    return moves;
  }

  #evenBytes(): number {
    if (this.#isEvenEnough) return 0;
    return this.#uses()
      .filter((each) => each.isUneven(this.#evening))
      .reduce((sum, each) => sum + each.excessBytes(), 0);
  }

  /** Of each group. None: nodes are away that may come back, so what is even cannot be told. */
  #uses(): Uses[] {
    const { places, shape } = this.#parts;
    if (!places.isLoaded || this.#awayIds().length > 0) return [];
    const live: BalanceNode[] = this.#live();
    const { groups } = shape;
    const sets =
      groups.length === 0 ? [live] : groups.map((ids) => live.filter(({ id }) => ids.includes(id)));
    return sets.filter((nodes) => nodes.length >= 2).map((nodes) => new Uses(nodes, places.classes()));
  }

  /** Segments with the parity that the volume means them to have, cut into fewer data fragments than its nodes allow. */
  #narrow(): PlaceClass[] {
    if (this.#awayIds().length > 0 || !this.#parts.hasRoom()) return [];
    const shape = placeableShape(this.#parts.shape, this.#live().length);
    if (shape === undefined) return [];
    const { dataFragments: k, parityFragments: m } = shape;
    return [...this.#parts.places.classes()].filter(
      ({ nodes, dataFragments }) => dataFragments < k && nodes.length - dataFragments === m,
    );
  }

  #widenBytes(): number {
    return this.#narrow().reduce((sum, each) => sum + each.blocks * each.nodes.length * BLOCK_BYTES, 0);
  }

  /** False: not now. */
  async #do(task: Task, memory: RepairMemory): Promise<boolean> {
    const { segmentId } = task;
    const before = this.#parts.metadata.segment(segmentId);
    if (before === undefined) return false;
    const lengthBytes = this.#bytesOf(task, before);
    const moved = await this.#work.turn(lengthBytes, 2 * lengthBytes);
    if (moved === undefined) return false;
    return this.#work.claimed(segmentId, async () => {
      const outcome = await this.#carryOut(task, memory);
      if (task.kind === 'leave') this.#foundFull = outcome === 'full';
      if (outcome === 'damaged' && task.kind === 'even') this.#parts.onDamage(before, task.from);
      if (outcome !== 'moved') return false;
      this.#moved += lengthBytes;
      moved();
      this.#work.progress.add(lengthBytes);
      return true;
    });
  }

  #bytesOf(task: Task, record: SegmentRecord): number {
    const { draining } = this.#parts;
    const leaving = record.nodes.filter((id) => draining.has(id)).length;
    const fragments = task.kind === 'even' ? 1 : task.kind === 'leave' ? leaving : record.nodes.length;
    return fragments * record.fragmentBlocks * BLOCK_BYTES;
  }

  async #carryOut(task: Task, memory: RepairMemory): Promise<MoveOutcome> {
    const { metadata, calls, sources, claims } = this.#parts;
    const parts = { platform: this.#platform, metadata, calls, sources, claims, memory };
    if (task.kind === 'leave') return leaveNodes(parts, task.segmentId, this.#members);
    if (task.kind === 'even') return moveOne(parts, task, this.#members);
    const record = needed(parts, task.segmentId);
    const shape = placeableShape(this.#parts.shape, this.#live().length);
    if (record === undefined || shape === undefined) return 'postponed';
    if (task.kind === 'regroup') return relayOut(parts, record, this.#membersOf(task.group));
    // Waiting took a while: it may have been widened by others.
    if (record.dataFragments >= shape.dataFragments) return 'postponed';
    return relayOut(parts, record, this.#members);
  }

  /** As if there were no other nodes. */
  #membersOf(group: readonly number[]): Members {
    const live = (): BalanceNode[] => this.#live().filter(({ id }) => group.includes(id));
    return { ...this.#members, live, count: () => group.length };
  }

  /** No node has come or gone for a while, or somebody said that they are as they will be. */
  get isSettled(): boolean {
    return this.#platform.clock.monotonicMs() >= this.#settledAtMs;
  }

  #isUp(nodeId: number): boolean {
    return this.#parts.links.links.get(nodeId)?.state === 'up';
  }

  /** Nodes that are meant to hold fragments, whether or not they answer now. */
  get memberIds(): number[] {
    const { links, draining, isGone } = this.#parts;
    return [...links.links.keys()].filter((id) => !draining.has(id) && !isGone(id));
  }

  #awayIds(): number[] {
    return this.memberIds.filter((id) => !this.#isUp(id));
  }

  #live(): BalanceNode[] {
    return this.memberIds.flatMap((nodeId) => {
      const link = this.#parts.links.links.get(nodeId);
      if (link?.state !== 'up') return [];
      const { id, domain, freeBytes, capacityBytes } = link;
      return [{ id, domain, freeBytes, capacityBytes }];
    });
  }

  /** What is under way ends; the metadata still has to be open. */
  async close(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#work.close();
  }
}
