/**
 * Makes a volume larger: writes further nodes into volume.json, which is what makes them part of it. Whatever comes after - registering them, starting
 * them - is made up for by the next `tartan up` when it was cut short.
 */
import { readdirSync } from 'node:fs';
import { MAX_NODES } from '../../base/limits.ts';
import { asFailure, CommandFailure, exitCodes, systemCode } from '../failure.ts';
import { requireSpace } from './requirements.ts';
import { changeVolumeFile, highestNode, type NodeSettings, type VolumeFile } from './volume-file.ts';
import type { VolumeLayout } from './volume-layout.ts';

export interface MoreNodes {
  readonly volume: VolumeFile;
  /** Ids of the new ones. */
  readonly added: readonly number[];
}

/** `countFor` says how many more are wanted by what the volume has. All of them get the settings. */
export function addNodes(
  layout: VolumeLayout,
  countFor: (volume: VolumeFile) => number,
  settings: NodeSettings = {},
): MoreNodes {
  let added: readonly number[] = [];
  const volume = changeVolumeFile(layout, (before) => {
    const count = countFor(before);
    const total = before.nodes.length + count;
    if (total > MAX_NODES) {
      throw new CommandFailure(
        exitCodes.usage,
        `${before.name} would have ${total} nodes, and a volume has at most ${MAX_NODES}`,
      );
    }
    if (count > 0) requireSpace(layout.directory, count);
    added = freeNodeIds(layout, before, count);
    const after = { ...before, nodes: [...before.nodes, ...added] };
    if (Object.keys(settings).length === 0) return after;
    const theirs = Object.fromEntries(added.map((id) => [id, settings]));
    return { ...after, nodeSettings: { ...before.nodeSettings, ...theirs } };
  });
  return { volume, added };
}

/** Above those that are or were in use. A directory that was prepared for one may be there, but not one with data that some other node left. */
function freeNodeIds(layout: VolumeLayout, volume: VolumeFile, count: number): number[] {
  const ids: number[] = [];
  for (let id = highestNode(volume) + 1; ids.length < count; id++) {
    if (!holdsSomething(layout.nodeDirectory(id))) ids.push(id);
  }
  return ids;
}

function holdsSomething(directory: string): boolean {
  try {
    // What mkfs makes is nothing.
    return readdirSync(directory).some((name) => name !== 'lost+found');
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return false;
    throw asFailure(error, directory);
  }
}
