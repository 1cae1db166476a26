/**
 * Runs a command in the time that nothing else wants: of lowest priority, in a session of its own, since where sessions share the processors in equal
 * parts (autogroup, sched(7)) a priority counts among the processes of one session only. It ends with this process.
 */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { constants, setPriority } from 'node:os';

const EXIT_INTERRUPTED = 130;
const running = new Set();

process.on('exit', () => {
  for (const pid of running) {
    try {
      process.kill(-pid, 'SIGKILL');
    } catch (error) {
      // It has just ended by itself.
      if (error.code !== 'ESRCH') throw error;
    }
  }
});
// A terminal's Ctrl-C does not reach another session.
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(EXIT_INTERRUPTED));

/** Resolves with its exit status (or what kept it from running) and all that it printed. */
export function runInIdleTime(command, args, options) {
  const child = spawn(command, args, { ...options, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const { pid } = child;
  if (pid !== undefined) {
    running.add(pid);
    yieldToOthers(pid);
  }
  return new Promise((resolve) => {
    const finish = (status) => {
      running.delete(pid);
      resolve({ status, output });
    };
    child.once('error', (error) => finish(error.message));
    child.once('close', (code, signal) => finish(code ?? signal));
  });
}

function yieldToOthers(pid) {
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
    writeFileSync(`/proc/${pid}/autogroup`, `${constants.priority.PRIORITY_LOW}`);
  } catch {
    // It has ended already, or this kernel does without autogroups: then it gets more of the processors than it should.
  }
}
