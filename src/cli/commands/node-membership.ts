/**
 * `tartan node add`, `drain`, `remove` and `replace`: which nodes a running volume has. The mount says what may be done and moves the data; volume.json says which nodes
 * there are, and is changed in one step each.
 */
import type { Command } from 'commander';
import { MAX_NODES } from '../../base/limits.ts';
import { CommandFailure, exitCodes } from '../failure.ts';
import { drainText } from '../status/balance-text.ts';
import type { SupervisorClient } from '../supervisor/supervisor-client.ts';
import { type Steps, silentSteps, terminalSteps } from '../terminal/steps.ts';
import { deleteNodeDirectory, markLetGo, strikeOff } from '../volume/fewer-nodes.ts';
import { addNodes } from '../volume/more-nodes.ts';
import { highestNode, type NodeSettings, type VolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { withUpkeep } from './mount-call.ts';
import { parseNodeId, requireNode, runningSupervisor } from './node-target.ts';
import { parseCapacity, parseCount, parseDomain } from './numbers.ts';
import { gatherStatus } from './status.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

const TAKEN_TIMEOUT_MS = 3_000;
const TAKEN_POLL_MS = 20;
const DRAIN_POLL_MS = 250;

export function addMembershipCommands(node: Command): void {
  const add = node
    .command('add')
    .description('add storage nodes, which get their share of the data')
    .option('--count <number>', 'how many (1)', parseCount('--count'));
  addSettings(add);
  addJsonOption(addVolumeOptions(add)).action(runAdd);
  const drain = node
    .command('drain')
    .description('move everything off a node, in the background; `tartan wait balanced` waits for it')
    .argument('<id>', 'number of the node')
    .option('--cancel', 'take it into use again');
  addJsonOption(addVolumeOptions(drain)).action(runDrain);
  const remove = node
    .command('remove')
    .description('make a node that holds nothing leave the volume, and delete its directory')
    .argument('<id>', 'number of the node');
  addJsonOption(addVolumeOptions(remove)).action(runRemove);
  const replace = node
    .command('replace')
    .description(
      'add a node, move everything off another one, and remove that (with the most nodes that a volume can have: first move, remove, then add)',
    )
    .argument('<id>', 'number of the node to be replaced');
  addSettings(replace, ' (as the one that is replaced)');
  addJsonOption(addVolumeOptions(replace)).action(runReplace);
}

function addSettings(command: Command, inherited = ''): void {
  command
    .option(
      '--domain <label>',
      `such as rack1: nodes that are likely to fail together, so no two fragments of a segment go there while there are enough other ones${inherited}`,
      parseDomain,
    )
    .option('--capacity <size>', `bytes that it may use${inherited || ' (as the others)'}`, parseCapacity);
}

interface SettingsOptions extends VolumeOptions {
  readonly domain?: string;
  readonly capacity?: number;
}

function settingsOf({ domain, capacity }: SettingsOptions): NodeSettings {
  return {
    ...(domain === undefined ? {} : { domain }),
    ...(capacity === undefined ? {} : { capacityBytes: capacity }),
  };
}

interface Volume {
  readonly layout: VolumeLayout;
  readonly supervisor: SupervisorClient;
  readonly steps: Steps;
}

async function withSupervisor(
  options: VolumeOptions,
  layout: VolumeLayout,
  file: VolumeFile,
  work: (volume: Volume) => Promise<unknown>,
): Promise<void> {
  const supervisor = await runningSupervisor(layout, file);
  try {
    const steps = options.json === true ? silentSteps : terminalSteps(process.stderr);
    const result = await work({ layout, supervisor, steps });
    if (options.json === true) process.stdout.write(`${JSON.stringify(result, null, 2)}\n`);
  } finally {
    supervisor.close();
  }
}

interface AddOptions extends SettingsOptions {
  readonly count?: number;
}

async function runAdd(options: AddOptions): Promise<void> {
  const { count = 1 } = options;
  if (count < 1)
    throw new CommandFailure(exitCodes.usage, `--count ${count}: at least one node can be added`);
  const { layout, file } = existingVolume(options);
  await withSupervisor(options, layout, file, async (volume) => {
    const added = await add(volume, count, settingsOf(options));
    const { nodes } = await volume.supervisor.facts();
    return nodes.filter(({ id }) => added.includes(id));
  });
}

/** `beforeStart` is called when the mount has heard of them. */
async function add(
  { layout, supervisor, steps }: Volume,
  count: number,
  settings: NodeSettings,
  beforeStart = () => Promise.resolve(),
): Promise<readonly number[]> {
  const step = steps.begin('nodes');
  const { volume, added } = addNodes(layout, () => count, settings);
  await supervisor.run({ command: 'take-nodes' });
  await beforeStart();
  for (const id of added) {
    step.update(`starting node ${id}`);
    await supervisor.run({ command: 'start-node', id });
  }
  await taken(layout, added);
  step.done(`${added.join(', ')} added: ${volume.name} has ${volume.nodes.length} nodes now`);
  return added;
}

/** The mount hears of nodes from the coordinator, a moment after this. Without a mount there is nobody to wait for. */
async function taken(layout: VolumeLayout, ids: readonly number[]): Promise<void> {
  const deadlineMs = performance.now() + TAKEN_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    try {
      const { nodes } = await withUpkeep(layout, (call) => call('balance', { kind: 'status' }));
      if (ids.every((id) => nodes.some((node) => node.id === id && node.isUp))) return;
    } catch (error) {
      if (error instanceof CommandFailure) return;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, TAKEN_POLL_MS));
  }
}

interface DrainOptions extends VolumeOptions {
  readonly cancel?: boolean;
}

async function runDrain(idText: string, options: DrainOptions): Promise<void> {
  const id = parseNodeId(idText);
  const { layout, file } = existingVolume(options);
  requireNode(file, id);
  const kind = options.cancel === true ? 'undrain' : 'drain';
  await withUpkeep(layout, (call) => call('balance', { kind, id }));
  const node = (await gatherStatus(options)).nodes.find((each) => each.id === id);
  if (options.json === true) process.stdout.write(`${JSON.stringify(node, null, 2)}\n`);
  else process.stdout.write(`node ${id}: ${node?.draining == null ? 'in use' : drainText(node.draining)}\n`);
}

async function runRemove(idText: string, options: VolumeOptions): Promise<void> {
  const id = parseNodeId(idText);
  const { layout, file } = existingVolume(options);
  // Again after it was cut short: what is left to be done is done.
  const isStruckOff = !file.nodes.includes(id) && id <= highestNode(file);
  if (!isStruckOff) requireNode(file, id);
  await withSupervisor(options, layout, file, async (volume) => {
    if (!isStruckOff) await letGo(volume, id);
    await dismiss(volume, id);
    return { id, removed: true };
  });
}

async function letGo({ layout }: Volume, id: number): Promise<void> {
  await withUpkeep(layout, (call) => call('balance', { kind: 'release', id }));
  markLetGo(layout, id);
  strikeOff(layout, id);
}

async function dismiss({ layout, supervisor, steps }: Volume, id: number): Promise<void> {
  const step = steps.begin('nodes');
  step.update(`stopping node ${id}`);
  await supervisor.run({ command: 'take-nodes' });
  const left = deleteNodeDirectory(layout, id);
  step.done(`${id} removed`);
  if (left !== undefined) steps.note(`  ${left}`);
}

async function runReplace(idText: string, options: SettingsOptions): Promise<void> {
  const id = parseNodeId(idText);
  const { layout, file } = existingVolume(options);
  requireNode(file, id);
  await withSupervisor(options, layout, file, async (volume) => {
    const { draining } = await withUpkeep(layout, (call) => call('balance', { kind: 'status' }));
    // Given again after it was cut short, it adds no further node.
    const isUnderWay = draining.some((drain) => drain.id === id);
    // Draining begins when the mount knows where to: otherwise segments would be made narrower.
    const settings = { ...file.nodeSettings?.[id], ...settingsOf(options) };
    // There is no number of nodes above this: the others take what it holds, and the new one gets its share afterwards.
    const addsLater = !isUnderWay && file.nodes.length === MAX_NODES;
    const addsFirst = !isUnderWay && !addsLater;
    const byBefore = addsFirst ? await add(volume, 1, settings, () => beginDrain(layout, id)) : [];
    if (addsLater) await withUpkeep(layout, (call) => call('balance', { kind: 'drain', id }));
    await emptied(volume, id);
    await letGo(volume, id);
    await dismiss(volume, id);
    const by = addsLater ? await add(volume, 1, settings) : byBefore;
    return { id, by: by[0] ?? null, removed: true };
  });
}

async function beginDrain(layout: VolumeLayout, id: number): Promise<void> {
  const newest = highestNode(existingVolume({ dir: layout.directory }).file);
  const deadlineMs = performance.now() + TAKEN_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    const { nodes } = await withUpkeep(layout, (call) => call('balance', { kind: 'status' }));
    if (nodes.some((node) => node.id === newest)) break;
    await new Promise((resolve) => setTimeout(resolve, TAKEN_POLL_MS));
  }
  await withUpkeep(layout, (call) => call('balance', { kind: 'drain', id }));
}

async function emptied({ layout, steps }: Volume, id: number): Promise<void> {
  const step = steps.begin('data');
  for (;;) {
    const report = await withUpkeep(layout, (call) => call('balance', { kind: 'status' }));
    const drain = report.draining.find((each) => each.id === id);
    if (drain === undefined) {
      throw new CommandFailure(
        exitCodes.unavailable,
        `node ${id} is not drained any more: somebody took it back`,
      );
    }
    if (drain.bytesLeft === 0 && !drain.journal) break;
    if (report.state === 'blocked') {
      throw new CommandFailure(
        exitCodes.unavailable,
        `node ${id} cannot be emptied: ${report.reason}; make room, or take it back with \`tartan node drain ${id} --cancel\``,
      );
    }
    step.update(`node ${id}: ${drainText(drain)}${report.paused ? ', paused' : ''}`);
    await new Promise((resolve) => setTimeout(resolve, DRAIN_POLL_MS));
  }
  step.done(`node ${id} is empty`);
}
