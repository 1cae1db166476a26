/** `tartan explain PATH`: which blocks of the file lie in which segments, fragments and nodes. */
import { closeSync, fsyncSync, openSync, realpathSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { MOUNT_TYPE } from '../../fuse/mount-point.ts';
import { readMountTable } from '../../fuse/mount-table.ts';
import { asFailure, CommandFailure, exitCodes } from '../failure.ts';
import { explainedRows, explanationText } from '../status/explanation.ts';
import type { Explanation } from '../supervisor/control-messages.ts';
import { attachSupervisor } from '../supervisor/supervisor-client.ts';
import { containingMount } from '../volume/containing-mount.ts';
import { commandPlatform } from './session.ts';
import { addJsonOption, volumeFromSpec } from './volume-options.ts';

export function addExplainCommand(program: Command): void {
  const command = program
    .command('explain')
    .description('show which segments, fragments and nodes the blocks of a file lie in')
    .argument('<path>', 'a file of a mounted volume');
  addJsonOption(command).action(async (path: string, options: { json?: boolean }) => {
    const explanation = await explain(path);
    const text =
      options.json === true
        ? JSON.stringify({ ...explanation, path, pieces: explainedRows(explanation) }, null, 2)
        : explanationText(path, explanation);
    process.stdout.write(`${text}\n`);
  });
}

async function explain(path: string): Promise<Explanation> {
  const { resolved, inode } = syncedInode(path);
  const mount = containingMount(resolved, readMountTable());
  if (mount?.type !== MOUNT_TYPE) {
    throw new CommandFailure(exitCodes.usage, `${path} does not lie on a tartan volume`);
  }
  const supervisor = await attachSupervisor(commandPlatform(), volumeFromSpec(mount.source).layout);
  if (supervisor === undefined) {
    throw new CommandFailure(
      exitCodes.unavailable,
      `${mount.source} is not running; start it with \`tartan up\``,
    );
  }
  try {
    return await supervisor.run<Explanation>({ command: 'explain', inode });
  } finally {
    supervisor.close();
  }
}

/** What was written a moment ago has no place yet: make it durable first. */
function syncedInode(path: string): { resolved: string; inode: number } {
  try {
    const resolved = realpathSync(path);
    const stat = statSync(resolved);
    if (!stat.isFile()) throw new CommandFailure(exitCodes.usage, `${path} is not a regular file`);
    const descriptor = openSync(resolved, 'r');
    try {
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    return { resolved, inode: stat.ino };
  } catch (error) {
    throw asFailure(error, path);
  }
}
