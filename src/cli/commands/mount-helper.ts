/**
 * mount(8)'s helper: `mount -t tartan SPEC DIR -o OPTIONS` runs `/sbin/mount.tartan SPEC DIR [-sfnv] [-N ns] [-t type] [-o OPTIONS]`, and
 * expects mount(8)'s own exit codes.
 */
import { CommandFailure, exitCodes } from '../failure.ts';
import { silentSteps, terminalSteps } from '../terminal/steps.ts';
import { mountVolume } from './mount.ts';

const mountExitCodes = { ok: 0, usage: 1, system: 2, internal: 4, failed: 32 } as const;

interface HelperArguments {
  readonly spec: string;
  readonly mountPoint: string;
  readonly options: string;
  readonly fake: boolean;
  readonly verbose: boolean;
}

/** undefined: not what mount(8) passes. */
export function parseHelperArguments(args: readonly string[]): HelperArguments | undefined {
  const operands: string[] = [];
  let options = '';
  let flags = '';
  for (let index = 0; index < args.length; index++) {
    const argument = args[index] ?? '';
    if (argument === '-o') options = args[++index] ?? '';
    else if (argument === '-N' || argument === '-t') index++;
    else if (/^-[sfnv]+$/.test(argument)) flags += argument.slice(1);
    else if (argument.startsWith('-')) return undefined;
    else operands.push(argument);
  }
  const [spec, mountPoint, ...rest] = operands;
  if (spec === undefined || mountPoint === undefined || rest.length > 0) return undefined;
  return { spec, mountPoint, options, fake: flags.includes('f'), verbose: flags.includes('v') };
}

export async function runMountHelper(args: readonly string[]): Promise<number> {
  const parsed = parseHelperArguments(args);
  if (parsed === undefined) {
    process.stderr.write('mount.tartan: usage: mount.tartan SPEC MOUNTPOINT [-sfnv] [-o OPTIONS]\n');
    return mountExitCodes.usage;
  }
  if (parsed.fake) return mountExitCodes.ok;
  try {
    const steps = parsed.verbose ? terminalSteps(process.stderr) : silentSteps;
    await mountVolume(parsed.spec, parsed.mountPoint, parsed.options, steps);
    return mountExitCodes.ok;
  } catch (error) {
    if (!(error instanceof CommandFailure)) {
      process.stderr.write(
        `mount.tartan: unexpected: ${error instanceof Error ? error.stack : String(error)}\n`,
      );
      return mountExitCodes.internal;
    }
    process.stderr.write(`mount.tartan: ${error.message}\n`);
    switch (error.exitCode) {
      case exitCodes.usage:
      case exitCodes.permission:
        return mountExitCodes.usage;
      case exitCodes.ioError:
      case exitCodes.configuration:
        return mountExitCodes.system;
      default:
        return mountExitCodes.failed;
    }
  }
}
