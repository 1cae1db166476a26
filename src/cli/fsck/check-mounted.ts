/** A check inside the mount's process, followed from a command. */
import { RpcError } from '../../cluster/rpc.ts';
import { connectRpc } from '../../cluster/rpc-connect.ts';
import type { CheckSummary } from '../../fsck/findings.ts';
import type { CheckListener } from '../commands/fsck.ts';
import { commandPlatform } from '../commands/session.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { CheckReport, CheckSettings, MountRequest } from '../supervisor/control-messages.ts';
import { callControl } from '../supervisor/control-service.ts';
import { readVolumeKey } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';

const POLL_MS = 100;
const CALL_TIMEOUT_MS = 20_000;

/** undefined: cancelled. */
export async function checkMounted(
  layout: VolumeLayout,
  settings: CheckSettings,
  listener: CheckListener,
): Promise<CheckSummary | undefined> {
  const address = { kind: 'unix', path: layout.mountSocket } as const;
  try {
    const client = await connectRpc(commandPlatform(), address, { key: readVolumeKey(layout) });
    const call = <T>(request: MountRequest) => callControl<T>(client, request, CALL_TIMEOUT_MS);
    try {
      await call({ command: 'check-start', settings });
      for (;;) {
        const report = await call<CheckReport>({ command: 'check-poll' });
        for (const finding of report.findings) listener.onFinding(finding);
        if (report.progress !== null) listener.onProgress(report.progress);
        if (report.summary !== null) return report.summary;
        if (listener.isCancelled()) {
          await call({ command: 'check-cancel' });
          return undefined;
        }
        await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      }
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
