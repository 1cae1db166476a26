/**
 * The volume under torture: real processes and a real mount below one directory, commands that do not block this process, signals by
 * pid file, and what is left of it all in the end.
 */
import { spawn } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { liveProcess, type ProcessIdentity, signal } from '../../src/cli/process/process-file.ts';
import type { StatusReport } from '../../src/cli/status/status-report.ts';
import { nodeProcessName, type VolumeLayout, volumeLayout } from '../../src/cli/volume/volume-layout.ts';
import { readMountTable } from '../../src/fuse/mount-table.ts';
import { tartanCommand } from '../e2e/support/volume.ts';

const COMMAND_TIMEOUT_MS = 300_000;

export interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function runCommand(command: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], timeout: COMMAND_TIMEOUT_MS });
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      child[name].setEncoding('utf8').on('data', (text: string) => {
        output[name] += text;
      });
    }
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...output }));
  });
}

export interface VolumeShape {
  readonly nodes: number;
  readonly parity: number;
}

export class TortureVolume {
  readonly base: string;
  readonly mountPoint: string;
  readonly eventFile: string;
  readonly layout: VolumeLayout;
  readonly nodeIds: readonly number[];
  readonly #shape: VolumeShape;

  constructor(shape: VolumeShape) {
    this.#shape = shape;
    this.base = mkdtempSync('/var/tmp/tartan-torture-');
    this.mountPoint = join(this.base, 'mnt');
    this.eventFile = join(this.base, 'events.log');
    this.layout = volumeLayout(join(this.base, 'state'));
    this.nodeIds = Array.from({ length: shape.nodes }, (_, index) => index + 1);
  }

  tartan(...args: string[]): Promise<Outcome> {
    return runCommand(process.execPath, [tartanCommand, ...args, '--dir', this.layout.directory]);
  }

  /** Rejects unless the command succeeds. */
  async run(...args: string[]): Promise<string> {
    const { code, stdout, stderr } = await this.tartan(...args);
    if (code !== 0) throw new Error(`tartan ${args.join(' ')} ended with ${code}: ${stderr}`);
    return stdout;
  }

  create(...args: string[]): Promise<string> {
    const { nodes, parity } = this.#shape;
    return this.run('up', this.mountPoint, '--nodes', String(nodes), '--parity', String(parity), ...args);
  }

  async status(): Promise<StatusReport> {
    return JSON.parse((await this.tartan('status', '--json')).stdout) as StatusReport;
  }

  process(name: string): ProcessIdentity | undefined {
    return liveProcess(this.layout.pidFile(name));
  }

  /** False if there is no such process. */
  signal(name: string, signalName: NodeJS.Signals): boolean {
    const identity = this.process(name);
    return identity !== undefined && signal(identity, signalName);
  }

  get processNames(): readonly string[] {
    return ['supervisor', 'mount', ...this.nodeIds.map(nodeProcessName)];
  }

  killEverything(): void {
    for (const name of this.processNames) this.signal(name, 'SIGKILL');
  }

  /** Processes whose output goes to the volume's logs or who were started with its directory, whatever their pid files say. */
  strayProcesses(): { readonly pid: number; readonly command: string }[] {
    const found: { pid: number; command: string }[] = [];
    for (const name of readdirSync('/proc')) {
      const pid = Number(name);
      if (!Number.isInteger(pid) || pid === process.pid) continue;
      const command = commandOf(pid);
      if (command?.includes(this.base)) found.push({ pid, command });
    }
    return found;
  }

  mounts(): string[] {
    return readMountTable()
      .map((entry) => entry.mountPoint)
      .filter((path) => path.startsWith(this.base));
  }

  /** Ends everything, however bad it looks. Logs survive if `keepLogs` says where. */
  /** The last lines of a process's log, for a report on a machine whose files are gone later. */
  logTail(name: string, lines: number): string {
    const path = join(this.layout.logDirectory, `${name}.log`);
    if (!existsSync(path)) return '';
    return readFileSync(path, 'utf8').split('\n').slice(-lines).join('\n');
  }

  async destroy(keepLogs: string | undefined): Promise<void> {
    for (const name of this.processNames) this.signal(name, 'SIGCONT');
    await this.tartan('down', '--force');
    for (const { pid } of this.strayProcesses()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
    for (const path of this.mounts()) await runCommand('umount', ['-l', path]);
    if (keepLogs !== undefined) {
      mkdirSync(dirname(keepLogs), { recursive: true });
      cpSync(this.layout.logDirectory, keepLogs, { recursive: true });
      cpSync(this.eventFile, join(keepLogs, 'events.log'));
    }
    rmSync(this.base, { recursive: true, force: true });
  }
}

/** undefined for what has ended, or belongs to the kernel. */
function commandOf(pid: number): string | undefined {
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
    return command === '' ? undefined : `${command} > ${readlinkSync(`/proc/${pid}/fd/2`)}`;
  } catch {
    return undefined;
  }
}
