/**
 * The faults of a run, as a function of its seed: one endless lane for each node that may be away, one for the supervisor, one for the
 * mount. A lane brings back what it took away before it goes on, so at most as many nodes are away as there are node lanes.
 */
import { Dice } from './dice.ts';

export const nodeFaultKinds = ['kill', 'stop-by-command', 'terminate', 'freeze', 'freeze-and-kill'] as const;
export type NodeFaultKind = (typeof nodeFaultKinds)[number];

export interface NodeFault {
  readonly kind: NodeFaultKind;
  /** Pause before it. */
  readonly pauseMs: number;
  readonly awayMs: number;
  /** The first of these that no other lane has away is meant. */
  readonly preference: readonly number[];
  /** The command that brings a node back that was killed: its own, or the one for everything. */
  readonly back: 'node-start' | 'up';
}

export interface SupervisorFault {
  readonly kind: 'kill' | 'freeze';
  readonly pauseMs: number;
  readonly awayMs: number;
}

export interface MountFault {
  /** `kill-all`: every process of the volume, as a power cut does. */
  readonly kind: 'kill' | 'freeze' | 'kill-all';
  readonly pauseMs: number;
  readonly awayMs: number;
}

/** Mostly short, sometimes longer than every time-out of the product. */
function awayMs(dice: Dice): number {
  return dice.chance(0.7) ? dice.between(50, 2_500) : dice.between(2_500, 8_000);
}

/** Now and then there is no time to catch up at all. */
function recoveryPauseMs(dice: Dice): number {
  return dice.chance(0.3) ? dice.between(0, 100) : dice.between(100, 3_000);
}

export function* nodeFaults(seed: number, lane: number, nodes: readonly number[]): Generator<NodeFault> {
  const dice = new Dice(seed, `node-lane-${lane}`);
  for (;;) {
    yield {
      kind: dice.pick(nodeFaultKinds),
      pauseMs: recoveryPauseMs(dice),
      awayMs: awayMs(dice),
      preference: dice.shuffled(nodes),
      back: dice.chance(0.7) ? 'node-start' : 'up',
    };
  }
}

export function* supervisorFaults(seed: number): Generator<SupervisorFault> {
  const dice = new Dice(seed, 'supervisor-lane');
  for (;;) {
    yield {
      kind: dice.chance(0.7) ? 'kill' : 'freeze',
      pauseMs: dice.between(1_000, 8_000),
      awayMs: dice.between(50, 4_000),
    };
  }
}

export function* mountFaults(seed: number): Generator<MountFault> {
  const dice = new Dice(seed, 'mount-lane');
  for (;;) {
    const kind = dice.pick(['kill', 'kill', 'kill-all', 'freeze'] as const);
    const pauseMs = dice.between(3_000, 12_000);
    yield { kind, pauseMs, awayMs: dice.between(0, kind === 'freeze' ? 3_000 : 1_000) };
  }
}
