/**
 * `tartan up`: from whatever there is - nothing, a stopped volume, one that lost processes, one that runs - to a mounted directory
 * that answers. Idempotent.
 */
import { type Command, Option } from 'commander';
import { mountAt } from '../../fuse/mount-table.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import {
  attachSupervisor,
  ensureSupervisor,
  type SupervisorClient,
} from '../supervisor/supervisor-client.ts';
import { type Steps, silentSteps, terminalSteps } from '../terminal/steps.ts';
import { deleteLeftDirectories } from '../volume/fewer-nodes.ts';
import { addNodes } from '../volume/more-nodes.ts';
import { canonicalMountPoint, detachMount, prepareMountPoint, probeMount } from '../volume/mount-point.ts';
import { mountSource } from '../volume/mount-source.ts';
import { requireFuse, requireSpace } from '../volume/requirements.ts';
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
import { bringDown } from './down.ts';
import { stayInForeground } from './foreground.ts';
import { parseCapacity, parseCount } from './numbers.ts';
import { commandPlatform } from './session.ts';
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

const PROGRESS_INTERVAL_MS = 100;
const SILENCE_TIMEOUT_MS = 10_000;

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

export interface BringUpOptions {
  readonly steps: Steps;
  readonly restart: boolean;
  readonly readOnly: boolean;
}

/** Starts what does not run and mounts. Resolves when the mount answers. */
export async function bringUp(
  layout: VolumeLayout,
  volume: VolumeFile,
  options: BringUpOptions,
): Promise<void> {
  prepareMountPoint(volume.mountPoint, mountSource(volume.name, layout));
  const running = await attachSupervisor(commandPlatform(), layout);
  const supervisor = running ?? (await ensureSupervisor(commandPlatform(), layout));
  try {
    if (options.restart) await supervisor.run({ command: 'set-restart', restart: true });
    // Added just now, or added or removed by a command that did not live to say so.
    const known = (await supervisor.facts()).nodes.map(({ id }) => id);
    const isUpToDate = known.length === volume.nodes.length && volume.nodes.every((id) => known.includes(id));
    if (!isUpToDate) await supervisor.run({ command: 'take-nodes' });
    // Their processes have ended by now.
    for (const problem of deleteLeftDirectories(layout, volume)) options.steps.note(`  ${problem}`);
    await startNodes(supervisor, options.steps);
    await mountHere(supervisor, layout, volume, options);
  } catch (error) {
    // Where nothing can ever be mounted, nodes are of no use to anybody: what was started for it does not stay.
    if (running === undefined && isForTheUserToSetRight(error)) await bringDown(layout, true, silentSteps);
    throw error;
  } finally {
    supervisor.close();
  }
}

function isForTheUserToSetRight(error: unknown): boolean {
  if (!(error instanceof CommandFailure)) return false;
  return error.exitCode === exitCodes.permission || error.exitCode === exitCodes.configuration;
}

async function mountHere(
  supervisor: SupervisorClient,
  layout: VolumeLayout,
  volume: VolumeFile,
  options: BringUpOptions,
): Promise<void> {
  const { mountPoint, frontend } = volume;
  const step = options.steps.begin('mount');
  if (await isServed(supervisor, mountPoint)) {
    step.done(`${mountPoint} is mounted already`);
    return;
  }
  // Nobody serves it: a killed process left it behind.
  if (mountAt(mountPoint) !== undefined) detachMount(mountPoint);
  await whileReporting(
    supervisor.run({ command: 'start-mount', mount: { mountPoint, frontend, readOnly: options.readOnly } }),
    async () => step.update((await supervisor.facts()).mount?.detail ?? ''),
  );
  if (probeMount(mountPoint) !== 'answering') {
    throw new CommandFailure(
      exitCodes.unavailable,
      `${mountPoint} is mounted and does not answer; see ${layout.logFile('mount')}`,
    );
  }
  step.done(`${mountSource(volume.name, layout)} at ${mountPoint}`);
}

/**
 * Is the volume mounted there by a process that answers? False if no process has it. One that is about to die, or to be ready, is given
 * time; one that is there and does not answer is an error.
 */
async function isServed(supervisor: SupervisorClient, mountPoint: string): Promise<boolean> {
  const deadlineMs = performance.now() + SILENCE_TIMEOUT_MS;
  for (;;) {
    const { mount } = await supervisor.facts();
    if (mount === null || mount.process === 'absent') return false;
    if (mount.process === 'running') {
      if (mount.path !== mountPoint) return false;
      if (mount.statistics !== null && probeMount(mountPoint) === 'answering') return true;
      if (performance.now() > deadlineMs) {
        throw new CommandFailure(
          exitCodes.unavailable,
          `${mountPoint} is mounted and does not answer; give it up with \`tartan down --force\``,
        );
      }
    }
    await new Promise((resolve) => setTimeout(resolve, PROGRESS_INTERVAL_MS));
  }
}

/** Calls `report` again and again until `work` is over. */
async function whileReporting<T>(work: Promise<T>, report: () => Promise<void>): Promise<T> {
  let over = false;
  const done = work.finally(() => {
    over = true;
  });
  const settled = done.catch(() => undefined);
  const reporting = (async () => {
    while (!over) {
      await report();
      await Promise.race([settled, new Promise((resolve) => setTimeout(resolve, PROGRESS_INTERVAL_MS))]);
    }
  })();
  const [result] = await Promise.all([done, reporting]);
  return result;
}

async function startNodes(supervisor: SupervisorClient, steps: Steps): Promise<void> {
  const { nodes } = await supervisor.facts();
  const keptDown = nodes.filter((node) => node.process === 'absent' && node.stoppedOnPurpose);
  const toStart = nodes.filter((node) => node.process !== 'running' && !node.stoppedOnPurpose);
  const step = steps.begin('nodes');
  let started = 0;
  step.update(`0 of ${toStart.length} started`);
  const failures: CommandFailure[] = [];
  await Promise.all(
    toStart.map(async ({ id }) => {
      try {
        await supervisor.run({ command: 'start-node', id });
        started += 1;
        step.update(`${started} of ${toStart.length} started`);
      } catch (error) {
        if (!(error instanceof CommandFailure)) throw error;
        failures.push(new CommandFailure(error.exitCode, `node ${id}: ${error.message}`, error));
      }
    }),
  );
  const running = nodes.length - keptDown.length - failures.length;
  step.done(`${running} of ${nodes.length} running, ${started} of them started now`);
  const [first] = failures;
  if (first !== undefined && running === 0) throw first;
  for (const failure of failures) steps.note(`  ${failure.message}`);
  for (const node of keptDown) {
    steps.note(`  node ${node.id} was stopped and stays down; start it with: tartan node start ${node.id}`);
  }
}
