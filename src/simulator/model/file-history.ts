/**
 * What one regular file may hold after a crash: its contents at the last point at which they were durable, and what happened since,
 * in order. See docs/durability.md for the promises.
 *
 * A state is chosen by two numbers. Of the blocks written, the first `q` are there: a file is committed in the order of its
 * writes, block by block. Of the changes that are metadata alone (cut, punch, grow), those before the moment `p` of the whole history
 * are: they are journaled at once, so they may overtake blocks written earlier, but no block overtakes a change that was made before it.
 * A barrier says that the blocks written before it come first: a cut inside a block, a rename over another file.
 */
import { BLOCK_BYTES, roundUp } from '../../base/units.ts';
import { isZero } from './blocks.ts';

interface BlockWritten {
  readonly at: number;
  readonly block: number;
  readonly bytes: Uint8Array;
  /** The visible size after it. */
  readonly sizeBytes: number;
}

interface ShapeChange {
  readonly kind: 'cut' | 'grow' | 'punch' | 'barrier';
  readonly at: number;
  /** How many blocks were written before it, of those in the list. */
  readonly blocksBefore: number;
  /** Of a cut or a grow. */
  readonly sizeBytes: number;
  /** Of a punch. */
  readonly firstBlock: number;
  readonly endBlock: number;
}

/** Moments [from, to) of the history at which a found state is possible. */
export interface MomentRange {
  readonly from: number;
  readonly to: number;
}

interface Content {
  sizeBytes: number;
  readonly blocks: Map<number, Uint8Array>;
}

export class FileHistory {
  readonly #durable: Content = { sizeBytes: 0, blocks: new Map() };
  #written: BlockWritten[] = [];
  #changes: ShapeChange[] = [];
  #visibleSize = 0;

  /** A block got new contents; `bytes` is a whole block and stays as it is. `endBytes`: where the writing ended, 0 for inside the file. */
  wrote(at: number, block: number, bytes: Uint8Array, endBytes: number): void {
    this.#visibleSize = Math.max(this.#visibleSize, Math.min(endBytes, (block + 1) * BLOCK_BYTES));
    this.#written.push({ at, block, bytes, sizeBytes: this.#visibleSize });
  }

  cut(at: number, sizeBytes: number): void {
    this.#visibleSize = sizeBytes;
    this.#change({ kind: 'cut', at, sizeBytes });
  }

  grew(at: number, sizeBytes: number): void {
    this.#visibleSize = Math.max(this.#visibleSize, sizeBytes);
    this.#change({ kind: 'grow', at, sizeBytes: this.#visibleSize });
  }

  punched(at: number, firstBlock: number, endBlock: number): void {
    this.#change({ kind: 'punch', at, firstBlock, endBlock });
  }

  barrier(at: number): void {
    this.#change({ kind: 'barrier', at });
  }

  /** Everything before the moment is durable. */
  synced(moment: number): void {
    const changes = this.#changes.filter(({ at }) => at < moment).length;
    const blocks = this.#written.filter(({ at }) => at < moment).length;
    this.#advance(this.#durable, changes, blocks);
    this.#written = this.#written.slice(blocks);
    this.#changes = this.#changes
      .slice(changes)
      .map((change) => ({ ...change, blocksBefore: change.blocksBefore - blocks }));
  }

  /** When the file may hold these bytes. What was written before the moment `survived` must be there. */
  possible(found: Uint8Array, survived: number): MomentRange[] {
    const judge = new Judge(found);
    const ranges: MomentRange[] = [];
    let barrier = this.#written.filter(({ at }) => at < survived).length;
    for (let changes = 0; changes <= this.#changes.length; changes++) {
      const last = this.#changes[changes - 1];
      const next = this.#changes[changes];
      if (last?.kind === 'barrier') barrier = Math.max(barrier, last.blocksBefore);
      const most = next === undefined ? this.#written.length : next.blocksBefore;
      const to = next === undefined ? Number.POSITIVE_INFINITY : next.at + 1;
      let state: Content | undefined;
      for (let blocks = barrier; blocks <= most; blocks++) {
        // Blocks behind the last change only come on top.
        if (state !== undefined && blocks > (last?.blocksBefore ?? 0))
          write(state, this.#written[blocks - 1]!);
        else state = this.#state(changes, blocks);
        if (!judge.accepts(state)) continue;
        const written = blocks === 0 ? 0 : this.#written[blocks - 1]!.at + 1;
        ranges.push({ from: Math.max(last === undefined ? 0 : last.at + 1, written), to });
      }
    }
    return ranges;
  }

  /** Why it cannot hold these bytes, for people. */
  explain(found: Uint8Array, survived: number): string {
    const newest = this.#state(this.#changes.length, this.#written.length);
    const since = `${this.#written.length} blocks written and ${this.#changes.length} changes of shape since it was durable`;
    const sizes = `size ${found.length}, durable was ${this.#durable.sizeBytes}, newest is ${newest.sizeBytes}`;
    for (let at = 0; at < found.length; at += BLOCK_BYTES) {
      const block = at / BLOCK_BYTES;
      const bytes = found.subarray(at, at + BLOCK_BYTES);
      const versions = [this.#durable.blocks.get(block)];
      for (const one of this.#written) if (one.block === block) versions.push(one.bytes);
      const isPunched = this.#changes.some(({ kind }) => kind === 'punch' || kind === 'cut');
      if (versions.some((version) => holds(bytes, version)) || (isPunched && holds(bytes, undefined)))
        continue;
      const expected = versions.map((version) => hex(version)).join(' or ');
      return `${sizes}; block ${block} holds ${hex(bytes)}, expected ${expected}; ${since}`;
    }
    if (this.possible(found, 0).length > 0) {
      const old = this.#written.filter(({ at }) => at < survived).length;
      return `${sizes}; it is a beginning of the writes, without all of the ${old} blocks that were old enough to survive; ${since}`;
    }
    return `${sizes}; each block was so once, but no order of the writes gives all of them; ${since}`;
  }

  #change(change: Pick<ShapeChange, 'kind' | 'at'> & Partial<ShapeChange>): void {
    this.#changes.push({
      ...{ blocksBefore: this.#written.length, sizeBytes: 0, firstBlock: 0, endBlock: 0 },
      ...change,
    });
  }

  /** The contents with the first `changes` changes of shape and the first `blocks` blocks written. */
  #state(changes: number, blocks: number): Content {
    const { sizeBytes, blocks: durable } = this.#durable;
    const state: Content = { sizeBytes, blocks: new Map(durable) };
    this.#advance(state, changes, blocks);
    return state;
  }

  /** From what is durable to the state with so many changes and blocks. */
  #advance(state: Content, changes: number, blocks: number): void {
    let done = 0;
    const writeUntil = (until: number): void => {
      for (; done < until; done++) write(state, this.#written[done]!);
    };
    for (let index = 0; index < changes; index++) {
      const change = this.#changes[index]!;
      writeUntil(Math.min(blocks, change.blocksBefore));
      apply(state, change, blocks);
    }
    writeUntil(blocks);
  }
}

function write(state: Content, { block, bytes, sizeBytes }: BlockWritten): void {
  state.blocks.set(block, bytes);
  state.sizeBytes = Math.max(state.sizeBytes, sizeBytes);
}

function apply(state: Content, change: ShapeChange, blocks: number): void {
  const { kind, sizeBytes, firstBlock, endBlock } = change;
  if (kind === 'cut') {
    state.sizeBytes = Math.min(state.sizeBytes, sizeBytes);
    const firstCut = Math.ceil(sizeBytes / BLOCK_BYTES);
    for (const block of state.blocks.keys()) if (block >= firstCut) state.blocks.delete(block);
  } else if (kind === 'grow') {
    // A size that covers blocks still to be committed comes with them.
    if (blocks >= change.blocksBefore) state.sizeBytes = Math.max(state.sizeBytes, sizeBytes);
  } else if (kind === 'punch') {
    for (const block of state.blocks.keys())
      if (block >= firstBlock && block < endBlock) state.blocks.delete(block);
  }
}

/** Compares states with what was found; a version of a block is compared once. */
class Judge {
  readonly #found: Uint8Array;
  readonly #verdicts = new Map<Uint8Array, boolean>();
  /** Blocks that hold something else than zeros. */
  readonly #filled: number[] = [];

  constructor(found: Uint8Array) {
    this.#found = found;
    for (let block = 0; block * BLOCK_BYTES < found.length; block++)
      if (!holds(this.#block(block), undefined)) this.#filled.push(block);
  }

  accepts(state: Content): boolean {
    if (state.sizeBytes !== this.#found.length) return false;
    for (const block of this.#filled) if (!state.blocks.has(block)) return false;
    const blockCount = roundUp(state.sizeBytes, BLOCK_BYTES) / BLOCK_BYTES;
    for (const [block, bytes] of state.blocks)
      if (block < blockCount && !this.#matches(block, bytes)) return false;
    return true;
  }

  #matches(block: number, bytes: Uint8Array): boolean {
    let verdict = this.#verdicts.get(bytes);
    if (verdict === undefined) {
      verdict = holds(this.#block(block), bytes);
      this.#verdicts.set(bytes, verdict);
    }
    return verdict;
  }

  #block(block: number): Uint8Array {
    return this.#found.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES);
  }
}

/** `version` undefined: zeros. What was found may be cut short by the end of the file. */
function holds(found: Uint8Array, version: Uint8Array | undefined): boolean {
  if (version === undefined) return isZero(found);
  return Buffer.compare(found, version.subarray(0, found.length)) === 0;
}

function hex(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? 'zeros' : `${Buffer.from(bytes.subarray(0, 12)).toString('hex')}…`;
}
