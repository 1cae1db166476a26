/** `tartan node`: the storage nodes of a running volume, one by one. Those that change which there are: node-membership.ts. */
import type { Command } from 'commander';
import { nodeTable } from '../status/status-text.ts';
import type { SupervisorClient } from '../supervisor/supervisor-client.ts';
import { addLabelCommand } from './node-label.ts';
import { addMembershipCommands } from './node-membership.ts';
import { parseNodeId, requireNode, runningSupervisor } from './node-target.ts';
import { gatherStatus } from './status.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

export function addNodeCommands(program: Command): void {
  const node = program
    .command('node')
    .description('list, add, label, start, stop, kill, empty, remove or replace storage nodes');
  addJsonOption(addVolumeOptions(node.command('list').description('list the storage nodes'))).action(
    async (options: VolumeOptions) => {
      const { nodes } = await gatherStatus(options);
      const text = options.json === true ? JSON.stringify(nodes, null, 2) : nodeTable(nodes);
      process.stdout.write(`${text}\n`);
    },
  );
  addMembershipCommands(node);
  addLabelCommand(node);
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
  addVolumeOptions(node.command('run').description('run a storage node in the foreground'))
    .argument('<id>', 'number of the node')
    .action(async (idText: string, options: VolumeOptions) => {
      const id = parseNodeId(idText);
      const { layout } = existingVolume(options);
      const { runNodeProcess } = await import('../process/node-process.ts');
      await runNodeProcess({ layout, id, supervised: false });
    });
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
    requireNode(file, id);
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
