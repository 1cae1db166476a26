/**
 * The directory tree of a disk and the journal of its changes.
 *
 * Changes of names are kept as a journaling file system keeps them: they get to the disk in the order in which they were made, each
 * whole, and a power loss leaves those up to some point. syncDirectory moves that point behind the directory's last change. Beyond
 * POSIX that promises the order, as ext4 (ordered) and XFS do; unlike ext4, syncing a file does not bring its name along.
 * A replaced or removed file keeps its bytes until nothing can bring it back.
 */
import { MachineError } from '../../platform/platform.ts';
import type { Dice } from '../contract.ts';
import type { StoredDatabase } from './stored-database.ts';
import type { StoredFile } from './stored-file.ts';

export type Named = Directory | StoredFile | StoredDatabase;

export class Directory {
  readonly kind = 'directory';
  readonly entries = new Map<string, Named>();
}

interface Change {
  readonly directories: readonly Directory[];
  readonly undo: () => void;
}

/** More changes than this, and the oldest is committed: a journal has an end. */
const MAX_PENDING_CHANGES = 1024;

export class Names {
  readonly #root = new Directory();
  readonly #dice: Dice;
  #pending: Change[] = [];

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  /** Undefined: there is nothing of this name, or what leads to it is no directory. */
  find(path: string): Named | undefined {
    let at: Named | undefined = this.#root;
    for (const name of partsOf(path)) {
      if (at?.kind !== 'directory') return undefined;
      at = at.entries.get(name);
    }
    return at;
  }

  directory(path: string, what: string): Directory {
    let at: Named = this.#root;
    for (const name of partsOf(path)) {
      if (at.kind !== 'directory') throw new MachineError('ENOTDIR', `${what}: not a directory`);
      const next = at.entries.get(name);
      if (next === undefined) throw new MachineError('ENOENT', `${what}: no such file or directory`);
      at = next;
    }
    if (at.kind !== 'directory') throw new MachineError('ENOTDIR', `${what}: not a directory`);
    return at;
  }

  /** Gives a new thing a name that is free. */
  add(path: string, named: Named, what: string): void {
    const { parent, name } = this.#place(path, what);
    attach(parent, name, named);
    this.#changed([parent], () => detach(parent, name));
  }

  makeDirectory(path: string, what: string): void {
    const parts = partsOf(path);
    for (let count = 1; count <= parts.length; count++) {
      const part = `/${parts.slice(0, count).join('/')}`;
      const found = this.find(part);
      if (found === undefined) this.add(part, new Directory(), what);
      else if (found.kind !== 'directory') {
        throw new MachineError(count === parts.length ? 'EEXIST' : 'ENOTDIR', `${what}: not a directory`);
      }
    }
  }

  /** What is not there is fine. A tree goes from the leaves up, each name a change of its own. */
  remove(path: string, what: string): void {
    const named = this.find(path);
    if (named === undefined) return;
    if (named.kind === 'directory') {
      for (const name of [...named.entries.keys()]) this.remove(`${path}/${name}`, what);
    }
    const { parent, name } = this.#place(path, what);
    detach(parent, name);
    this.#changed([parent], () => attach(parent, name, named));
  }

  rename(from: string, to: string, what: string): void {
    const source = this.#place(from, what);
    const target = this.#place(to, what);
    const named = source.parent.entries.get(source.name);
    if (named === undefined) throw new MachineError('ENOENT', `${what}: no such file or directory`);
    const replaced = target.parent.entries.get(target.name);
    if (replaced === named) return;
    if (replaced !== undefined) checkReplaceable(named, replaced, what);
    if (named.kind === 'directory' && `${to}/`.startsWith(`${from}/`))
      throw new MachineError('EINVAL', `${what}: into itself`);
    source.parent.entries.delete(source.name);
    if (replaced !== undefined) detach(target.parent, target.name);
    target.parent.entries.set(target.name, named);
    this.#changed([source.parent, target.parent], () => {
      target.parent.entries.delete(target.name);
      if (replaced !== undefined) attach(target.parent, target.name, replaced);
      source.parent.entries.set(source.name, named);
    });
  }

  syncDirectory(directory: Directory): void {
    this.#commit(this.#pending.findLastIndex(({ directories }) => directories.includes(directory)) + 1);
  }

  /** Everything that was done to names so far is on the disk. */
  syncAll(): void {
    this.#commit(this.#pending.length);
  }

  /** The power is gone: of the changes that were not synced, the first few remain, perhaps none, perhaps all. */
  losePower(): void {
    const kept = this.#dice.pick([0, this.#dice.below(this.#pending.length + 1), this.#pending.length]);
    for (const change of this.#pending.slice(kept).reverse()) change.undo();
    this.#pending = [];
  }

  /** Every file and database with its path, in an order that depends on nothing but what was done. */
  *all(): Generator<{ readonly path: string; readonly named: StoredFile | StoredDatabase }> {
    yield* allIn(this.#root, '');
  }

  #place(path: string, what: string): { parent: Directory; name: string } {
    const parts = partsOf(path);
    const name = parts.at(-1);
    if (name === undefined) throw new MachineError('EBUSY', `${what}: the root`);
    return { parent: this.directory(`/${parts.slice(0, -1).join('/')}`, what), name };
  }

  #changed(directories: readonly Directory[], undo: () => void): void {
    this.#pending.push({ directories, undo });
    if (this.#pending.length > MAX_PENDING_CHANGES) this.#commit(1);
  }

  #commit(count: number): void {
    this.#pending.splice(0, count);
  }
}

/** Parts of an absolute path; `.` and empty ones do not count. */
export function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

function attach(parent: Directory, name: string, named: Named): void {
  parent.entries.set(name, named);
  if (named.kind !== 'directory') named.setLinked(true);
}

function detach(parent: Directory, name: string): void {
  const named = parent.entries.get(name);
  parent.entries.delete(name);
  if (named !== undefined && named.kind !== 'directory') named.setLinked(false);
}

function checkReplaceable(named: Named, replaced: Named, what: string): void {
  if (replaced.kind === 'file') {
    if (named.kind !== 'file') throw new MachineError('ENOTDIR', `${what}: a file is in the way`);
    return;
  }
  if (named.kind === 'file') throw new MachineError('EISDIR', `${what}: a directory is in the way`);
  if (replaced.kind === 'database' || replaced.entries.size > 0)
    throw new MachineError('ENOTEMPTY', `${what}: a directory is in the way`);
}

function* allIn(
  directory: Directory,
  path: string,
): Generator<{ readonly path: string; readonly named: StoredFile | StoredDatabase }> {
  for (const [name, named] of directory.entries) {
    if (named.kind === 'directory') yield* allIn(named, `${path}/${name}`);
    else yield { path: `${path}/${name}`, named };
  }
}
