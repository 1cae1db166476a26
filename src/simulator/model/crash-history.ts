/**
 * Which states of the model a crash may leave, and whether a found one is among them.
 *
 * All changes are numbered as they happen; a moment is the number of changes before it. What must hold (docs/durability.md):
 * - names and attributes are as they were at one moment, not before the last sync of anything;
 * - each file that then has a name holds what its own history allows at this same moment (file-history.ts).
 *
 * It observes a model from its beginning; what happened before counts as durable. Memory is bounded by what happens between syncs.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import { CheckFailed } from '../contract.ts';
import { newBlock } from './blocks.ts';
import { FileHistory, type MomentRange } from './file-history.ts';
import type { MemoryFileSystem } from './memory-file-system.ts';
import type { ModelObserver } from './model-observer.ts';
import { difference, linesOf, S_IFMT, S_IFREG, type Tree, treeOfModel } from './tree.ts';

/** Names and attributes from one moment until the next image's. */
interface Image {
  readonly from: number;
  readonly tree: Tree;
  readonly lines: readonly string[];
}

interface FoundState {
  readonly found: Tree;
  readonly contents: ReadonlyMap<number, Uint8Array>;
  readonly survived: number;
}

export class CrashHistory implements ModelObserver {
  readonly #model: MemoryFileSystem;
  readonly #nowMs: () => number;
  readonly #files = new Map<number, FileHistory>();
  #images: Image[] = [];
  #moment = 0;
  /** No crash goes back behind this moment, as far as names and attributes are concerned. */
  #durable = 0;
  /** When operations were answered, and the moment then. */
  #answered: { moment: number; atMs: number }[] = [];

  /** Everything that the model holds now is durable. */
  constructor(model: MemoryFileSystem, nowMs: () => number) {
    this.#model = model;
    this.#nowMs = nowMs;
    this.#images.push(this.#image());
    for (const { inode, mode } of this.#images[0]!.tree) {
      if ((mode & S_IFMT) !== S_IFREG || this.#files.has(inode)) continue;
      const { sizeBytes } = model.getAttributes(inode);
      for (let block = 0; block * BLOCK_BYTES < sizeBytes; block++)
        this.#writeBlock(inode, block, Math.min(sizeBytes, (block + 1) * BLOCK_BYTES));
      this.#file(inode).synced(this.#moment);
    }
    this.#durable = this.#moment;
    model.observer = this;
  }

  /** The number of changes so far. */
  get moment(): number {
    return this.#moment;
  }

  named(): void {
    this.#moment += 1;
    this.#images.push(this.#image());
  }

  wrote(inode: number, firstBlock: number, endBlock: number, endBytes: number): void {
    for (let block = firstBlock; block < endBlock; block++) this.#writeBlock(inode, block, endBytes);
  }

  cut(inode: number, sizeBytes: number, cutsBlock: boolean): void {
    const file = this.#file(inode);
    if (cutsBlock) {
      this.#writeBlock(inode, Math.floor(sizeBytes / BLOCK_BYTES), 0);
      file.barrier(this.#moment++);
    }
    file.cut(this.#moment++, sizeBytes);
  }

  grew(inode: number, sizeBytes: number): void {
    this.#file(inode).grew(this.#moment++, sizeBytes);
  }

  punched(inode: number, firstBlock: number, endBlock: number): void {
    this.#file(inode).punched(this.#moment++, firstBlock, endBlock);
  }

  replaces(inode: number): void {
    this.#files.get(inode)?.barrier(this.#moment++);
  }

  /** All changes so far are of operations that were answered. */
  answered(): void {
    if (this.#answered.at(-1)?.moment !== this.#moment)
      this.#answered.push({ moment: this.#moment, atMs: this.#nowMs() });
  }

  /**
   * A sync of the file returned; of nothing but names with 'names', of everything with 'all'. It covers the changes before `moment`: those
   * behind it are of an operation that failed, so that their effect is not known.
   */
  synced(what: number | 'names' | 'all', moment = this.#moment): void {
    this.#durable = moment;
    while (this.#images.length > 1 && this.#images[1]!.from <= this.#durable) this.#images.shift();
    if (what === 'all') for (const file of this.#files.values()) file.synced(moment);
    else if (what !== 'names') this.#files.get(what)?.synced(moment);
    if (what === 'all') this.#answered = [];
    const named = new Set(this.#images.flatMap(({ tree }) => tree.map(({ inode }) => inode)));
    // A file without names, open or not, is gone after a crash.
    if (what === 'all')
      for (const inode of this.#files.keys()) if (!named.has(inode)) this.#files.delete(inode);
  }

  /**
   * Throws CheckFailed unless a crash may have left this. `contents` holds the bytes of each regular file by its inode.
   * `survivedMs`: what was answered before this time must be there without a sync.
   */
  check(found: Tree, contents: ReadonlyMap<number, Uint8Array>, survivedMs = Number.NEGATIVE_INFINITY): void {
    const lines = linesOf(found);
    const text = lines.join('\n');
    const survived = this.#answered.findLast(({ atMs }) => atMs < survivedMs)?.moment ?? 0;
    let problem: string | undefined;
    for (const [index, image] of this.#images.entries()) {
      const to = this.#images[index + 1]?.from ?? this.#moment + 1;
      const from = Math.max(image.from, this.#durable, survived);
      if (from >= to || image.lines.join('\n') !== text) continue;
      problem = this.#checkFiles(image, { from, to }, { found, contents, survived });
      if (problem === undefined) return;
    }
    if (problem !== undefined) throw new CheckFailed(problem);
    const newest = this.#images.at(-1)!;
    const oldest = this.#images[0]!;
    throw new CheckFailed(
      `names and attributes are as at none of ${this.#images.length} moments since the last sync; ` +
        `against the newest: ${difference(newest.lines, lines)}; against the synced: ${difference(oldest.lines, lines)}`,
    );
  }

  /** Undefined: at some moment of the range every file may hold what it does. */
  #checkFiles(image: Image, range: MomentRange, state: FoundState): string | undefined {
    const { found, contents, survived } = state;
    let possible: MomentRange[] = [range];
    const seen = new Set<number>();
    for (const [index, { inode, mode, path }] of image.tree.entries()) {
      if ((mode & S_IFMT) !== S_IFREG || seen.has(inode)) continue;
      seen.add(inode);
      const bytes = contents.get(found[index]!.inode)!;
      const file = this.#file(inode);
      const own = file.possible(bytes, survived);
      if (own.length === 0) return `${path}: ${file.explain(bytes, survived)}`;
      const both = intersection(possible, own);
      if (both.length === 0)
        return `${path}: its contents are of moments ${text(own)}, but names and other files are of ${text(possible)}`;
      possible = both;
    }
    return undefined;
  }

  #writeBlock(inode: number, block: number, endBytes: number): void {
    const { parts } = this.#model.read(inode, 0, block * BLOCK_BYTES, BLOCK_BYTES);
    this.#file(inode).wrote(this.#moment++, block, newBlock(...parts), endBytes);
  }

  #file(inode: number): FileHistory {
    let file = this.#files.get(inode);
    if (file === undefined) {
      file = new FileHistory();
      this.#files.set(inode, file);
    }
    return file;
  }

  #image(): Image {
    const tree = treeOfModel(this.#model);
    return { from: this.#moment, tree, lines: linesOf(tree) };
  }
}

function intersection(a: readonly MomentRange[], b: readonly MomentRange[]): MomentRange[] {
  const both: MomentRange[] = [];
  for (const one of a)
    for (const other of b) {
      const range = { from: Math.max(one.from, other.from), to: Math.min(one.to, other.to) };
      if (range.from < range.to) both.push(range);
    }
  both.sort((x, y) => x.from - y.from);
  const merged: MomentRange[] = [];
  for (const range of both) {
    const last = merged.at(-1);
    if (last === undefined || range.from > last.to) merged.push(range);
    else merged[merged.length - 1] = { from: last.from, to: Math.max(last.to, range.to) };
  }
  return merged;
}

function text(ranges: readonly MomentRange[]): string {
  return ranges
    .slice(0, 5)
    .map(({ from, to }) => `${from}..${to - 1}`)
    .join(', ');
}
