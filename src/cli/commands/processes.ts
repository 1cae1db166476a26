/**
 * The hidden commands that are the processes of a volume, and `tartan node run`, for people who run nodes by hand. Each is loaded only
 * where it runs: a process holds no code of the others.
 */
import type { Command } from 'commander';
import type { MountSettings } from '../supervisor/control-messages.ts';
import { type VolumeLayout, volumeLayout } from '../volume/volume-layout.ts';
import { parseNodeId } from './node-target.ts';
import { addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

async function runNode(layout: VolumeLayout, id: number, supervised: boolean): Promise<void> {
  const { runNodeProcess } = await import('../process/node-process.ts');
  await runNodeProcess({ layout, id, supervised });
}

export function addProcessCommands(program: Command, node: Command): void {
  addVolumeOptions(node.command('run').description('run a storage node in the foreground'))
    .argument('<id>', 'number of the node')
    .action((id: string, options: VolumeOptions) =>
      runNode(existingVolume(options).layout, parseNodeId(id), false),
    );
  program
    .command('_node', { hidden: true })
    .requiredOption('--dir <directory>')
    .requiredOption('--id <id>')
    .action((options: { dir: string; id: string }) =>
      runNode(volumeLayout(options.dir), parseNodeId(options.id), true),
    );
  program
    .command('_supervisor', { hidden: true })
    .requiredOption('--dir <directory>')
    .action(async (options: { dir: string }) => {
      const { runSupervisorProcess } = await import('../process/supervisor-process.ts');
      await runSupervisorProcess(volumeLayout(options.dir));
    });
  program
    .command('_mount', { hidden: true })
    .requiredOption('--dir <directory>')
    .requiredOption('--settings <json>')
    .action(async (options: { dir: string; settings: string }) => {
      const { runMountProcess } = await import('../process/mount-process.ts');
      await runMountProcess(volumeLayout(options.dir), JSON.parse(options.settings) as MountSettings);
    });
}
