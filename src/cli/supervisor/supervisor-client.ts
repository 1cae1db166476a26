/**
 * A command's connection to the supervisor of its volume, which is started when none answers: so whatever was killed, the next command
 * finds a supervisor that knows the processes still alive.
 */
import { existsSync } from 'node:fs';
import { type RpcClient, RpcError } from '../../cluster/rpc.ts';
import { connectRpc } from '../../cluster/rpc-connect.ts';
import type { Platform } from '../../platform/platform.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { launch } from '../process/launch.ts';
import { liveProcess } from '../process/process-file.ts';
import { readVolumeFile, readVolumeKey, type VolumeFile } from '../volume/volume-file.ts';
import { nodeProcessName, type VolumeLayout } from '../volume/volume-layout.ts';
import type { SupervisorRequest, VolumeFacts } from './control-messages.ts';
import { callControl } from './control-service.ts';
import { SUPERVISOR_NODE_ARGS } from './node-options.ts';

const FACTS_TIMEOUT_MS = 10_000;
/** Starting a node after a crash may scan its logs; an unmount may write out much. */
const LONG_COMMAND_TIMEOUT_MS = 15 * 60_000;
const CONNECT_ATTEMPTS = 20;
const CONNECT_PAUSE_MS = 50;

export class SupervisorClient {
  readonly #client: RpcClient;
  constructor(client: RpcClient) {
    this.#client = client;
  }

  facts(): Promise<VolumeFacts> {
    return this.#call({ command: 'facts' }, FACTS_TIMEOUT_MS);
  }

  run<T = null>(request: SupervisorRequest): Promise<T> {
    return this.#call(request, LONG_COMMAND_TIMEOUT_MS);
  }

  async #call<T>(request: SupervisorRequest, timeoutMs: number): Promise<T> {
    try {
      return await callControl<T>(this.#client, request, timeoutMs);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      throw new CommandFailure(
        exitCodes.unavailable,
        `the supervisor does not answer (${error.message}); run \`tartan up\``,
        error,
      );
    }
  }

  close(): void {
    this.#client.close();
  }
}

/** undefined when no supervisor answers. */
export async function connectSupervisor(
  platform: Platform,
  layout: VolumeLayout,
): Promise<SupervisorClient | undefined> {
  if (!existsSync(layout.supervisorSocket)) return undefined;
  const key = readVolumeKey(layout);
  try {
    const client = await connectRpc(platform, { kind: 'unix', path: layout.supervisorSocket }, { key });
    return new SupervisorClient(client);
  } catch (error) {
    if (error instanceof RpcError) return undefined;
    throw error;
  }
}

/** True if a process of the volume lives, supervised or not. */
function anyProcessLives(layout: VolumeLayout, volume: VolumeFile): boolean {
  const names = ['mount', ...volume.nodes.map(nodeProcessName)];
  return names.some((name) => liveProcess(layout.pidFile(name)) !== undefined);
}

/** For commands that act on a running volume: undefined if nothing of it runs. */
export async function attachSupervisor(
  platform: Platform,
  layout: VolumeLayout,
): Promise<SupervisorClient | undefined> {
  const found = await connectSupervisor(platform, layout);
  if (found !== undefined) return found;
  return anyProcessLives(layout, readVolumeFile(layout)) ? ensureSupervisor(platform, layout) : undefined;
}

export async function ensureSupervisor(platform: Platform, layout: VolumeLayout): Promise<SupervisorClient> {
  const found = await connectSupervisor(platform, layout);
  if (found !== undefined) return found;
  const failure = await startSupervisor(layout);
  if (failure !== undefined && failure.exitCode !== exitCodes.unavailable) throw failure;
  // Another command may have been quicker: then ours has failed on the lock, and the other one's answers in a moment.
  for (let attempt = 0; attempt < CONNECT_ATTEMPTS; attempt++) {
    const client = await connectSupervisor(platform, layout);
    if (client !== undefined) return client;
    await new Promise((resolve) => setTimeout(resolve, CONNECT_PAUSE_MS));
  }
  throw failure ?? new CommandFailure(exitCodes.unavailable, 'the supervisor does not answer');
}

/** Resolves when it is ready, or with what it failed with: `unavailable` if another one runs. */
export function startSupervisor(layout: VolumeLayout): Promise<CommandFailure | undefined> {
  return new Promise((resolve) => {
    let failure: CommandFailure | undefined;
    launch({
      args: ['supervisor', '--dir', layout.directory],
      nodeArgs: SUPERVISOR_NODE_ARGS,
      logFile: layout.logFile('supervisor'),
      onReport: (report) => {
        if (report.kind === 'ready') resolve(undefined);
        if (report.kind === 'failed') failure = new CommandFailure(report.exitCode, report.message);
      },
      onExit: (how) => {
        const message = `the supervisor ${how}; see ${layout.logFile('supervisor')}`;
        resolve(failure ?? new CommandFailure(exitCodes.unavailable, message));
      },
    });
  });
}
