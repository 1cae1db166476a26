/**
 * Keeps the availability that the owner asks for: measures how often nodes are away, asks the planner when something changed, and carries out what it chooses:
 * new segments take the new shape at once and keep within the groups of nodes that were chosen with it, old ones are brought into both in the background.
 *
 * Without a target the layout stays as it is. A choice has to last (plan/hysteresis.ts) unless somebody says so at this moment. What was chosen is
 * durable in the metadata; where nothing was, the volume's own shape holds.
 */
import type { NodeGroups } from '../../cluster/node-groups.ts';
import { type NodeLink, upNodes } from '../../cluster/nodes.ts';
import type { AvailabilityState } from '../../format/availability-state.ts';
import { degradedShape, type Shape } from '../../log/segment-layout.ts';
import type { TargetShape } from '../../log/target-shape.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import type { Platform, Timer } from '../../platform/platform.ts';
import { keepCandidate, layoutKey } from '../plan/candidates.ts';
import type { Layout, Plan, PlanPolicy, PlanRequest, Remedy } from '../plan/contract.ts';
import { groupsInForce } from '../plan/groups.ts';
import { decide, FRESH_MEMORY, type PlannerMemory } from '../plan/hysteresis.ts';
import { planLayouts } from '../plan/planner.ts';
import { Converter, type ConverterParts, type ConverterStatus } from './converter.ts';
import type { NodeTimes } from './node-times.ts';
import { adaptRequest, placeableShape } from './request.ts';

export interface AdapterParts extends Omit<ConverterParts, 'shape' | 'groups' | 'members'> {
  /** What new segments aim for: this is who changes it. */
  readonly shape: TargetShape;
  /** As the volume was made. */
  readonly ownShape: Shape;
  readonly times: NodeTimes;
  /** Of all nodes together. */
  readonly carriedBytesPerSecond: () => number;
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
  /** What they are with the nodes that are there now; null: none can be written. */
  readonly written: Shape | null;
  /** Node ids by group: each segment is kept within one. None: any nodes share segments. */
  readonly groups: NodeGroups;
  /** What is to follow, if it stays the choice for so long; `groups`: how many. */
  readonly next: (Shape & { readonly groups: number; readonly inSeconds: number }) | null;
  /** What would help; empty while the target is met, or is going to be. */
  readonly remedies: readonly Remedy[];
  /** What all nodes together were seen to carry, which times are foretold by. */
  readonly carriedBytesPerSecond: number;
  readonly nodes: readonly NodeUnavailability[];
  /** Failure domains that several nodes share. */
  readonly domains: readonly DomainUnavailabilityReport[];
}

/** Share of the time that it is away, and the interval that holds it with a probability of 80%. */
interface UnavailabilityReport {
  readonly unavailability: number;
  readonly low: number;
  readonly high: number;
}

export interface NodeUnavailability extends UnavailabilityReport {
  readonly id: number;
}

export interface DomainUnavailabilityReport extends UnavailabilityReport {
  readonly label: string;
}

export const NO_AVAILABILITY: AvailabilityState = {
  ...{
    paused: false,
    targetUnavailability: undefined,
    shape: undefined,
    groups: [],
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
  /** Asked for with every segment. */
  #inForce: { readonly inputs: string; readonly groups: NodeGroups } | undefined;
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
    parts.shape.groupBy(() => this.#groups());
    const target = {
      shape: () => this.#wanted(),
      groups: () => this.#groups(),
      members: () => this.#members(),
    };
    this.#converter = new Converter(platform, { ...parts, ...target }, state.paused);
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
      written: this.#written() ?? null,
      groups: this.#groups(),
      next: this.#next,
      remedies: this.#remedies,
      carriedBytesPerSecond: this.#parts.carriedBytesPerSecond(),
      domains: [...this.#parts.times.measuredDomains()]
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([label, { p, low, high }]) => ({ label, unavailability: p, low, high })),
      nodes: [...this.#parts.times.measured()]
        .filter(([id]) => this.#parts.links.links.has(id))
        .sort(([a], [b]) => a - b)
        .map(([id, { p, low, high }]) => ({ id, unavailability: p, low, high })),
    };
  }

  /** What the planner is asked; undefined: too few nodes are left. */
  planRequest(): PlanRequest | undefined {
    return this.#request(this.#state.targetUnavailability ?? SOME_TARGET);
  }

  /** What segments are brought into: nothing unless something was ever chosen. */
  #wanted(): Shape | undefined {
    if (this.#state.shape === undefined || !this.#parts.places.isLoaded) return undefined;
    return placeableShape(this.#parts.shape, this.#members().length);
  }

  /** Nodes that are meant to hold fragments, whether or not they answer. */
  #members(): NodeLink[] {
    const { links, isGone, draining } = this.#parts;
    return [...links.links.values()].filter(({ id }) => !isGone(id) && !draining.has(id));
  }

  /** What new segments are now: narrower where nodes are lacking, and with less parity where too few are left for all of it and no more are away than it bears. */
  #written(): Shape | undefined {
    const { links, draining, shape } = this.#parts;
    const { parityFragments } = shape;
    const known = draining.placeable([...links.links.values()], parityFragments).length;
    const writable = draining.placeable(upNodes(links), parityFragments).length;
    return placeableShape(shape, writable) ?? degradedShape(known, writable, parityFragments);
  }

  /** Those that were chosen, as they are with the nodes that there are now. */
  #groups(): NodeGroups {
    const { groups } = this.#state;
    if (groups.length === 0) return groups;
    const { links, shape } = this.#parts;
    const members = this.#members();
    const listed = [...links.links.values()];
    const key = [listed, members].map((nodes) => nodes.map(({ id, domain }) => `${id} ${domain}`).join());
    const inputs = [...key, shape.dataFragments, shape.parityFragments].join(';');
    if (this.#inForce?.inputs !== inputs) {
      const fitting = placeableShape(shape, members.length);
      const width = fitting === undefined ? 0 : fitting.dataFragments + fitting.parityFragments;
      const found = width === 0 ? [] : groupsInForce(groups, listed, members, width);
      this.#inForce = { inputs, groups: found };
    }
    return this.#inForce.groups;
  }

  #change(changes: Partial<AvailabilityState>): void {
    const state = { ...this.#state, ...changes };
    this.#parts.save(state);
    this.#state = state;
    this.#inForce = undefined;
  }

  #request(targetUnavailability: number): PlanRequest | undefined {
    const { links, times, isGone, draining, places, shape, ownShape, policy } = this.#parts;
    const measured = times.measured();
    const domains = [...times.measuredDomains()].map(([domain, { p }]): [string, number] => [domain, p]);
    return adaptRequest({
      nodes: links.links.values(),
      unavailability: (nodeId) => measured.get(nodeId)!.p,
      domainUnavailability: new Map(domains),
      bytesPerSecond: this.#parts.carriedBytesPerSecond(),
      isGone,
      isDraining: (nodeId) => draining.has(nodeId),
      classes: places.classes(),
      current: shape,
      groups: this.#groups(),
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
    const plan = choiceOrKeep(planLayouts(request), request);
    // Nobody could allow more parity.
    this.#remedies = plan.remedies.filter(({ kind }) => kind !== 'allow-parity');
    const nowMs = this.#platform.clock.monotonicMs();
    const patience = this.#hurried ? { settleMs: 0, quietMs: 0 } : request.policy;
    const decision = decide(this.#memory, plan, nowMs, patience);
    const { dataFragments, parityFragments, groups } = plan.choice.layout;
    if (decision.verdict === 'act' && !this.#adopt(plan.choice.layout)) return;
    this.#memory = decision.memory;
    this.#hurried = false;
    if (decision.verdict !== 'wait') return;
    const inSeconds = Math.ceil(decision.waitMs / 1000);
    this.#next = { dataFragments, parityFragments, groups: groups.length, inSeconds };
    this.#planWithin(decision.waitMs);
  }

  /** False: it cannot be made durable now. */
  #adopt({ dataFragments, parityFragments, groups: chosen }: Layout): boolean {
    const shape = { dataFragments, parityFragments };
    const groups = chosen.length < 2 ? [] : [...chosen].sort((a, b) => a[0]! - b[0]!);
    try {
      this.#change({ shape, groups, changedMs: Math.floor(this.#platform.clock.wallMs()) });
    } catch (error) {
      if (!(error instanceof MetadataUnavailable)) throw error;
      this.#platform.log.warn('layout-not-changed', { why: error.message });
      return false;
    }
    this.#platform.log.info('layout-changed', { ...shape, groups: groups.length });
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

/** To choose the layout that is in force is to leave it alone: what is still to be brought into it is brought into it anyway. */
function choiceOrKeep(plan: Plan, request: PlanRequest): Plan {
  const [keep] = plan.candidates;
  if (keep === undefined || layoutKey(plan.choice.layout) !== layoutKey(request.current)) return plan;
  return { ...plan, choice: keep };
}
