/**
 * The walk over all directory entries: each names an inode that is there and of the entry's type, lies where a look-up finds it, and
 * belongs to a directory that counts it. Fills in the inode index who names whom, for the reachability check that follows.
 *
 * A slot chain: a name lies in its own slot or behind it, with every slot in between there and marked as passed over. Walking in slot order,
 * it is enough to know where the run of such slots began. A marked slot without a name is what a removal leaves, and fine.
 */
import { cookieOfEntryKey, entryKey, inodeKey, keyLetters } from '../format/metadata-keys.ts';
import {
  decodeEntry,
  decodeInode,
  type EntryRecord,
  encodeEntry,
  encodeInode,
  type InodeRecord,
} from '../format/metadata-records.ts';
import { isDirectoryMode } from '../metadata/inode-rules.ts';
import { type CheckContext, decoded } from './check-context.ts';
import { entryDropped } from './name-repairs.ts';
import type { Problem } from './problem.ts';
import { rescuedRecord } from './record-rescue.ts';
import { ViewCursor } from './view-cursor.ts';

const PROGRESS_EVERY = 4096;

export interface FoundEntry extends EntryRecord {
  readonly parent: number;
  readonly cookie: number;
}

export async function* checkNames(context: CheckContext): AsyncGenerator<Problem> {
  const { view, inodes } = context;
  const entries = new ViewCursor(view, keyLetters.entry);
  const cursor = new ViewCursor(view, keyLetters.inode);
  for (let done = 0; ; cursor.advance(), done++) {
    if (cursor.isDry) await cursor.fetch();
    yield* leftOver(context, entries, cursor.inode);
    if (cursor.head === undefined) break;
    const { value } = cursor.head;
    const inode = decoded(() => decodeInode(value, context.crc32c)).value;
    if (inode !== undefined) yield* checkDirectory(context, entries, inode);
    if (done % PROGRESS_EVERY === 0) context.progress('names', done, inodes.count);
  }
}

async function* checkDirectory(
  context: CheckContext,
  entries: ViewCursor,
  directory: InodeRecord,
): AsyncGenerator<Problem> {
  const isDirectory = isDirectoryMode(directory.mode);
  const walk = new SlotWalk(context, directory.inode);
  for (; ; entries.advance()) {
    if (entries.isDry) await entries.fetch();
    if (entries.head === undefined || entries.inode !== directory.inode) break;
    const { key, value } = entries.head;
    const cookie = cookieOfEntryKey(key);
    const found = decoded(() => decodeEntry(value, context.crc32c));
    if (found.value === undefined) {
      yield {
        kind: 'record-damaged',
        subject: { inode: directory.inode },
        detail: `a directory entry in it: ${found.why}`,
        repairOnNodes: rescuedRecord(context, key, (bytes) => decodeEntry(bytes, context.crc32c)),
      };
      continue;
    }
    const entry = { ...found.value, parent: directory.inode, cookie };
    if (isDirectory) yield* walk.entry(entry);
    else if (entry.inode !== 0) yield unowned(context, entry, 'it is no directory');
  }
  if (isDirectory) yield* checkCounts(context, directory, walk);
}

function unowned(context: CheckContext, entry: FoundEntry, why: string): Problem {
  return {
    kind: 'entry-unowned',
    subject: { inode: entry.parent },
    detail: `a name ${entry.name} lies in it, and ${why}`,
    repairAtRest: entryDropped(context, entry),
  };
}

/** The entries of one directory, in slot order. */
class SlotWalk {
  readonly #context: CheckContext;
  readonly #parent: number;
  readonly #parentRank: number;
  /** First slot of the run of slots passed over that reaches up to the next one. */
  #chainStart = -1;
  #nextCookie = -1;
  readonly #chainNames = new Set<string>();
  entries = 0;
  directories = 0;

  constructor(context: CheckContext, parent: number) {
    this.#context = context;
    this.#parent = parent;
    this.#parentRank = context.inodes.rank(parent);
  }

  *entry(entry: FoundEntry): Generator<Problem> {
    if (entry.cookie !== this.#nextCookie) {
      this.#chainStart = entry.cookie;
      this.#chainNames.clear();
    }
    if (entry.inode !== 0) yield* this.#named(entry);
    this.#nextCookie = entry.overflow ? entry.cookie + 1 : -1;
  }

  *#named(entry: FoundEntry): Generator<Problem> {
    const { inodes, hash } = this.#context;
    this.entries++;
    if (isDirectoryMode(entry.type)) this.directories++;
    const subject = { inode: this.#parent, name: entry.name };
    const rank = inodes.rank(entry.inode);
    if (rank < 0) {
      yield {
        kind: 'entry-dangling',
        subject,
        detail: `it names inode ${entry.inode}, which is not there`,
        repairAtRest: entryDropped(this.#context, entry),
      };
      return;
    }
    const own = hash(entry.name);
    if (this.#chainNames.has(entry.name)) {
      yield {
        kind: 'entry-twice',
        subject,
        detail: `the name is there twice; this one names inode ${entry.inode}`,
        repairAtRest: entryDropped(this.#context, entry),
      };
      return;
    }
    this.#chainNames.add(entry.name);
    inodes.addName(rank, this.#parentRank);
    if (own < this.#chainStart || own > entry.cookie) yield misplaced(this.#context, entry);
    if (entry.type !== inodes.type(rank)) yield typeWrong(this.#context, entry, inodes.type(rank));
  }
}

function misplaced(context: CheckContext, entry: FoundEntry): Problem {
  const drop = entryDropped(context, entry);
  return {
    kind: 'entry-misplaced',
    subject: { inode: entry.parent, name: entry.name },
    detail: 'it lies where a look-up does not find it',
    repairAtRest: (redo, state) => {
      if (state.directories.find(entry.parent, entry.name) !== undefined) return false;
      const directory = state.inodes.get(entry.parent);
      if (directory === undefined || !drop(redo, state)) return false;
      const { mtimeSeconds, mtimeNanoseconds } = directory;
      redo.addEntry(entry.parent, entry.name, entry.inode, entry.type, mtimeSeconds, mtimeNanoseconds);
      return true;
    },
  };
}

function typeWrong(context: CheckContext, entry: FoundEntry, type: number): Problem {
  return {
    kind: 'entry-type-wrong',
    subject: { inode: entry.parent, name: entry.name },
    detail: `it says that inode ${entry.inode} is of type ${entry.type.toString(8)}, which is of type ${type.toString(8)}`,
    repairAtRest: (redo) => {
      // Links to the directory follow in the next round, which counts what entries say.
      redo.setRecord(entryKey(entry.parent, entry.cookie), encodeEntry({ ...entry, type }, context.crc32c));
      return true;
    },
  };
}

function* checkCounts(context: CheckContext, directory: InodeRecord, walk: SlotWalk): Generator<Problem> {
  const { inode, sizeBytes, linkCount } = directory;
  const expectedLinks = linkCount === 0 ? 0 : 2 + walk.directories;
  const moreEntries = walk.entries - sizeBytes;
  const moreLinks = expectedLinks - linkCount;
  if (moreEntries === 0 && moreLinks === 0) return;
  const wrong: string[] = [];
  if (moreEntries !== 0) wrong.push(`it counts ${sizeBytes} entries and has ${walk.entries}`);
  if (moreLinks !== 0) wrong.push(`it counts ${linkCount} links and has ${expectedLinks}`);
  yield {
    kind: 'directory-count-wrong',
    subject: { inode },
    detail: wrong.join('; '),
    repairAtRest: (redo, state) => {
      const now = state.inodes.get(inode);
      if (now === undefined || now.sizeBytes + moreEntries < 0 || now.linkCount + moreLinks < 0) return false;
      const record = {
        ...now,
        sizeBytes: now.sizeBytes + moreEntries,
        linkCount: now.linkCount + moreLinks,
      };
      redo.setRecord(inodeKey(inode), encodeInode(record, context.crc32c));
      return true;
    },
  };
}

/** Entries of directories before `next` that are not there. */
async function* leftOver(context: CheckContext, entries: ViewCursor, next: number): AsyncGenerator<Problem> {
  for (; ; entries.advance()) {
    if (entries.isDry) await entries.fetch();
    if (entries.head === undefined || entries.inode >= next) return;
    const parent = entries.inode;
    const cookie = cookieOfEntryKey(entries.head.key);
    const { value } = entries.head;
    const found = decoded(() => decodeEntry(value, context.crc32c)).value;
    const entry = { ...(found ?? { inode: 0, type: 0, overflow: false, name: '' }), parent, cookie };
    yield unowned(context, entry, 'it is not there');
  }
}
