/**
 * Makes a volume smaller: strikes a node off volume.json, which is what ends its being part of it. The mount has to have let go of it before: nothing is on it then, and
 * nothing will be. Whatever comes after - stopping it, striking it off the coordinator's list - is made up for by the next supervisor when it was cut short.
 */
import { lstatSync, readdirSync, rmdirSync, rmSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../failure.ts';
import { changeVolumeFile, highestNode, type VolumeFile } from './volume-file.ts';
import type { VolumeLayout } from './volume-layout.ts';

/** Gone, or a disk's own directory. */
const EXPECTED = ['ENOENT', 'EBUSY', 'ENOTEMPTY'];

export function strikeOff(layout: VolumeLayout, id: number): VolumeFile {
  return changeVolumeFile(layout, (before) => {
    const nodes = before.nodes.filter((node) => node !== id);
    const { [id]: _, ...nodeSettings } = before.nodeSettings ?? {};
    const after = { ...before, nodes, highestNode: highestNode(before) };
    return before.nodeSettings === undefined ? after : { ...after, nodeSettings };
  });
}

/** A directory that is a mount point, or a link to one, is emptied. Says what could not be deleted; undefined: nothing is left. */
export function deleteNodeDirectory(layout: VolumeLayout, id: number): string | undefined {
  const directory = layout.nodeDirectory(id);
  try {
    for (const name of readdirSync(directory)) {
      // What mkfs makes stays.
      if (name !== 'lost+found') rmSync(join(directory, name), { recursive: true, force: true });
    }
    if (lstatSync(directory).isSymbolicLink()) unlinkSync(directory);
    else rmdirSync(directory);
    return undefined;
  } catch (error) {
    return EXPECTED.includes(systemCode(error) ?? '') ? undefined : `${directory} is left: ${String(error)}`;
  }
}
