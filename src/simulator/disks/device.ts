/**
 * The disk as a device: how long things take, what is wrong with it at the moment, and what is counted. One a machine.
 */
import type { Dice, DiskCounters, DiskFaultRates, World } from '../contract.ts';

/** Means; each operation takes at least half of its own. */
export interface DiskLatency {
  /** Opening, listing, renaming, making directories, allocating, cutting. */
  readonly namesMs: number;
  readonly readMs: number;
  readonly writeMs: number;
  /** What durability adds to a write, and what a sync takes. */
  readonly syncMs: number;
  readonly perMibMs: number;
  readonly databaseMs: number;
  /** Until a database's closed log has become a table. */
  readonly tableMs: number;
}

/** A solid-state disk with a power-safe cache behind a file system. */
export const usualLatency: DiskLatency = {
  namesMs: 0.05,
  readMs: 0.1,
  writeMs: 0.03,
  syncMs: 0.5,
  perMibMs: 0.5,
  databaseMs: 0.02,
  tableMs: 20,
};

export const noFaults: DiskFaultRates = {
  readErrors: 0,
  writeErrors: 0,
  syncErrors: 0,
  lostWrites: 0,
  misdirectedWrites: 0,
  files: () => true,
};

type Rate = Exclude<keyof DiskFaultRates, 'files'>;

const MIB = 2 ** 20;

export class Device {
  readonly world: World;
  readonly latency: DiskLatency;
  /** For times, so that a slow disk and a fast one decide the same. */
  readonly #timing: Dice;
  /** For what happens to data. */
  readonly dice: Dice;
  readonly counters: DiskCounters = {
    reads: 0,
    writes: 0,
    syncs: 0,
    readBytes: 0,
    writtenBytes: 0,
    faults: 0,
    powerLosses: 0,
    lostSectors: 0,
  };
  readonly #machineName: string;
  rates: DiskFaultRates = noFaults;
  slowness = 1;
  stuckUntilMs = 0;

  constructor(world: World, machineName: string, latency: DiskLatency) {
    this.world = world;
    this.#machineName = machineName;
    this.latency = latency;
    const dice = world.dice.fork(`disk of ${machineName}`);
    this.#timing = dice.fork('timing');
    this.dice = dice.fork('data');
  }

  delayMs(meanMs: number, lengthBytes = 0): number {
    const mean = meanMs + (this.latency.perMibMs * lengthBytes) / MIB;
    return this.slowness * (mean / 2 + this.#timing.exponential(mean / 2));
  }

  get stuckForMs(): number {
    return Math.max(0, this.stuckUntilMs - this.world.scheduler.nowMs);
  }

  /** Whether this fault happens to an operation on this file now; it is counted and traced. */
  strikes(rate: Rate, path: string): boolean {
    const probability = this.rates[rate];
    if (probability === 0 || !this.rates.files(path) || !this.dice.chance(probability)) return false;
    this.fault(rate, { path });
    return true;
  }

  fault(what: string, fields: Readonly<Record<string, string | number | boolean>>): void {
    this.counters.faults++;
    this.trace(what, fields);
  }

  trace(what: string, fields: Readonly<Record<string, string | number | boolean>>): void {
    this.world.trace.event(`disk-${what}`, { machine: this.#machineName, ...fields });
  }
}
