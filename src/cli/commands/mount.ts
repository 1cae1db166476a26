/** `tartan mount` and `tartan umount`: an existing volume, at any mount point. */
import type { Command } from 'commander';
import { MOUNT_TYPE } from '../../fuse/mount-point.ts';
import { mountAt } from '../../fuse/mount-table.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { MountBusy } from '../supervisor/control-service.ts';
import { attachSupervisor } from '../supervisor/supervisor-client.ts';
import { type Steps, terminalSteps } from '../terminal/steps.ts';
import { canonicalMountPoint, detachMount } from '../volume/mount-point.ts';
import { requireFuse } from '../volume/requirements.ts';
import { readVolumeFile, volumeExists } from '../volume/volume-file.ts';
import { bringUp } from './bring-up.ts';
import { busyFailure } from './down.ts';
import { parseMountOptions } from './mount-options.ts';
import { commandPlatform } from './session.ts';
import { volumeFromSpec } from './volume-options.ts';

export function addMountCommands(program: Command): void {
  program
    .command('mount')
    .description('mount an existing volume, given by its name or directory')
    .argument('<spec>', 'name or directory of the volume')
    .argument('<mountpoint>', 'an empty directory; made if missing')
    .option('-o <options>', 'ro, frontend=NAME; comma-separated')
    .action((spec: string, mountPoint: string, options: { o?: string }) =>
      mountVolume(spec, mountPoint, options.o ?? '', terminalSteps(process.stderr)),
    );
  program
    .command('umount')
    .description('unmount; the storage nodes go on')
    .argument('<mountpoint>')
    .option('--force', 'also while files are in use')
    .action((mountPoint: string, options: { force?: boolean }) =>
      unmountVolume(mountPoint, options.force === true),
    );
}

export async function mountVolume(
  spec: string,
  mountPoint: string,
  optionText: string,
  steps: Steps,
): Promise<void> {
  const { readOnly, frontend } = parseMountOptions(optionText);
  const { layout } = volumeFromSpec(spec);
  const file = readVolumeFile(layout);
  requireFuse();
  const volume = {
    ...file,
    mountPoint: canonicalMountPoint(mountPoint),
    frontend: frontend ?? file.frontend,
  };
  await bringUp(layout, volume, { steps, restart: false, readOnly });
}

async function unmountVolume(mountPoint: string, force: boolean): Promise<void> {
  const path = canonicalMountPoint(mountPoint);
  const mounted = mountAt(path);
  if (mounted?.type !== MOUNT_TYPE) {
    throw new CommandFailure(exitCodes.usage, `${path} is not a mount point of a tartan volume`);
  }
  const { layout } = volumeFromSpec(mounted.source);
  const supervisor = volumeExists(layout) ? await attachSupervisor(commandPlatform(), layout) : undefined;
  try {
    await supervisor?.run({ command: 'stop-mount', lazy: force });
  } catch (error) {
    if (error instanceof MountBusy) throw busyFailure(path);
    throw error;
  } finally {
    supervisor?.close();
  }
  // Still there: its process had been killed.
  if (mountAt(path) !== undefined) detachMount(path);
}
