/**
 * The mount's process: the front end, the file system, the log's writer and reader, and the primary metadata manager, put together.
 *
 * It ends when it is told to, or when somebody else unmounts; in both cases everything that was written is made durable first.
 */
import { remoteCoordinator } from '../../cluster/coordinator-remote.ts';
import { rpcMethods, rpcStatus } from '../../cluster/rpc.ts';
import { serveRpc } from '../../cluster/rpc-server.ts';
import { openVolume } from '../../filesystem/volume.ts';
import type { CheckedVolume } from '../../fsck/check-volume.ts';
import { type FuseMount, type MountOptions, mountFileSystem } from '../../fuse/mount.ts';
import { MountError } from '../../fuse/mount-error.ts';
import type { Platform } from '../../platform/platform.ts';
import { realLogger } from '../../platform/real/logger.ts';
import { realPlatform } from '../../platform/real/real-platform.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { CheckSession } from '../mount/check-session.ts';
import { explainFile } from '../mount/explain-file.ts';
import { mountFailure } from '../mount/mount-failure.ts';
import { type MountParts, mountStatistics } from '../mount/mount-statistics.ts';
import { controlUpkeep, planningFacts } from '../mount/upkeep-control.ts';
import type {
  CheckReport,
  CheckSettings,
  MountRequest,
  MountSettings,
} from '../supervisor/control-messages.ts';
import { answerControl, MountBusy } from '../supervisor/control-service.ts';
import { linkedNode } from '../supervisor/linked-node.ts';
import { connectSupervisor } from '../supervisor/supervisor-client.ts';
import { mountSource } from '../volume/mount-source.ts';
import { type Frontend, readVolumeFile, readVolumeKey } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { runLongLived } from './long-running.ts';
import { keepProcessFile } from './process-file.ts';
import type { StartupReporter } from './startup-report.ts';
import { keepSupervisor } from './supervisor-keeper.ts';

const MOUNT = 'mount';

export async function runMountProcess(layout: VolumeLayout, settings: MountSettings): Promise<void> {
  const log = realLogger();
  await runLongLived(MOUNT, {
    directory: layout.directory,
    log,
    logFile: layout.logFile(MOUNT),
    start: async (reporter) => {
      const unname = keepProcessFile(layout.pidFile(MOUNT), log);
      const letSupervisorGo = keepSupervisor(layout, log);
      try {
        const close = await startMount(realPlatform({ log }), layout, settings, reporter);
        return async () => {
          await close();
          letSupervisorGo();
          unname();
        };
      } catch (error) {
        throw mountFailure(error);
      }
    },
  });
}

/** The package is loaded only when it is asked for: it is an optional one. */
async function mountBy(frontend: Frontend, options: MountOptions): Promise<FuseMount> {
  if (frontend === 'native') return mountFileSystem(options);
  const { mountThroughFuseNative } = await import('../../fuse/fuse-native/mount.ts');
  return mountThroughFuseNative(options);
}

interface Opened {
  readonly parts: MountParts;
  /** The same for a check. */
  readonly checked: CheckedVolume;
  close(): Promise<void>;
}

async function startMount(
  platform: Platform,
  layout: VolumeLayout,
  settings: MountSettings,
  reporter: StartupReporter,
): Promise<() => Promise<void>> {
  const volume = readVolumeFile(layout);
  reporter.phase('waiting for the nodes');
  await nodesStarted(platform, layout);
  const opened = await openParts(platform, layout, settings, reporter);
  reporter.phase('mounting');
  let mount: FuseMount;
  try {
    mount = await mountBy(settings.frontend, {
      fileSystem: opened.parts.fileSystem,
      mountPoint: settings.mountPoint,
      volumeName: mountSource(volume.name, layout),
      readOnly: settings.readOnly,
      log: platform.log,
      timers: platform.timers,
    });
  } catch (error) {
    await opened.close();
    throw error;
  }
  const closer = closeOnce(mount, opened);
  // What the kernel has cached of it is as outdated as what this process knows: only the end of the connection makes all of it fail at once.
  opened.parts.metadata.onDeposed = (deposed) => {
    platform.log.error('ending-deposed-mount', { why: deposed.message });
    process.exit(exitCodes.unavailable);
  };
  const checks = new Checks(opened.checked);
  const server = await serveRpc(
    platform,
    { kind: 'unix', path: layout.mountSocket },
    {
      key: readVolumeKey(layout),
      handler: (request) => {
        if (request.method !== rpcMethods.control) return { status: rpcStatus.invalid };
        return answerControl(request, platform.log, (command) =>
          answerCommand(command as MountRequest, opened.parts, checks, mount, closer),
        );
      },
    },
  );
  // Unmounted by umount(8) or fusermount3: the process has nothing more to do.
  let mounted = true;
  void mount.closed.then(() => {
    mounted = false;
    process.kill(process.pid, 'SIGTERM');
  });
  return async () => {
    if (mounted) await unmountAtEnd(mount, platform);
    await closer();
    await server.close();
  };
}

/** Nodes start beside the mount: those that are about to be there are not taken for lost. */
async function nodesStarted(platform: Platform, layout: VolumeLayout): Promise<void> {
  const supervisor = await connectSupervisor(platform, layout);
  if (supervisor === undefined) return;
  try {
    await supervisor.run({ command: 'await-nodes' });
  } catch (error) {
    // It went away. The nodes that are there are found without it.
    platform.log.warn('nodes-not-awaited', { error: String(error) });
  } finally {
    supervisor.close();
  }
}

async function openParts(
  platform: Platform,
  layout: VolumeLayout,
  settings: MountSettings,
  reporter: StartupReporter,
): Promise<Opened> {
  const { dataFragments, parityFragments, volumeId } = readVolumeFile(layout);
  const key = readVolumeKey(layout);
  const address = { kind: 'unix', path: layout.supervisorSocket } as const;
  const coordinator = remoteCoordinator(platform, address, { key });
  const parts = await openVolume(platform, {
    coordinator,
    key,
    volumeId,
    dataFragments,
    parityFragments,
    directory: layout.mountDirectory,
    name: MOUNT,
    owner: { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
    readOnly: settings.readOnly,
    onPhase: (phase) => reporter.phase(phase),
  });
  return {
    parts,
    checked: {
      ...{ platform, volumeId, coordinator },
      ...{ links: parts.links, metadata: parts.metadata, claims: parts.claims },
    },
    async close() {
      await parts.close();
      await coordinator.close();
    },
  };
}

/** Closes everything behind the front end; callers that come later wait for the first. */
function closeOnce(mount: FuseMount, opened: Opened): () => Promise<void> {
  let closing: Promise<void> | undefined;
  return () => {
    closing ??= mount.closed.then(() => opened.close());
    return closing;
  };
}

/** On a signal: in use or not, the mount has to go, and what was written is kept. */
async function unmountAtEnd(mount: FuseMount, platform: Platform): Promise<void> {
  try {
    await mount.unmount();
  } catch (error) {
    if (!(error instanceof MountError) || error.failure !== 'in-use') throw error;
    platform.log.warn('unmount-lazily', { reason: error.message });
    await mount.unmount({ lazy: true });
  }
}

/** The check that a command asked for last. */
class Checks {
  readonly #volume: CheckedVolume;
  #session: CheckSession | undefined;

  constructor(volume: CheckedVolume) {
    this.#volume = volume;
  }

  start(settings: CheckSettings): void {
    if (this.#session?.isRunning === true) {
      throw new CommandFailure(
        exitCodes.unavailable,
        'another check is running; wait for it, or interrupt it',
      );
    }
    this.#session = new CheckSession(this.#volume, settings);
  }

  poll(): CheckReport {
    if (this.#session === undefined) throw new CommandFailure(exitCodes.usage, 'no check is running');
    return this.#session.poll();
  }

  cancel(): void {
    this.#session?.cancel();
  }
}

async function answerCommand(
  command: MountRequest,
  parts: MountParts,
  checks: Checks,
  mount: FuseMount,
  close: () => Promise<void>,
): Promise<unknown> {
  switch (command.command) {
    case 'facts':
      return mountStatistics(parts);
    case 'explain':
      return explainFile(parts.metadata, command.inode, (segmentId) => parts.upkeep.explainCopies(segmentId));
    case 'unmount':
      return unmountOnCommand(command.lazy, parts, mount, close);
    case 'meet-node':
      return linkedNode(parts.links, command.id);
    case 'upkeep':
      return controlUpkeep(parts.upkeep, command.job, command.action);
    case 'plan':
      return planningFacts(parts.upkeep.adapter);
    case 'check-start':
      return checks.start(command.settings);
    case 'check-poll':
      return checks.poll();
    case 'check-cancel':
      return checks.cancel();
    default:
      throw new CommandFailure(exitCodes.usage, 'the mount process does not know this command');
  }
}

async function unmountOnCommand(
  lazy: boolean,
  parts: MountParts,
  mount: FuseMount,
  close: () => Promise<void>,
): Promise<void> {
  try {
    await mount.unmount({ lazy });
  } catch (error) {
    if (error instanceof MountError && error.failure === 'in-use') throw new MountBusy(mount.mountPoint);
    throw mountFailure(error);
  }
  // Detached while in use: its users keep it, and what they have written until now is made durable.
  if (lazy) await parts.fileSystem.syncAll();
  else await close();
}
