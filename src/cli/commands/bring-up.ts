/**
 * From whatever runs of a volume, nothing or some of it, to a mounted directory that answers: the supervisor, the nodes, and the mount beside
 * them.
 */
import { mountAt } from '../../fuse/mount-table.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import type { NodeFacts } from '../supervisor/control-messages.ts';
import {
  attachSupervisor,
  ensureSupervisor,
  type SupervisorClient,
} from '../supervisor/supervisor-client.ts';
import { type Steps, silentSteps } from '../terminal/steps.ts';
import { deleteLeftDirectories } from '../volume/fewer-nodes.ts';
import { detachMount, prepareMountPoint, probeMount } from '../volume/mount-point.ts';
import { mountSource } from '../volume/mount-source.ts';
import type { VolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { bringDown } from './down.ts';
import { commandPlatform } from './session.ts';

const PROGRESS_INTERVAL_MS = 100;
const SILENCE_TIMEOUT_MS = 10_000;

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
    await startAll(supervisor, layout, volume, options);
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

/** A mount waits for the nodes by itself: its process starts beside theirs. One that runs may answer only when they are there. */
async function startAll(
  supervisor: SupervisorClient,
  layout: VolumeLayout,
  volume: VolumeFile,
  options: BringUpOptions,
): Promise<void> {
  const { nodes, mount } = await supervisor.facts();
  const started = startNodes(supervisor, nodes, options.steps);
  const isMountAbsent = mount === null || mount.process === 'absent';
  const mounting = (isMountAbsent ? Promise.resolve() : started).then(() =>
    beginMount(supervisor, volume, options),
  );
  // Waited for below, unless no node starts: that is told instead.
  mounting.catch(() => undefined);
  try {
    await started;
  } catch (error) {
    const begun = await mounting.catch(() => undefined);
    if (begun?.isThereAlready === false) await supervisor.run({ command: 'stop-mount', lazy: true });
    throw error;
  }
  await finishMount(supervisor, layout, volume, mounting, options.steps);
}

/** What a mount that was begun comes to. */
interface Mounting {
  readonly isThereAlready: boolean;
  readonly mounted: Promise<unknown>;
}

async function beginMount(
  supervisor: SupervisorClient,
  { mountPoint, frontend }: VolumeFile,
  { readOnly }: BringUpOptions,
): Promise<Mounting> {
  if (await isServed(supervisor, mountPoint)) return { isThereAlready: true, mounted: Promise.resolve() };
  // Nobody serves it: a killed process left it behind.
  if (mountAt(mountPoint) !== undefined) detachMount(mountPoint);
  const mounted = supervisor.run({ command: 'start-mount', mount: { mountPoint, frontend, readOnly } });
  mounted.catch(() => undefined); // whoever finishes it hears of it
  return { isThereAlready: false, mounted };
}

async function finishMount(
  supervisor: SupervisorClient,
  layout: VolumeLayout,
  { name, mountPoint }: VolumeFile,
  mounting: Promise<Mounting>,
  steps: Steps,
): Promise<void> {
  const step = steps.begin('mount');
  const { isThereAlready, mounted } = await mounting;
  if (isThereAlready) {
    step.done(`${mountPoint} is mounted already`);
    return;
  }
  await whileReporting(mounted, async () => step.update((await supervisor.facts()).mount?.detail ?? ''));
  if (probeMount(mountPoint) !== 'answering') {
    throw new CommandFailure(
      exitCodes.unavailable,
      `${mountPoint} is mounted and does not answer; see ${layout.logFile('mount')}`,
    );
  }
  step.done(`${mountSource(name, layout)} at ${mountPoint}`);
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

async function startNodes(
  supervisor: SupervisorClient,
  nodes: readonly NodeFacts[],
  steps: Steps,
): Promise<void> {
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
