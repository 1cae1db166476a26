#!/usr/bin/env node
/**
 * The simulator's program. For many seeds it runs in a process of its own whose engine is told what long runs of simulated processes are like, which
 * it finds out too late by itself.
 */
import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { runCommand } from './command.ts';

const ENGINE_OPTIONS = [
  // Runs keep some 30 MB and drop hundreds: half of the collections of all memory find nothing that would not have gone later.
  '--initial-heap-size=512',
  // Most of what is compiled once more after the first seconds does not pay for its compilation. Later versions have a cheaper compiler, and not this option.
  ...(process.versions.node.startsWith('20.') ? ['--interrupt-budget=400000'] : []),
];

const argv = process.argv.slice(2);
const isTuned = ENGINE_OPTIONS.every((option) => process.execArgv.includes(option));
if (isTuned || !argv.includes('--seeds')) {
  // A run must not outlive the command that it belongs to.
  process.on('disconnect', () => process.exit(1));
  process.channel?.unref();
  process.exitCode = await runCommand(argv);
} else {
  const execArgv = [...process.execArgv, ...ENGINE_OPTIONS];
  const child = fork(fileURLToPath(import.meta.url), argv, { execArgv, stdio: 'inherit' });
  process.exitCode = await new Promise((resolve) => child.on('exit', (code) => resolve(code ?? 1)));
}
