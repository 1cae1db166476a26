/**
 * `tartan up`: from whatever there is - nothing, a stopped volume, one that lost processes, one that runs - to a mounted directory
 * that answers. Idempotent.
 */
import { type Command, Option } from 'commander';
import { LEAST_VOLUME_BYTES } from '../../cleaner/space.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { type Steps, silentSteps, terminalSteps } from '../terminal/steps.ts';
import { addNodes } from '../volume/more-nodes.ts';
import { canonicalMountPoint, prepareMountPoint } from '../volume/mount-point.ts';
import { mountSource } from '../volume/mount-source.ts';
import { requireFuse, requireSpace } from '../volume/requirements.ts';
import { formatSize } from '../volume/sizes.ts';
import {
  changeVolumeFile,
  createVolume,
  type Frontend,
  frontends,
  readVolumeFile,
  type VolumeFile,
  volumeExists,
} from '../volume/volume-file.ts';
import { defaultMountPoint, type VolumeLayout } from '../volume/volume-layout.ts';
import { DEFAULT_NODES, DEFAULT_PARITY, stripeShape } from '../volume/volume-shape.ts';
import { bringUp } from './bring-up.ts';
import { stayInForeground } from './foreground.ts';
import { parseCapacity, parseCount } from './numbers.ts';
import { gatherStatus } from './status.ts';
import { thingsToTry } from './things-to-try.ts';
import { addJsonOption, addVolumeOptions, chooseVolume, type VolumeOptions } from './volume-options.ts';

interface UpOptions extends VolumeOptions {
  readonly nodes?: number;
  readonly parity?: number;
  readonly capacity?: number;
  readonly frontend?: Frontend;
  readonly foreground?: boolean;
  readonly restart?: boolean;
}

export function addUpCommand(program: Command): void {
  const command = program
    .command('up')
    .description('create the volume if there is none, start what does not run, and mount it')
    .argument('[mountpoint]', 'an empty directory; made if missing');
  addVolumeOptions(command)
    .option(
      '--nodes <count>',
      `storage nodes of a new volume (${DEFAULT_NODES}); more than it has: further ones are added`,
      parseCount('--nodes'),
    )
    .option('--parity <count>', `how many of them may be lost (${DEFAULT_PARITY})`, parseCount('--parity'))
    .option('--capacity <size>', 'bytes that each node may use (what its disk has)', parseCapacity)
    .addOption(new Option('--frontend <name>', 'how the kernel is spoken to').choices(frontends))
    .option('--restart', 'restart processes that die')
    .option('--foreground', 'stay until interrupted, then stop the volume');
  addJsonOption(command).action(runUp);
}

async function runUp(mountPoint: string | undefined, options: UpOptions): Promise<void> {
  const steps = options.json === true ? silentSteps : terminalSteps(process.stderr);
  const { layout, volume } = openVolume(mountPoint, options, steps);
  await bringUp(layout, volume, { steps, restart: options.restart === true, readOnly: false });
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(await gatherStatus({ dir: layout.directory }), null, 2)}\n`);
  } else {
    process.stdout.write(thingsToTry(volume, layout));
  }
  if (options.foreground === true) await stayInForeground(layout, options.restart === true, steps);
}

/** Everything that can be refused is, before anything is started or written. */
function openVolume(
  mountPoint: string | undefined,
  options: UpOptions,
  steps: Steps,
): { layout: VolumeLayout; volume: VolumeFile } {
  const { name, layout } = chooseVolume(options);
  requireFuse();
  if (volumeExists(layout)) {
    const existing = readVolumeFile(layout);
    refuseChanges(existing, options);
    requireSpace(layout.directory, 0);
    withMountPoint(layout, mountPoint, options.frontend);
    return { layout, volume: withNodes(layout, options.nodes, steps) };
  }
  const nodes = options.nodes ?? DEFAULT_NODES;
  const shape = stripeShape(nodes, options.parity ?? DEFAULT_PARITY);
  if (typeof shape === 'string') throw new CommandFailure(exitCodes.usage, shape);
  if (options.capacity !== undefined) requireCapacity(options.capacity, shape.dataFragments);
  requireSpace(layout.directory, nodes);
  const path = canonicalMountPoint(mountPoint ?? defaultMountPoint(name));
  prepareMountPoint(path, mountSource(name, layout));
  const step = steps.begin('volume');
  createVolume(layout, {
    name,
    nodes: Array.from({ length: nodes }, (_, index) => index + 1),
    ...shape,
    capacityBytes: options.capacity ?? null,
    mountPoint: path,
    frontend: options.frontend ?? 'native',
  });
  step.done(
    `${name} created in ${layout.directory}: ${nodes} ${nodes === 1 ? 'node' : 'nodes'}, ` +
      `${shape.dataFragments} data + ${shape.parityFragments} parity`,
  );
  return { layout, volume: readVolumeFile(layout) };
}

function requireCapacity(capacityBytes: number, dataFragments: number): void {
  const leastBytes = Math.ceil(LEAST_VOLUME_BYTES / dataFragments);
  if (capacityBytes >= leastBytes) return;
  throw new CommandFailure(
    exitCodes.usage,
    `--capacity ${formatSize(capacityBytes)}: nodes of this volume need ${formatSize(leastBytes)} each, for the cleaner to have room to work in`,
  );
}

function refuseChanges(volume: VolumeFile, options: UpOptions): void {
  const differences: string[] = [];
  const compare = (option: string, asked: number | undefined, is: number | string): void => {
    if (asked !== undefined && asked !== is) differences.push(`${option} is ${is} and not ${asked}`);
  };
  if ((options.nodes ?? 0) < volume.nodes.length) compare('--nodes', options.nodes, volume.nodes.length);
  compare('--parity', options.parity, volume.parityFragments);
  compare('--capacity', options.capacity, volume.capacityBytes ?? 'what the disk has');
  if (differences.length === 0) return;
  throw new CommandFailure(
    exitCodes.configuration,
    `volume ${volume.name} exists already, and its ${differences.join(', ')}: ` +
      'leave the option out, or make another volume with --volume NAME',
  );
}

function withMountPoint(
  layout: VolumeLayout,
  mountPoint: string | undefined,
  frontend: Frontend | undefined,
): void {
  const path = mountPoint === undefined ? undefined : canonicalMountPoint(mountPoint);
  changeVolumeFile(layout, (volume) => ({
    ...volume,
    mountPoint: path ?? volume.mountPoint,
    frontend: frontend ?? volume.frontend,
  }));
}

function withNodes(layout: VolumeLayout, nodes: number | undefined, steps: Steps): VolumeFile {
  const { volume, added } = addNodes(layout, ({ nodes: present }) =>
    Math.max(0, (nodes ?? 0) - present.length),
  );
  if (added.length > 0) steps.begin('volume').done(`${volume.name} has ${volume.nodes.length} nodes now`);
  return volume;
}
