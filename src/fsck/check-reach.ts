/**
 * Who can be reached from the root, and whether link counts are what the names come to. Works on the inode index alone, once all names are in.
 *
 * A directory whose way up ends at one without a name is not reported itself: that one is, and takes it along into lost+found.
 */
import { cookieOfEntryKey, inodeKey, keyLetters, perInodeKey } from '../format/metadata-keys.ts';
import { decodeEntry, decodeInode, encodeInode, encodePlain } from '../format/metadata-records.ts';
import { isDirectoryMode } from '../metadata/inode-rules.ts';
import { ROOT } from '../metadata/state.ts';
import { type CheckContext, decoded } from './check-context.ts';
import type { FoundEntry } from './check-names.ts';
import { inodeFlags } from './inode-index.ts';
import { attached, entryDropped } from './name-repairs.ts';
import type { Problem } from './problem.ts';
import { recordsOf } from './view-cursor.ts';

export async function* checkReach(context: CheckContext): AsyncGenerator<Problem> {
  const { inodes } = context;
  const root = inodes.rank(ROOT);
  if (root < 0) return; // its record is damaged, which was reported
  inodes.set(root, inodeFlags.reached);
  for (let rank = 0; rank < inodes.count; rank++) {
    if (rank === root) continue;
    if (isDirectoryMode(inodes.type(rank))) yield* checkDirectory(context, rank);
    else yield* checkFile(context, rank);
  }
}

function* checkFile(context: CheckContext, rank: number): Generator<Problem> {
  const { inodes } = context;
  const inode = inodes.number(rank);
  const links = inodes.linkCount(rank);
  const names = inodes.names(rank);
  if (names === 0) {
    if (!inodes.has(rank, inodeFlags.orphan)) yield nameless(context, inode, links);
    return;
  }
  if (links === names) return;
  const difference = names - links;
  yield {
    kind: 'links-wrong',
    subject: { inode },
    detail: `it counts ${links} links and has ${names} names`,
    repairAtRest: (redo, state) => {
      const found = state.inodes.get(inode);
      if (found === undefined || found.linkCount + difference < 1) return false;
      const record = { ...found, linkCount: found.linkCount + difference };
      redo.setRecord(inodeKey(inode), encodeInode(record, context.crc32c));
      return true;
    },
  };
}

/** An inode that no directory names and that is not on the list of deleted ones. */
function nameless(context: CheckContext, inode: number, links: number): Problem {
  if (links > 0) {
    return {
      kind: 'inode-unreachable',
      subject: { inode },
      detail: 'no directory names it',
      repairAtRest: attached(context, inode),
    };
  }
  return {
    kind: 'inode-unlisted',
    subject: { inode },
    detail: 'it is deleted and not on the list of those that are to be freed',
    repairAtRest: (redo, state) => {
      if (state.inodes.get(inode)?.linkCount !== 0 || state.orphans.has(inode)) return false;
      const key = perInodeKey(keyLetters.orphan, inode);
      redo.setRecord(key, encodePlain(new Uint8Array(0), context.crc32c));
      return true;
    },
  };
}

async function* checkDirectory(context: CheckContext, rank: number): AsyncGenerator<Problem> {
  const { inodes } = context;
  const inode = inodes.number(rank);
  const names = inodes.names(rank);
  if (names === 0) {
    if (!inodes.has(rank, inodeFlags.orphan)) yield nameless(context, inode, inodes.linkCount(rank));
    return;
  }
  if (names > 1) yield* secondNames(context, rank);
  if (climb(context, rank) === 'cycle') {
    const drops = (await entriesNaming(context, inode)).map((entry) => entryDropped(context, entry));
    const attach = attached(context, inode);
    yield {
      kind: 'directory-cycle',
      subject: { inode },
      detail: 'the way up from it leads back to it',
      repairAtRest: (redo, state) => {
        for (const drop of drops) drop(redo, state);
        return attach(redo, state);
      },
    };
    return;
  }
  yield* checkParent(context, rank);
}

/** Follows the first names up. Each directory is walked over once in all: what was reached stays so. */
function climb(context: CheckContext, from: number): 'root' | 'astray' | 'cycle' {
  const { inodes } = context;
  const { reached, climbing, astray } = inodeFlags;
  const path: number[] = [];
  let rank = from;
  let end: 'root' | 'astray' | 'cycle' = 'root';
  for (;;) {
    if (inodes.has(rank, reached)) break;
    if (inodes.has(rank, climbing)) {
      end = 'cycle';
      break;
    }
    if (inodes.has(rank, astray) || inodes.parent(rank) < 0) {
      end = 'astray';
      break;
    }
    inodes.set(rank, climbing);
    path.push(rank);
    rank = inodes.parent(rank);
  }
  for (const each of path) {
    inodes.clear(each, climbing);
    inodes.set(each, end === 'root' ? reached : astray);
  }
  return end;
}

async function* checkParent(context: CheckContext, rank: number): AsyncGenerator<Problem> {
  const { inodes, view, crc32c } = context;
  const inode = inodes.number(rank);
  const named = inodes.number(inodes.parent(rank));
  const [found] = await view.range(inodeKey(inode), `${inodeKey(inode)}\0`, 1);
  const record = found && decoded(() => decodeInode(found[1], crc32c)).value;
  if (record === undefined || record.parent === named || inodes.names(rank) !== 1) return;
  yield {
    kind: 'directory-parent-wrong',
    subject: { inode },
    detail: `its .. is inode ${record.parent}, and inode ${named} names it`,
    repairAtRest: (redo, state) => {
      if (state.inodes.get(inode) === undefined) return false;
      redo.changeInode(inode, { parent: named });
      return true;
    },
  };
}

/** A directory has one name. The one in the directory that it says is its parent stays, else the first. */
async function* secondNames(context: CheckContext, rank: number): AsyncGenerator<Problem> {
  const inode = context.inodes.number(rank);
  const [found] = await context.view.range(inodeKey(inode), `${inodeKey(inode)}\0`, 1);
  const parent = found && decoded(() => decodeInode(found[1], context.crc32c)).value?.parent;
  const named = await entriesNaming(context, inode);
  const kept = named.find((entry) => entry.parent === parent) ?? named[0];
  for (const entry of named) {
    if (entry === kept) continue;
    yield {
      kind: 'entry-twice',
      subject: { inode: entry.parent, name: entry.name },
      detail: `a second name of the directory ${inode}`,
      repairAtRest: entryDropped(context, entry),
    };
  }
}

/** Walks over all entries: for what hardly ever is wrong. */
async function entriesNaming(context: CheckContext, inode: number): Promise<FoundEntry[]> {
  const named: FoundEntry[] = [];
  for await (const { key, value } of recordsOf(context.view, keyLetters.entry)) {
    const entry = decoded(() => decodeEntry(value, context.crc32c)).value;
    if (entry?.inode !== inode) continue;
    named.push({ ...entry, parent: key.readUIntBE(1, 6), cookie: cookieOfEntryKey(key) });
  }
  return named;
}
