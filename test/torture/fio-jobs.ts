/** fio, one job after the other, each of which writes with checksums and reads back what it wrote. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { startFio } from '../e2e/support/fio.ts';
import { Dice } from './dice.ts';

const shapes = [
  ['--rw=write', '--bs=1m', '--size=24m'],
  ['--rw=write', '--bs=128k', '--size=16m', '--direct=1'],
  ['--rw=randwrite', '--bsrange=4k-256k', '--size=12m'],
  ['--rw=randwrite', '--bs=4k', '--size=2m', '--fsync=16'],
  ['--rw=randrw', '--bs=16k', '--size=8m', '--direct=1'],
] as const;
/** The state of a job that failed would be left in the current directory. */
const common = ['--fallocate=none', '--end_fsync=1', '--verify_state_save=0', '--filename=fio'];

export interface FioEvents {
  /** True if the mount was killed since the job began: then it is no failure. */
  isExcused(startedMs: number): boolean;
  failed(message: string): void;
  untilMounted(): Promise<void>;
}

export class FioJobs {
  #ending = false;
  #done = 0;
  readonly #finished: Promise<void>;

  constructor(directory: string, seed: number, events: FioEvents) {
    this.#finished = this.#run(directory, new Dice(seed, 'fio'), events);
  }

  get done(): number {
    return this.#done;
  }

  async #run(directory: string, dice: Dice, events: FioEvents): Promise<void> {
    while (!this.#ending) {
      await events.untilMounted();
      const startedMs = performance.now();
      try {
        const seed = `--randseed=${dice.between(1, 1_000_000)}`;
        await startFio(directory, ...common, ...dice.pick(shapes), seed).finished;
        // Not synchronously: the mount may be frozen by this very process, which has to wake it again.
        await rm(join(directory, 'fio'));
        this.#done += 1;
      } catch (error) {
        if (!events.isExcused(startedMs)) {
          events.failed((error as Error).message);
          return;
        }
      }
    }
  }

  /** Resolves when the job under way has ended. */
  async end(): Promise<void> {
    this.#ending = true;
    await this.#finished;
  }
}
