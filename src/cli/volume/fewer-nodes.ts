/**
 * Makes a volume smaller: strikes a node off volume.json, which is what ends its being part of it. The mount has to have let go of it before: nothing is on it then, and
 * nothing will be. Whatever comes after - stopping it, striking it off the coordinator's list - is made up for by the next supervisor when it was cut short.
 */
import { existsSync, lstatSync, readdirSync, rmdirSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemCode } from '../failure.ts';
import { changeVolumeFile, highestNode, type VolumeFile } from './volume-file.ts';
import type { VolumeLayout } from './volume-layout.ts';

/** Gone, or a disk's own directory. */
const EXPECTED = ['ENOENT', 'EBUSY', 'ENOTEMPTY'];

/** In a directory: its node was let go of. If volume.json does not name the node either, the directory is a leftover of a removal that was cut short. */
const LET_GO = 'let-go';

/** Before it is struck off. */
export function markLetGo(layout: VolumeLayout, id: number): void {
  const directory = layout.nodeDirectory(id);
  // A lost disk has none.
  if (existsSync(directory)) writeFileSync(join(directory, LET_GO), '');
}

/** Deletes what removals left that were cut short. Returns what could not be deleted. */
export function deleteLeftDirectories(layout: VolumeLayout, file: VolumeFile): string[] {
  const left: string[] = [];
  for (let id = 1; id <= highestNode(file); id++) {
    if (file.nodes.includes(id) || !existsSync(join(layout.nodeDirectory(id), LET_GO))) continue;
    const problem = deleteNodeDirectory(layout, id);
    if (problem !== undefined) left.push(problem);
  }
  return left;
}

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
