/** `tartan status`: exit code 0 while the volume reads and writes, 69 when it is unavailable. */
import type { Command } from 'commander';
import { exitCodes } from '../failure.ts';
import { type StatusReport, statusReport } from '../status/status-report.ts';
import { statusText } from '../status/status-text.ts';
import { attachSupervisor } from '../supervisor/supervisor-client.ts';
import { commandPlatform } from './session.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

const WATCH_INTERVAL_MS = 1000;
const CLEAR_SCREEN = '\x1b[H\x1b[2J';

interface StatusOptions extends VolumeOptions {
  readonly watch?: boolean;
}

export async function gatherStatus(options: VolumeOptions): Promise<StatusReport> {
  const { layout, file } = existingVolume(options);
  const supervisor = await attachSupervisor(commandPlatform(), layout);
  if (supervisor === undefined) return statusReport(file, layout.directory, undefined);
  try {
    return statusReport(file, layout.directory, await supervisor.facts());
  } finally {
    supervisor.close();
  }
}

function print(report: StatusReport, options: StatusOptions): void {
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(report, null, options.watch === true ? 0 : 2)}\n`);
    return;
  }
  if (options.watch === true && process.stdout.isTTY) process.stdout.write(CLEAR_SCREEN);
  process.stdout.write(`${statusText(report)}\n`);
}

export function addStatusCommand(program: Command): void {
  const command = program
    .command('status')
    .description('say whether the volume is healthy, why not, and what to do')
    .option('--watch', 'again every second, until interrupted');
  addJsonOption(addVolumeOptions(command)).action(async (options: StatusOptions) => {
    for (;;) {
      const report = await gatherStatus(options);
      print(report, options);
      process.exitCode = report.health === 'unavailable' ? exitCodes.unavailable : exitCodes.ok;
      if (options.watch !== true) return;
      await new Promise((resolve) => setTimeout(resolve, WATCH_INTERVAL_MS));
    }
  });
}
