/**
 * The disk of a simulated machine: one tree of files and databases that outlives the processes, one device under it, and everything that
 * can go wrong with both. What a power loss leaves of files, names and databases is said in stored-file.ts, names.ts and
 * stored-database.ts.
 */
import { MIB } from '../../base/units.ts';
import type { Databases, Disk } from '../../platform/platform.ts';
import type { DiskCounters, DiskFaultRates, DiskFaults, Gate, SimulatedDisk, World } from '../contract.ts';
import { Device, type DiskLatency, noFaults, usualLatency } from './device.ts';
import { DiskSpace } from './disk-space.ts';
import { Names } from './names.ts';
import { Operations } from './operations.ts';
import { ProcessDatabases } from './process-databases.ts';
import { ProcessDisk } from './process-disk.ts';
import { PAGE_BYTES } from './sectors.ts';
import type { StoredFile } from './stored-file.ts';

export interface SimulatedDiskOptions {
  readonly capacityBytes?: number;
  readonly latency?: Partial<DiskLatency>;
}

const DEFAULT_CAPACITY_BYTES = 1024 * MIB;

export function createSimulatedDisk(
  world: World,
  machineName: string,
  options: SimulatedDiskOptions = {},
): SimulatedDisk {
  return new MachineDisk(world, machineName, options);
}

class MachineDisk implements SimulatedDisk {
  readonly #device: Device;
  readonly #space: DiskSpace;
  readonly #names: Names;
  readonly #processes = new Set<Operations>();
  readonly faults: DiskFaults;

  constructor(world: World, machineName: string, options: SimulatedDiskOptions) {
    this.#device = new Device(world, machineName, { ...usualLatency, ...options.latency });
    this.#space = new DiskSpace(options.capacityBytes ?? DEFAULT_CAPACITY_BYTES);
    this.#names = new Names(this.#device.dice);
    this.faults = new MachineDiskFaults(this.#device, this.#space, this.#names);
  }

  get counters(): Readonly<DiskCounters> {
    return this.#device.counters;
  }

  platformFor(gate: Gate): { readonly disk: Disk; readonly databases: Databases } {
    const operations = new Operations(this.#device, gate);
    this.#processes.add(operations);
    gate.onDeath(() => this.#processes.delete(operations));
    return {
      disk: new ProcessDisk(operations, this.#names, this.#space),
      databases: new ProcessDatabases(operations, this.#names, this.#space),
    };
  }

  losePower(): void {
    for (const operations of this.#processes) operations.abandonAll();
    this.#names.losePower();
    let lostSectors = 0;
    for (const { named } of this.#names.all()) {
      if (named.kind === 'file') lostSectors += named.losePower();
      else named.losePower();
    }
    this.#device.counters.powerLosses++;
    this.#device.counters.lostSectors += lostSectors;
    this.#device.trace('power-lost', { lostSectors });
  }

  end(): void {
    for (const { named } of this.#names.all()) if (named.kind === 'file') named.forget();
  }
}

class MachineDiskFaults implements DiskFaults {
  readonly #device: Device;
  readonly #space: DiskSpace;
  readonly #names: Names;

  constructor(device: Device, space: DiskSpace, names: Names) {
    this.#device = device;
    this.#space = space;
    this.#names = names;
  }

  set(rates: Partial<DiskFaultRates>): void {
    this.#device.rates = { ...this.#device.rates, ...rates };
  }

  clear(): void {
    this.#device.rates = noFaults;
    this.#device.slowness = 1;
    this.#device.stuckUntilMs = 0;
  }

  setCapacity(totalBytes: number): void {
    this.#space.totalBytes = totalBytes;
    this.#device.trace('capacity', { totalBytes });
  }

  setSlowness(factor: number): void {
    this.#device.slowness = factor;
    this.#device.trace('slowness', { factor });
  }

  stick(durationMs: number): void {
    this.#device.stuckUntilMs = this.#device.world.scheduler.nowMs + durationMs;
    this.#device.fault('stuck', { durationMs });
  }

  rot(path: string, positionBytes: number): boolean {
    const named = this.#names.find(path);
    if (named?.kind !== 'file') return false;
    if (!named.rot(positionBytes, this.#device.dice.below(8))) return false;
    this.#device.fault('rot', { path, positionBytes });
    return true;
  }

  rotSomewhere(matches: (path: string) => boolean): { path: string; positionBytes: number } | undefined {
    const pages: { path: string; start: number }[] = [];
    for (const { path, named } of this.#names.all()) {
      if (named.kind !== 'file' || !matches(path)) continue;
      for (const start of storedWithinSize(named)) pages.push({ path, start });
    }
    if (pages.length === 0) return undefined;
    const { path, start } = this.#device.dice.pick(pages);
    const { sizeBytes } = this.#names.find(path) as StoredFile;
    const positionBytes = start + this.#device.dice.below(Math.min(PAGE_BYTES, sizeBytes - start));
    this.rot(path, positionBytes);
    return { path, positionBytes };
  }

  corruptDatabase(path: string): boolean {
    const named = this.#names.find(path);
    if (named?.kind !== 'database') return false;
    named.corrupt = true;
    this.#device.fault('corrupt-database', { path });
    return true;
  }
}

function storedWithinSize(file: StoredFile): number[] {
  return file.storedPages().filter((start) => start < file.sizeBytes);
}
