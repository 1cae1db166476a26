/** CPU time and memory of processes, from /proc. */
import { readFileSync, writeFileSync } from 'node:fs';
import { systemCode } from '../failure.ts';

/** Clock ticks a second that /proc counts in: fixed at 100 for user space on Linux. */
const TICKS_PER_SECOND = 100;
const KIB = 1024;

export interface Usage {
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function peakBytes(pid: number): number {
  const match = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * KIB;
}

/** Starts measuring. The returned function tells what was used since; a process that ended meanwhile counts nothing. */
export function measureUsage(pid: number): () => Usage {
  let before = 0;
  ifAlive(() => {
    // 5: resets the peak.
    writeFileSync(`/proc/${pid}/clear_refs`, '5');
    before = cpuSeconds(pid);
  });
  return () => {
    let usage: Usage = { cpuSeconds: 0, peakBytes: 0 };
    ifAlive(() => {
      usage = { cpuSeconds: cpuSeconds(pid) - before, peakBytes: peakBytes(pid) };
    });
    return usage;
  };
}

function ifAlive(look: () => void): void {
  try {
    look();
  } catch (error) {
    const code = systemCode(error);
    if (code !== 'ENOENT' && code !== 'ESRCH') throw error;
  }
}
