/**
 * Keeps the availability that the owner asks for: measures how often nodes are away, asks the planner when something changed, and carries out what it chooses:
 * new segments take the new shape at once, old ones are brought into it in the background.
 *
 * Without a target the shape stays as it is. A choice has to last (plan/hysteresis.ts) unless somebody says so at this moment. What was chosen is
 * durable in the metadata; where nothing was, the volume's own shape holds.
 */
import type { AvailabilityState } from '../../format/availability-state.ts';
import type { Shape } from '../../log/segment-layout.ts';
import { isSameShape, type TargetShape } from '../../log/target-shape.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import { keepCandidate } from '../plan/candidates.ts';
import type { Plan, PlanPolicy, PlanRequest, Remedy } from '../plan/contract.ts';
import { decide, FRESH_MEMORY, type PlannerMemory } from '../plan/hysteresis.ts';
import { planLayouts } from '../plan/planner.ts';
import { Converter, type ConverterParts, type ConverterStatus } from './converter.ts';
import type { NodeTimes } from './node-times.ts';
import { adaptRequest, placeableShape } from './request.ts';

export interface AdapterParts extends Omit<ConverterParts, 'shape'> {
  /** What new segments aim for: this is who changes it. */
  readonly shape: TargetShape;
  /** As the volume was made. */
  readonly ownShape: Shape;
  readonly times: NodeTimes;
  readonly isGone: (nodeId: number) => boolean;
  readonly save: (state: AvailabilityState) => void;
  /** Instead of the planner's defaults. */
  readonly policy?: Partial<PlanPolicy>;
}

export interface AvailabilityReport extends ConverterStatus {
  readonly paused: boolean;
  readonly limitBytesPerSecond: number;
  /** Every segment is known, and so is what is left to do. */
  readonly segmentsKnown: boolean;
  /** null: nobody asked for anything. */
  readonly targetUnavailability: number | null;
  /** Of what lies now and what is written now; null: too few nodes are left to say. */
  readonly predictedUnavailability: number | null;
  /** What new segments aim for. */
  readonly layout: Shape;
  /** What is to follow, if it stays the choice for so long. */
  readonly next: (Shape & { readonly inSeconds: number }) | null;
  /** What would help; empty while the target is met, or is going to be. */
  readonly remedies: readonly Remedy[];
  readonly nodes: readonly NodeUnavailability[];
}

export interface NodeUnavailability {
  readonly id: number;
  /** Share of the time that it is away, and the interval that holds it with a probability of 80%. */
  readonly unavailability: number;
  readonly low: number;
  readonly high: number;
}

export const NO_AVAILABILITY: AvailabilityState = {
  ...{
    paused: false,
    targetUnavailability: undefined,
    shape: undefined,
    limitBytesPerSecond: 0,
    changedMs: 0,
  },
};

const PLAN_EVERY_MS = 5 * 60_000;
/** Several changes at once are one. */
const PLAN_SOON_MS = 500;
/** Any: what is asked is only how available the volume is. */
const SOME_TARGET = 0.001;

export class Adapter {
  readonly #platform: Platform;
  readonly #parts: AdapterParts;
  readonly #converter: Converter;
  readonly #unsubscribe: () => void;
  #state: AvailabilityState;
  #memory: PlannerMemory = FRESH_MEMORY;
  #next: AvailabilityReport['next'] = null;
  #remedies: readonly Remedy[] = [];
  #timer: Timer | undefined;
  #planAtMs = Number.POSITIVE_INFINITY;
  #started = false;
  /** Somebody wants the next choice carried out, however long it has been the choice. */
  #hurried = false;
  #closed = false;

  constructor(platform: Platform, parts: AdapterParts, state: AvailabilityState) {
    this.#platform = platform;
    this.#parts = parts;
    this.#state = state;
    parts.shape.change(state.shape ?? parts.ownShape);
    parts.limit.bytesPerSecond = state.limitBytesPerSecond || undefined;
    if (state.changedMs > 0) {
      const { clock } = platform;
      const ageMs = Math.max(0, clock.wallMs() - state.changedMs);
      this.#memory = { pending: undefined, changedMs: clock.monotonicMs() - ageMs };
    }
    this.#converter = new Converter(platform, { ...parts, shape: () => this.#wanted() }, state.paused);
    this.#unsubscribe = parts.links.onChange(() => this.#planWithin(PLAN_SOON_MS));
  }

  /** Every segment is known. */
  start(): void {
    this.#started = true;
    this.#plan();
  }

  /** 0: whatever it is now. */
  setTarget(unavailability: number): void {
    this.#change({ targetUnavailability: unavailability === 0 ? undefined : unavailability });
    this.planNow();
  }

  setPaused(paused: boolean): void {
    this.#change({ paused });
    this.#converter.paused = paused;
    this.#planWithin(PLAN_SOON_MS);
  }

  setLimit(limitBytesPerSecond: number): void {
    this.#change({ limitBytesPerSecond });
    this.#parts.limit.bytesPerSecond = limitBytesPerSecond || undefined;
  }

  /** What is the choice is carried out now, or as soon as every segment is known. */
  planNow(): void {
    this.#hurried = true;
    this.#plan();
  }

  /** Segments are being laid out anew. */
  get isConverting(): boolean {
    return this.#converter.isWorking;
  }

  /** What is written now gets. */
  get layout(): Shape {
    const { dataFragments, parityFragments } = this.#parts.shape;
    return { dataFragments, parityFragments };
  }

  report(): AvailabilityReport {
    const request = this.#request(SOME_TARGET);
    const { paused, targetUnavailability, limitBytesPerSecond } = this.#state;
    return {
      ...this.#converter.status(),
      ...{ paused, limitBytesPerSecond, segmentsKnown: this.#started },
      targetUnavailability: targetUnavailability ?? null,
      predictedUnavailability: request === undefined ? null : keepCandidate(request).unavailability,
      layout: this.layout,
      next: this.#next,
      remedies: this.#remedies,
      nodes: [...this.#parts.times.measured()]
        .filter(([id]) => this.#parts.links.links.has(id))
        .sort(([a], [b]) => a - b)
        .map(([id, { p, low, high }]) => ({ id, unavailability: p, low, high })),
    };
  }

  /** What segments are brought into: nothing unless something was ever chosen. */
  #wanted(): Shape | undefined {
    if (this.#state.shape === undefined || !this.#parts.places.isLoaded) return undefined;
    const { links, isGone, draining } = this.#parts;
    const members = [...links.links.keys()].filter((id) => !isGone(id) && !draining.has(id));
    return placeableShape(this.#parts.shape, members.length);
  }

  #change(changes: Partial<AvailabilityState>): void {
    const state = { ...this.#state, ...changes };
    this.#parts.save(state);
    this.#state = state;
  }

  #request(targetUnavailability: number): PlanRequest | undefined {
    const { links, times, isGone, draining, places, shape, ownShape, policy } = this.#parts;
    const measured = times.measured();
    return adaptRequest({
      nodes: links.links.values(),
      unavailability: (nodeId) => measured.get(nodeId)!.p,
      isGone,
      isDraining: (nodeId) => draining.has(nodeId),
      classes: places.classes(),
      current: shape,
      ownShape,
      targetUnavailability,
      ...(policy === undefined ? {} : { policy }),
    });
  }

  #planWithin(delayMs: number): void {
    const atMs = this.#platform.clock.monotonicMs() + delayMs;
    if (this.#closed || atMs >= this.#planAtMs) return;
    this.#planAtMs = atMs;
    this.#timer?.cancel();
    this.#timer = this.#platform.timers.after(delayMs, () => {
      this.#planAtMs = Number.POSITIVE_INFINITY;
      this.#plan();
    });
  }

  #plan(): void {
    this.#next = null;
    this.#remedies = [];
    const { targetUnavailability, paused, shape } = this.#state;
    if (paused || !this.#started || this.#closed) return;
    if (targetUnavailability !== undefined || shape !== undefined) this.#planWithin(PLAN_EVERY_MS);
    this.#converter.wake();
    if (targetUnavailability === undefined) return;
    const request = this.#request(targetUnavailability);
    if (request === undefined || !isKnown(request)) return;
    const plan = shapesOnly(planLayouts(request), request);
    // Nobody could allow more parity.
    this.#remedies = plan.remedies.filter(({ kind }) => kind !== 'allow-parity');
    const nowMs = this.#platform.clock.monotonicMs();
    const patience = this.#hurried ? { settleMs: 0, quietMs: 0 } : request.policy;
    const decision = decide(this.#memory, plan, nowMs, patience);
    const { dataFragments, parityFragments } = plan.choice.layout;
    if (decision.verdict === 'act' && !this.#adopt({ dataFragments, parityFragments })) return;
    this.#memory = decision.memory;
    this.#hurried = false;
    if (decision.verdict !== 'wait') return;
    this.#next = { dataFragments, parityFragments, inSeconds: Math.ceil(decision.waitMs / 1000) };
    this.#planWithin(decision.waitMs);
  }

  /** False: it cannot be made durable now. */
  #adopt(shape: Shape): boolean {
    try {
      this.#change({ shape, changedMs: Math.floor(this.#platform.clock.wallMs()) });
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('layout-not-changed', { why: error.message });
      return false;
    }
    this.#platform.log.info('layout-changed', { ...shape });
    this.#parts.shape.change(shape);
    this.#converter.wake();
    return true;
  }

  /** What is under way ends; the metadata still has to be open. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    this.#unsubscribe();
    await this.#converter.close();
  }
}

/** A node that was away since the mount began has not said how large it is. It is waited for, or given up. */
function isKnown({ nodes }: PlanRequest): boolean {
  return nodes.every(({ role, capacityBytes }) => role !== 'member' || capacityBytes > 0);
}

/** Which nodes share segments is for placement and rebuilding to say: a choice of the present shape is to leave things alone. */
function shapesOnly(plan: Plan, request: PlanRequest): Plan {
  const [keep] = plan.candidates;
  if (keep === undefined || !isSameShape(plan.choice.layout, request.current)) return plan;
  return { ...plan, choice: keep };
}
