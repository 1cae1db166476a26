/**
 * The torture itself. While at most `parity` nodes are away no call in the volume may fail, except that the mount was killed; whatever was
 * acknowledged is there after every crash and in the end; and nothing runs or is mounted any more when all is over.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { EventLog } from './event-log.ts';
import { FaultLanes } from './fault-lanes.ts';
import { FioJobs } from './fio-jobs.ts';
import type { TortureOptions } from './options.ts';
import type { TortureVolume } from './volume.ts';
import { type WorkerName, WorkerProcess } from './worker-process.ts';

const WORKERS: readonly WorkerName[] = ['append', 'overwrite', 'names'];
/** A call that takes longer has been forgotten: a machine that does ten other things makes some take a minute. */
const HANG_MS = 180_000;
const WATCH_INTERVAL_MS = 1_000;
const HEALTHY_POLL_MS = 200;
const HEALTHY_WITHIN_MS = 180_000;

export class Torture {
  readonly #volume: TortureVolume;
  readonly #log: EventLog;
  readonly #options: TortureOptions;
  readonly #workers: WorkerProcess[] = [];
  /** When each worker was last told that the volume is back. */
  readonly #resumedMs = new Map<WorkerProcess, number>();
  readonly #resuming = new Set<Promise<void>>();
  readonly #longestPauseMs = new Map<WorkerName, number>();
  #mountGoneMs = 0;
  #isMounted = true;
  #lanes: FaultLanes | undefined;
  #fail: (error: Error) => void = () => {};
  /** Rejects at the first broken promise. */
  readonly #failed: Promise<never>;

  constructor(volume: TortureVolume, log: EventLog, options: TortureOptions) {
    this.#volume = volume;
    this.#log = log;
    this.#options = options;
    this.#failed = new Promise((_, reject) => {
      this.#fail = (error) => {
        // What comes after the first is the cleanup's doing.
        this.#fail = () => {};
        log.say(`FAILED: ${error.message}`);
        reject(error);
      };
    });
    this.#failed.catch(() => undefined);
  }

  async run(): Promise<void> {
    const { seed, seconds } = this.#options;
    await this.#volume.create();
    this.#log.say('the volume is up');
    for (const name of WORKERS) this.#startWorker(name, seed);
    const fio = this.#startFio(seed);
    const lanes = this.#startLanes();
    const watch = setInterval(() => this.#watch(), WATCH_INTERVAL_MS);
    try {
      const faults = lanes.run(seed, this.#options.parity);
      await Promise.race([this.#failed, faults, sleep(seconds * 1000)]);
      this.#log.say('no more faults');
      lanes.end();
      await Promise.race([this.#failed, faults.then(() => fio.end())]);
      await Promise.race([this.#failed, this.#untilResumed()]);
    } finally {
      clearInterval(watch);
      lanes.end();
    }
    await Promise.race([this.#failed, this.#verifyInTheEnd()]);
    for (const worker of this.#workers) {
      const pauseMs = Math.round(this.#longestPauseMs.get(worker.name) ?? 0);
      this.#log.say(`${worker.name}: ${worker.operations} operations, longest pause ${pauseMs} ms`);
    }
    this.#log.say(`${lanes.faults} faults, ${fio.done} fio jobs`);
  }

  #startWorker(name: WorkerName, seed: number): void {
    const directory = join(this.#volume.mountPoint, name);
    mkdirSync(directory);
    const worker = new WorkerProcess(name, directory, seed, {
      trouble: (_, code, message) => this.#trouble(worker, code, message),
      wrong: (_, message) => this.#fail(new Error(`${name}: ${message}`)),
    });
    this.#workers.push(worker);
    this.#resumedMs.set(worker, performance.now());
  }

  #startFio(seed: number): FioJobs {
    const directory = join(this.#volume.mountPoint, 'fio');
    mkdirSync(directory);
    return new FioJobs(directory, seed, {
      isExcused: (startedMs) => this.#mountGoneMs > startedMs,
      failed: (message) => this.#fail(new Error(message)),
      untilMounted: async () => {
        while (!this.#isMounted) await sleep(100);
      },
    });
  }

  #startLanes(): FaultLanes {
    this.#lanes = new FaultLanes(this.#volume, this.#log, {
      mountWasFrozen: () => {
        for (const worker of this.#workers) worker.forgetGap();
      },
      mountGone: () => {
        this.#isMounted = false;
        this.#mountGoneMs = performance.now();
      },
      mountBack: () => {
        this.#isMounted = true;
        for (const worker of this.#workers) if (worker.isBroken) this.#resume(worker);
      },
    });
    return this.#lanes;
  }

  #trouble(worker: WorkerProcess, code: string, message: string): void {
    if (this.#mountGoneMs < (this.#resumedMs.get(worker) ?? 0)) {
      this.#fail(new Error(`${worker.name}: ${code} while the mount lives: ${message}`));
    } else if (this.#isMounted) this.#resume(worker);
  }

  #resume(worker: WorkerProcess): void {
    this.#resumedMs.set(worker, performance.now());
    const resuming = worker.resume().then(
      (summary) => this.#log.say(`${worker.name}: goes on; ${summary}`),
      // Told by its events, too.
      () => undefined,
    );
    this.#resuming.add(resuming);
    void resuming.then(() => this.#resuming.delete(resuming));
  }

  /** A worker may not even have noticed yet that the mount died. */
  async #untilResumed(): Promise<void> {
    do {
      await Promise.all(this.#resuming);
      await sleep(WATCH_INTERVAL_MS);
    } while (this.#resuming.size > 0 || this.#workers.some((worker) => worker.isBroken));
  }

  #watch(): void {
    for (const worker of this.#workers) {
      const gapMs = worker.takeLongestGapMs();
      this.#longestPauseMs.set(worker.name, Math.max(gapMs, this.#longestPauseMs.get(worker.name) ?? 0));
      if (gapMs > HANG_MS) this.#fail(new Error(`${worker.name}: hangs for ${Math.round(gapMs)} ms`));
    }
  }

  async #verifyInTheEnd(): Promise<void> {
    await this.#verifyWorkers();
    await this.#untilHealthy();
    await this.#fsck();
    this.#log.say('down and up');
    await this.#volume.run('down');
    this.#requireNothingLeft();
    await this.#fsck();
    await this.#volume.run('up');
    await this.#verifyWorkers();
    this.#log.say('kill everything, and up');
    this.#volume.killEverything();
    await this.#volume.run('up');
    await this.#verifyWorkers();
    for (const worker of this.#workers) await worker.stop();
    await this.#volume.run('down');
    this.#requireNothingLeft();
  }

  async #verifyWorkers(): Promise<void> {
    for (const worker of this.#workers) this.#log.say(`${worker.name}: ${await worker.verify()}`);
  }

  async #untilHealthy(): Promise<void> {
    const startMs = performance.now();
    for (;;) {
      const { health, reason } = await this.#volume.status();
      if (health === 'healthy') return this.#log.say('healthy');
      if (performance.now() - startMs > HEALTHY_WITHIN_MS) throw new Error(`still ${health}: ${reason}`);
      await sleep(HEALTHY_POLL_MS);
    }
  }

  async #fsck(): Promise<void> {
    if (!(await this.#volume.run('--help')).includes('fsck')) return;
    const { code, stdout, stderr } = await this.#volume.tartan('fsck');
    const findings = stdout.split('\n').filter((line) => line !== '');
    this.#log.say(
      `fsck: ${code}${findings.length === 0 ? '' : `, ${findings.length} lines: ${findings[0]}`}`,
    );
    if (code !== 0) throw new Error(`tartan fsck ended with ${code}: ${stdout}${stderr}`);
  }

  #requireNothingLeft(): void {
    const workers = new Set(this.#workers.map((worker) => worker.pid));
    const processes = this.#volume.strayProcesses().filter(({ pid }) => !workers.has(pid));
    if (processes.length > 0) {
      throw new Error(`left running: ${processes.map(({ pid, command }) => `${pid} ${command}`).join('; ')}`);
    }
    const mounts = this.#volume.mounts();
    if (mounts.length > 0) throw new Error(`left mounted: ${mounts.join(', ')}`);
  }

  /** After a failure, too. */
  close(): void {
    this.#lanes?.end();
    for (const worker of this.#workers) worker.kill();
  }
}
