/**
 * The few things that the parts of the simulator share: virtual time, processes that can die, machines that can lose power, and
 * the trace.
 *
 * One turn of the scheduler runs one event and then every promise reaction that it caused; nothing of a run depends on real time,
 * on addresses or on the order of a hash table. So a seed names a run.
 */
import type { Databases, Disk, Platform, Timer } from '../platform/platform.ts';

/** Virtual time. Events of one moment run in the order in which they were scheduled. */
export interface Scheduler {
  /** Milliseconds since the start of the run, with fractions. */
  readonly nowMs: number;
  /** Runs after `delayMs` of virtual time, also when the process that asked is dead: see Gate for what belongs to a process. */
  after(delayMs: number, run: () => void): Timer;
}

/** A stream of random numbers from the seed. Each user forks its own, so that one more draw here does not change what is drawn there. */
export interface Dice {
  /** Uniform in [0, 1). */
  unit(): number;
  /** Uniform integer in [0, bound), bound at most 2^32. */
  below(bound: number): number;
  chance(probability: number): boolean;
  pick<T>(items: readonly T[]): T;
  /** Exponentially distributed with this mean. */
  exponential(mean: number): number;
  bytes(lengthBytes: number): Buffer;
  /** An independent stream; the same name gives the same stream. */
  fork(name: string): Dice;
}

/** A process as its disk, network and timers see it: what was asked for by a dead one is never delivered. */
export interface Gate {
  readonly name: string;
  readonly alive: boolean;
  /** As Scheduler.after; dropped without a word when the process is dead by then. */
  after(delayMs: number, run: () => void): Timer;
  /** Called once when the process dies, to break connections and release locks. */
  onDeath(run: () => void): void;
}

/** One line a thing that happened; also hashed, so that two runs can be compared without being kept. */
export interface Trace {
  event(what: string, fields?: Readonly<Record<string, string | number | boolean | undefined>>): void;
}

/**
 * Why a run ended badly. crash: an exception or a rejected promise that nobody took; liveness: something that must come did not
 * come; correctness: a promise was broken.
 */
export interface RunFailure {
  readonly kind: 'crash' | 'liveness' | 'correctness';
  readonly error: Error;
  readonly atMs: number;
}

/** Everything that lives as long as the run. */
export interface World {
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly dice: Dice;
  readonly trace: Trace;
  /** The first failure; the run stops after the event that caused it. */
  readonly failure: RunFailure | undefined;
  fail(kind: RunFailure['kind'], error: Error): void;
}

/** The disk of one machine: files and databases that outlive the processes. Its faults are the implementation's own affair. */
export interface SimulatedDisk {
  /** The disk and the databases as one process sees them: open files and database locks go with the gate's death. */
  platformFor(gate: Gate): { disk: Disk; databases: Databases };
  /** What was not synced is lost, torn or kept by the dice. The machine has killed its processes before. */
  losePower(): void;
}

/** A machine has a disk that outlives its processes. */
export interface SimulatedMachine {
  readonly name: string;
  /** A new process: a platform of its own over this machine's disk and network. */
  start(processName: string): SimulatedProcess;
  /** Kills every process and loses what was not synced (see the disk's crash rules). */
  losePower(): void;
}

export interface SimulatedProcess extends Gate {
  readonly platform: Platform;
  /** As kill -9: nothing of it runs any more, its connections break, its disk keeps what the kernel had taken. */
  kill(): void;
  /** As SIGSTOP and SIGCONT: while frozen nothing is delivered; afterwards everything is, in order. */
  freeze(): void;
  thaw(): void;
}
