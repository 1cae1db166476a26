/** The options that say which volume a command is about, and how its output is wanted. */
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import type { Command } from 'commander';
import { CommandFailure, exitCodes } from '../failure.ts';
import { isVolumeName, readVolumeFile, type VolumeFile, volumeExists } from '../volume/volume-file.ts';
import {
  DEFAULT_VOLUME_NAME,
  defaultVolumeDirectory,
  type VolumeLayout,
  volumeLayout,
} from '../volume/volume-layout.ts';

export interface VolumeOptions {
  readonly volume?: string;
  readonly dir?: string;
  readonly json?: boolean;
}

export function addVolumeOptions(command: Command): Command {
  return command
    .option('--volume <name>', 'name of the volume', undefined)
    .option('--dir <directory>', 'where the state of the volume lies');
}

export function addJsonOption(command: Command): Command {
  return command.option('--json', 'print JSON');
}

export interface ChosenVolume {
  readonly name: string;
  readonly layout: VolumeLayout;
}

/** The volume need not exist yet. */
export function chooseVolume(options: VolumeOptions): ChosenVolume {
  const { volume, dir } = options;
  if (volume !== undefined && !isVolumeName(volume)) {
    throw new CommandFailure(
      exitCodes.usage,
      `--volume ${volume}: a name has letters, digits, dots, dashes and underscores, at most 63`,
    );
  }
  const layout = volumeLayout(dir ?? defaultVolumeDirectory(volume ?? DEFAULT_VOLUME_NAME));
  if (volumeExists(layout)) {
    const { name } = readVolumeFile(layout);
    if (volume !== undefined && volume !== name) {
      throw new CommandFailure(
        exitCodes.configuration,
        `the volume in ${layout.directory} is named ${name}, not ${volume}`,
      );
    }
    return { name, layout };
  }
  return { name: volume ?? nameFromDirectory(layout.directory), layout };
}

function nameFromDirectory(directory: string): string {
  const name = basename(directory);
  return isVolumeName(name) ? name : DEFAULT_VOLUME_NAME;
}

/** For commands on a volume that must exist. */
export function existingVolume(options: VolumeOptions): { layout: VolumeLayout; file: VolumeFile } {
  const { layout } = chooseVolume(options);
  return { layout, file: readVolumeFile(layout) };
}

/** SPEC of `tartan mount`: a directory with a volume in it, or a volume's name. */
export function volumeFromSpec(spec: string): ChosenVolume {
  const isPath = spec.includes('/') || (!isVolumeName(spec) && existsSync(resolve(spec)));
  return chooseVolume(isPath ? { dir: spec } : { volume: spec });
}
