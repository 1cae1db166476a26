/**
 * The frame of every worker: a process of its own that works in the volume with blocking calls, as programs do, and keeps a model of what
 * it was promised. It survives the mount: when a call fails it says so, and waits to be told that the volume is back.
 *
 * Standard output carries one JSON report a line; standard input the commands `resume`, `verify` and `stop`.
 */
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';

export type WorkerReport =
  /** The longest time between two operations that ended, since the last report. */
  | { readonly kind: 'progress'; readonly operations: number; readonly longestGapMs: number }
  | { readonly kind: 'trouble'; readonly code: string; readonly message: string }
  /** What was acknowledged is not there, or something is there that nobody wrote. */
  | { readonly kind: 'wrong'; readonly message: string }
  | { readonly kind: 'recovered' | 'verified'; readonly summary: string };

export interface Workload {
  /** One operation, a millisecond or so. */
  step(): void;
  /** After the mount was killed: checks that everything promised is there, and takes what else is there for the truth from now on. */
  recover(): string;
  /** Checks that everything is exactly as it was left. */
  verify(): string;
  /** Lets go of what is open, without a word about errors. */
  abandon(): void;
}

/** The file system broke a promise. */
export class Wrong extends Error {
  override readonly name = 'Wrong';
}

const PROGRESS_INTERVAL_MS = 250;

export function say(report: WorkerReport): void {
  writeSync(1, `${JSON.stringify(report)}\n`);
}

/** The constructor of a workload may work in the directory. */
export async function runWorker(make: (seed: number) => Workload): Promise<void> {
  const [directory = '', seed = ''] = process.argv.slice(2);
  const commands = new Commands();
  process.chdir(directory);
  const workload = make(Number(seed));
  const pace = new Pace();
  let resting = false;
  for (;;) {
    await nextTurn();
    const command: string | undefined = resting ? await commands.next() : commands.poll();
    if (command === 'stop') process.exit(0);
    try {
      if (command !== undefined) process.chdir(directory);
      if (command === 'verify') {
        say({ kind: 'verified', summary: workload.verify() });
        rest(workload);
      } else if (command === 'resume') say({ kind: 'recovered', summary: workload.recover() });
      else workload.step();
      resting = command === 'verify';
      if (command === 'resume') pace.restart();
      else pace.operationEnded();
    } catch (error) {
      tell(error);
      resting = true;
      rest(workload);
    }
  }
}

function rest(workload: Workload): void {
  workload.abandon();
  process.chdir('/');
}

class Commands {
  readonly #waiting: string[] = [];
  #arrived: () => void = () => {};

  constructor() {
    createInterface({ input: process.stdin }).on('line', (line) => {
      this.#waiting.push(line);
      this.#arrived();
    });
  }

  poll(): string | undefined {
    return this.#waiting.shift();
  }

  async next(): Promise<string> {
    for (;;) {
      const command = this.poll();
      if (command !== undefined) return command;
      await new Promise<void>((resolve) => {
        this.#arrived = resolve;
      });
    }
  }
}

/** Ends the process unless it is the volume that failed. */
function tell(error: unknown): void {
  if (error instanceof Wrong) {
    say({ kind: 'wrong', message: error.message });
    process.exit(1);
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) throw error;
  say({ kind: 'trouble', code, message });
}

class Pace {
  #operations = 0;
  #longestGapMs = 0;
  #lastMs = performance.now();
  #reportedMs = performance.now();

  operationEnded(): void {
    const nowMs = performance.now();
    this.#operations += 1;
    this.#longestGapMs = Math.max(this.#longestGapMs, nowMs - this.#lastMs);
    this.#lastMs = nowMs;
    if (nowMs - this.#reportedMs < PROGRESS_INTERVAL_MS) return;
    say({ kind: 'progress', operations: this.#operations, longestGapMs: this.#longestGapMs });
    this.#operations = 0;
    this.#longestGapMs = 0;
    this.#reportedMs = nowMs;
  }

  restart(): void {
    this.#lastMs = performance.now();
  }
}
