/**
 * Runs workloads without a simulated cluster: over a file system in this process that a test can crash. Time stands still but for
 * pauses, and a pause is a few turns of the event loop.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { NO_RANGES } from '../../../src/base/block-ranges.ts';
import type { FileSystem } from '../../../src/filesystem/file-system.ts';
import type { Volume } from '../../../src/filesystem/volume.ts';
import type { MetadataManager } from '../../../src/metadata/metadata.ts';
import {
  type MountedFileSystem,
  MountLost,
  type Workload,
  type WorkloadContext,
  type World,
} from '../../../src/simulator/contract.ts';
import { createDice } from '../../../src/simulator/machine/dice.ts';

export interface Served {
  /** Of the present reign. */
  readonly fileSystem: FileSystem;
  /** Without it nothing is ever reserved when a workload looks. */
  readonly metadata?: Pick<MetadataManager, 'reservation'>;
  /** Loses what is not durable; `choice` picks how much of it. */
  crash?(choice: number): Promise<void>;
  /** What is served works in real time; a part of each wait takes place. */
  readonly isReal?: boolean;
}

export interface LoadOptions {
  readonly seed: number;
  /** How often an operation is cut short by a crash. */
  readonly crashChance?: number;
  readonly operations: number;
  readonly allowed?: WorkloadContext['allowed'];
  /** Stands between the workload and the file system. */
  readonly wrap?: (fileSystem: FileSystem) => FileSystem;
}

interface Mount extends MountedFileSystem {
  alive: boolean;
  /** Whoever waits for an answer of this mount. */
  readonly waiting: Set<() => void>;
}

/** Loads one file system with one workload until enough operations were done. */
export class TestLoad {
  readonly #served: Served;
  readonly #options: LoadOptions;
  readonly #dice;
  #mount: Mount;
  #mounting: Promise<void> | undefined;
  #operations = 0;
  #isChecking = false;
  nowMs = 0;
  crashes = 0;

  constructor(served: Served, options: LoadOptions) {
    this.#served = served;
    this.#options = options;
    this.#dice = createDice(options.seed);
    this.#mount = this.#mounted(1);
  }

  async run(workload: Workload): Promise<void> {
    const context = this.#context();
    await workload.run(context);
    this.#isChecking = true;
    await this.#mounting;
    await workload.check(context);
  }

  #mounted(generation: number): Mount {
    const { wrap } = this.#options;
    const { fileSystem, metadata = { reservation: () => NO_RANGES } } = this.#served;
    const volume = { fileSystem: wrap === undefined ? fileSystem : wrap(fileSystem), metadata } as Volume;
    return { generation, volume, startedAtMs: 0, alive: true, waiting: new Set() };
  }

  #context(): WorkloadContext {
    const load = this;
    const { allowed = { beyondParity: false, fullDisks: false } } = this.#options;
    return {
      world: {
        seed: this.#options.seed,
        dice: this.#dice,
        scheduler: {
          get nowMs() {
            return load.nowMs;
          },
        },
        trace: { event: () => undefined },
      } as unknown as World,
      dice: this.#dice.fork('workload'),
      allowed,
      get stopping() {
        return load.#operations >= load.#options.operations;
      },
      async mounted() {
        while (!load.#mount.alive) await load.#mounting;
        return load.#mount;
      },
      operate: (mount, what, _fields, run) => load.#operate(mount as Mount, what, run),
      sleep: (delayMs) => load.#sleep(delayMs),
      strikeOff: () => undefined,
      join: () => undefined,
    };
  }

  #operate<T>(mount: Mount, what: string, run: (fileSystem: FileSystem) => T | Promise<T>): Promise<T> {
    if (!mount.alive) return Promise.reject(new MountLost(what));
    this.#operations += 1;
    const { crashChance = 0 } = this.#options;
    const crashes = !this.#isChecking && this.#dice.chance(crashChance);
    return new Promise<T>((resolve, reject) => {
      const lost = () => reject(new MountLost(what));
      mount.waiting.add(lost);
      if (crashes) this.#crashSoon(mount);
      // What comes of it when the mount is lost nobody hears; it may even not have begun.
      if (crashes && this.#dice.chance(0.3)) return;
      const done = (async () => run(mount.volume.fileSystem))();
      done.finally(() => mount.waiting.delete(lost)).then(resolve, reject);
    });
  }

  #crashSoon(mount: Mount): void {
    if (this.#mounting !== undefined) return;
    this.#mounting = this.#remount(mount);
  }

  async #remount(mount: Mount): Promise<void> {
    for (let turns = this.#dice.below(4); turns > 0; turns--) await turn();
    mount.alive = false;
    for (const lost of mount.waiting) lost();
    this.crashes += 1;
    await this.#served.crash!(this.#dice.below(1 << 30));
    this.#mount = this.#mounted(mount.generation + 1);
    this.#mounting = undefined;
  }

  async #sleep(delayMs: number): Promise<void> {
    this.nowMs += delayMs;
    if (this.#served.isReal === true) await sleep(delayMs / REAL_TIME_SHARE);
    for (let turns = this.#dice.below(6); turns >= 0; turns--) await turn();
  }
}

/** Nodes tell twice a second how much room they have. */
const REAL_TIME_SHARE = 20;

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
