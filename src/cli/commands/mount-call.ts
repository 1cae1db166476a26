/** How commands ask the mount's process, which is the volume's primary. */
import { RpcError } from '../../cluster/rpc.ts';
import { connectRpc } from '../../cluster/rpc-connect.ts';
import type { AvailabilityReport } from '../../replicator/adapt/adapter.ts';
import type { ScrubStatus } from '../../replicator/scrub/scrubber.ts';
import type { BalanceReport, CopiesReport, HealReport } from '../../replicator/upkeep.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { MountRequest, UpkeepAction, UpkeepJob } from '../supervisor/control-messages.ts';
import { callControl } from '../supervisor/control-service.ts';
import { readVolumeKey } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { commandPlatform } from './session.ts';

const CALL_TIMEOUT_MS = 20_000;

export interface Reports {
  readonly heal: HealReport;
  readonly scrub: ScrubStatus;
  readonly availability: AvailabilityReport;
  readonly balance: BalanceReport;
  readonly copies: CopiesReport;
}

export type Call = <Job extends UpkeepJob>(job: Job, action: UpkeepAction) => Promise<Reports[Job]>;

/** For asking about upkeep. */
export function withUpkeep<T>(layout: VolumeLayout, use: (call: Call) => Promise<T>): Promise<T> {
  return withMount(layout, (call) => use((job, action) => call({ command: 'upkeep', job, action })));
}

export async function withMount<T>(
  layout: VolumeLayout,
  use: (call: <Reply>(request: MountRequest) => Promise<Reply>) => Promise<T>,
): Promise<T> {
  const address = { kind: 'unix', path: layout.mountSocket } as const;
  try {
    const client = await connectRpc(commandPlatform(), address, { key: readVolumeKey(layout) });
    try {
      return await use((request) => callControl(client, request, CALL_TIMEOUT_MS));
    } finally {
      client.close();
    }
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    throw new CommandFailure(
      exitCodes.unavailable,
      `the mount does not answer (${error.message}); see \`tartan status\``,
      error,
    );
  }
}
