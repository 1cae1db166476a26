/** Which node of which volume a command is about. */
import { CommandFailure, exitCodes } from '../failure.ts';
import { attachSupervisor, type SupervisorClient } from '../supervisor/supervisor-client.ts';
import type { VolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { commandPlatform } from './session.ts';

export function parseNodeId(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) >= 1) return Number(text);
  throw new CommandFailure(
    exitCodes.usage,
    `node ${text}: the number of a node is expected; see tartan node list`,
  );
}

export function requireNode(file: VolumeFile, id: number): void {
  if (file.nodes.includes(id)) return;
  throw new CommandFailure(
    exitCodes.usage,
    `there is no node ${id}; this volume has ${file.nodes.join(', ')}`,
  );
}

export async function runningSupervisor(layout: VolumeLayout, file: VolumeFile): Promise<SupervisorClient> {
  const supervisor = await attachSupervisor(commandPlatform(), layout);
  if (supervisor !== undefined) return supervisor;
  throw new CommandFailure(exitCodes.unavailable, `${file.name} is not running; start it with \`tartan up\``);
}
