/**
 * Listing of directories: '.' and '..' first, then the metadata's entries in the order of their cookies, page by page.
 */
import { posixOutcome } from '../base/errno.ts';
import type { Inode, ListedEntry, MetadataManager } from '../metadata/metadata.ts';
import type { Attributes, DirectoryEntry, MaybePromise } from './file-system.ts';
import { isDirectory, S_IFDIR } from './mode.ts';

const DOT_COOKIE = 1n;
const DOT_DOT_COOKIE = 2n;
/** About what fits into one reply to the kernel. */
const PAGE_ENTRIES = 128;

export type EntrySink = (entry: DirectoryEntry) => boolean;

/** What the listing needs of the file system: attributes of an entry, and that the look-up of one was passed on. */
export interface EntryAttributes {
  attributes(inode: Inode): Attributes;
  raiseLookups(inode: number): void;
}

export function directoryInode(metadata: MetadataManager, inode: number): Inode {
  const found = metadata.inode(inode);
  if (found === undefined) throw posixOutcome('ESTALE');
  if (!isDirectory(found.mode)) throw posixOutcome('ENOTDIR');
  return found;
}

export function readDirectory(
  metadata: MetadataManager,
  directory: Inode,
  cookie: bigint,
  plus: EntryAttributes | undefined,
  sink: EntrySink,
): MaybePromise<void> {
  const { inode, parent } = directory;
  if (cookie < DOT_COOKIE && !sink({ inode, name: '.', type: S_IFDIR, cookie: DOT_COOKIE })) return;
  if (cookie < DOT_DOT_COOKIE && !sink({ inode: parent, name: '..', type: S_IFDIR, cookie: DOT_DOT_COOKIE }))
    return;
  return readPages(metadata, inode, cookie < DOT_DOT_COOKIE ? DOT_DOT_COOKIE : cookie, plus, sink);
}

/** Stays in this turn as long as the metadata answers in it. */
function readPages(
  metadata: MetadataManager,
  directory: number,
  cookie: bigint,
  plus: EntryAttributes | undefined,
  sink: EntrySink,
): MaybePromise<void> {
  let after = cookie;
  for (;;) {
    const page = metadata.list(directory, after, PAGE_ENTRIES);
    if (page instanceof Promise) {
      return page.then((entries) => {
        const last = passOn(metadata, entries, plus, sink);
        return last === undefined ? undefined : readPages(metadata, directory, last, plus, sink);
      });
    }
    const last = passOn(metadata, page, plus, sink);
    if (last === undefined) return;
    after = last;
  }
}

/** Returns the cookie to go on behind, or undefined when that is all. */
function passOn(
  metadata: MetadataManager,
  entries: readonly ListedEntry[],
  plus: EntryAttributes | undefined,
  sink: EntrySink,
): bigint | undefined {
  for (const entry of entries) {
    if (plus === undefined) {
      if (!sink(entry)) return undefined;
      continue;
    }
    const inode = metadata.inode(entry.inode);
    // Removed since the page was read.
    if (inode === undefined) continue;
    const { name, type, cookie } = entry;
    if (!sink({ inode: entry.inode, name, type, cookie, attributes: plus.attributes(inode) }))
      return undefined;
    plus.raiseLookups(entry.inode);
  }
  return entries.length < PAGE_ENTRIES ? undefined : entries.at(-1)!.cookie;
}
