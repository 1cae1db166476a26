/**
 * Runs the jobs: for each round and job, every directory in turn, so that a machine that gets faster or slower during the run does
 * so for all of them; the order of directories is reversed every other round.
 */
import { execFile } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageDirectory } from '../../platform/package-directory.ts';
import { asFailure } from '../failure.ts';
import type { Steps } from '../terminal/steps.ts';
import { FIO_FILE, runFio } from './fio.ts';
import { type FilePhase, type FioJob, filePhases, fioJobs, type Sizes } from './jobs.ts';
import type { Sample } from './result.ts';
import { measured, type Target } from './target.ts';

const run = promisify(execFile);
const smallFilesProgram = join(packageDirectory, 'dist', 'cli', 'bench', 'small-files.js');
const DROP_CACHES = '/proc/sys/vm/drop_caches';
const VICTIM_NODE = 1;

export const canDropCaches = (): boolean => process.getuid?.() === 0;

export interface RunnerOptions {
  readonly targets: readonly Target[];
  readonly rounds: number;
  readonly sizes: Sizes;
  readonly steps: Steps;
  /** Names of jobs to run; all if absent. */
  readonly only?: readonly string[];
}

export async function runJobs(options: RunnerOptions): Promise<Sample[]> {
  const samples: Sample[] = [];
  const wanted = (name: string): boolean => options.only === undefined || options.only.includes(name);
  for (let round = 1; round <= options.rounds; round++) {
    const targets = round % 2 === 1 ? options.targets : [...options.targets].reverse();
    for (const job of fioJobs(options.sizes)) {
      if (!wanted(job.name)) continue;
      await runForAll(
        `${job.name} ${round}/${options.rounds}`,
        job.name,
        targets,
        options,
        samples,
        (target) => runFioJob(job, target),
      );
    }
    if (!wanted('files')) continue;
    for (const phase of filePhases) {
      await runForAll(
        `files-${phase} ${round}/${options.rounds}`,
        phase,
        targets,
        options,
        samples,
        (target) => runFilePhase(phase, target, options.sizes.files),
      );
    }
  }
  return samples;
}

async function runForAll(
  title: string,
  job: string,
  targets: readonly Target[],
  options: RunnerOptions,
  samples: Sample[],
  runOne: (target: Target) => Promise<Sample | undefined>,
): Promise<void> {
  const step = options.steps.begin('bench');
  const shown: string[] = [];
  for (const target of targets) {
    step.update(`${title} ${target.label}`);
    const sample = await runOne(target);
    if (sample === undefined) continue;
    samples.push({ ...sample, job });
    shown.push(`${target.label} ${Math.round(sample.value)}`);
  }
  step.done(`${title}: ${shown.join(', ')}`);
}

async function settle(target: Target, cold: boolean): Promise<void> {
  await run('sync', ['-f', target.directory]);
  if (!cold || !canDropCaches()) return;
  try {
    writeFileSync(DROP_CACHES, '3');
  } catch (error) {
    throw asFailure(error, DROP_CACHES);
  }
}

async function runFioJob(job: FioJob, target: Target): Promise<Sample | undefined> {
  const { supervisor } = target;
  if (job.degraded === true && supervisor === undefined) return undefined;
  if (job.newFile) rmSync(join(target.directory, FIO_FILE), { force: true });
  if (job.degraded === true) {
    await supervisor?.run({ command: 'stop-node', id: VICTIM_NODE, signal: 'SIGKILL' });
  }
  try {
    await settle(target, job.cold);
    const { value, cost } = await measured(target, () => runFio(job, target.directory));
    return { job: job.name, target: target.label, value, cost };
  } finally {
    if (job.degraded === true) await supervisor?.run({ command: 'start-node', id: VICTIM_NODE });
  }
}

async function runFilePhase(phase: FilePhase, target: Target, files: number): Promise<Sample> {
  await settle(target, phase === 'read');
  const { value, cost } = await measured(target, async () => {
    const args = [smallFilesProgram, join(target.directory, 'files'), phase, String(files)];
    const { stdout } = await run(process.execPath, args);
    return Number(stdout);
  });
  return { job: phase, target: target.label, value, cost };
}
