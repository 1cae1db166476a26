/**
 * The scenarios: what kind of cluster, what load, which faults, and what is promised under them. Everything else comes from the seed.
 */
import { MIB } from '../../base/units.ts';
import type { ShapeLimits } from '../cluster/shape.ts';
import type { Dice, Workload, WorkloadContext } from '../contract.ts';
import { FlapWatch } from '../workloads/flap-watch.ts';
import { HotWorkload } from '../workloads/hot.ts';
import { MoverWorkload } from '../workloads/mover.ts';
import { OwnerWorkload } from '../workloads/owner.ts';
import { ReplacerWorkload } from '../workloads/replacer.ts';
import { ScrubWorkload } from '../workloads/scrub.ts';
import { SteadyWorkload } from '../workloads/steady.ts';
import { StreamWorkload } from '../workloads/stream.ts';
import type { FaultWeights, Flapping } from './fault-schedule.ts';
import { fillAndDelete, overwriteAll, randomPosix, reserveAndWrite, standardMix } from './load-mix.ts';

export interface Scenario {
  readonly name: string;
  readonly about: string;
  readonly shape: ShapeLimits;
  readonly faults: FaultWeights;
  /** Between two faults; the mean of a run is drawn between half of it and three times as much. */
  readonly faultIntervalMs: number;
  /** See FaultPlan. */
  readonly together?: boolean;
  /** See FaultPlan. */
  readonly flapping?: Flapping;
  /** Late nodes join when a workload says so. */
  readonly joinAtWill?: boolean;
  /** How long each phase of load lasts: at least, and how much longer at most. */
  readonly loadMs?: { readonly least: number; readonly more: number };
  readonly allowed: WorkloadContext['allowed'];
  /** Chance that the power of everything fails after a phase, so that only what is on the disks remains. */
  readonly blackoutChance: number;
  readonly workloads: (dice: Dice) => readonly Workload[];
}

const STRICT = { beyondParity: false, fullDisks: false } as const;
const PROCESS_FAULTS: FaultWeights = { crash: 4, freeze: 2, power: 2 };
const NETWORK_FAULTS: FaultWeights = { cut: 2, 'cut-one-way': 2, delay: 2, loss: 2, 'half-open': 1 };
const DISK_FAULTS: FaultWeights = { 'slow-disk': 3, 'stuck-disk': 2, 'disk-errors': 2, 'full-disk': 1 };
const ROT_FAULTS: FaultWeights = { rot: 4, 'lost-writes': 2, 'misdirected-writes': 2, 'corrupt-database': 3 };

/** Short enough for a few absences and a few changes of the layout in one phase. */
const FLAP_TIMES = { graceMs: 400, layoutSettleMs: 2_000 };

/** What all nodes as one group give, what groups of them do, and what nothing does. */
const GROUPING_TARGETS = [1e-2, 4e-5, 2e-5, 1.2e-5, 1e-6, 0];

const usual = {
  shape: {},
  faultIntervalMs: 1_200,
  allowed: STRICT,
  blackoutChance: 0.3,
  workloads: standardMix,
};

export const scenarios: readonly Scenario[] = [
  { ...usual, name: 'calm', about: 'no faults, but a cold start at the end', faults: {}, blackoutChance: 1 },
  {
    ...usual,
    name: 'processes',
    about: 'kill -9, freezes and power losses, within parity',
    faults: PROCESS_FAULTS,
  },
  {
    ...usual,
    name: 'network',
    about: 'cuts both ways and one way, delays, losses',
    shape: { oneMachine: false },
    faults: NETWORK_FAULTS,
  },
  { ...usual, name: 'disks', about: 'slow, stuck, full and failing disks', faults: DISK_FAULTS },
  {
    ...usual,
    name: 'rot',
    about: 'flipped bits, lost and misdirected writes, on at most m copies',
    faults: { ...ROT_FAULTS, crash: 2 },
  },
  {
    ...usual,
    name: 'take-over',
    about: 'two primaries that both believe',
    faults: { 'take-over': 3, crash: 1, freeze: 1, cut: 1 },
    faultIntervalMs: 2_000,
  },
  {
    ...usual,
    name: 'clocks',
    about: 'clocks that jump, with crashes',
    faults: { 'clock-jump': 4, crash: 2, freeze: 1 },
  },
  {
    ...usual,
    name: 'full',
    about: 'a volume that is filled up and emptied, with room in it that is reserved',
    // Smaller ones cannot keep back what writers and the cleaner need at once.
    shape: { capacityBytes: 6 * MIB },
    faults: { crash: 2, freeze: 1 },
    faultIntervalMs: 2_500,
    allowed: { beyondParity: false, fullDisks: true },
    workloads: (dice) => [reserveAndWrite(dice), fillAndDelete(dice), randomPosix(dice)],
  },
  {
    ...usual,
    name: 'cleaning',
    about: 'a small volume that is overwritten again and again, so that the cleaner is always at work',
    shape: { capacityBytes: 3 * MIB },
    faults: { ...PROCESS_FAULTS, 'slow-disk': 1, 'take-over': 0.5 },
    faultIntervalMs: 2_000,
    allowed: { beyondParity: false, fullDisks: true },
    workloads: (dice) => [...['first', 'second', 'third'].map(overwriteAll), randomPosix(dice)],
  },
  {
    ...usual,
    name: 'mixed',
    about: 'everything at once, within parity',
    faults: {
      ...PROCESS_FAULTS,
      ...NETWORK_FAULTS,
      ...DISK_FAULTS,
      rot: 1,
      'corrupt-database': 1,
      'clock-jump': 1,
      'take-over': 0.5,
    },
  },
  {
    ...usual,
    name: 'storm',
    about: 'crashes and power losses of everything, again and again, so that many come during a recovery',
    faults: { crash: 5, power: 3, blackout: 1, freeze: 1 },
    faultIntervalMs: 150,
    allowed: { beyondParity: true, fullDisks: false },
    blackoutChance: 0.5,
  },
  {
    ...usual,
    name: 'beyond',
    about: 'more faults than parity bears: an error or the right bytes, and everything back afterwards',
    faults: {
      ...PROCESS_FAULTS,
      ...NETWORK_FAULTS,
      'slow-disk': 1,
      'stuck-disk': 1,
      blackout: 1,
      'take-over': 0.5,
    },
    faultIntervalMs: 600,
    allowed: { beyondParity: true, fullDisks: false },
    blackoutChance: 0.5,
  },
  {
    ...usual,
    name: 'mount',
    about: 'kill -9 of the mount alone, again and again: what is older than 50 ms survives without a sync',
    faults: { 'crash-mount': 1 },
    faultIntervalMs: 500,
    allowed: { ...STRICT, lossWindowMs: 50 },
  },
  {
    ...usual,
    name: 'failover',
    about: 'up to m nodes killed or frozen in one moment, or the mount: writers wait for 2 s at most',
    faults: { crash: 4, power: 2, freeze: 2, 'crash-mount': 1, 'take-over': 1 },
    together: true,
    faultIntervalMs: 800,
    loadMs: { least: 4_000, more: 4_000 },
    workloads: () => [new SteadyWorkload({ promisedMs: 2_000 }), new StreamWorkload()],
  },
  {
    ...usual,
    name: 'scarce',
    about:
      'so few nodes that with m of them away what is written has less parity, and gets it when they return',
    shape: { minNodes: 2, maxNodes: 4, isScarce: true },
    faults: { ...PROCESS_FAULTS, cut: 2, rot: 1, 'slow-disk': 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
  },
  {
    ...usual,
    name: 'heal',
    about:
      'nodes that are rebuilt elsewhere before they return, under crashes, freezes, cuts and flipped bits',
    shape: { minNodes: 4, graceMs: 200 },
    faults: { crash: 6, power: 2, freeze: 1, cut: 1, rot: 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
  },
  {
    ...usual,
    name: 'adapt',
    about:
      'an owner who asks for more and less availability, so that segments get another shape under faults',
    shape: { minNodes: 5, maxNodes: 8, graceMs: 400, spaceWeights: [undefined, 0.02, 0.02] },
    faults: { crash: 5, power: 2, freeze: 1, cut: 1, rot: 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
    workloads: (dice) => [...standardMix(dice), new OwnerWorkload()],
  },
  {
    ...usual,
    name: 'join',
    about: 'nodes that join while the load goes on, and get their share under faults',
    shape: { minNodes: 5, maxNodes: 7, lateNodes: 2, capacityBytes: 8 * MIB, graceMs: 400 },
    faults: { crash: 5, power: 2, freeze: 1, cut: 1, rot: 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
    allowed: { beyondParity: false, fullDisks: true },
    workloads: (dice) => [...standardMix(dice), new MoverWorkload(false)],
  },
  {
    ...usual,
    name: 'drain',
    about: 'nodes that are emptied and taken into use again, under faults',
    shape: { minNodes: 4, maxNodes: 7, capacityBytes: 12 * MIB, graceMs: 400 },
    faults: { crash: 5, power: 2, freeze: 1, cut: 1, rot: 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
    allowed: { beyondParity: false, fullDisks: true },
    workloads: (dice) => [...standardMix(dice), new MoverWorkload(true)],
  },
  {
    ...usual,
    name: 'flap',
    about:
      'up to m nodes that go and come back again and again, for about as long as they are waited for: no storm',
    shape: { minNodes: 4, maxNodes: 7, ...FLAP_TIMES },
    // Around the grace period, and around the time after which nodes count as settled, which is the same here.
    flapping: { awayMs: [60, 250, 400, 600, 1_500], thereMs: [100, 400, 1_500] },
    faults: { 'crash-mount': 1, 'take-over': 0.3 },
    faultIntervalMs: 6_000,
    loadMs: { least: 4_000, more: 6_000 },
    workloads: (dice) => [...standardMix(dice), new FlapWatch(FLAP_TIMES)],
  },
  {
    ...usual,
    name: 'replace',
    about: 'nodes that are replaced by new ones while the load goes on, under faults',
    shape: { minNodes: 5, maxNodes: 7, lateNodes: 2, capacityBytes: 12 * MIB, graceMs: 400 },
    joinAtWill: true,
    faults: { crash: 5, power: 2, freeze: 1, cut: 1, rot: 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
    loadMs: { least: 3_000, more: 4_000 },
    allowed: { beyondParity: false, fullDisks: true },
    workloads: (dice) => [...standardMix(dice), new ReplacerWorkload()],
  },
  {
    ...usual,
    name: 'scrub',
    about:
      'flipped bits and lost writes that scrubs have to find, started, paused and slowed down, with crashes',
    faults: { ...ROT_FAULTS, ...PROCESS_FAULTS, 'slow-disk': 1, 'take-over': 0.5 },
    faultIntervalMs: 800,
    workloads: (dice) => [...standardMix(dice), new ScrubWorkload()],
  },
  {
    ...usual,
    name: 'hot',
    about: 'files that are read over and over, so that copies are made and dropped under faults',
    shape: { minNodes: 5, maxNodes: 7, spareNodes: 2, capacityBytes: 8 * MIB, graceMs: 400 },
    faults: { crash: 5, power: 2, freeze: 1, cut: 1, rot: 1, 'slow-disk': 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
    allowed: { beyondParity: false, fullDisks: true },
    workloads: (dice) => [...standardMix(dice), new HotWorkload()],
  },
  {
    ...usual,
    name: 'groups',
    about:
      'an owner whose wishes divide the nodes into groups, and nodes that join and are rebuilt: segments end up within one group each',
    shape: {
      ...{ minNodes: 8, maxNodes: 10, spareNodes: 5, lateNodes: 1, graceMs: 400 },
      // Stripes of two to four, and no other way to more availability than groups.
      ...{ parityFragments: 1, layoutLimits: { maxParity: 1, maxDataFragments: 3 } },
    },
    faults: { crash: 5, power: 2, freeze: 1, cut: 1, rot: 1, 'take-over': 0.5 },
    faultIntervalMs: 1_500,
    workloads: (dice) => [...standardMix(dice), new OwnerWorkload(GROUPING_TARGETS)],
  },
];

export function scenarioNamed(name: string): Scenario | undefined {
  return scenarios.find((scenario) => scenario.name === name);
}

/** Seeds go round all scenarios when none is named. */
export function scenarioOf(seed: number): Scenario {
  return scenarios[seed % scenarios.length]!;
}
