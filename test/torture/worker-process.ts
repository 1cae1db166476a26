/** A worker as the torture sees it: started, listened to, told that the volume is back, and asked for its final word. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { WorkerReport } from './workers/worker.ts';

export type WorkerName = 'append' | 'overwrite' | 'names';

export interface WorkerEvents {
  /** A call failed. The worker waits for `resume`. */
  trouble(worker: WorkerProcess, code: string, message: string): void;
  /** A promise was broken, or the worker itself failed. */
  wrong(worker: WorkerProcess, message: string): void;
}

const programOf = (name: WorkerName): string => `${import.meta.dirname}/${name}.mjs`;

export class WorkerProcess {
  readonly name: WorkerName;
  readonly #child: ChildProcess;
  readonly #events: WorkerEvents;
  #operations = 0;
  #longestGapMs = 0;
  #forgetting = false;
  #lastReportMs = performance.now();
  #waiting: { resolve: (summary: string) => void; reject: (error: Error) => void } | undefined;
  #stopping = false;
  isBroken = false;

  constructor(name: WorkerName, directory: string, seed: number, events: WorkerEvents) {
    this.name = name;
    this.#events = events;
    const args = [programOf(name), directory, String(seed)];
    this.#child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    if (this.#child.stdout === null) throw new Error('a worker without output');
    createInterface({ input: this.#child.stdout }).on('line', (line) => {
      this.#take(JSON.parse(line) as WorkerReport);
    });
    this.#child.on('exit', (code, signalName) => {
      if (this.#stopping || code === 1) return;
      this.#fail(`ended with ${code ?? signalName}`);
    });
  }

  get operations(): number {
    return this.#operations;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** Since the last call, with what goes on now. */
  takeLongestGapMs(): number {
    const longest = this.isBroken ? 0 : Math.max(this.#longestGapMs, performance.now() - this.#lastReportMs);
    this.#longestGapMs = 0;
    return longest;
  }

  /** The gap that goes on, and everything of the report that tells of it, does not count. */
  forgetGap(): void {
    this.#forgetting = true;
    this.#lastReportMs = performance.now();
  }

  #take(report: WorkerReport): void {
    this.#lastReportMs = performance.now();
    if (report.kind === 'progress') {
      this.#operations += report.operations;
      if (!this.#forgetting) this.#longestGapMs = Math.max(this.#longestGapMs, report.longestGapMs);
      this.#forgetting = false;
    } else if (report.kind === 'trouble') {
      this.isBroken = true;
      this.#waiting?.reject(new Error(`${report.code}: ${report.message}`));
      this.#waiting = undefined;
      this.#events.trouble(this, report.code, report.message);
    } else if (report.kind === 'wrong') this.#fail(report.message);
    else {
      this.isBroken = false;
      this.#waiting?.resolve(report.summary);
      this.#waiting = undefined;
    }
  }

  #fail(message: string): void {
    this.#waiting?.reject(new Error(message));
    this.#waiting = undefined;
    this.#events.wrong(this, message);
  }

  #ask(command: 'resume' | 'verify'): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
      this.#child.stdin?.write(`${command}\n`);
    });
  }

  /** Resolves with what it found. Rejects if a call fails again. */
  resume(): Promise<string> {
    return this.#ask('resume');
  }

  verify(): Promise<string> {
    return this.#ask('verify');
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.hasEnded) return;
    const ended = new Promise<void>((resolve) => this.#child.once('exit', () => resolve()));
    this.#child.stdin?.write('stop\n');
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  }

  kill(): void {
    this.#stopping = true;
    this.#child.kill('SIGKILL');
  }
}
