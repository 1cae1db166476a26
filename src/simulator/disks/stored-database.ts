/**
 * What a disk keeps of one database, with LevelDB's promises: a batch is there whole or not at all; a synced one and everything
 * written before it survive a power loss; of what was written later, a beginning survives. A dead process loses nothing that was
 * written.
 *
 * Databases live on the disk beside files and take its space, but no file faults: what a page of LevelDB would do to them is the
 * one switch `corrupt`.
 */
import type { Dice } from '../contract.ts';
import type { DiskSpace } from './disk-space.ts';
import { OrderedTree } from './ordered-tree.ts';

export type Change = { readonly key: string; readonly value: Buffer | undefined };

/** Written and not yet in a table: then the oldest is on the disk, synced or not. */
const MAX_UNSYNCED_BATCHES = 1024;

export class StoredDatabase {
  readonly kind = 'database';
  /** Nobody can open it any more. */
  corrupt = false;
  locked = false;
  readonly #space: DiskSpace;
  readonly #dice: Dice;
  /** The first is on the disk, the last is what readers see. */
  #states: OrderedTree[] = [OrderedTree.empty];
  #linked = false;

  constructor(space: DiskSpace, dice: Dice) {
    this.#space = space;
    this.#dice = dice;
  }

  get now(): OrderedTree {
    return this.#states.at(-1)!;
  }

  setLinked(linked: boolean): void {
    if (linked === this.#linked) return;
    this.#linked = linked;
    if (linked) this.#space.takeAnyway(this.now.lengthBytes);
    else this.#space.give(this.now.lengthBytes);
  }

  /** All of them at once. Space that is missing is refused with ENOSPC. */
  write(changes: readonly Change[], sync: boolean, what: string): void {
    let tree = this.now;
    for (const { key, value } of changes)
      tree = value === undefined ? tree.remove(key) : tree.put(key, value);
    this.#charge(tree.lengthBytes - this.now.lengthBytes, what);
    if (sync) this.#states = [tree];
    else this.#states.push(tree);
    if (this.#states.length > MAX_UNSYNCED_BATCHES) this.#states.shift();
  }

  losePower(): void {
    const before = this.now.lengthBytes;
    this.#states = [this.#dice.pick([this.#states[0]!, this.#dice.pick(this.#states), this.now])];
    if (!this.#linked) return;
    this.#space.give(before);
    this.#space.takeAnyway(this.now.lengthBytes);
  }

  #charge(lengthBytes: number, what: string): void {
    if (!this.#linked) return;
    if (lengthBytes > 0) this.#space.take(lengthBytes, what);
    else this.#space.give(-lengthBytes);
  }
}
