/**
 * How long an application waits when a part of the volume is lost under it: the longest gap between two operations that end, while journal
 * members, other nodes and the supervisor are killed or frozen one after the other, under load.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeProcessName } from '../../src/cli/volume/volume-layout.ts';
import { Histogram } from '../../src/simulator/histogram.ts';
import type { EventLog } from './event-log.ts';
import type { TortureVolume } from './volume.ts';

const KINDS = ['write', 'direct', 'fsync'] as const;
type Kind = (typeof KINDS)[number];
const PROMISED_MS = 2_000;
/** A fault is watched for so long before the process comes back, and after. */
const AWAY_MS = 4_000;
const BACK_MS = 2_000;
const WARM_UP_MS = 2_000;
/** Something else that works in the volume all the time. */
const LOAD = [
  '--name=load',
  '--thread',
  '--rw=randrw',
  '--bs=64k',
  '--size=64m',
  '--rate=20m,20m',
  '--time_based',
  '--runtime=1h',
];

class SteadyWriter {
  readonly kind: Kind;
  readonly gaps = new Histogram();
  readonly #child: ChildProcess;
  #lastMs = 0;
  #longestMs = 0;
  #ended = false;

  constructor(kind: Kind, directory: string) {
    this.kind = kind;
    this.#child = spawn(process.execPath, [`${import.meta.dirname}/steady.mjs`, directory, kind], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    if (this.#child.stdout === null) throw new Error('a writer without output');
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#take(Number(line)));
    this.#child.on('exit', () => {
      this.#ended = true;
    });
  }

  #take(endedMs: number): void {
    if (this.#lastMs > 0) {
      const gapMs = endedMs - this.#lastMs;
      this.gaps.add(gapMs);
      this.#longestMs = Math.max(this.#longestMs, gapMs);
    }
    this.#lastMs = endedMs;
  }

  /** Since the last call, with one that goes on. Throws if a call of the writer failed. */
  takeLongestMs(): number {
    if (this.#ended) throw new Error(`the writer (${this.kind}) ended: a call failed`);
    const openMs = this.#lastMs === 0 ? 0 : performance.timeOrigin + performance.now() - this.#lastMs;
    const longestMs = Math.max(this.#longestMs, openMs);
    this.#longestMs = 0;
    return longestMs;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

interface Step {
  readonly name: string;
  readonly node: number | undefined;
  away(): void;
  back(): Promise<unknown>;
}

function stepsFor(volume: TortureVolume, ids: readonly number[]): Step[] {
  const kill = (id: number): Step => ({
    name: 'kill',
    node: id,
    away: () => volume.signal(nodeProcessName(id), 'SIGKILL'),
    back: () => volume.run('node', 'start', String(id)),
  });
  const freeze = (id: number): Step => ({
    name: 'freeze',
    node: id,
    away: () => volume.signal(nodeProcessName(id), 'SIGSTOP'),
    back: async () => volume.signal(nodeProcessName(id), 'SIGCONT'),
  });
  const supervisor: Step = {
    name: 'kill the supervisor',
    node: undefined,
    away: () => volume.signal('supervisor', 'SIGKILL'),
    back: () => volume.run('node', 'list'),
  };
  return [...ids.map(kill), supervisor, ...ids.map(freeze)];
}

async function journalMembers(volume: TortureVolume): Promise<number[]> {
  return (await volume.status()).manager.replicas.map((replica) => replica.node);
}

/** Members of the journal change as nodes come and go. */
async function describe(step: Step, volume: TortureVolume): Promise<string> {
  if (step.node === undefined) return step.name;
  const members = await journalMembers(volume);
  return `${step.name} node ${step.node}${members.includes(step.node) ? ' (journal)' : ''}`;
}

export async function measureFailover(volume: TortureVolume, log: EventLog): Promise<void> {
  await volume.create();
  const directory = join(volume.mountPoint, 'failover');
  mkdirSync(directory);
  const writers = KINDS.map((kind) => new SteadyWriter(kind, directory));
  const load = spawn('fio', [...LOAD, `--directory=${directory}`], { stdio: 'ignore' });
  try {
    await sleep(WARM_UP_MS);
    const say = (title: string): void => {
      const gaps = writers.map((each) => `${each.kind} ${each.takeLongestMs().toFixed(0).padStart(5)} ms`);
      log.say(`${title.padEnd(28)} ${gaps.join('   ')}`);
    };
    say('longest gap without a fault');
    const members = await journalMembers(volume);
    const others = volume.nodeIds.filter((id) => !members.includes(id));
    for (const step of stepsFor(volume, [...members, ...others])) {
      const name = await describe(step, volume);
      step.away();
      await sleep(AWAY_MS);
      say(name);
      await step.back();
      await sleep(BACK_MS);
      say('  back');
    }
  } finally {
    for (const writer of writers) writer.kill();
    load.kill('SIGKILL');
  }
  let longestMs = 0;
  for (const { kind, gaps } of writers) {
    log.say(
      `${kind}: ${gaps.count} gaps, half of them at most ${gaps.medianMs} ms, longest ${gaps.longestMs.toFixed(0)} ms`,
    );
    for (const line of gaps.lines()) log.say(line);
    longestMs = Math.max(longestMs, gaps.longestMs);
  }
  await volume.run('down');
  if (longestMs > PROMISED_MS) throw new Error(`the longest gap is over ${PROMISED_MS} ms`);
}
