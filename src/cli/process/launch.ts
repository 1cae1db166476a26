/**
 * Starts a process of a volume so that it outlives its parent: own session, output to its log file, and a pipe on which it
 * tells how far it is (startup-report.ts). Nothing else is inherited.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packageDirectory } from '../../platform/package-directory.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { rotateLog } from './log-files.ts';
import {
  identityOf,
  liveProcess,
  type ProcessIdentity,
  removeProcessFile,
  writeProcessFile,
} from './process-file.ts';
import { parseReports, REPORT_DESCRIPTOR, type StartupReport } from './startup-report.ts';

const entryPoint = join(packageDirectory, 'dist', 'tartan', 'process.cjs');

/** A volume's processes speak no TLS; where this is set, reading certificates is half of what it takes Node to start. */
const { NODE_EXTRA_CA_CERTS: _, ...environment } = process.env;

export interface LaunchOptions {
  /** Of entry.ts. */
  readonly args: readonly string[];
  /** Options of Node itself, such as memory bounds. */
  readonly nodeArgs?: readonly string[];
  /** Written here, at once, before the process itself keeps it; absent: only when it holds its lock. */
  readonly pidFile?: string;
  readonly logFile: string;
  onReport(report: StartupReport): void;
  /** The process ended; only told while this parent lives. */
  onExit(how: string): void;
}

export function launch(options: LaunchOptions): ProcessIdentity {
  mkdirSync(dirname(options.logFile), { recursive: true });
  rotateLog(options.logFile);
  const log = openSync(options.logFile, 'a');
  const child = spawn(process.execPath, [...(options.nodeArgs ?? []), entryPoint, ...options.args], {
    cwd: '/',
    env: environment,
    detached: true,
    stdio: ['ignore', log, log, 'pipe'],
  });
  closeSync(log);
  const identity = child.pid === undefined ? undefined : identityOf(child.pid);
  child.on('error', (error) => options.onExit(error.message));
  if (identity === undefined) {
    throw new CommandFailure(
      exitCodes.unavailable,
      `${options.args.join(' ')}: the process could not be started`,
    );
  }
  const { pidFile } = options;
  if (pidFile !== undefined) writeProcessFile(pidFile, identity);
  const reports = child.stdio[REPORT_DESCRIPTOR];
  if (reports !== null && reports !== undefined && 'setEncoding' in reports) {
    let pending = '';
    reports.setEncoding('utf8');
    reports.on('data', (text: string) => {
      const parsed = parseReports(pending + text);
      pending = parsed.rest;
      for (const report of parsed.reports) options.onReport(report);
    });
    // The child closing the pipe is not news: its exit is.
    reports.on('error', () => {});
    if ('unref' in reports && typeof reports.unref === 'function') reports.unref();
  }
  child.on('exit', (code, signalName) => {
    // Its successor may have written it already.
    if (pidFile !== undefined && liveProcess(pidFile) === undefined) removeProcessFile(pidFile);
    options.onExit(signalName === null ? `ended with ${code}` : `was killed by ${signalName}`);
  });
  child.unref();
  return identity;
}
