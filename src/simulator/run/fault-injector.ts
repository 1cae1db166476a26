/**
 * Makes the faults of a schedule happen on a cluster, and ends them. Nothing is drawn here: what happens follows from the schedule, and
 * from dice forked by the fault's own number.
 */

import { BLOCK_BYTES } from '../../base/units.ts';
import type { Timer } from '../../platform/platform.ts';
import type { Service } from '../cluster/service.ts';
import type { SimulatedCluster } from '../cluster/simulated-cluster.ts';
import type { Machine } from '../machine/machine.ts';
import type { SimulatedWorld } from '../machine/world.ts';
import { watchDeposed } from './deposed-mount.ts';
import { describeFault, type Fault } from './fault.ts';
import { COORDINATOR } from './fault-budget.ts';

const NO_ROOM_BYTES = 0;
const ROOM_BYTES = 1e12;
const MOUNT = 'mount';
const STORE_STATE = '/storage/state.slot';
/** Of 'corrupt-database': both copies of the state of a node's store. */
const STATE = 2;
const ROTTEN_BYTE = 30;

export class FaultInjector {
  readonly #world: SimulatedWorld;
  readonly #cluster: SimulatedCluster;
  /** To be called to make good what is still wrong. */
  readonly #endings = new Map<Timer, () => void>();
  #starts: Timer[] = [];
  #injected = 0;

  constructor(world: SimulatedWorld, cluster: SimulatedCluster) {
    this.#world = world;
    this.#cluster = cluster;
  }

  get injected(): number {
    return this.#injected;
  }

  /** Times count from now. */
  schedule(faults: readonly Fault[]): void {
    this.#starts = faults.map((fault) => this.#world.scheduler.after(fault.atMs, () => this.#inject(fault)));
  }

  /** No further fault begins, and all that can be made good is. */
  heal(): void {
    for (const timer of this.#starts) timer.cancel();
    this.#starts = [];
    for (const [timer, end] of this.#endings) {
      timer.cancel();
      end();
    }
    this.#endings.clear();
    this.#world.network.faults.clear();
    for (const machine of this.#cluster.machines) {
      machine.disk.faults.clear();
      machine.disk.faults.setCapacity(ROOM_BYTES);
    }
    this.#cluster.bringBack();
  }

  blackout(): void {
    for (const machine of this.#cluster.machines) this.#cluster.losePower(machine);
  }

  #inject(fault: Fault): void {
    this.#injected += 1;
    this.#world.trace.event('fault', { what: describeFault(fault) });
    const end = this.#begin(fault);
    if (end === undefined) return;
    const timer = this.#world.scheduler.after(fault.durationMs, () => {
      this.#endings.delete(timer);
      end();
    });
    this.#endings.set(timer, end);
  }

  /** Returns what makes it good, if that can be. */
  #begin(fault: Fault): (() => void) | undefined {
    const { kind, target, amount = 0 } = fault;
    switch (kind) {
      case 'crash':
      case 'crash-mount':
        return this.#crash(this.#serviceOf(target));
      case 'freeze':
        return freeze(this.#serviceOf(target));
      case 'power':
        return this.#power([this.#serviceOf(target).machine]);
      case 'blackout':
        return this.#power(this.#cluster.machines);
      case 'cut':
      case 'cut-one-way':
      case 'delay':
      case 'loss':
      case 'half-open':
        return this.#network(fault);
      case 'clock-jump':
        this.#serviceOf(target).machine.clock.skewMs += amount;
        return undefined;
      case 'take-over':
        return this.#takeOver(amount);
      default:
        return this.#disk(fault);
    }
  }

  #crash(service: Service<unknown>): () => void {
    service.kill();
    return () => this.#cluster.restart(service);
  }

  #power(machines: readonly Machine[]): () => void {
    for (const machine of machines) this.#cluster.losePower(machine);
    return () => {
      for (const machine of machines) this.#cluster.powerOn(machine);
    };
  }

  #network({ kind, target, other = COORDINATOR, amount = 0 }: Fault): (() => void) | undefined {
    const { faults } = this.#world.network;
    const a = this.#serviceOf(target).machine.name;
    const b = this.#serviceOf(other).machine.name;
    switch (kind) {
      case 'cut':
        faults.cut(a, b);
        return () => faults.mend(a, b);
      case 'cut-one-way':
        faults.cutOneWay(a, b);
        return () => faults.mend(a, b);
      case 'delay':
        faults.delay(a, b, amount);
        return () => faults.delay(a, b, 0);
      case 'loss':
        faults.lose(a, b, amount);
        return () => faults.lose(a, b, 0);
      default:
        faults.breakHalf(a, b);
        return undefined;
    }
  }

  #disk({ kind, target, amount = 0, durationMs }: Fault): (() => void) | undefined {
    const service = this.#serviceOf(target);
    const { faults } = service.machine.disk;
    const files = (path: string): boolean => path.startsWith(`/${target}/`);
    switch (kind) {
      case 'slow-disk':
        faults.setSlowness(amount);
        return () => faults.setSlowness(1);
      case 'stuck-disk':
        faults.stick(durationMs);
        return undefined;
      case 'full-disk':
        faults.setCapacity(NO_ROOM_BYTES);
        return () => faults.setCapacity(ROOM_BYTES);
      case 'disk-errors':
        faults.set({ readErrors: amount, writeErrors: amount, syncErrors: amount, files });
        return () => faults.clear();
      case 'lost-writes':
        faults.set({ lostWrites: amount, files });
        return () => faults.clear();
      case 'misdirected-writes':
        faults.set({ misdirectedWrites: amount, files });
        return () => faults.clear();
      case 'rot':
        // So much rot in so few pages would take the first page of every log file with it, and then an operator has to act.
        for (let i = 0; i < amount; i++) {
          faults.rotSomewhere((path) => files(path) && !path.endsWith(STORE_STATE));
        }
        return undefined;
      default: {
        const end = this.#crash(service);
        if (amount === STATE) {
          for (const copy of [0, 1]) faults.rot(`/${target}${STORE_STATE}`, copy * BLOCK_BYTES + ROTTEN_BYTE);
        } else faults.corruptDatabase(databaseOf(service.name, amount));
        return end;
      }
    }
  }

  /** The present mount is cut off, frozen, or well and busy, while the other one opens the volume. */
  #takeOver(how: number): () => void {
    const cluster = this.#cluster;
    const old = cluster.activeMount;
    const { mount } = cluster;
    const { process } = old;
    const { faults } = this.#world.network;
    const mine = old.machine.name;
    const isCut = (how === 0 || how === 3) && !cluster.shape.oneMachine;
    const from = how === 0 ? cluster.nodeServices : [cluster.coordinatorService];
    const others = from.map((service) => service.machine.name);
    if (isCut) faults.partition([mine], others);
    if (how === 1) old.freeze();
    cluster.takeOver();
    return () => {
      if (isCut) for (const other of others) faults.mend(mine, other);
      if (how === 1 && old.process === process) old.thaw();
      if (mount !== undefined && process?.alive === true) {
        watchDeposed(this.#world, cluster, mount, process);
      }
    };
  }

  #serviceOf(name: string): Service<unknown> {
    return name === MOUNT ? this.#cluster.activeMount : this.#cluster.service(name);
  }
}

/** A node has an index and a replica; all that a mount has is a view of its own. */
function databaseOf(name: string, which: number): string {
  if (!name.startsWith('node-')) return `/${name}`;
  return which === 0 ? `/${name}/storage/index` : `/${name}/journal/replica`;
}

function freeze(service: Service<unknown>): () => void {
  const { process } = service;
  service.freeze();
  return () => {
    if (service.process === process) service.thaw();
  };
}
