/**
 * The few things that the parts of the simulator share: virtual time, processes that can die, machines that can lose power, and
 * the trace.
 *
 * One turn of the scheduler runs one event and then every promise reaction that it caused; nothing of a run depends on real time,
 * on addresses or on the order of a hash table. So a seed names a run.
 */
import type { EmbeddedCoordinator } from '../cluster/coordinator-embedded.ts';
import type { FileSystem } from '../filesystem/file-system.ts';
import type { Volume } from '../filesystem/volume.ts';
import type { Databases, Disk, Platform, Timer } from '../platform/platform.ts';
import type { StorageNode } from '../storage/storage-node.ts';
import type { Histogram } from './histogram.ts';

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
  /** At once if the process can run, or else as soon as it can; never when it is dead. Only from an event that is nobody's. */
  tell(run: () => void): void;
  /** Called once when the process dies, to break connections and release locks. */
  onDeath(run: () => void): void;
  /** A call keeps the whole process waiting: after this turn it hears nothing for so long, and then everything, in order. */
  block(durationMs: number): void;
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

/** The machine's disk: outlives the machine's processes, and loses on power loss what was not synced. */
export interface SimulatedDisk {
  /** The disk and the databases on it as one process sees them. Its locks and open files end with the process. */
  platformFor(gate: Gate): { readonly disk: Disk; readonly databases: Databases };
  /** What is synced stays; of the rest the dice choose. What the processes had under way is decided first, as if they were killed. */
  losePower(): void;
  /** The run is over: what the disk holds is not looked at any more. */
  end(): void;
  readonly faults: DiskFaults;
  readonly counters: Readonly<DiskCounters>;
}

/** Everything that can be wrong with a disk. All off at first. */
export interface DiskFaults {
  /** Changes the rates that are named, from the next operation on. */
  set(rates: Partial<DiskFaultRates>): void;
  /** Turns every rate off, and the slowness and the stall; what is rotten on the disk stays so. */
  clear(): void;
  /** Shrinking below what is used leaves no room. */
  setCapacity(totalBytes: number): void;
  /** Latencies are multiplied by it; 1 is the usual speed. */
  setSlowness(factor: number): void;
  /** Nothing completes before this much time is over. */
  stick(durationMs: number): void;
  /** Flips one bit of the byte at this place. False: nothing is stored there. */
  rot(path: string, positionBytes: number): boolean;
  /** The same at a stored byte that the dice choose among the files with such paths. Undefined: there is none. */
  rotSomewhere(matches: (path: string) => boolean): { path: string; positionBytes: number } | undefined;
  /** The database can no longer be opened (ECORRUPT) until it is destroyed. False: there is none. */
  corruptDatabase(path: string): boolean;
}

/** Probabilities in [0, 1], for each operation. */
export interface DiskFaultRates {
  /** A read fails with EIO. */
  readonly readErrors: number;
  /** A write fails with EIO; some of its sectors may have been written. */
  readonly writeErrors: number;
  /** A sync fails with EIO. */
  readonly syncErrors: number;
  /** A write is acknowledged and never gets to the disk. */
  readonly lostWrites: number;
  /** A write is acknowledged and lands elsewhere in the same file. */
  readonly misdirectedWrites: number;
  /** Which files these happen to; all at first. Databases have switches of their own. */
  readonly files: (path: string) => boolean;
}

export interface DiskCounters {
  reads: number;
  writes: number;
  syncs: number;
  readBytes: number;
  writtenBytes: number;
  /** Faults that struck, of any kind; the loss of power is none. */
  faults: number;
  powerLosses: number;
  /** Sectors that were written, not synced, and lost with the power. */
  lostSectors: number;
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
  /** What it holds, to find what is never given back: timers set through its platform that neither ran nor were cancelled. */
  readonly liveTimers: number;
  readonly openConnections: number;
  readonly listeners: number;
}

/** A file system as one process serves it: from its opening until that process dies or is deposed. Never used again afterwards. */
export interface MountedFileSystem {
  /** 1 for the first of a run; each recovery or take-over has the next number. */
  readonly generation: number;
  readonly volume: Volume;
  readonly alive: boolean;
  /** When its process was started for the first time, if it took several starts. */
  readonly startedAtMs: number;
  /** When its process died; absent before, and for one that was deposed. */
  readonly diedAtMs?: number;
}

/** The process that served the file system is gone: whether the operation happened is unknown until the next mount is looked at. */
export class MountLost extends Error {
  override readonly name = 'MountLost';
}

/** What a workload may use. Everything it draws comes from `dice`, everything it waits for from here. */
export interface WorkloadContext {
  readonly world: World;
  readonly dice: Dice;
  /**
   * What faults the scenario may bring: with `beyondParity`, EIO is allowed while they last; with `fullDisks`, ENOSPC is. A crash of the
   * mount may lose what was done in the last `lossWindowMs` without a sync; if it is left out, everything that was not synced.
   */
  readonly allowed: {
    readonly beyondParity: boolean;
    readonly fullDisks: boolean;
    readonly lossWindowMs?: number;
  };
  /** No new operation may begin: the load ends soon. */
  readonly stopping: boolean;
  /** The file system of now; while there is none, waits for the next. Rejects with MountLost when the load ends without one. */
  mounted(): Promise<MountedFileSystem>;
  /**
   * One operation, traced with its outcome. An ErrnoError comes through; MountLost when the process dies under it (the operation's own
   * promise may then never settle). Any other error fails the run as a crash, and one that takes longer than the run's bound as
   * a want of liveness.
   */
  operate<T>(
    mount: MountedFileSystem,
    what: string,
    fields: Readonly<Record<string, string | number | boolean | undefined>>,
    run: (fileSystem: FileSystem) => T | Promise<T>,
  ): Promise<T>;
  sleep(delayMs: number): Promise<void>;
  /** The volume does not have this node any more, which the mount has released. Its process runs on, and nobody comes to it. */
  strikeOff(nodeId: number): void;
  /** One more of the late nodes belongs to the volume; the mount will hear of it. undefined: none is left. */
  join(): number | undefined;
}

/** Load on the file system with a model of what must be there. Kept through the whole run, over every mount. */
export interface Workload {
  readonly name: string;
  /** How long writers waited between two writes, if it is about that. */
  readonly gaps?: Histogram;
  /** Until `stopping`, or until it has done enough. Called once in each phase of load. */
  run(context: WorkloadContext): Promise<void>;
  /**
   * After the faults have stopped and the cluster is healthy, with nothing else going on: everything the model knows is there, and
   * nothing else. Reports by throwing CheckFailed.
   */
  check(context: WorkloadContext): Promise<void>;
}

/** A checker or a workload found what must not be. */
export class CheckFailed extends Error {
  override readonly name = 'CheckFailed';
}

/** The cluster as checkers see it. */
export interface ClusterView {
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** 32 hex digits. */
  readonly volumeId: string;
  /** Of each mount: how many segments its memory takes. */
  readonly segmentSlots: number;
  /** Of the mount that serves now. */
  readonly mount: MountedFileSystem | undefined;
  readonly mountProcess: SimulatedProcess | undefined;
  /** Another mount is opening the volume, so that this one may be deposed without knowing. */
  readonly takingOver: boolean;
  /** `storage` is undefined while the node does not run. */
  readonly nodes: readonly {
    readonly id: number;
    readonly machine: SimulatedMachine;
    readonly storage: StorageNode | undefined;
    readonly process: SimulatedProcess | undefined;
    /** The disk did, at least once, what a good one does not; the loss of power is no lie. */
    readonly diskHasLied: boolean;
  }[];
  /** The engine itself, while its process runs. */
  readonly coordinator: EmbeddedCoordinator | undefined;
}

/** Looks for a broken invariant. Reports by throwing CheckFailed. */
export interface Checker {
  readonly name: string;
  /** After many events while load and faults go on; must be cheap and true in any state. */
  step?(cluster: ClusterView): void;
  /** When faults have stopped, load has ended and the cluster is healthy. */
  phase?(cluster: ClusterView, world: World): Promise<void>;
}
