/**
 * A volume for one test: real processes and a real mount, made by the built command in a directory of its own, and taken away
 * whatever the test did to it.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { StatusReport } from '../../../src/cli/status/status-report.ts';

export const tartanCommand = fileURLToPath(new URL('../../../bin/tartan.js', import.meta.url));
/** For what hangs: on a busy machine the longest ones take ten times as long as on an idle one. */
export const COMMAND_TIMEOUT_MS = 240_000;
/** What does not come true in this time never will: for expect.poll, and for `tartan wait --timeout`. */
export const PATIENT = { timeout: 180_000 };
export const WAIT = '180s';
const LOOK_MS = 20;
const CALM_LOOKS = 3;

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** kill -9 of a process that has to be there: process 0 would be the whole test run. */
export function killProcess(pid: number | null | undefined): void {
  if (typeof pid !== 'number' || pid <= 1) throw new Error(`there is no process ${pid} to kill`);
  process.kill(pid, 'SIGKILL');
}

function pause(durationMs: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, durationMs);
}

/** Runs `tartan`. */
export function tartan(...args: string[]): Outcome {
  const { status, stdout, stderr } = spawnSync(process.execPath, [tartanCommand, ...args], {
    encoding: 'utf8',
    timeout: COMMAND_TIMEOUT_MS,
  });
  return { status, stdout, stderr };
}

export interface VolumeShape {
  readonly nodes?: number;
  readonly parity?: number;
  readonly capacity?: string;
  /** Where state and mount lie: side by side, or where the command puts them for a user whose home is `home`. */
  readonly at?: 'home';
}

export class TestVolume {
  readonly base: string;
  readonly state: string;
  readonly mountPoint: string;
  readonly #shape: VolumeShape;

  constructor(shape: VolumeShape = {}) {
    this.#shape = shape;
    this.base = mkdtempSync('/var/tmp/tartan-e2e-');
    this.state = join(this.base, shape.at === 'home' ? 'home/.local/share/tartan/tartan' : 'state');
    this.mountPoint = join(this.base, shape.at === 'home' ? 'home/tartan' : 'mnt');
  }

  static up(shape: VolumeShape = {}): TestVolume {
    const volume = new TestVolume(shape);
    try {
      volume.up();
    } catch (error) {
      volume.destroy();
      throw error;
    }
    return volume;
  }

  path(...parts: string[]): string {
    return join(this.mountPoint, ...parts);
  }

  /** Throws unless the command succeeds. */
  run(...args: string[]): string {
    const outcome = this.try(...args);
    if (outcome.status !== 0) {
      throw new Error(
        `tartan ${args.join(' ')} ended with ${outcome.status}: ${outcome.stderr}${this.logs()}`,
      );
    }
    return outcome.stdout;
  }

  try(...args: string[]): Outcome {
    return tartan(...args, '--dir', this.state);
  }

  up(...args: string[]): string {
    const { nodes, parity, capacity } = this.#shape;
    const shape = [
      ...(nodes === undefined ? [] : ['--nodes', String(nodes)]),
      ...(parity === undefined ? [] : ['--parity', String(parity)]),
      ...(capacity === undefined ? [] : ['--capacity', capacity]),
    ];
    return this.run('up', this.mountPoint, ...shape, ...args);
  }

  status(): StatusReport {
    return JSON.parse(this.try('status', '--json').stdout) as StatusReport;
  }

  /** The mount has its own link to a node that was just started, and compares what the node holds, before it says so. */
  async untilHealthy(): Promise<void> {
    const endMs = performance.now() + PATIENT.timeout;
    for (;;) {
      const { health, reason } = this.status();
      if (health === 'healthy') return;
      if (performance.now() > endMs) throw new Error(`still ${health}: ${reason}`);
      await sleep(LOOK_MS);
    }
  }

  nodePid(id: number): number {
    const pid = this.status().nodes.find((node) => node.id === id)?.pid;
    if (typeof pid !== 'number') throw new Error(`node ${id} is not running`);
    return pid;
  }

  /** Every process of the volume, also those that no supervisor knows. */
  pids(): number[] {
    const run = join(this.state, 'run');
    const pids: number[] = [];
    for (const name of listIfThere(run)) {
      if (!name.endsWith('.pid')) continue;
      const { pid } = JSON.parse(readFileSync(join(run, name), 'utf8')) as { pid: number };
      if (isOurs(pid, this.state)) pids.push(pid);
    }
    return pids;
  }

  /** As a power cut would: nobody gets to say a word. */
  killEverything(): void {
    for (const pid of this.pids()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        // It may have ended because another one did.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
  }

  /** Empties the kernel's caches, so that reads go to the nodes. */
  dropCaches(): void {
    execFileSync('sync', ['-f', this.mountPoint]);
    writeFileSync('/proc/sys/vm/drop_caches', '3');
  }

  logs(): string {
    const directory = join(this.state, 'logs');
    const tail = (name: string): string =>
      readFileSync(join(directory, name), 'utf8').split('\n').slice(-25).join('\n');
    return listIfThere(directory)
      .map((name) => `\n--- ${name}\n${tail(name)}`)
      .join('');
  }

  /** Shows the logs of a test that failed, since they go away with it. Nothing is to stay, so nothing has to end in an orderly way. */
  destroy(context?: { readonly task: { readonly result?: { readonly state: string } } }): void {
    if (context?.task.result?.state === 'fail') process.stdout.write(`${this.logs()}\n`);
    // A supervisor may be starting something, and a mount a supervisor.
    for (let calm = 0; calm < CALM_LOOKS; calm = this.pids().length === 0 ? calm + 1 : 0) {
      this.killEverything();
      pause(LOOK_MS);
    }
    spawnSync('umount', ['-l', this.mountPoint], { stdio: 'ignore' });
    rmSync(this.base, { recursive: true, force: true });
  }
}

function listIfThere(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** The number may belong to another process by now: only one that has our directory on its log or command line is killed. */
function isOurs(pid: number, state: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8') !== '' && usesDirectory(pid, state);
  } catch {
    return false;
  }
}

function usesDirectory(pid: number, state: string): boolean {
  return readlinkSync(`/proc/${pid}/fd/2`).startsWith(state);
}
