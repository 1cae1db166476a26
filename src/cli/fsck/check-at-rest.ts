/**
 * A check of a volume that is not mounted: this process starts the nodes that do not run, opens the metadata as its primary, as a mount would, and
 * lets go of it again. A volume of which nothing ran is stopped afterwards.
 *
 * The mount's view of the metadata is used, and with it its lock: a mount that is tried meanwhile is refused.
 */

import { CoordinatorUnavailable } from '../../cluster/coordinator.ts';
import { remoteCoordinator } from '../../cluster/coordinator-remote.ts';
import { nodeLinks } from '../../cluster/node-links.ts';
import { CheckCancelled, type CheckedVolume, checkVolume } from '../../fsck/check-volume.ts';
import type { CheckSummary } from '../../fsck/findings.ts';
import { openMetadata } from '../../metadata/open.ts';
import { MachineError } from '../../platform/platform.ts';
import type { CheckListener } from '../commands/fsck.ts';
import { commandPlatform } from '../commands/session.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { checkFailure } from '../mount/check-session.ts';
import { mountFailure } from '../mount/mount-failure.ts';
import { liveProcess, waitForEnd } from '../process/process-file.ts';
import type { CheckSettings } from '../supervisor/control-messages.ts';
import type { SupervisorClient } from '../supervisor/supervisor-client.ts';
import { readVolumeKey, type VolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';

const SETTLE_TIMEOUT_MS = 3_000;
const SUPERVISOR_END_TIMEOUT_MS = 5_000;

export interface RestingVolume {
  readonly layout: VolumeLayout;
  readonly file: VolumeFile;
  readonly supervisor: SupervisorClient;
}

/** undefined: cancelled. */
export async function checkAtRest(
  volume: RestingVolume,
  settings: CheckSettings,
  listener: CheckListener,
): Promise<CheckSummary | undefined> {
  const { supervisor } = volume;
  const { nodes } = await supervisor.facts();
  const wasStopped = nodes.every((node) => node.process === 'absent');
  try {
    await Promise.all(
      nodes
        .filter((node) => node.process !== 'running' && !node.stoppedOnPurpose)
        .map(({ id }) => startNode(supervisor, id)),
    );
    return await checkOpened(volume, settings, listener);
  } catch (error) {
    if (error instanceof CheckCancelled) return undefined;
    throw restFailure(error);
  } finally {
    if (wasStopped) await shutDown(volume);
  }
}

/** As it was found: without a process. */
async function shutDown({ layout, supervisor }: RestingVolume): Promise<void> {
  await supervisor.run({ command: 'shut-down', lazy: false });
  supervisor.close();
  const last = liveProcess(layout.pidFile('supervisor'));
  if (last !== undefined) await waitForEnd(last, SUPERVISOR_END_TIMEOUT_MS);
}

/** One that cannot be started shows as unreachable. */
async function startNode(supervisor: SupervisorClient, id: number): Promise<void> {
  try {
    await supervisor.run({ command: 'start-node', id });
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    process.stderr.write(`tartan: node ${id}: ${error.message}\n`);
  }
}

async function checkOpened(
  { layout, file }: RestingVolume,
  settings: CheckSettings,
  listener: CheckListener,
): Promise<CheckSummary> {
  const platform = commandPlatform();
  const key = readVolumeKey(layout);
  const address = { kind: 'unix', path: layout.supervisorSocket } as const;
  const coordinator = remoteCoordinator(platform, address, { key });
  const links = nodeLinks(platform, coordinator, { key });
  try {
    await links.settle(SETTLE_TIMEOUT_MS);
    const metadata = await openMetadata(platform, {
      coordinator,
      links,
      directory: layout.mountDirectory,
      parityFragments: file.parityFragments,
      volumeId: file.volumeId,
      primary: `fsck-${platform.random.bytes(8).toString('hex')}`,
      owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    });
    try {
      return await run(
        { platform, links, metadata, volumeId: file.volumeId, coordinator },
        settings,
        listener,
      );
    } finally {
      await metadata.close();
    }
  } finally {
    links.close();
    await coordinator.close();
  }
}

async function run(
  checked: CheckedVolume,
  settings: CheckSettings,
  listener: CheckListener,
): Promise<CheckSummary> {
  const { isCancelled } = listener;
  const onProgress = listener.onProgress.bind(listener);
  const checking = checkVolume(checked, { ...settings, atRest: true, isCancelled, onProgress });
  for (;;) {
    const next = await checking.next();
    if (next.done === true) return next.value;
    listener.onFinding(next.value);
  }
}

function restFailure(error: unknown): unknown {
  if (error instanceof MachineError && error.code === 'EBUSY') {
    return new CommandFailure(
      exitCodes.unavailable,
      'another process has the volume open; run it again when that is over',
      error,
    );
  }
  return error instanceof CoordinatorUnavailable ? mountFailure(error) : checkFailure(error);
}
