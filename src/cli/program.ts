/** All commands, as users see them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { packageDirectory } from '../platform/package-directory.ts';
import { addBenchCommand } from './commands/bench.ts';
import { addDownCommand } from './commands/down.ts';
import { addExplainCommand } from './commands/explain.ts';
import { addFsckCommand } from './commands/fsck.ts';
import { addMountCommands } from './commands/mount.ts';
import { addNodeCommands } from './commands/node.ts';
import { addPlanCommand } from './commands/plan.ts';
import { addStatusCommand } from './commands/status.ts';
import { addUpCommand } from './commands/up.ts';
import { addUpkeepCommands } from './commands/upkeep.ts';

function packageVersion(): string {
  const text = readFileSync(join(packageDirectory, 'package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

export function buildProgram(): Command {
  const program = new Command('tartan')
    .description('One directory, woven from many disks.')
    .version(packageVersion(), '--version', 'print the version')
    .helpOption('--help', 'print help')
    .option('--debug', 'print where an error came from')
    .configureOutput({ outputError: sayWrongUse })
    .showHelpAfterError('(tartan --help lists the commands)')
    .exitOverride();
  addUpCommand(program);
  addDownCommand(program);
  addStatusCommand(program);
  addMountCommands(program);
  addNodeCommands(program);
  addExplainCommand(program);
  addFsckCommand(program);
  addPlanCommand(program);
  addUpkeepCommands(program);
  addBenchCommand(program);
  inheritSettings(program, 'tartan');
  return program;
}

/** The parser's complaints begin as all others do. */
function sayWrongUse(text: string, write: (text: string) => void): void {
  write(text.replace(/^error:/, 'tartan:'));
}

/** Sub-commands made by `command()` copy these settings at the time they are made; state them for all depths. */
function inheritSettings(command: Command, path: string): void {
  for (const child of command.commands) {
    const childPath = `${path} ${child.name()}`;
    child
      .exitOverride()
      .helpOption('--help', 'print help')
      .option('--debug', 'print where an error came from')
      .configureOutput({ outputError: sayWrongUse })
      .showHelpAfterError(`(${childPath} --help says what it takes)`);
    inheritSettings(child, childPath);
  }
}
