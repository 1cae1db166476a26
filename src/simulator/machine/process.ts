/**
 * A process of a simulated machine. Everything that it waits for comes through its gate: so a dead one hears nothing more, and a frozen one hears all
 * of it later, in order.
 *
 * What a dying process still does within the event that kills it reaches nobody: its timers are not set, its sends go nowhere.
 */
import type { Platform, Timer } from '../../platform/platform.ts';
import type { SimulatedProcess } from '../contract.ts';
import type { EventOwner } from './event-owner.ts';
import type { ScheduledEvent } from './event-queue.ts';
import type { ProcessNetwork } from './network/process-network.ts';
import type { SimulatedWorld } from './world.ts';

const noTimer: Timer = { cancel: () => {} };

/** The rest of what makes a process, which needs its gate first. */
export interface ProcessParts {
  readonly platform: Platform;
  readonly network: ProcessNetwork;
}

export class MachineProcess implements SimulatedProcess, EventOwner {
  readonly name: string;
  readonly number: number;
  readonly platform: Platform;
  liveTimers = 0;
  readonly #world: SimulatedWorld;
  readonly #network: ProcessNetwork;
  #alive = true;
  #stopped = false;
  /** Calls under way that hold the whole process. */
  #blocking = 0;
  /** Bounded by what the process asked for before it was frozen and by what its connections let through. */
  #parked: ScheduledEvent[] = [];
  #deathRites: (() => void)[] = [];

  constructor(world: SimulatedWorld, name: string, make: (process: MachineProcess) => ProcessParts) {
    this.#world = world;
    this.name = name;
    this.number = world.nextProcessNumber();
    const parts = make(this);
    this.platform = parts.platform;
    this.#network = parts.network;
  }

  get alive(): boolean {
    return this.#alive;
  }

  get frozen(): boolean {
    return this.#stopped || this.#blocking > 0;
  }

  get openConnections(): number {
    return this.#network.openConnections;
  }

  get listeners(): number {
    return this.#network.listeners;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#alive ? this.#world.scheduler.schedule(delayMs, run, this, false) : noTimer;
  }

  /** As `after`, counted in liveTimers. */
  timer(delayMs: number, run: () => void): Timer {
    return this.#alive ? this.#world.scheduler.schedule(delayMs, run, this, true) : noTimer;
  }

  tell(run: () => void): void {
    if (!this.#alive) return;
    if (this.frozen) this.after(0, run);
    else run();
  }

  onDeath(run: () => void): void {
    this.#deathRites.push(run);
  }

  park(event: ScheduledEvent): void {
    this.#parked.push(event);
  }

  kill(): void {
    if (!this.#alive) return;
    this.#world.trace.event('process-killed', { process: this.name });
    this.#alive = false;
    this.#parked = [];
    this.liveTimers = 0;
    const rites = this.#deathRites;
    this.#deathRites = [];
    for (const rite of rites) rite();
  }

  freeze(): void {
    if (!this.#alive || this.#stopped) return;
    this.#world.trace.event('process-frozen', { process: this.name });
    this.#stopped = true;
  }

  thaw(): void {
    if (!this.#stopped) return;
    this.#stopped = false;
    if (!this.#alive) return;
    this.#world.trace.event('process-thawed', { process: this.name });
    this.#hearAgain();
  }

  block(durationMs: number): void {
    if (!this.#alive) return;
    this.#blocking++;
    this.#world.scheduler.after(durationMs, () => {
      this.#blocking--;
      this.#hearAgain();
    });
  }

  #hearAgain(): void {
    if (!this.#alive || this.frozen) return;
    const parked = this.#parked;
    this.#parked = [];
    this.#world.scheduler.putBack(parked);
  }
}
