/**
 * `tartan bench`: the volume against a plain directory of the same disk, and against any other directories, in one run. Uses a volume
 * of its own, which is removed afterwards, unless it is told which one to use.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join, resolve } from 'node:path';
import type { Command } from 'commander';
import { COMMON_FLAGS } from '../bench/fio.ts';
import { filePhases, filePhaseTitles, fioJobs, fullSizes, quickSizes, type Sizes } from '../bench/jobs.ts';
import { type JobResult, resultTable, type Sample, summarize } from '../bench/result.ts';
import { canDropCaches, runJobs } from '../bench/runner.ts';
import type { Target } from '../bench/target.ts';
import { asFailure, CommandFailure, exitCodes } from '../failure.ts';
import {
  attachSupervisor,
  ensureSupervisor,
  type SupervisorClient,
} from '../supervisor/supervisor-client.ts';
import { type Steps, terminalSteps } from '../terminal/steps.ts';
import { requireFuse } from '../volume/requirements.ts';
import { createVolume, readVolumeFile, type VolumeFile } from '../volume/volume-file.ts';
import { type VolumeLayout, volumeLayout } from '../volume/volume-layout.ts';
import { stripeShape } from '../volume/volume-shape.ts';
import { bringUp } from './bring-up.ts';
import { bringDown } from './down.ts';
import { parseCount } from './numbers.ts';
import { commandPlatform } from './session.ts';
import { existingVolume } from './volume-options.ts';

interface BenchOptions {
  readonly dir: readonly string[];
  readonly at: string;
  readonly volume?: string;
  readonly nodes: number;
  readonly parity: number;
  readonly rounds: number;
  readonly quick?: boolean;
  readonly jobs?: string;
  readonly markdown?: string;
  readonly json?: string;
}

const PLAIN = 'plain';
const VOLUME = 'tartan';

export function addBenchCommand(program: Command): void {
  const collect = (value: string, all: readonly string[]): string[] => [...all, value];
  program
    .command('bench')
    .description('measure the volume beside a plain directory of the same disk')
    .option('--dir <directory>', 'measure this directory, too (may be repeated)', collect, [])
    .option('--at <directory>', 'where the volume and the plain directory are made', '/var/tmp')
    .option('--volume <name>', 'use this running volume instead of a new one')
    .option('--nodes <count>', 'nodes of the new volume', parseCount('--nodes'), 5)
    .option('--parity <count>', 'parity of the new volume', parseCount('--parity'), 1)
    .option('--rounds <count>', 'how often each job is run; medians are shown', parseCount('--rounds'), 3)
    .option('--jobs <names>', 'only these jobs, comma-separated; `files` for the small files')
    .option('--quick', 'small and once: to see that it works')
    .option('--markdown <file>', 'write the table to a file, as Markdown')
    .option('--json <file>', 'write all numbers to a file, as JSON')
    .action(runBench);
}

/** What is to be taken away again, last first. */
class Cleanup {
  readonly #steps: (() => void | Promise<void>)[] = [];
  add(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }
  async run(): Promise<void> {
    for (const step of this.#steps.splice(0).reverse()) await step();
  }
}

async function runBench(options: BenchOptions): Promise<void> {
  const sizes = options.quick === true ? quickSizes : fullSizes;
  const rounds = options.quick === true ? 1 : options.rounds;
  const steps = terminalSteps(process.stderr);
  const cleanup = new Cleanup();
  const interrupted = (): void => {
    cleanup.run().finally(() => process.exit(exitCodes.unavailable));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    const targets = await prepareTargets(options, steps, cleanup);
    const only = options.jobs?.split(',');
    const samples = await runJobs({ targets, rounds, sizes, steps, ...(only === undefined ? {} : { only }) });
    report(samples, targets, rounds, sizes, options);
  } finally {
    process.removeListener('SIGINT', interrupted);
    process.removeListener('SIGTERM', interrupted);
    await cleanup.run();
  }
}

async function prepareTargets(options: BenchOptions, steps: Steps, cleanup: Cleanup): Promise<Target[]> {
  const own = (parent: string): string => {
    const directory = ownDirectory(parent);
    cleanup.add(() => rmSync(directory, { recursive: true, force: true }));
    return directory;
  };
  if (options.volume !== undefined) {
    const { layout, file } = existingVolume({ volume: options.volume });
    const supervisor = await attachSupervisor(commandPlatform(), layout);
    if (supervisor === undefined) {
      throw new CommandFailure(
        exitCodes.unavailable,
        `${file.name} is not running; start it with \`tartan up\``,
      );
    }
    cleanup.add(() => supervisor.close());
    return [
      { label: PLAIN, directory: own(layout.directory) },
      { label: VOLUME, directory: own(file.mountPoint), supervisor },
      ...otherTargets(options.dir, own),
    ];
  }
  const base = own(options.at);
  const plain = join(base, 'plain');
  mkdirSync(plain);
  const { supervisor, volume } = await ownVolume(base, options, steps, cleanup);
  return [
    { label: PLAIN, directory: plain },
    { label: VOLUME, directory: own(volume.mountPoint), supervisor },
    ...otherTargets(options.dir, own),
  ];
}

function ownDirectory(parent: string): string {
  try {
    return mkdtempSync(join(resolve(parent), 'tartan-bench-'));
  } catch (error) {
    throw asFailure(error, parent);
  }
}

function otherTargets(directories: readonly string[], own: (parent: string) => string): Target[] {
  return directories.map((directory) => ({ label: directory, directory: own(directory) }));
}

async function ownVolume(
  base: string,
  options: BenchOptions,
  steps: Steps,
  cleanup: Cleanup,
): Promise<{ supervisor: SupervisorClient; volume: VolumeFile }> {
  requireFuse();
  const shape = stripeShape(options.nodes, options.parity);
  if (typeof shape === 'string') throw new CommandFailure(exitCodes.usage, shape);
  const layout: VolumeLayout = volumeLayout(join(base, 'volume'));
  createVolume(layout, {
    name: 'bench',
    nodes: Array.from({ length: options.nodes }, (_, index) => index + 1),
    ...shape,
    capacityBytes: null,
    mountPoint: join(base, 'mount'),
    frontend: 'native',
  });
  const volume = readVolumeFile(layout);
  cleanup.add(() => bringDown(layout, true, steps));
  await bringUp(layout, volume, { steps, restart: false, readOnly: false });
  const supervisor = await ensureSupervisor(commandPlatform(), layout);
  cleanup.add(() => supervisor.close());
  return { supervisor, volume };
}

function report(
  samples: readonly Sample[],
  targets: readonly Target[],
  rounds: number,
  sizes: Sizes,
  options: BenchOptions,
): void {
  const jobs = [
    ...fioJobs(sizes),
    ...filePhases.map((phase) => ({ name: phase, title: filePhaseTitles[phase], unit: 'files/s' })),
  ].filter((job) => samples.some((sample) => sample.job === job.name));
  const labels = targets.map((target) => target.label);
  const results = summarize(samples, jobs, labels, { 'read-degraded': { job: 'read-cold', target: VOLUME } });
  const conditions = describeConditions(rounds, sizes, options);
  process.stdout.write(`\n${resultTable(results, labels, 'text')}\n\n${conditions.join('\n')}\n`);
  if (options.markdown !== undefined) {
    const lines = conditions.map((line) => `- ${line}`).join('\n');
    writeResult(options.markdown, `${resultTable(results, labels, 'markdown')}\n\n${lines}\n`);
  }
  if (options.json !== undefined) writeResult(options.json, jsonResult(results, samples, conditions));
}

function jsonResult(
  results: readonly JobResult[],
  samples: readonly Sample[],
  conditions: readonly string[],
): string {
  return `${JSON.stringify({ results, samples, conditions }, null, 2)}\n`;
}

function writeResult(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw asFailure(error, path);
  }
}

function describeConditions(rounds: number, sizes: Sizes, options: BenchOptions): string[] {
  const cpu = cpus()[0]?.model ?? 'unknown processor';
  const jobs = fioJobs(sizes).map((job) => `${job.name}: ${job.flags.join(' ')}`);
  return [
    `${rounds === 1 ? 'one round' : `medians of ${rounds} interleaved rounds`}; Linux ${release()}, Node ${process.version}, ${cpus().length} x ${cpu}`,
    options.volume === undefined
      ? `volume: ${options.nodes} nodes on one disk, parity ${options.parity}`
      : `volume: ${options.volume}`,
    canDropCaches() ? 'cold: caches dropped before' : 'cold: not root, so caches could not be dropped',
    'the ratio is to the plain directory; with one node dead, to the same read of the healthy volume',
    `fio with ${COMMON_FLAGS.join(' ')}, the same for every directory:`,
    ...jobs,
    `small files: ${sizes.files} in directories of 200; not synced`,
  ];
}
