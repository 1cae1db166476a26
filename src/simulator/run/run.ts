/**
 * One run: a cluster, load and faults from one seed. Phases of load under faults; then the faults stop, everything comes back, the cluster
 * has to become healthy, and all is checked. The same options give the same run, to the last event.
 */

import { type ClusterShape, drawShape } from '../cluster/shape.ts';
import { SimulatedCluster } from '../cluster/simulated-cluster.ts';
import type { Checker, Dice, RunFailure, SimulatedProcess, Workload } from '../contract.ts';
import { CheckFailed, MountLost } from '../contract.ts';
import type { Defect } from '../defects/defect.ts';
import { createSimulatedDisk } from '../disks/simulated-disk.ts';
import { Histogram } from '../histogram.ts';
import { createMachine } from '../machine/machine.ts';
import type { TraceSink } from '../machine/trace.ts';
import { createWorld, type SimulatedWorld } from '../machine/world.ts';
import { allCheckers } from './check-list.ts';
import type { Fault } from './fault.ts';
import { FaultInjector } from './fault-injector.ts';
import { FaultScheduler } from './fault-schedule.ts';
import { Load } from './load.ts';
import type { Scenario } from './scenario.ts';

export const HEALTHY_BOUND_MS = 90_000;
const LOAD_END_BOUND_MS = 60_000;
const CLOSE_BOUND_MS = 30_000;
const LINGER_MS = 100;
/** What was cut off does not show at once, and what is sent again comes late. */
const STABLE_MS = 1_500;
const POLL_MS = 50;
const MAX_SKEW_MS = 86_400_000;
/** A hundred times what a bad quartz does. */
const MAX_DRIFT_PPM = 10_000;
const STEP_CHECK_MS = 50;

/** A fault of one of the phases; its time counts from the phase's begin. */
export interface PlannedFault extends Fault {
  readonly phase: number;
  /** Its place in the seed's schedule. */
  readonly index: number;
}

export interface RunOptions {
  readonly seed: number;
  readonly scenario: Scenario;
  /** Leaves faults of the seed's schedule out. */
  readonly keepFaults?: (index: number) => boolean;
  readonly phases?: number;
  readonly maxEvents?: number;
  readonly trace?: TraceSink;
  /** To see that it is found. */
  readonly defect?: Defect;
}

export interface RunResult {
  readonly failure: RunFailure | undefined;
  readonly shape: ClusterShape;
  readonly faults: readonly PlannedFault[];
  /** Of everything that happened. */
  readonly hash: string;
  readonly virtualMs: number;
  readonly events: number;
  readonly operations: number;
  readonly longestOperationMs: number;
  /** Between two writes of a writer that never rests. */
  readonly gaps: Histogram;
  /** False: the number of events was reached first. */
  readonly finished: boolean;
}

const DEFAULT_PHASES = 2;
const USUAL_LOAD_MS = { least: 1_500, more: 4_000 };

export async function simulate(options: RunOptions): Promise<RunResult> {
  const undo = options.defect?.patch?.();
  try {
    return await new Run(options).result();
  } finally {
    undo?.();
  }
}

class Run {
  readonly #options: RunOptions;
  readonly #world: SimulatedWorld;
  readonly #dice: Dice;
  readonly #shape: ClusterShape;
  readonly #faults: readonly PlannedFault[];
  readonly #loadMs: readonly number[];
  readonly #cluster: SimulatedCluster;
  readonly #injector: FaultInjector;
  readonly #load: Load;
  readonly #workloads: readonly Workload[];
  readonly #checkers: readonly Checker[] = allCheckers();

  constructor(options: RunOptions) {
    const { seed, scenario, defect, phases = DEFAULT_PHASES } = options;
    this.#options = options;
    this.#world = createWorld(seed, options.trace === undefined ? {} : { trace: options.trace });
    const world = this.#world;
    this.#dice = world.dice.fork('run');
    this.#shape = drawShape(this.#dice.fork('shape'), scenario.shape);
    const { least, more } = scenario.loadMs ?? USUAL_LOAD_MS;
    this.#loadMs = Array.from({ length: phases }, () => least + this.#dice.below(more));
    const { keepFaults = () => true } = options;
    this.#faults = this.#drawFaults().filter((fault) => keepFaults(fault.index));
    this.#cluster = new SimulatedCluster({
      world,
      shape: this.#shape,
      machine: (name) =>
        createMachine(world, {
          name,
          disk: createSimulatedDisk(world, name),
          ...drawClock(this.#dice.fork(`clock of ${name}`)),
        }),
      alter: (process) => defect?.alter?.(process) ?? process,
      onMounted: (volume) => defect?.onMounted?.(volume, world),
    });
    this.#injector = new FaultInjector(world, this.#cluster);
    this.#load = new Load({ world, cluster: this.#cluster, allowed: scenario.allowed });
    this.#workloads = scenario.workloads(this.#dice.fork('workloads'));
  }

  async result(): Promise<RunResult> {
    const { maxEvents } = this.#options;
    const world = this.#world;
    let finished = false;
    this.#drive().then(
      () => {
        finished = true;
      },
      (error: unknown) => world.fail(kindOf(error), asError(error)),
    );
    this.#checkSteps();
    await world.run({ until: () => finished, ...(maxEvents === undefined ? {} : { maxEvents }) });
    for (const { disk } of this.#cluster.machines) disk.end();
    world.end();
    return {
      failure: world.failure,
      shape: this.#shape,
      faults: this.#faults,
      hash: world.trace.hash,
      virtualMs: world.scheduler.nowMs,
      events: world.trace.steps,
      operations: this.#load.operations,
      longestOperationMs: this.#load.longestOperationMs,
      gaps: this.#gaps(),
      finished,
    };
  }

  #gaps(): Histogram {
    const all = new Histogram();
    for (const { gaps } of this.#workloads) if (gaps !== undefined) all.merge(gaps);
    return all;
  }

  #drawFaults(): PlannedFault[] {
    const { scenario } = this.#options;
    const dice = this.#dice.fork('faults');
    const planned: PlannedFault[] = [];
    const scheduler = new FaultScheduler(dice, this.#shape, {
      weights: scenario.faults,
      meanIntervalMs: scenario.faultIntervalMs * (0.5 + dice.unit() * 2.5),
      beyondParity: scenario.allowed.beyondParity,
      ...(scenario.together === undefined ? {} : { together: scenario.together }),
      ...(scenario.flapping === undefined ? {} : { flapping: scenario.flapping }),
    });
    this.#loadMs.forEach((loadMs, phase) => {
      for (const fault of scheduler.draw(0, loadMs)) planned.push({ ...fault, phase, index: planned.length });
    });
    return planned;
  }

  async #drive(): Promise<void> {
    this.#cluster.start();
    await this.#converge();
    for (const [phase, loadMs] of this.#loadMs.entries()) {
      await this.#loadPhase(phase, loadMs);
      await this.#converge();
      await this.#check(`phase ${phase + 1}`);
      if (!this.#dice.chance(this.#options.scenario.blackoutChance)) continue;
      this.#injector.blackout();
      await this.#sleep(100);
      this.#cluster.bringBack();
      await this.#converge();
      await this.#check(`phase ${phase + 1} after a cold start`);
    }
    await this.#closeAll();
  }

  async #loadPhase(phase: number, loadMs: number): Promise<void> {
    const load = this.#load;
    this.#world.trace.event('phase', { phase, loadMs });
    load.stopping = false;
    load.underFaults = true;
    this.#injector.schedule(this.#faults.filter((fault) => fault.phase === phase));
    if (phase === 0 && this.#options.scenario.joinAtWill !== true) this.#letNodesJoin(loadMs);
    const ended = Promise.all(
      this.#workloads.map((workload) =>
        workload.run(load.context(workload.name, this.#dice.fork(`${workload.name} in phase ${phase}`))),
      ),
    );
    await Promise.race([ended, this.#sleep(loadMs)]);
    load.stopping = true;
    this.#world.trace.event('faults-end');
    this.#injector.heal();
    await this.#inTime(ended, LOAD_END_BOUND_MS, 'the load to end');
  }

  #letNodesJoin(loadMs: number): void {
    const dice = this.#dice.fork('joins');
    for (let late = 0; late < this.#shape.lateNodes; late++) {
      this.#world.scheduler.after(dice.below(loadMs), () => this.#cluster.join());
    }
  }

  /** Until nothing ails the cluster, and what was written without a sync is durable too. */
  async #converge(): Promise<void> {
    const { scheduler } = this.#world;
    const endMs = scheduler.nowMs + HEALTHY_BOUND_MS;
    let wellSinceMs = scheduler.nowMs;
    for (;;) {
      const ailment = this.#cluster.ailment();
      if (ailment !== undefined) wellSinceMs = scheduler.nowMs;
      if (scheduler.nowMs - wellSinceMs > STABLE_MS) break;
      if (scheduler.nowMs > endMs) {
        throw new NotInTime(`after ${HEALTHY_BOUND_MS} ms without faults: ${ailment}`);
      }
      await this.#sleep(POLL_MS);
    }
    const { mount } = this.#cluster;
    if (mount !== undefined) {
      await this.#inTime(mount.volume.fileSystem.syncAll(), HEALTHY_BOUND_MS, 'a healthy cluster to sync');
    }
    this.#load.underFaults = false;
    this.#world.trace.event('healthy');
  }

  async #check(when: string): Promise<void> {
    this.#world.trace.event('check', { when });
    const bound = HEALTHY_BOUND_MS;
    for (const workload of this.#workloads) {
      const context = this.#load.context(
        workload.name,
        this.#dice.fork(`${workload.name} checked in ${when}`),
      );
      await this.#inTime(workload.check(context), bound, `the check of ${workload.name}`);
    }
    for (const checker of this.#checkers) {
      const checked = checker.phase?.(this.#cluster, this.#world);
      if (checked !== undefined) await this.#inTime(checked, bound, `the checker ${checker.name}`);
    }
  }

  /** An orderly end: the mount, then the nodes. Each has to let go of everything it held. */
  async #closeAll(): Promise<void> {
    this.#world.trace.event('close');
    const { activeMount, nodeServices } = this.#cluster;
    for (const service of [activeMount, ...nodeServices]) {
      const { running, process } = service;
      if (running === undefined || process === undefined)
        throw new CheckFailed(`${service.name} does not run`);
      await this.#inTime(running.close(), CLOSE_BOUND_MS, `${service.name} to close`);
      await this.#letsGo(process, service.name);
    }
  }

  /** A timer that runs out once is no leak; one that sets itself again is. */
  async #letsGo(process: SimulatedProcess, name: string): Promise<void> {
    const endMs = this.#world.scheduler.nowMs + CLOSE_BOUND_MS;
    for (;;) {
      await this.#sleep(LINGER_MS);
      const { liveTimers, openConnections, listeners } = process;
      if (liveTimers + openConnections + listeners === 0) return;
      if (this.#world.scheduler.nowMs < endMs) continue;
      throw new CheckFailed(
        `${name} is closed, and still has ${liveTimers} timers, ${openConnections} connections, ${listeners} listeners`,
      );
    }
  }

  #checkSteps(): void {
    this.#world.scheduler.after(STEP_CHECK_MS, () => {
      try {
        for (const checker of this.#checkers) checker.step?.(this.#cluster);
      } catch (error) {
        this.#world.fail(kindOf(error), asError(error));
      }
      this.#checkSteps();
    });
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.#world.scheduler.after(delayMs, resolve));
  }

  async #inTime<T>(promise: Promise<T>, boundMs: number, what: string): Promise<T> {
    let late = (_error: Error): void => {};
    const timer = this.#world.scheduler.after(boundMs, () =>
      late(new NotInTime(`waited ${boundMs} ms for ${what}`)),
    );
    try {
      return await Promise.race([
        promise,
        new Promise<never>((_resolve, reject) => {
          late = reject;
        }),
      ]);
    } finally {
      timer.cancel();
    }
  }
}

/** Most machines have the time; some clocks are hours wrong, and some run too fast or too slow. */
function drawClock(dice: Dice): { skewMs: number; driftPpm: number } {
  const sign = dice.chance(0.5) ? 1 : -1;
  return {
    skewMs: dice.chance(0.3) ? sign * dice.below(MAX_SKEW_MS) : sign * dice.below(20),
    driftPpm: dice.chance(0.3) ? sign * dice.below(MAX_DRIFT_PPM) : 0,
  };
}

class NotInTime extends Error {
  override readonly name = 'NotInTime';
}

function kindOf(error: unknown): RunFailure['kind'] {
  if (error instanceof CheckFailed) return 'correctness';
  return error instanceof NotInTime || error instanceof MountLost ? 'liveness' : 'crash';
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
