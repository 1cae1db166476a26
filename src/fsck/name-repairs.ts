/** Repairs of names: entries that go, and inodes without a name that get one in the directory lost+found. */

import type { RedoSink } from '../format/journal-entry.ts';
import { entryKey } from '../format/metadata-keys.ts';
import { encodeEntry } from '../format/metadata-records.ts';
import { isDirectoryMode, S_IFDIR, S_IFMT } from '../metadata/inode-rules.ts';
import { create } from '../metadata/namespace.ts';
import { type MetadataState, ROOT } from '../metadata/state.ts';
import type { CheckContext } from './check-context.ts';
import type { FoundEntry } from './check-names.ts';
import type { StateRepair } from './problem.ts';

const LOST_AND_FOUND = 'lost+found';
const VACANT = { inode: 0, type: 0, overflow: true, name: '' } as const;

/** Takes the entry out of its slot; the directory counts one less. */
export function entryDropped(context: CheckContext, entry: FoundEntry): StateRepair {
  return (redo, state) => {
    const key = entryKey(entry.parent, entry.cookie);
    redo.setRecord(key, entry.overflow ? encodeEntry(VACANT, context.crc32c) : undefined);
    const directory = state.inodes.get(entry.parent);
    if (entry.inode === 0 || directory === undefined || !isDirectoryMode(directory.mode)) return true;
    const links = isDirectoryMode(entry.type) ? 1 : 0;
    redo.changeInode(entry.parent, {
      sizeBytes: Math.max(directory.sizeBytes - 1, 0),
      ...(directory.linkCount > 2 ? { linkCount: directory.linkCount - links } : {}),
    });
    return true;
  };
}

/** Gives an inode that has no name the name `#NUMBER` in lost+found. */
export function attached(context: CheckContext, inode: number): StateRepair {
  return (redo, state) => {
    const found = state.inodes.get(inode);
    if (found === undefined) return false;
    const time = now(context);
    const parent = lostAndFound(redo, state, time);
    const name = `#${inode}`;
    if (parent === undefined || state.directories.find(parent, name) !== undefined) return false;
    redo.addEntry(parent, name, inode, found.mode & S_IFMT, time.seconds, time.nanoseconds);
    if (isDirectoryMode(found.mode)) redo.changeInode(inode, { parent });
    else if (found.linkCount !== 1) redo.changeInode(inode, { linkCount: 1 });
    return true;
  };
}

function now(context: CheckContext): { seconds: number; nanoseconds: number } {
  const wallMs = context.volume.platform.clock.wallMs();
  return { seconds: Math.floor(wallMs / 1000), nanoseconds: Math.floor((wallMs % 1000) * 1_000_000) };
}

/** undefined: something else has the name. */
function lostAndFound(
  redo: RedoSink,
  state: MetadataState,
  time: { seconds: number; nanoseconds: number },
): number | undefined {
  const entry = state.directories.find(ROOT, LOST_AND_FOUND);
  if (entry !== undefined) return isDirectoryMode(entry.type) ? entry.inode : undefined;
  const { uid, gid } = state.inodes.get(ROOT)!;
  const made = { mode: S_IFDIR | 0o700, uid, gid, rdev: 0, time };
  return create(state, redo, ROOT, LOST_AND_FOUND, made).inode;
}
