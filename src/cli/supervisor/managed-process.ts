/**
 * One process of the volume as its supervisor sees it: started here, or adopted from an earlier supervisor by its pid file.
 * Invariant: at most one live process for a name; `start` while it lives does nothing.
 */
import type { Logger } from '../../platform/platform.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { type LaunchOptions, launch } from '../process/launch.ts';
import {
  isAlive,
  isEnding,
  KEEP_INTERVAL_MS,
  liveProcess,
  type ProcessIdentity,
  signal,
  waitForEnd,
} from '../process/process-file.ts';

export type ProcessPhase = 'absent' | 'starting' | 'running';

/** How often an adopted process, whose end nobody reports, is looked after. */
const LIVENESS_INTERVAL_MS = 500;
const STOP_GRACE_MS = 10_000;
const ADOPT_PAUSE_MS = 50;

export interface ManagedProcessOptions {
  readonly name: string;
  readonly pidFile: string;
  readonly logFile: string;
  readonly nodeArgs: readonly string[];
  readonly log: Logger;
  /** Called once for each end that nobody asked for. */
  onUnexpectedEnd(how: string): void;
}

export class ManagedProcess {
  readonly name: string;
  readonly #options: ManagedProcessOptions;
  #identity: ProcessIdentity | undefined;
  #phase: ProcessPhase = 'absent';
  #detail = '';
  #failure: CommandFailure | undefined;
  #starting: Promise<void> | undefined;
  #stopping = false;
  #watch: NodeJS.Timeout | undefined;

  constructor(options: ManagedProcessOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get phase(): ProcessPhase {
    return this.#phase;
  }

  /** Resolves when no start is under way, however it ended. */
  get settled(): Promise<void> {
    return this.#starting?.catch(() => undefined) ?? Promise.resolve();
  }

  /** What a starting process says it is doing. */
  get detail(): string {
    return this.#detail;
  }

  get identity(): ProcessIdentity | undefined {
    return this.#identity;
  }

  /** Why the last start failed or the process ended by itself. */
  get failure(): CommandFailure | undefined {
    return this.#failure;
  }

  /** Notices an end before anybody reports it. */
  refresh(): void {
    if (this.#phase === 'running' && this.#identity !== undefined && !isAlive(this.#identity)) {
      this.#ended('is gone');
    }
  }

  /** Finds the process that an earlier supervisor, or a user by hand, started. */
  adopt(): boolean {
    if (this.#phase !== 'absent') return false;
    const identity = liveProcess(this.#options.pidFile);
    if (identity === undefined) return false;
    this.#identity = identity;
    this.#phase = 'running';
    this.#stopping = false;
    this.#watch = setInterval(() => this.refresh(), LIVENESS_INTERVAL_MS);
    return true;
  }

  /** Resolves when the process says that it is ready; rejects with what it failed with. */
  start(args: readonly string[]): Promise<void> {
    if (this.#starting !== undefined) return this.#starting;
    // It may have ended, or be about to, and nobody said so yet; or an earlier supervisor started it in the moment of its own end.
    this.refresh();
    this.adopt();
    const identity = this.#identity;
    if (this.#phase === 'running' && identity !== undefined && !isEnding(identity)) return Promise.resolve();
    this.#starting = this.#launchAfter(identity, args).finally(() => {
      this.#starting = undefined;
    });
    return this.#starting;
  }

  async #launchAfter(ending: ProcessIdentity | undefined, args: readonly string[]): Promise<void> {
    if (ending !== undefined) await waitForEnd(ending, STOP_GRACE_MS);
    this.refresh();
    if (this.#phase === 'running') return;
    try {
      await this.#launch(args);
    } catch (error) {
      const isInUse = error instanceof CommandFailure && error.exitCode === exitCodes.unavailable;
      if (!isInUse || !(await this.#adoptSoon())) throw error;
    }
  }

  /** What keeps it from starting may be that it runs, unknown until it names itself. */
  async #adoptSoon(): Promise<boolean> {
    for (let waitedMs = 0; waitedMs <= 2 * KEEP_INTERVAL_MS; waitedMs += ADOPT_PAUSE_MS) {
      if (this.adopt()) return true;
      await new Promise((resolve) => setTimeout(resolve, ADOPT_PAUSE_MS));
    }
    return false;
  }

  #launch(args: readonly string[]): Promise<void> {
    const { promise, resolve, reject } = withResolvers();
    this.#failure = undefined;
    this.#stopping = false;
    this.#detail = '';
    this.#phase = 'starting';
    let identity: ProcessIdentity | undefined;
    const options: LaunchOptions = {
      args,
      nodeArgs: this.#options.nodeArgs,
      pidFile: this.#options.pidFile,
      logFile: this.#options.logFile,
      onReport: (report) => {
        if (report.kind === 'phase') this.#detail = report.phase;
        if (report.kind === 'failed') this.#failure = new CommandFailure(report.exitCode, report.message);
        if (report.kind === 'ready') {
          this.#phase = 'running';
          resolve();
        }
      },
      onExit: (how) => {
        const failure = this.#failure ?? this.#unexplained(how);
        // Without effect once it was ready. Whoever stopped it may have noticed its end before this, and started the next one.
        reject(failure);
        if (this.#identity !== undefined && this.#identity !== identity) return;
        if (!this.#stopping) this.#failure = failure;
        this.#ended(how);
      },
    };
    try {
      identity = launch(options);
      this.#identity = identity;
    } catch (error) {
      this.#phase = 'absent';
      reject(error);
    }
    return promise;
  }

  #unexplained(how: string): CommandFailure {
    return new CommandFailure(exitCodes.unavailable, `${this.name} ${how}; see ${this.#options.logFile}`);
  }

  #ended(how: string): void {
    if (this.#phase === 'absent') return;
    clearInterval(this.#watch);
    const wasRunning = this.#phase === 'running';
    this.#phase = 'absent';
    this.#identity = undefined;
    this.#options.log.info('process-ended', { process: this.name, how, asked: this.#stopping });
    if (this.#stopping) this.#failure = undefined;
    else if (wasRunning) this.#options.onUnexpectedEnd(how);
  }

  /** Ends the process: orderly with SIGTERM, or at once with SIGKILL. Resolves when it is gone. */
  async stop(how: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    const identity = this.#identity;
    if (identity === undefined) return;
    this.#stopping = true;
    signal(identity, how);
    // A process that was stopped by SIGSTOP takes its SIGTERM only when it goes on.
    if (how === 'SIGTERM') signal(identity, 'SIGCONT');
    if (!(await waitForEnd(identity, STOP_GRACE_MS))) {
      this.#options.log.warn('process-killed', { process: this.name });
      signal(identity, 'SIGKILL');
      await waitForEnd(identity, STOP_GRACE_MS);
    }
    this.#ended(how);
    // A start that this has ended fails first: whoever starts the process next begins anew.
    await this.settled;
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void; reject: (error: unknown) => void } {
  let resolve: () => void = () => {};
  let reject: (error: unknown) => void = () => {};
  const promise = new Promise<void>((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}
