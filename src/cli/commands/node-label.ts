/** `tartan node label`: which nodes are likely to fail together. volume.json says it; whoever places fragments hears of it from the coordinator, at once if the volume runs. */
import type { Command } from 'commander';
import { CommandFailure, exitCodes } from '../failure.ts';
import { attachSupervisor, type SupervisorClient } from '../supervisor/supervisor-client.ts';
import { changeVolumeFile, type NodeSettings, type VolumeFile } from '../volume/volume-file.ts';
import { parseNodeId, requireNode } from './node-target.ts';
import { parseDomain } from './numbers.ts';
import { commandPlatform } from './session.ts';
import { addJsonOption, addVolumeOptions, existingVolume, type VolumeOptions } from './volume-options.ts';

const HEARD_TIMEOUT_MS = 3_000;
const HEARD_POLL_MS = 20;

interface LabelOptions extends VolumeOptions {
  readonly none?: boolean;
}

export function addLabelCommand(node: Command): void {
  const label = node
    .command('label')
    .description(
      'say which nodes are likely to fail together: no two fragments of a segment stay on one label',
    )
    .argument('<id>', 'number of the node')
    .argument('[label]', 'such as rack1', parseDomain)
    .option('--none', 'no label: it counts by itself');
  addJsonOption(addVolumeOptions(label)).action(runLabel);
}

async function runLabel(idText: string, label: string | undefined, options: LabelOptions): Promise<void> {
  const id = parseNodeId(idText);
  if ((label === undefined) !== (options.none === true)) {
    throw new CommandFailure(exitCodes.usage, 'a label is expected, such as rack1, or --none');
  }
  const { layout, file } = existingVolume(options);
  requireNode(file, id);
  changeVolumeFile(layout, (before) => labelled(before, id, label));
  const supervisor = await attachSupervisor(commandPlatform(), layout);
  try {
    await supervisor?.run({ command: 'take-nodes' });
    if (supervisor !== undefined) await heard(supervisor, id, label ?? null);
  } finally {
    supervisor?.close();
  }
  const text =
    options.json === true
      ? JSON.stringify({ id, domain: label ?? null })
      : `node ${id}: ${label ?? 'no label'}`;
  process.stdout.write(`${text}\n`);
}

function labelled(file: VolumeFile, id: number, domain: string | undefined): VolumeFile {
  requireNode(file, id);
  const { domain: _, ...others } = file.nodeSettings?.[id] ?? {};
  const settings: NodeSettings = domain === undefined ? others : { ...others, domain };
  const { [id]: __, ...nodeSettings } = file.nodeSettings ?? {};
  if (Object.keys(settings).length > 0) return { ...file, nodeSettings: { ...nodeSettings, [id]: settings } };
  return file.nodeSettings === undefined ? file : { ...file, nodeSettings };
}

/** Whoever is asked afterwards says it, too. */
async function heard(supervisor: SupervisorClient, id: number, domain: string | null): Promise<void> {
  const deadlineMs = performance.now() + HEARD_TIMEOUT_MS;
  while (performance.now() < deadlineMs) {
    const { nodes } = await supervisor.facts();
    if (nodes.some((node) => node.id === id && node.domain === domain)) return;
    await new Promise((resolve) => setTimeout(resolve, HEARD_POLL_MS));
  }
}
