/**
 * Pid files: how a process that was started by a supervisor which is gone is found again, and only it. A pid alone is
 * not enough, since numbers are reused: the start time from /proc and the boot's id are compared, too.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { assert } from '../../base/assert.ts';
import type { Logger } from '../../platform/platform.ts';
import { systemCode } from '../failure.ts';

export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks since boot when it started: field 22 of /proc/PID/stat. */
  readonly startTicks: number;
  readonly bootId: string;
}

let cachedBootId: string | undefined;
function bootId(): string {
  cachedBootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return cachedBootId;
}

/** PF_EXITING of the kernel's task flags, and SIGKILL among the pending signals. */
const EXITING = 0x4;
const KILLED = 1 << 8;

/** What /proc/PID/stat says of a process; undefined if there is none. */
function readStat(pid: number): { state: string; startTicks: number; isEnding: boolean } | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
  // The command name in parentheses may hold spaces: count the fields behind its end. The state is field 3.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const isEnding = (Number(fields[6]) & EXITING) !== 0 || (Number(fields[28]) & KILLED) !== 0;
  return { state: fields[0] ?? '', startTicks: Number(fields[19]), isEnding };
}

export function identityOf(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  return stat === undefined || stat.state === 'Z' || stat.state === 'X'
    ? undefined
    : { pid, startTicks: stat.startTicks, bootId: bootId() };
}

/** A zombie counts as dead: nobody may be left to reap it. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = identityOf(identity.pid);
  return now !== undefined && now.startTicks === identity.startTicks && identity.bootId === bootId();
}

/** It was killed, and will be gone as soon as the kernel has taken it apart. */
export function isEnding(identity: ProcessIdentity): boolean {
  return readStat(identity.pid)?.isEnding === true;
}

export function isStopped(identity: ProcessIdentity): boolean {
  const state = readStat(identity.pid)?.state;
  return state === 'T' || state === 't';
}

export function writeProcessFile(path: string, identity: ProcessIdentity): void {
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, `${JSON.stringify(identity)}\n`);
  renameSync(draft, path);
}

/** The live process that the pid file names. A file that is unreadable or of another boot names none. */
export function liveProcess(path: string): ProcessIdentity | undefined {
  const identity = readIdentity(path);
  return identity !== undefined && isAlive(identity) ? identity : undefined;
}

function readIdentity(path: string): ProcessIdentity | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  return parseIdentity(text);
}

function parseIdentity(text: string): ProcessIdentity | undefined {
  try {
    const value = JSON.parse(text) as Partial<ProcessIdentity>;
    if (!Number.isInteger(value.pid) || !Number.isInteger(value.startTicks)) return undefined;
    return typeof value.bootId === 'string' ? (value as ProcessIdentity) : undefined;
  } catch (error) {
    // A machine that lost power may leave an empty file behind: it names no live process.
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function removeProcessFile(path: string): void {
  rmSync(path, { force: true });
}

/** How long a live process may be without a file that names it. */
export const KEEP_INTERVAL_MS = 500;

/**
 * Names this process in the file for as long as it lives. A supervisor that ends while it starts this one leaves no file, and one that starts another in vain
 * because this holds the lock leaves the other's: a process that nobody finds could neither be used nor ended. Returns what ends it and removes the file.
 */
export function keepProcessFile(path: string, log: Logger): () => void {
  const identity = identityOf(process.pid);
  assert(identity !== undefined, 'this process lives');
  const look = (): void => {
    const named = readIdentity(path);
    if (named?.pid !== identity.pid || named.startTicks !== identity.startTicks) {
      writeProcessFile(path, identity);
    }
  };
  look();
  const lookAgain = (): void => {
    try {
      look();
    } catch (error) {
      // The disk may be full, which is no reason to end.
      log.warn('process-file-not-written', { path, error: String(error) });
    }
  };
  const timer = setInterval(lookAgain, KEEP_INTERVAL_MS);
  timer.unref();
  return () => {
    clearInterval(timer);
    removeProcessFile(path);
  };
}

/** False if the process was gone already. */
export function signal(identity: ProcessIdentity, name: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, name);
    return true;
  } catch (error) {
    if (systemCode(error) === 'ESRCH') return false;
    throw error;
  }
}

/** Resolves true when the process is gone, false after `timeoutMs`. */
export async function waitForEnd(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (isAlive(identity)) {
    if (performance.now() >= deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return true;
}
