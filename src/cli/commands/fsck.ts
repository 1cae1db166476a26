/**
 * `tartan fsck`: checks the volume and says what is wrong, one line a finding; repairs with --repair. A mounted volume is checked by its mount's
 * process, which goes on serving; any other one by this process, which is its primary meanwhile.
 */
import type { Command } from 'commander';
import type { CheckProgress } from '../../fsck/check-volume.ts';
import type { CheckSummary, Finding } from '../../fsck/findings.ts';
import { exitCodes } from '../failure.ts';
import type { RestingVolume } from '../fsck/check-at-rest.ts';
import { checkMounted } from '../fsck/check-mounted.ts';
import { findingText, progressText, summaryText } from '../fsck/check-text.ts';
import type { CheckSettings } from '../supervisor/control-messages.ts';
import { ensureSupervisor } from '../supervisor/supervisor-client.ts';
import { type Step, silentSteps, terminalSteps } from '../terminal/steps.ts';
import { commandPlatform } from './session.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

interface FsckOptions extends VolumeOptions {
  readonly repair?: boolean;
  readonly data?: boolean;
}

/** Of fsck(8); those that apply are added up. */
const fsckCodes = { clean: 0, repaired: 1, errorsLeft: 4, operational: 8, usage: 16, cancelled: 32 } as const;

export interface CheckListener {
  readonly isCancelled: () => boolean;
  onFinding(finding: Finding): void;
  onProgress(progress: CheckProgress): void;
}

const HELP = `
A mounted volume is checked while it is used; names and inodes are repaired only while it is not mounted. A volume that is stopped is
started without a mount, and stopped again. Nodes that are down are said to be, and what lies on them is not checked.

Exit codes: 0 clean, 1 repaired, 4 errors left, 8 could not be done, 16 wrong use, 32 interrupted; added up.
docs/fsck.md says what each finding means.`;

export function addFsckCommand(program: Command): void {
  const command = program
    .command('fsck')
    .description('check everything that must hold in the volume, and repair it')
    .option('--repair', 'put right what can be')
    .option('--data', 'read every byte, and check it against its checksums and the parity')
    .addHelpText('after', HELP);
  addJsonOption(addVolumeOptions(command)).action(runFsck);
}

/** How a failure of the command is said to scripts that expect an fsck. */
export function fsckExitCode(exitCode: number): number {
  if (exitCode === exitCodes.ok) return fsckCodes.clean;
  return exitCode === exitCodes.usage ? fsckCodes.usage : fsckCodes.operational;
}

async function runFsck(options: FsckOptions): Promise<void> {
  const { layout, file } = existingVolume(options);
  const isJson = options.json === true;
  const settings = { data: options.data === true, repair: options.repair === true };
  const step = (isJson ? silentSteps : terminalSteps(process.stderr)).begin('check');
  const findings: Finding[] = [];
  let interrupted = false;
  const interrupt = (): void => {
    interrupted = true;
  };
  process.on('SIGINT', interrupt);
  process.on('SIGTERM', interrupt);
  const listener: CheckListener = {
    isCancelled: () => interrupted,
    onFinding: (finding) => {
      if (isJson) findings.push(finding);
      else print(findingText(finding));
    },
    onProgress: progressShower(step),
  };
  const supervisor = await ensureSupervisor(commandPlatform(), layout);
  try {
    const { mount } = await supervisor.facts();
    const isMounted = mount !== null && mount.process !== 'absent';
    const summary = isMounted
      ? await checkMounted(layout, settings, listener)
      : await checkHere({ layout, file, supervisor }, settings, listener);
    const exitCode = summary === undefined ? fsckCodes.cancelled : exitCodeOf(summary);
    step.done(summary === undefined ? 'interrupted' : summaryText(summary));
    if (isJson) print(JSON.stringify({ findings, summary: summary ?? null, exitCode }, null, 2));
    process.exitCode = exitCode;
  } finally {
    supervisor.close();
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

/** Loaded only where it runs: every other command would wait for it, too. */
async function checkHere(
  volume: RestingVolume,
  settings: CheckSettings,
  listener: CheckListener,
): Promise<CheckSummary | undefined> {
  const { checkAtRest } = await import('../fsck/check-at-rest.ts');
  return checkAtRest(volume, settings, listener);
}

function exitCodeOf({ repaired, errors, warnings }: CheckSummary): number {
  return (repaired > 0 ? fsckCodes.repaired : 0) + (errors + warnings > 0 ? fsckCodes.errorsLeft : 0);
}

/** A line for results, where a step may be drawn on the same terminal. */
function print(text: string): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
  process.stdout.write(`${text}\n`);
}

/** With the rate and the time left of the phase. */
function progressShower(step: Step): (progress: CheckProgress) => void {
  let phase = '';
  let startedMs = 0;
  let startedAt = { done: 0, bytesRead: 0 };
  return (progress) => {
    if (progress.phase !== phase) {
      phase = progress.phase;
      startedMs = performance.now();
      startedAt = { done: progress.done, bytesRead: progress.bytesRead };
    }
    step.update(progressText(progress, startedAt, (performance.now() - startedMs) / 1000));
  };
}
