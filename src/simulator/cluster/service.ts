/**
 * A process of the cluster that is started again and again with the same arguments on the same machine: what the kill, the power loss and
 * the restart of a fault schedule act on.
 *
 * A start that fails for a reason that a service manager would shrug at (nodes that are not there yet, a disk that gives errors) is
 * tried again after a while; any other error fails the run as a crash.
 */

import { ErrnoError } from '../../base/errno.ts';
import { CoordinatorUnavailable } from '../../cluster/coordinator.ts';
import { RpcError } from '../../cluster/rpc.ts';
import { MetadataUnavailable } from '../../metadata/metadata.ts';
import { MachineError } from '../../platform/platform.ts';
import { StorageUnusable } from '../../storage/storage-error.ts';
import type { SimulatedProcess, World } from '../contract.ts';
import type { Machine } from '../machine/machine.ts';

const RETRY_MS = 300;

export interface ServiceOptions<Running> {
  readonly world: World;
  readonly machine: Machine;
  readonly name: string;
  /** The program: resolves when it serves. */
  readonly main: (process: SimulatedProcess) => Promise<Running>;
  onRunning?(running: Running, process: SimulatedProcess): void;
  onDown?(): void;
}

export class Service<Running> {
  readonly #options: ServiceOptions<Running>;
  #process: SimulatedProcess | undefined;
  #running: Running | undefined;
  #wanted = false;
  #frozen = false;
  #failedStarts = 0;
  #startedAtMs = 0;

  constructor(options: ServiceOptions<Running>) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }

  get machine(): Machine {
    return this.#options.machine;
  }

  get process(): SimulatedProcess | undefined {
    return this.#process;
  }

  /** What the program serves with; undefined while it does not. */
  get running(): Running | undefined {
    return this.#running;
  }

  get isFrozen(): boolean {
    return this.#frozen;
  }

  /** Starts in a row that failed. */
  get failedStarts(): number {
    return this.#failedStarts;
  }

  /** When it was told to start, however many starts it took since. */
  get startedAtMs(): number {
    return this.#startedAtMs;
  }

  start(): void {
    this.#wanted = true;
    if (this.#process !== undefined) return;
    this.#startedAtMs = this.#options.world.scheduler.nowMs;
    this.#startProcess();
  }

  #startProcess(): void {
    const { world, machine, name, main } = this.#options;
    const process = machine.start(name);
    world.trace.event('start', { process: name });
    this.#process = process;
    this.#frozen = false;
    process.onDeath(() => this.#died(process));
    main(process).then(
      (running) => this.#serves(process, running),
      (error: unknown) => this.#failed(process, error),
    );
  }

  /** kill -9. It stays down until the next start. */
  kill(): void {
    this.#wanted = false;
    this.#process?.kill();
  }

  freeze(): void {
    if (this.#process === undefined || this.#frozen) return;
    this.#frozen = true;
    this.#options.world.trace.event('freeze', { process: this.name });
    this.#process.freeze();
  }

  thaw(): void {
    if (this.#process === undefined || !this.#frozen) return;
    this.#frozen = false;
    this.#options.world.trace.event('thaw', { process: this.name });
    this.#process.thaw();
  }

  /** The machine is about to lose power: nothing starts by itself. */
  stopWanting(): void {
    this.#wanted = false;
  }

  #serves(process: SimulatedProcess, running: Running): void {
    if (process !== this.#process) return;
    this.#options.world.trace.event('serves', { process: this.name });
    this.#failedStarts = 0;
    this.#running = running;
    this.#options.onRunning?.(running, process);
  }

  #failed(process: SimulatedProcess, error: unknown): void {
    if (process !== this.#process) return;
    const { world } = this.#options;
    if (!isOrdinary(error)) {
      world.fail('crash', error instanceof Error ? error : new Error(String(error)));
      return;
    }
    world.trace.event('start-failed', { process: this.name, why: error.message });
    this.#failedStarts += 1;
    process.kill();
    this.#wanted = true;
    world.scheduler.after(RETRY_MS, () => {
      if (this.#wanted && this.#process === undefined) this.#startProcess();
    });
  }

  #died(process: SimulatedProcess): void {
    if (process !== this.#process) return;
    const { world } = this.#options;
    world.trace.event('died', { process: this.name });
    this.#process = undefined;
    this.#running = undefined;
    this.#frozen = false;
    this.#options.onDown?.();
  }
}

function isOrdinary(error: unknown): error is Error {
  return (
    error instanceof MachineError ||
    error instanceof StorageUnusable ||
    error instanceof MetadataUnavailable ||
    error instanceof CoordinatorUnavailable ||
    error instanceof RpcError ||
    error instanceof ErrnoError
  );
}
