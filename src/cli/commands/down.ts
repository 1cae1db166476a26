/** `tartan down`: everything written is made durable, the mount goes, every process of the volume ends. */
import type { Command } from 'commander';
import { MOUNT_TYPE } from '../../fuse/mount-point.ts';
import { readMountTable } from '../../fuse/mount-table.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { liveProcess, waitForEnd } from '../process/process-file.ts';
import { MountBusy } from '../supervisor/control-service.ts';
import { attachSupervisor } from '../supervisor/supervisor-client.ts';
import { type Steps, silentSteps, terminalSteps } from '../terminal/steps.ts';
import { detachMount } from '../volume/mount-point.ts';
import { mountSource } from '../volume/mount-source.ts';
import { mountUsers } from '../volume/mount-users.ts';
import { readVolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { commandPlatform } from './session.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

interface DownOptions extends VolumeOptions {
  readonly force?: boolean;
}

const USERS_SHOWN = 5;
const SUPERVISOR_END_TIMEOUT_MS = 5_000;

export function addDownCommand(program: Command): void {
  const command = program
    .command('down')
    .description('write everything out, unmount, and stop all processes of the volume')
    .option('--force', 'unmount also while files are in use');
  addJsonOption(addVolumeOptions(command)).action(async (options: DownOptions) => {
    const { layout } = existingVolume(options);
    const steps = options.json === true ? silentSteps : terminalSteps(process.stderr);
    await bringDown(layout, options.force === true, steps);
    if (options.json === true) process.stdout.write(`${JSON.stringify({ running: false })}\n`);
  });
}

export async function bringDown(layout: VolumeLayout, force: boolean, steps: Steps): Promise<void> {
  const volume = readVolumeFile(layout);
  const step = steps.begin('down');
  const supervisor = await attachSupervisor(commandPlatform(), layout);
  if (supervisor !== undefined) {
    step.update('writing everything out');
    try {
      await supervisor.run({ command: 'shut-down', lazy: force });
    } catch (error) {
      if (error instanceof MountBusy) throw busyFailure(error.message);
      throw error;
    } finally {
      supervisor.close();
    }
    const last = liveProcess(layout.pidFile('supervisor'));
    if (last !== undefined) await waitForEnd(last, SUPERVISOR_END_TIMEOUT_MS);
  }
  // What a mount process that was killed left in the tree.
  const source = mountSource(volume.name, layout);
  for (const mount of readMountTable()) {
    if (mount.type === MOUNT_TYPE && mount.source === source) detachMount(mount.mountPoint);
  }
  step.done(supervisor === undefined ? `${volume.name} was not running` : `${volume.name} is stopped`);
}

/** Names who uses the mount point. */
export function busyFailure(mountPoint: string): CommandFailure {
  const users = mountUsers(mountPoint);
  const names = users.slice(0, USERS_SHOWN).map((user) => `${user.command} (${user.pid}) at ${user.path}`);
  if (users.length > USERS_SHOWN) names.push(`${users.length - USERS_SHOWN} more`);
  const who = names.length === 0 ? 'the kernel, for a mount or swap inside it' : names.join(', ');
  return new CommandFailure(
    exitCodes.unavailable,
    `${mountPoint} is in use by ${who}; end them, or insist with --force`,
  );
}
