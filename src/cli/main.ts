/**
 * The `tartan` command: parses arguments, runs one command, and turns how it ended into an exit code and at most one line on
 * standard error. `tartan fsck` ends with the codes of fsck(8). Run as `mount.tartan` (a link to it in /sbin) it is mount(8)'s helper.
 */
import { basename } from 'node:path';
import { CommanderError } from 'commander';
import { fsckExitCode } from './commands/fsck.ts';
import { runMountHelper } from './commands/mount-helper.ts';
import { CommandFailure, exitCodes } from './failure.ts';
import { buildProgram } from './program.ts';

const debug = process.argv.includes('--debug');

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  const expected = error instanceof CommandFailure;
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`tartan: ${expected ? message : `unexpected: ${message}`}\n`);
  if (debug && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
    if (error.cause instanceof Error) process.stderr.write(`caused by ${error.cause.stack}\n`);
  } else if (!expected) {
    process.stderr.write('tartan: run it again with --debug to see where\n');
  }
  return expected ? error.exitCode : exitCodes.internal;
}

// A reader that goes away (`tartan status | head -1`) ends the command quietly.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(exitCodes.ok);
});

async function main(): Promise<void> {
  // Timers and child processes of ours do not keep a process alive: a command under way does.
  const awake = setInterval(() => {}, 2 ** 30);
  try {
    if (basename(process.argv[1] ?? '') === 'mount.tartan')
      process.exitCode = await runMountHelper(process.argv.slice(2));
    else await buildProgram().parseAsync(process.argv);
  } catch (error) {
    const exitCode = report(error);
    process.exitCode = process.argv[2] === 'fsck' ? fsckExitCode(exitCode) : exitCode;
  } finally {
    clearInterval(awake);
  }
}

void main();
