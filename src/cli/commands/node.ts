/** `tartan node`: the storage nodes of a running volume, one by one. */
import type { Command } from 'commander';
import { CommandFailure, exitCodes } from '../failure.ts';
import { nodeTable } from '../status/status-text.ts';
import { attachSupervisor, type SupervisorClient } from '../supervisor/supervisor-client.ts';
import { silentSteps, terminalSteps } from '../terminal/steps.ts';
import { addNodes } from '../volume/more-nodes.ts';
import type { VolumeFile } from '../volume/volume-file.ts';
import type { VolumeLayout } from '../volume/volume-layout.ts';
import { withMount } from './mount-call.ts';
import { parseCount } from './numbers.ts';
import { commandPlatform } from './session.ts';
import { gatherStatus } from './status.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

const TAKEN_TIMEOUT_MS = 3_000;
const TAKEN_POLL_MS = 20;

export function parseNodeId(text: string): number {
  if (/^\d{1,5}$/.test(text) && Number(text) >= 1) return Number(text);
  throw new CommandFailure(
    exitCodes.usage,
    `node ${text}: the number of a node is expected; see tartan node list`,
  );
}

export function addNodeCommands(program: Command): Command {
  const node = program.command('node').description('list, add, start, stop or kill storage nodes');
  addJsonOption(addVolumeOptions(node.command('list').description('list the storage nodes'))).action(
    async (options: VolumeOptions) => {
      const { nodes } = await gatherStatus(options);
      const text = options.json === true ? JSON.stringify(nodes, null, 2) : nodeTable(nodes);
      process.stdout.write(`${text}\n`);
    },
  );
  const add = node
    .command('add')
    .description('add storage nodes, which get their share of the data')
    .option('--count <number>', 'how many (1)', parseCount('--count'));
  addJsonOption(addVolumeOptions(add)).action(runAdd);
  addAction(node, 'start', 'start a node that is down', (supervisor, id) =>
    supervisor.run({ command: 'start-node', id }),
  );
  addAction(
    node,
    'stop',
    'stop a node in an orderly way; it stays down until it is started',
    (supervisor, id) => supervisor.run({ command: 'stop-node', id, signal: 'SIGTERM' }),
  );
  addAction(
    node,
    'kill',
    'kill a node as a crash would; it stays down until it is started',
    (supervisor, id) => supervisor.run({ command: 'stop-node', id, signal: 'SIGKILL' }),
  );
  return node;
}

function addAction(
  parent: Command,
  name: string,
  description: string,
  act: (supervisor: SupervisorClient, id: number) => Promise<unknown>,
): void {
  const command = parent.command(name).description(description).argument('<id>', 'number of the node');
  addJsonOption(addVolumeOptions(command)).action(async (idText: string, options: VolumeOptions) => {
    const id = parseNodeId(idText);
    const { layout, file } = existingVolume(options);
    if (!file.nodes.includes(id)) {
      throw new CommandFailure(
        exitCodes.usage,
        `there is no node ${id}; this volume has ${file.nodes.join(', ')}`,
      );
    }
    const supervisor = await runningSupervisor(layout, file);
    try {
      await act(supervisor, id);
      const state = (await supervisor.facts()).nodes.find((node) => node.id === id);
      if (options.json === true) process.stdout.write(`${JSON.stringify(state)}\n`);
    } finally {
      supervisor.close();
    }
  });
}

async function runningSupervisor(layout: VolumeLayout, file: VolumeFile): Promise<SupervisorClient> {
  const supervisor = await attachSupervisor(commandPlatform(), layout);
  if (supervisor !== undefined) return supervisor;
  throw new CommandFailure(exitCodes.unavailable, `${file.name} is not running; start it with \`tartan up\``);
}

interface AddOptions extends VolumeOptions {
  readonly count?: number;
}

async function runAdd(options: AddOptions): Promise<void> {
  const { count = 1 } = options;
  if (count < 1)
    throw new CommandFailure(exitCodes.usage, `--count ${count}: at least one node can be added`);
  const { layout, file } = existingVolume(options);
  const supervisor = await runningSupervisor(layout, file);
  try {
    const steps = options.json === true ? silentSteps : terminalSteps(process.stderr);
    const step = steps.begin('nodes');
    const { volume, added } = addNodes(layout, () => count);
    await supervisor.run({ command: 'take-nodes' });
    for (const id of added) {
      step.update(`starting node ${id}`);
      await supervisor.run({ command: 'start-node', id });
    }
    await taken(layout, added);
    step.done(`${added.join(', ')} added: ${volume.name} has ${volume.nodes.length} nodes now`);
    const { nodes } = await supervisor.facts();
    const facts = nodes.filter(({ id }) => added.includes(id));
    if (options.json === true) process.stdout.write(`${JSON.stringify(facts, null, 2)}\n`);
  } finally {
    supervisor.close();
  }
}

/** The mount hears of nodes from the coordinator, a moment after this. Without a mount there is nobody to wait for. */
async function taken(layout: VolumeLayout, ids: readonly number[]): Promise<void> {
  const deadlineMs = performance.now() + TAKEN_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    try {
      const { nodes } = await withMount(layout, (call) => call('balance', { kind: 'status' }));
      if (ids.every((id) => nodes.some((node) => node.id === id && node.isUp))) return;
    } catch (error) {
      if (error instanceof CommandFailure) return;
      throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, TAKEN_POLL_MS));
  }
}
