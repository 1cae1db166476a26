/**
 * `npm run sim`: runs one seed or many, and tells in one command how to see a failure again.
 *
 * The only part of the simulator that deals with the real machine: arguments, output, worker processes, and the wall clock for the speed it reports.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { Defect } from './defects/defect.ts';
import { defectNamed, defects } from './defects/defects.ts';
import { Histogram } from './histogram.ts';
import { describeFault } from './run/fault.ts';
import { type PlannedFault, type RunOptions, type RunResult, simulate } from './run/run.ts';
import { type Scenario, scenarioNamed, scenarioOf, scenarios } from './run/scenario.ts';
import { shrink } from './run/shrink.ts';
import { simulatedVersion } from './version.ts';

export const simulatorExit = { ok: 0, usage: 2, crash: 10, liveness: 11, correctness: 12 } as const;

const MAX_SHRINK_RUNS = 60;

const HELP = `npm run sim -- [options]

  --seed N         run this seed (default 1)
  --seeds N        run N seeds, from --seed on; stop at the first failure
  --scenario S     one of those below; without it, seeds go round all of them
  --steps K        stop after K events
  --phases P       phases of load and check (default 2)
  --keep I,J,...   only these faults of the seed's schedule, or none, as a shrunk failure names them
  --defect D       plant a deliberate defect, one of those below
  --trace          one line for each event
  --no-shrink      do not look for the smallest schedule that fails
  --jobs J         processes for --seeds (default 1)

Exit codes: ${simulatorExit.ok} all well, ${simulatorExit.usage} wrong arguments, ${simulatorExit.crash} crash (an exception or assertion), ${simulatorExit.liveness} liveness (something that
must come did not come), ${simulatorExit.correctness} correctness (a promise was broken).

Scenarios:
${scenarios.map(({ name, about }) => `  ${name.padEnd(12)} ${about}`).join('\n')}

Defects:
${defects.map(({ name, about }) => `  ${name.padEnd(24)} ${about}`).join('\n')}
`;

interface Arguments {
  readonly seed: number;
  readonly seeds: number | undefined;
  readonly scenario: Scenario | undefined;
  readonly steps: number | undefined;
  readonly phases: number | undefined;
  readonly keep: ReadonlySet<number> | undefined;
  readonly defect: Defect | undefined;
  readonly trace: boolean;
  readonly shrink: boolean;
  readonly jobs: number;
}

export async function runCommand(argv: readonly string[]): Promise<number> {
  const parsed = parse(argv);
  if (typeof parsed === 'string') {
    const usage = parsed !== HELP;
    (usage ? process.stderr : process.stdout).write(parsed);
    return usage ? simulatorExit.usage : simulatorExit.ok;
  }
  if (parsed.seeds === undefined) return runOne(parsed, parsed.seed, true);
  return parsed.jobs > 1 ? runInProcesses(parsed, parsed.seeds, argv) : runMany(parsed, parsed.seeds);
}

/** A text instead of arguments: to be shown. */
function parse(argv: readonly string[]): Arguments | string {
  const number = { type: 'string' } as const;
  const flag = { type: 'boolean', default: false } as const;
  let values: ReturnType<typeof read>;
  const read = () =>
    parseArgs({
      args: [...argv],
      options: {
        seed: number,
        seeds: number,
        scenario: { type: 'string' },
        steps: number,
        phases: number,
        keep: { type: 'string' },
        defect: { type: 'string' },
        trace: flag,
        'no-shrink': flag,
        jobs: number,
        help: flag,
      },
    }).values;
  try {
    values = read();
  } catch (error) {
    return `sim: ${error instanceof Error ? error.message : String(error)}\n`;
  }
  if (values.help) return HELP;
  const scenario = values.scenario === undefined ? undefined : scenarioNamed(values.scenario);
  if (values.scenario !== undefined && scenario === undefined) {
    return `sim: there is no scenario ${values.scenario}; there are ${scenarios.map(({ name }) => name).join(', ')}\n`;
  }
  const defect = values.defect === undefined ? undefined : defectNamed(values.defect);
  if (values.defect !== undefined && defect === undefined)
    return `sim: there is no defect ${values.defect}\n`;
  const numbers = [values.seed, values.seeds, values.steps, values.phases, values.jobs];
  if (numbers.some((text) => text !== undefined && !/^\d{1,9}$/.test(text))) {
    return 'sim: --seed, --seeds, --steps, --phases and --jobs take a number\n';
  }
  const optional = (text: string | undefined): number | undefined =>
    text === undefined ? undefined : Number(text);
  return {
    seed: optional(values.seed) ?? 1,
    seeds: optional(values.seeds),
    scenario,
    steps: optional(values.steps),
    phases: optional(values.phases),
    keep:
      values.keep === undefined
        ? undefined
        : new Set(
            values.keep
              .split(',')
              .filter((part) => part !== 'none')
              .map(Number),
          ),
    defect,
    trace: values.trace,
    shrink: !values['no-shrink'],
    jobs: optional(values.jobs) ?? 1,
  };
}

/** By this process so far. */
let simulatedMs = 0;
const gaps = new Histogram();

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function optionsOf(args: Arguments, seed: number): RunOptions {
  const { steps, phases, keep, defect } = args;
  return {
    seed,
    scenario: args.scenario ?? scenarioOf(seed),
    ...(steps === undefined ? {} : { maxEvents: steps }),
    ...(phases === undefined ? {} : { phases }),
    ...(defect === undefined ? {} : { defect }),
    ...(keep === undefined ? {} : { keepFaults: (index: number) => keep.has(index) }),
  };
}

async function runOne(args: Arguments, seed: number, aloud: boolean): Promise<number> {
  const options = optionsOf(args, seed);
  if (aloud) say(`seed ${seed}, scenario ${options.scenario.name}, ${simulatedVersion()}`);
  const startMs = performance.now();
  const result = await simulate(
    args.trace
      ? {
          ...options,
          trace: (atMs, what, fields) =>
            say(
              `${atMs.toFixed(3).padStart(12)} ${what}${fields === undefined ? '' : ` ${JSON.stringify(fields)}`}`,
            ),
        }
      : options,
  );
  const realMs = performance.now() - startMs;
  simulatedMs += result.virtualMs;
  gaps.merge(result.gaps);
  if (aloud || result.failure !== undefined) sayResult(seed, options.scenario, result, realMs);
  if (aloud) sayGaps();
  if (result.failure === undefined) return simulatorExit.ok;
  await explainFailure(args, options, result);
  return simulatorExit[result.failure.kind];
}

function sayResult(seed: number, scenario: Scenario, result: RunResult, realMs: number): void {
  const { shape, virtualMs, events, operations, hash, longestOperationMs, finished } = result;
  const { nodes, dataFragments, parityFragments, oneMachine } = shape;
  const where = oneMachine ? 'one machine' : 'a machine each';
  say(
    `seed ${seed} ${scenario.name}: ${nodes} nodes (${where}), ${dataFragments}+${parityFragments}, trace ${hash}`,
  );
  say(
    `  ${(virtualMs / 1000).toFixed(1)} s in ${(realMs / 1000).toFixed(2)} s (${(virtualMs / realMs).toFixed(1)} times real time), ${events} events, ` +
      `${operations} operations, the longest ${longestOperationMs.toFixed(0)} ms${finished ? '' : ', not finished'}`,
  );
}

/** Of everything that this process ran. */
function sayGaps(): void {
  if (gaps.count === 0) return;
  say(
    `gaps between two writes: ${gaps.count}, half of them at most ${gaps.medianMs} ms, the longest ${gaps.longestMs.toFixed(0)} ms`,
  );
  for (const line of gaps.lines()) say(line);
}

async function explainFailure(args: Arguments, options: RunOptions, result: RunResult): Promise<void> {
  const { failure } = result;
  if (failure === undefined) return;
  say(
    `FAILED (${failure.kind}) at ${failure.atMs.toFixed(3)} ms: ${failure.error.stack ?? failure.error.message}`,
  );
  let { faults } = result;
  if (args.shrink) {
    faults = await shrink(
      result.faults,
      async (part) => {
        const kept = new Set(part.map((fault) => fault.index));
        const again = await simulate({ ...options, keepFaults: (index) => kept.has(index) });
        return again.failure?.kind === failure.kind;
      },
      MAX_SHRINK_RUNS,
    );
    say(`${faults.length} of ${result.faults.length} faults suffice:`);
  } else say(`${faults.length} faults:`);
  for (const fault of faults) say(`  phase ${fault.phase + 1} ${describeFault(fault)}`);
  say(`replay: ${replayCommand(args, options, faults)}`);
}

function replayCommand(args: Arguments, options: RunOptions, faults: readonly PlannedFault[]): string {
  const parts = ['npm run sim --', `--seed ${options.seed}`, `--scenario ${options.scenario.name}`];
  if (args.phases !== undefined) parts.push(`--phases ${args.phases}`);
  if (args.defect !== undefined) parts.push(`--defect ${args.defect.name}`);
  if (args.steps !== undefined) parts.push(`--steps ${args.steps}`);
  if (args.shrink || args.keep !== undefined)
    parts.push(`--keep ${faults.map(({ index }) => index).join(',') || 'none'}`);
  return [...parts, '--no-shrink --trace'].join(' ');
}

async function runMany(args: Arguments, count: number): Promise<number> {
  say(`seeds ${args.seed} to ${args.seed + count - 1}, ${simulatedVersion()}`);
  const startMs = performance.now();
  const before = simulatedMs;
  for (let seed = args.seed; seed < args.seed + count; seed++) {
    const code = await runOne(args, seed, false);
    if (code !== simulatorExit.ok) return code;
  }
  const { user, system } = process.cpuUsage();
  const ratio = (simulatedMs - before) / ((user + system) / 1000);
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  say(`${count} seeds passed in ${seconds} s; ${ratio.toFixed(1)} s of virtual time in a second of one core`);
  sayGaps();
  return simulatorExit.ok;
}

/** Each process takes a run of seeds; the first failure ends the others. */
async function runInProcesses(args: Arguments, count: number, argv: readonly string[]): Promise<number> {
  const share = Math.ceil(count / args.jobs);
  const children = Array.from({ length: Math.ceil(count / share) }, (_, index) => {
    const first = args.seed + index * share;
    const seeds = Math.min(share, args.seed + count - first);
    const own = ['--seed', String(first), '--seeds', String(seeds), '--jobs', '1'];
    // The last of an option that is given twice counts.
    return fork(fileURLToPath(new URL('main.js', import.meta.url)), [...argv, ...own], { stdio: 'inherit' });
  });
  const codes = await Promise.all(
    children.map(
      (child) =>
        new Promise<number>((resolve) => {
          child.on('exit', (code) => {
            if (code !== null && code !== 0) for (const other of children) if (other !== child) other.kill();
            // Killed because another one failed: that one's code counts.
            resolve(code ?? simulatorExit.ok);
          });
        }),
    ),
  );
  return codes.find((code) => code !== simulatorExit.ok) ?? simulatorExit.ok;
}
