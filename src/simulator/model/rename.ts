/**
 * rename(2) in the reference model: moving a name, replacing what has the new one, or exchanging two. Checks first, changes after, so that a refused call
 * leaves nothing behind.
 */
import { RENAME_EXCHANGE, RENAME_NOREPLACE } from '../../filesystem/file-system.ts';
import type { InodeTable } from './inode-table.ts';
import { fail, isDirectory, type ModelInode } from './model-inode.ts';
import type { ModelObserver } from './model-observer.ts';

export interface Rename {
  readonly oldParent: number;
  readonly oldName: string;
  readonly newParent: number;
  readonly newName: string;
  readonly flags: number;
}

/** What the request names. */
interface Ends {
  readonly from: ModelInode;
  readonly oldName: string;
  readonly source: ModelInode;
  readonly to: ModelInode;
  readonly newName: string;
}

export function rename(table: InodeTable, request: Rename, observer: ModelObserver | undefined): void {
  const { oldName, newName, flags } = request;
  if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) !== 0) fail('EINVAL');
  if (flags === (RENAME_NOREPLACE | RENAME_EXCHANGE)) fail('EINVAL');
  const from = table.directory(request.oldParent);
  const to = table.directory(request.newParent);
  const sourceEntry = table.entry(from, oldName);
  const targetEntry = table.entry(to, newName);
  if (sourceEntry === undefined) fail('ENOENT');
  const source = table.get(sourceEntry.inode);
  const target = targetEntry && table.get(targetEntry.inode);
  if (to.linkCount === 0) fail('ENOENT');
  if (isDirectory(source) && table.isWithin(to, source)) fail('EINVAL');
  const ends: Ends = { from, oldName, source, to, newName };
  if (flags === RENAME_EXCHANGE) {
    exchange(table, ends, target ?? fail('ENOENT'), observer);
    return;
  }
  if (target !== undefined) {
    if (flags === RENAME_NOREPLACE) fail('EEXIST');
    if (target === source) return;
    if (isDirectory(source) && !isDirectory(target)) fail('ENOTDIR');
    if (!isDirectory(source) && isDirectory(target)) fail('EISDIR');
    if (target.entries.size > 0) fail('ENOTEMPTY');
  }
  move(table, ends, target, observer);
}

function move(
  table: InodeTable,
  { from, oldName, source, to, newName }: Ends,
  target: ModelInode | undefined,
  observer: ModelObserver | undefined,
): void {
  const now = table.now();
  if (target !== undefined) observer?.replaces(source.inode);
  table.remove(from, oldName, now);
  table.insert(to, newName, source.inode, now);
  source.ctime = now;
  if (isDirectory(source)) {
    source.parent = to.inode;
    from.linkCount -= 1;
    to.linkCount += 1;
    if (target !== undefined) to.linkCount -= 1;
  }
  if (target !== undefined) table.dropLink(target, now);
  observer?.named();
}

function exchange(
  table: InodeTable,
  { from, oldName, source, to, newName }: Ends,
  target: ModelInode,
  observer: ModelObserver | undefined,
): void {
  if (isDirectory(target) && table.isWithin(from, target)) fail('EINVAL');
  if (source === target) return;
  const now = table.now();
  table.insert(from, oldName, target.inode, now);
  table.insert(to, newName, source.inode, now);
  source.ctime = target.ctime = now;
  if (isDirectory(source)) source.parent = to.inode;
  if (isDirectory(target)) target.parent = from.inode;
  const moved = Number(isDirectory(source)) - Number(isDirectory(target));
  from.linkCount -= moved;
  to.linkCount += moved;
  observer?.named();
}
