/** The supervisor's process: coordinator, control service, and the processes of the volume. */
import { mkdirSync } from 'node:fs';
import { openEmbeddedCoordinator } from '../../cluster/coordinator-embedded.ts';
import { coordinatorHandler } from '../../cluster/coordinator-service.ts';
import { nodeLinks } from '../../cluster/node-links.ts';
import { RpcError, type RpcHandler, type RpcRequest, rpcMethods } from '../../cluster/rpc.ts';
import { connectRpc } from '../../cluster/rpc-connect.ts';
import { serveRpc } from '../../cluster/rpc-server.ts';
import { type Database, MachineError, type Platform } from '../../platform/platform.ts';
import { realLogger } from '../../platform/real/logger.ts';
import { realPlatform } from '../../platform/real/real-platform.ts';
import { asFailure, CommandFailure, exitCodes } from '../failure.ts';
import type { MountRequest, SupervisorRequest } from '../supervisor/control-messages.ts';
import { answerControl, callControl } from '../supervisor/control-service.ts';
import { registerVolume } from '../supervisor/registration.ts';
import { Supervisor } from '../supervisor/supervisor.ts';
import { readVolumeFile, readVolumeKey } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { runLongLived } from './long-running.ts';
import { keepProcessFile } from './process-file.ts';

const SUPERVISOR = 'supervisor';
/** The supervisor only shows the state of nodes: it need not know at once. */
const PING_INTERVAL_MS = 500;
const SETTLE_TIMEOUT_MS = 1_000;
/** So that the last reply reaches its client. */
const EXIT_DELAY_MS = 50;

export async function runSupervisorProcess(layout: VolumeLayout): Promise<void> {
  const log = realLogger();
  const platform = realPlatform({ log });
  await runLongLived(SUPERVISOR, {
    directory: layout.directory,
    log,
    logFile: layout.logFile(SUPERVISOR),
    start: () => startSupervisor(platform, layout),
  });
}

async function startSupervisor(platform: Platform, layout: VolumeLayout): Promise<() => Promise<void>> {
  const volume = readVolumeFile(layout);
  const key = readVolumeKey(layout);
  // The database's lock is what keeps a second supervisor out.
  const database = await openDatabase(platform, layout);
  mkdirSync(layout.runDirectory, { recursive: true, mode: 0o700 });
  const unname = keepProcessFile(layout.pidFile(SUPERVISOR), platform.log);
  const coordinator = await openEmbeddedCoordinator(platform, database);
  await registerVolume(coordinator, volume, layout);
  const links = nodeLinks(platform, coordinator, { key, pingIntervalMs: PING_INTERVAL_MS });
  const supervisor = new Supervisor({
    layout,
    volume,
    coordinator,
    links,
    log: platform.log,
    callMount: <T>(request: MountRequest, timeoutMs: number) =>
      callMount<T>(platform, layout, key, request, timeoutMs),
  });
  const serveCoordinator = coordinatorHandler(coordinator);
  const handler: RpcHandler = (request) =>
    request.method === rpcMethods.control
      ? control(platform, supervisor, request)
      : serveCoordinator(request);
  const server = await serveRpc(platform, { kind: 'unix', path: layout.supervisorSocket }, { key, handler });
  supervisor.adopt();
  // A removal may have been cut short.
  await supervisor.takeNodes();
  await links.settle(supervisor.hasRunningNodes ? SETTLE_TIMEOUT_MS : 0);
  return async () => {
    await server.close();
    links.close();
    await coordinator.close();
    unname();
  };
}

async function openDatabase(platform: Platform, layout: VolumeLayout): Promise<Database> {
  try {
    return await platform.databases.open(layout.coordinatorDirectory);
  } catch (error) {
    if (error instanceof MachineError && error.code === 'EBUSY') {
      throw new CommandFailure(exitCodes.unavailable, 'another supervisor of this volume is running', error);
    }
    throw asFailure(error, layout.coordinatorDirectory);
  }
}

function control(platform: Platform, supervisor: Supervisor, request: RpcRequest): ReturnType<RpcHandler> {
  return answerControl(request, platform.log, async (command) => {
    const result = await supervisor.run(command as SupervisorRequest);
    if (supervisor.isShutDown) setTimeout(() => process.kill(process.pid, 'SIGTERM'), EXIT_DELAY_MS);
    return result;
  });
}

async function callMount<T>(
  platform: Platform,
  layout: VolumeLayout,
  key: Uint8Array,
  request: MountRequest,
  timeoutMs: number,
): Promise<T> {
  try {
    const client = await connectRpc(platform, { kind: 'unix', path: layout.mountSocket }, { key });
    try {
      return await callControl<T>(client, request, timeoutMs);
    } finally {
      client.close();
    }
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    const message = `the mount process does not answer: ${error.message}; see ${layout.logFile('mount')}`;
    throw new CommandFailure(exitCodes.unavailable, message, error);
  }
}
