/**
 * What one process has asked of the disk and of the databases on it and has not been told about yet.
 *
 * An operation happens at one moment, after its latency, whether the process can run then or not; the process is told through its
 * gate. When the process dies, each operation under way is decided at once, because a process is only gone when the kernel has let go of its
 * transfers: nothing of it changes a disk afterwards.
 */
import { MachineError } from '../../platform/platform.ts';
import type { Gate } from '../contract.ts';
import type { Device } from './device.ts';

export interface Operation<Result> {
  readonly latencyMs: number;
  /** Does it; what it throws is the operation's failure. */
  readonly perform: () => Result;
  /** The process died: perhaps it is done nevertheless, or in part. By default `perform` by the toss of a coin. */
  readonly abandon?: () => void;
}

export type Outcome<Result> = { readonly value: Result } | { readonly error: unknown };

interface Underway {
  fire: () => void;
  abandon: () => void;
  timer: { cancel(): void } | undefined;
}

export class Operations {
  readonly gate: Gate;
  readonly device: Device;
  readonly #underway = new Set<Underway>();
  readonly #holdings = new Set<() => void>();

  constructor(device: Device, gate: Gate) {
    this.device = device;
    this.gate = gate;
    gate.onDeath(() => {
      this.abandonAll();
      for (const release of this.#holdings) release();
      this.#holdings.clear();
    });
  }

  /** `settle` runs in the process, or never. */
  submit<Result>(operation: Operation<Result>, settle: (outcome: Outcome<Result>) => void): void {
    if (!this.gate.alive) return;
    // Once for each stall: what is left of it afterwards is a rounding.
    let waitedUntilMs = Number.NaN;
    const underway: Underway = {
      fire: () => {
        const { stuckUntilMs, stuckForMs } = this.device;
        if (stuckForMs > 0 && stuckUntilMs !== waitedUntilMs) {
          waitedUntilMs = stuckUntilMs;
          underway.timer = this.device.world.scheduler.after(stuckForMs, underway.fire);
          return;
        }
        this.#underway.delete(underway);
        const outcome = outcomeOf(operation.perform);
        this.gate.tell(() => settle(outcome));
      },
      abandon: () => abandon(operation, this.device),
      timer: undefined,
    };
    underway.timer = this.device.world.scheduler.after(operation.latencyMs, underway.fire);
    this.#underway.add(underway);
  }

  run<Result>(operation: Operation<Result>): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.submit(operation, (outcome) => {
        if ('error' in outcome) reject(outcome.error);
        else resolve(outcome.value);
      });
    });
  }

  /** Something that the process holds: `release` is called when it dies. The answer lets go of it without that. */
  hold(release: () => void): () => void {
    const once = (): void => release();
    this.#holdings.add(once);
    return () => {
      this.#holdings.delete(once);
    };
  }

  abandonAll(): void {
    for (const underway of this.#underway) {
      underway.timer?.cancel();
      underway.abandon();
    }
    this.#underway.clear();
  }
}

function outcomeOf<Result>(perform: () => Result): Outcome<Result> {
  try {
    return { value: perform() };
  } catch (error) {
    return { error };
  }
}

function abandon<Result>(operation: Operation<Result>, device: Device): void {
  try {
    if (operation.abandon !== undefined) operation.abandon();
    else if (device.dice.chance(0.5)) operation.perform();
  } catch (error) {
    // The machine's refusal has nobody left to be told to.
    if (!(error instanceof MachineError)) throw error;
  }
}
