/**
 * What workloads do their operations through: the file system of now, whichever mount serves it, and a watch over every operation, which
 * must end in time, with a result or with an errno that the scenario allows.
 */
import { ErrnoError } from '../../base/errno.ts';
import type { FileSystem } from '../../filesystem/file-system.ts';
import type { SimulatedCluster } from '../cluster/simulated-cluster.ts';
import {
  CheckFailed,
  type Dice,
  type MountedFileSystem,
  MountLost,
  type WorkloadContext,
  type World,
} from '../contract.ts';

/** An operation that takes longer will never end. */
export const OPERATION_BOUND_MS = 45_000;

type Fields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface LoadOptions {
  readonly world: World;
  readonly cluster: SimulatedCluster;
  readonly allowed: WorkloadContext['allowed'];
}

/** Shared by the contexts of one run. */
export class Load {
  readonly world: World;
  readonly cluster: SimulatedCluster;
  readonly allowed: WorkloadContext['allowed'];
  stopping = false;
  /** Faults may be at work, so that an error may be right. */
  underFaults = false;
  operations = 0;
  #underWay = 0;
  #longestMs = 0;

  constructor(options: LoadOptions) {
    this.world = options.world;
    this.cluster = options.cluster;
    this.allowed = options.allowed;
  }

  get operationsUnderWay(): number {
    return this.#underWay;
  }

  /** Of an operation that succeeded. */
  get longestOperationMs(): number {
    return this.#longestMs;
  }

  context(name: string, dice: Dice): WorkloadContext {
    return new Context(this, name, dice);
  }

  begin(): void {
    this.operations += 1;
    this.#underWay += 1;
  }

  end(durationMs: number, succeeded: boolean): void {
    this.#underWay -= 1;
    if (succeeded) this.#longestMs = Math.max(this.#longestMs, durationMs);
  }
}

class Context implements WorkloadContext {
  readonly dice: Dice;
  readonly #load: Load;
  readonly #name: string;

  constructor(load: Load, name: string, dice: Dice) {
    this.#load = load;
    this.#name = name;
    this.dice = dice;
  }

  get world(): World {
    return this.#load.world;
  }

  get allowed(): WorkloadContext['allowed'] {
    return this.#load.allowed;
  }

  get stopping(): boolean {
    return this.#load.stopping;
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => this.world.scheduler.after(delayMs, resolve));
  }

  strikeOff(nodeId: number): void {
    this.#load.cluster.strikeOff(nodeId);
  }

  join(): number | undefined {
    return this.#load.cluster.join();
  }

  mounted(): Promise<MountedFileSystem> {
    const { cluster } = this.#load;
    const { mount } = cluster;
    if (mount !== undefined) return Promise.resolve(mount);
    return new Promise((resolve) => {
      const unlisten = cluster.onMountChange(() => {
        const next = cluster.mount;
        if (next === undefined) return;
        unlisten();
        resolve(next);
      });
    });
  }

  operate<T>(
    mount: MountedFileSystem,
    what: string,
    fields: Fields,
    run: (fileSystem: FileSystem) => T | Promise<T>,
  ): Promise<T> {
    if (!mount.alive) return Promise.reject(new MountLost(`${what}: the mount is gone`));
    const operation = new Operation<T>(this.#load, mount, `${this.#name}/${what}`, fields);
    return operation.run(run);
  }
}

class Operation<T> {
  readonly #load: Load;
  readonly #mount: MountedFileSystem;
  readonly #what: string;
  readonly #fields: Fields;
  readonly #startMs: number;
  #ended = false;

  constructor(load: Load, mount: MountedFileSystem, what: string, fields: Fields) {
    this.#load = load;
    this.#mount = mount;
    this.#what = what;
    this.#fields = fields;
    this.#startMs = load.world.scheduler.nowMs;
  }

  run(call: (fileSystem: FileSystem) => T | Promise<T>): Promise<T> {
    const { world, cluster } = this.#load;
    this.#load.begin();
    return new Promise<T>((resolve, reject) => {
      const bound = world.scheduler.after(OPERATION_BOUND_MS, () => {
        const where = `${this.#what} ${JSON.stringify(this.#fields)}`;
        world.fail('liveness', new Error(`${where} has not ended after ${OPERATION_BOUND_MS} ms`));
      });
      const unlisten = cluster.onMountChange(() => {
        if (this.#mount.alive) return;
        end('mount-lost', false);
        reject(new MountLost(`${this.#what}: the mount went away`));
      });
      const end = (outcome: string, succeeded: boolean): boolean => {
        if (this.#ended) return false;
        this.#ended = true;
        bound.cancel();
        unlisten();
        this.#load.end(world.scheduler.nowMs - this.#startMs, succeeded);
        world.trace.event(this.#what, { ...this.#fields, outcome });
        return true;
      };
      const succeed = (value: T): void => {
        if (end('ok', true)) resolve(value);
      };
      const fail = (error: unknown): void => {
        if (end(error instanceof ErrnoError ? error.code : String(error), false)) this.#judge(error, reject);
      };
      try {
        const result = call(this.#mount.volume.fileSystem);
        if (result instanceof Promise) result.then(succeed, fail);
        else succeed(result);
      } catch (error) {
        fail(error);
      }
    });
  }

  /** An errno goes to the workload if it may be; anything else ends the run. */
  #judge(error: unknown, reject: (reason: unknown) => void): void {
    const { world, cluster, allowed, underFaults } = this.#load;
    if (cluster.isBeingDeposed(this.#mount) && error instanceof ErrnoError && error.code === 'EIO') {
      cluster.giveUp(this.#mount);
      reject(new MountLost(`${this.#what}: the mount was deposed`));
      return;
    }
    if (!(error instanceof ErrnoError)) {
      world.fail('crash', error instanceof Error ? error : new Error(String(error)));
      return;
    }
    const where = `${this.#what} ${JSON.stringify(this.#fields)}: ${error.code}, ${error.message}`;
    if (error.code === 'EIO' && !(allowed.beyondParity && underFaults)) {
      world.fail('correctness', new CheckFailed(`${where}, though no more failed than the volume can bear`));
    } else if (error.code === 'ENOSPC' && !allowed.fullDisks) {
      world.fail('correctness', new CheckFailed(`${where}, though there is room`));
    } else reject(error);
  }
}
