/**
 * A machine: processes over one disk, one clock and one place in the network. The disk outlives them.
 *
 * A machine that loses power stays off until the next process is started on it; nobody is told, its connections just fall silent.
 */
import { nativeKernels } from '../../platform/native/native-kernels.ts';
import type { SimulatedDisk, SimulatedMachine } from '../contract.ts';
import { type ClockOptions, MachineClock } from './clock.ts';
import { MachineProcess } from './process.ts';
import { processLogger, processMemory, processRandom, processTimers } from './process-platform.ts';
import type { SimulatedWorld } from './world.ts';

export interface MachineOptions extends ClockOptions {
  /** Unique in the world; also the host name in TCP addresses. */
  readonly name: string;
  readonly disk: SimulatedDisk;
}

const MAX_UPTIME_MS = 1e9;

export class Machine implements SimulatedMachine {
  readonly name: string;
  readonly disk: SimulatedDisk;
  readonly clock: MachineClock;
  readonly #world: SimulatedWorld;
  /** The living ones, in the order in which they started. */
  readonly #processes = new Set<MachineProcess>();
  #started = 0;

  constructor(world: SimulatedWorld, options: MachineOptions) {
    this.#world = world;
    this.name = options.name;
    this.disk = options.disk;
    const uptimeMs = world.dice.fork(`uptime of ${options.name}`).below(MAX_UPTIME_MS);
    this.clock = new MachineClock(world.scheduler, { uptimeMs, ...options });
    world.network.addMachine(options.name);
  }

  get processes(): readonly MachineProcess[] {
    return [...this.#processes];
  }

  start(processName: string): MachineProcess {
    const world = this.#world;
    world.network.powerOn(this.name);
    const name = `${this.name}/${processName}#${++this.#started}`;
    const process = new MachineProcess(world, name, (gate) => {
      const network = world.network.forProcess(this.name, gate);
      return {
        network,
        platform: {
          clock: this.clock,
          timers: processTimers(gate, this.clock),
          random: processRandom(world.dice.fork(`random of ${name}`)),
          log: processLogger(world.trace, name),
          network,
          memory: processMemory(world.memory.forProcess(gate)),
          kernels: nativeKernels,
          ...this.disk.platformFor(gate),
        },
      };
    });
    world.trace.event('process-started', { process: name });
    this.#processes.add(process);
    process.onDeath(() => this.#processes.delete(process));
    return process;
  }

  losePower(): void {
    this.#world.trace.event('power-lost', { machine: this.name });
    // First, so that no connection is closed: there is nobody left to say so.
    this.#world.network.losePower(this.name);
    for (const process of this.#processes) process.kill();
    this.disk.losePower();
  }
}

/** The world knows its machines by name. */
export function createMachine(world: SimulatedWorld, options: MachineOptions): Machine {
  return new Machine(world, options);
}
