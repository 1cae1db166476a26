/**
 * Mounts the model in a process of its own, and sees to it that no mount and no process outlives a test, also a failed one.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { build } from 'rolldown';
import { mountAt } from '../../src/fuse/mount-table.ts';
import type { ServerOptions } from './fuse-server.ts';

const run = promisify(execFile);
/** As deep in the checkout as sources are, for what is found relative to them. */
const bundle = join(import.meta.dirname, '../../dist/.e2e/fuse/server.mjs');
const running = new Set<Server>();
const made = new Set<string>();

export interface Server {
  readonly mountPoint: string;
  readonly process: ChildProcess;
  /** The next line that it prints. */
  line(): Promise<string>;
}

/** Once for all files (support/machine.ts): they run at the same time. */
export async function buildServer(): Promise<void> {
  await build({
    input: join(import.meta.dirname, 'fuse-server.ts'),
    platform: 'node',
    external: [/^[^./]/],
    output: { file: bundle, format: 'esm' },
    logLevel: 'warn',
  });
}

/** A fresh directory that every user may enter. */
export function makeMountPoint(): string {
  const directory = mkdtempSync(join(tmpdir(), 'tartan-fuse-'));
  const mountPoint = join(directory, 'mnt');
  mkdirSync(mountPoint);
  made.add(directory);
  return mountPoint;
}

/** Starts a server; its first line tells what came of it. `prefix`: a command to run it under. */
export function startServer(options: ServerOptions, prefix: readonly string[] = []): Server {
  const [command, ...args] = [...prefix, process.execPath, bundle, JSON.stringify(options)];
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const server: Server = {
    mountPoint: options.mountPoint,
    process: child,
    line: async () => (await lines.next()).value ?? 'exited',
  };
  running.add(server);
  return server;
}

export async function mountModel(
  variant: ServerOptions['variant'],
  mountPoint = makeMountPoint(),
): Promise<Server> {
  const server = startServer({ mountPoint, variant });
  const line = await server.line();
  if (line !== 'mounted') throw new Error(`the model is not mounted: ${line}`);
  return server;
}

export async function kill(server: Server, signal: NodeJS.Signals): Promise<void> {
  if (server.process.exitCode !== null || server.process.signalCode !== null) return;
  const exited = once(server.process, 'exit');
  server.process.kill(signal);
  await exited;
}

/** For afterEach or afterAll: nothing stays behind. */
export async function cleanUp(): Promise<void> {
  for (const server of running) {
    await kill(server, 'SIGKILL');
    while (mountAt(server.mountPoint) !== undefined) await run('umount', ['-l', server.mountPoint]);
  }
  running.clear();
  for (const directory of made) rmSync(directory, { recursive: true });
  made.clear();
}

/** Runs a program in Python, for system calls that Node lacks; what it prints. */
export async function python(program: string, ...args: string[]): Promise<string> {
  const { stdout } = await run('python3', ['-c', program, ...args]);
  return stdout.trim();
}

export async function shell(command: string, cwd: string): Promise<string> {
  const { stdout } = await run('bash', ['-euc', command], { cwd });
  return stdout.trim();
}
