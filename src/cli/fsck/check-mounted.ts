/** A check inside the mount's process, followed from a command. */
import type { CheckSummary } from '../../fsck/findings.ts';
import type { CheckListener } from '../commands/fsck.ts';
import { withMount } from '../commands/mount-call.ts';
import type { CheckReport, CheckSettings } from '../supervisor/control-messages.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';

const POLL_MS = 100;

/** undefined: cancelled. */
export function checkMounted(
  layout: VolumeLayout,
  settings: CheckSettings,
  listener: CheckListener,
): Promise<CheckSummary | undefined> {
  return withMount(layout, async (call) => {
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
  });
}
