/**
 * Draws a schedule of faults for one phase of load from the seed: which kinds, how often, against whom and how long. What a scenario's
 * promises do not cover is left out (fault-budget.ts).
 */
import type { ClusterShape } from '../cluster/shape.ts';
import { nodeName } from '../cluster/simulated-cluster.ts';
import type { Dice } from '../contract.ts';
import type { Fault, FaultKind } from './fault.ts';
import { COORDINATOR, FaultBudget, RECOVERY_MS } from './fault-budget.ts';

export type FaultWeights = Readonly<Partial<Record<FaultKind, number>>>;

export interface FaultPlan {
  readonly weights: FaultWeights;
  /** Between two faults, on average. */
  readonly meanIntervalMs: number;
  /** More may fail than the volume can bear: only "an error or the right bytes" is asked then. */
  readonly beyondParity: boolean;
  /** Up to m nodes are lost in one moment, and nothing else until they are back for a while; nothing befalls the coordinator. */
  readonly together?: boolean;
  /** Up to m nodes go and come back again and again, the whole time. */
  readonly flapping?: Flapping;
}

/** How long a node is away and how long it is there: about one of these each time. */
export interface Flapping {
  readonly awayMs: readonly number[];
  readonly thereMs: readonly number[];
}

/** Between these there is traffic; everybody else's links do not matter. */
const MOUNT = 'mount';
const LONGEST_MS = 6_000;
const FOR_EVER_MS = 1e9;
const ALL_AT_ONCE_CHANCE = 0.7;
/** Kinds that cannot be aimed at one node where all share a machine. */
const MACHINE_KINDS: readonly FaultKind[] = [
  'power',
  'cut',
  'cut-one-way',
  'delay',
  'loss',
  'half-open',
  'slow-disk',
  'stuck-disk',
  'full-disk',
];

export class FaultScheduler {
  readonly #dice: Dice;
  readonly #shape: ClusterShape;
  readonly #plan: FaultPlan;
  readonly #budget: FaultBudget;
  readonly #nodes: readonly string[];

  constructor(dice: Dice, shape: ClusterShape, plan: FaultPlan) {
    this.#dice = dice;
    this.#shape = shape;
    this.#plan = plan;
    this.#budget = new FaultBudget(shape.parityFragments);
    this.#nodes = Array.from({ length: shape.nodes }, (_, index) => nodeName(index + 1));
  }

  /** Faults that begin in [fromMs, toMs), in order. */
  draw(fromMs: number, toMs: number): Fault[] {
    const { flapping } = this.#plan;
    if (flapping === undefined) return this.#usual(fromMs, toMs);
    const flaps = this.#flaps(flapping, fromMs, toMs);
    return [...flaps, ...this.#usual(fromMs, toMs)].sort((a, b) => a.atMs - b.atMs);
  }

  #flaps({ awayMs, thereMs }: Flapping, fromMs: number, toMs: number): Fault[] {
    const dice = this.#dice;
    const faults: Fault[] = [];
    const left = [...this.#nodes];
    for (let count = 1 + dice.below(this.#shape.parityFragments); count > 0; count--) {
      const target = dice.pick(left);
      left.splice(left.indexOf(target), 1);
      if (!this.#budget.admits(target, fromMs, toMs - fromMs)) continue;
      const about = (timesMs: readonly number[]) => dice.pick(timesMs) * (0.8 + 0.4 * dice.unit());
      for (let atMs = fromMs + about(thereMs); atMs < toMs; ) {
        const durationMs = Math.round(about(awayMs));
        const kind = dice.pick(this.#shape.oneMachine ? PROCESS_FLAPS : FLAPS);
        const away = { atMs: Math.round(atMs * 10) / 10, kind, target, durationMs };
        faults.push(kind === 'cut' ? { ...away, target: MOUNT, other: target } : away);
        atMs += durationMs + about(thereMs);
      }
    }
    return faults;
  }

  #usual(fromMs: number, toMs: number): Fault[] {
    const faults: Fault[] = [];
    let atMs = fromMs;
    for (;;) {
      atMs += this.#dice.exponential(this.#plan.meanIntervalMs);
      if (atMs >= toMs) return faults;
      if (this.#plan.together === true) {
        const group = this.#group(Math.round(atMs * 10) / 10);
        faults.push(...group);
        atMs += Math.max(0, ...group.map(({ durationMs }) => durationMs)) + RECOVERY_MS;
        continue;
      }
      const fault = this.#one(Math.round(atMs * 10) / 10);
      if (fault !== undefined) faults.push(fault);
    }
  }

  /** As many as the parity bears: writing goes on with whatever is left. */
  #group(atMs: number): Fault[] {
    const dice = this.#dice;
    const most = this.#shape.parityFragments;
    const left = [...this.#nodes];
    const faults: Fault[] = [];
    const count = dice.chance(ALL_AT_ONCE_CHANCE) ? most : 1 + dice.below(most);
    while (faults.length < count) {
      const kind = this.#kind();
      if (kind === undefined) break;
      const target = dice.pick(left);
      left.splice(left.indexOf(target), 1);
      const fault = this.#made(kind, atMs);
      if (OF_THE_MOUNT.includes(kind)) return [fault];
      faults.push({ ...fault, target });
    }
    return faults;
  }

  #one(atMs: number): Fault | undefined {
    const kind = this.#kind();
    if (kind === undefined) return undefined;
    const fault = this.#made(kind, atMs);
    return this.#plan.beyondParity || this.#isWithin(fault) ? fault : undefined;
  }

  #kind(): FaultKind | undefined {
    const entries = Object.entries(this.#plan.weights) as [FaultKind, number][];
    const possible = entries.filter(([kind]) => !this.#shape.oneMachine || !MACHINE_KINDS.includes(kind));
    const total = possible.reduce((sum, [, weight]) => sum + weight, 0);
    let at = this.#dice.unit() * total;
    for (const [kind, weight] of possible) {
      at -= weight;
      if (at < 0) return kind;
    }
    return undefined;
  }

  #made(kind: FaultKind, atMs: number): Fault {
    const dice = this.#dice;
    const durationMs = Math.round(Math.min(LONGEST_MS, 20 + dice.exponential(1_200)));
    const base = { atMs, kind, durationMs };
    switch (kind) {
      case 'crash':
      case 'freeze':
      case 'power':
        return { ...base, target: this.#anyProcess() };
      case 'crash-mount':
        return { ...base, target: MOUNT };
      case 'cut':
        return { ...base, target: MOUNT, other: this.#peerOfMount() };
      case 'half-open':
      case 'cut-one-way': {
        const peer = this.#peerOfMount();
        return dice.chance(0.5)
          ? { ...base, target: MOUNT, other: peer }
          : { ...base, target: peer, other: MOUNT };
      }
      case 'delay':
        return { ...base, target: MOUNT, other: this.#peerOfMount(), amount: 1 + dice.below(400) };
      case 'loss':
        return { ...base, target: MOUNT, other: this.#peerOfMount(), amount: dice.pick([0.01, 0.1, 0.5]) };
      case 'slow-disk':
        return { ...base, target: dice.pick(this.#nodes), amount: dice.pick([3, 20, 200]) };
      case 'disk-errors':
      case 'lost-writes':
      case 'misdirected-writes':
        return { ...base, target: dice.pick(this.#nodes), amount: dice.pick([0.02, 0.2, 1]) };
      case 'rot':
        return { ...base, target: dice.pick(this.#nodes), durationMs: 0, amount: dice.pick([1, 10, 200]) };
      case 'corrupt-database':
        if (dice.chance(0.4)) return { ...base, target: MOUNT, amount: 0 };
        return { ...base, target: dice.pick(this.#nodes), amount: dice.below(3) };
      case 'clock-jump':
        return {
          ...base,
          target: this.#anyProcess(),
          durationMs: 0,
          amount: Math.round((dice.unit() - 0.5) * 20_000),
        };
      case 'take-over':
        return { ...base, target: MOUNT, amount: dice.below(4) };
      case 'blackout':
        return { ...base, target: 'all' };
      default:
        return { ...base, target: dice.pick(this.#nodes) };
    }
  }

  #anyProcess(): string {
    const dice = this.#dice;
    if (dice.chance(0.3)) return MOUNT;
    return dice.chance(0.15) ? COORDINATOR : dice.pick(this.#nodes);
  }

  #peerOfMount(): string {
    return this.#dice.chance(0.2) ? COORDINATOR : this.#dice.pick(this.#nodes);
  }

  #isWithin({ kind, target, other, atMs, durationMs }: Fault): boolean {
    if (kind === 'blackout') return false;
    if (kind === 'clock-jump' || kind === 'take-over') return true;
    const lasts = LASTING_KINDS.includes(kind) ? FOR_EVER_MS : durationMs;
    const weak = target === MOUNT ? other : target;
    // The mount alone: nothing else is touched by it.
    return weak === undefined || this.#budget.admits(weak, atMs, lasts);
  }
}

const PROCESS_FLAPS: readonly FaultKind[] = ['crash', 'crash', 'crash', 'freeze'];
const FLAPS: readonly FaultKind[] = [...PROCESS_FLAPS, 'power', 'cut'];
const OF_THE_MOUNT: readonly FaultKind[] = ['crash-mount', 'take-over'];
/** What they did stays on the disk. */
const LASTING_KINDS: readonly FaultKind[] = ['rot', 'lost-writes', 'misdirected-writes'];
