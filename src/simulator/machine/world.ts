/**
 * A run: virtual time, dice, trace and network from one seed, and the loop that takes it forward.
 *
 * Nothing happens between two calls of `run`; whoever waits for it can look at everything and set things up for the next one. A
 * failure is kept, the first only, and no further step is taken.
 */
import { assert } from '../../base/assert.ts';
import type { Dice, RunFailure, World } from '../contract.ts';
import { createDice } from './dice.ts';
import { SimulatedNetwork } from './network/network.ts';
import { RunMemory } from './run-memory.ts';
import { EventScheduler } from './scheduler.ts';
import { RollingTrace, type TraceSink } from './trace.ts';
import { takeTurns } from './turns.ts';

export interface WorldOptions {
  /** Gets every line of the trace. Without it the trace is only hashed. */
  readonly trace?: TraceSink;
}

export interface RunLimits {
  /** Virtual time. What is due at this moment still runs, and time stands there afterwards. */
  readonly untilMs?: number;
  /** Asked before each step. */
  readonly until?: () => boolean;
  readonly maxEvents?: number;
}

/** Which limit ended the run; idle: nothing is left to happen. */
export type RunEnd = 'time' | 'condition' | 'events' | 'idle' | 'failure';

export class SimulatedWorld implements World {
  readonly seed: number;
  readonly dice: Dice;
  readonly trace: RollingTrace;
  readonly scheduler: EventScheduler;
  readonly network: SimulatedNetwork;
  readonly memory: RunMemory;
  #failure: RunFailure | undefined;
  #running = false;
  #processes = 0;

  constructor(seed: number, options: WorldOptions = {}) {
    this.seed = seed;
    this.dice = createDice(seed);
    this.trace = new RollingTrace(options.trace);
    this.scheduler = new EventScheduler(this.trace);
    this.network = new SimulatedNetwork(this);
    this.memory = new RunMemory(this.scheduler);
  }

  get failure(): RunFailure | undefined {
    return this.#failure;
  }

  fail(kind: RunFailure['kind'], error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = { kind, error, atMs: this.scheduler.nowMs };
    this.trace.event('run-failed', { kind, message: error.message });
  }

  /** A number for a new process, different from all others of the run. */
  nextProcessNumber(): number {
    return ++this.#processes;
  }

  async run(limits: RunLimits = {}): Promise<RunEnd> {
    assert(!this.#running, 'one run at a time');
    this.#running = true;
    const untilMs = limits.untilMs ?? Infinity;
    let eventsLeft = limits.maxEvents ?? Infinity;
    let end: RunEnd = 'idle';
    const ended = (reason: RunEnd): false => {
      end = reason;
      return false;
    };
    await takeTurns(
      () => {
        if (this.#failure !== undefined) return ended('failure');
        if (limits.until?.() === true) return ended('condition');
        if (eventsLeft-- <= 0) return ended('events');
        const result = this.scheduler.step(untilMs);
        if (result === 'ran') return true;
        if (untilMs < Infinity) this.scheduler.advanceTo(untilMs);
        return ended(result === 'later' || untilMs < Infinity ? 'time' : 'idle');
      },
      (reason) => this.fail('crash', reason instanceof Error ? reason : new Error(String(reason))),
    );
    this.#running = false;
    return end;
  }

  /** Nothing of this run happens or is looked at any more: what it took serves the next one. */
  end(): void {
    assert(!this.#running, 'a run is over before its end');
    this.memory.end();
  }

  /** Runs until the promise has settled, and gives what it gave. Throws when it does not come to that. */
  async complete<T>(promise: Promise<T>, limits: { readonly withinMs?: number } = {}): Promise<T> {
    let settled = false;
    const note = (): void => {
      settled = true;
    };
    promise.then(note, note);
    const untilMs = this.scheduler.nowMs + (limits.withinMs ?? Infinity);
    const end = await this.run({ until: () => settled, untilMs });
    if (end === 'failure') throw this.#failure!.error;
    if (!settled) throw new Error(`the promise is still pending at ${this.scheduler.nowMs} ms: ${end}`);
    return promise;
  }
}

export function createWorld(seed: number, options: WorldOptions = {}): SimulatedWorld {
  return new SimulatedWorld(seed, options);
}
