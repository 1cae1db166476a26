/**
 * Segments that are being read at large while a node of theirs is away. Rebuilding one fragment takes the same range of all others, which a
 * sequential reader asks for as well, a moment earlier or later: kept here, nothing is read twice.
 *
 * A few entries, each with memory for the data of one segment, read and rebuilt in columns (the same range of every fragment).
 * Their memory is allocated when a node is first away. Nothing in it is checked until it is copied out, against the checksums of who asks;
 * what is wrong or cannot be had is left to the ordinary path, and a wrong entry is not used again.
 */
import { MAX_SEGMENT_BLOCKS } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { FragmentRead } from './fragment-read.ts';
import { type RebuildParts, readSource } from './rebuild.ts';

/** As many as a stream touches at once with the longest read-ahead, and one that is being left. */
const MAX_ENTRIES = 12;
const COLUMN_BLOCKS = 64;
/** Smaller reads are served by rebuilding just what they ask for. */
const MIN_READ_BLOCKS = 32;

interface Entry {
  record: SegmentRecord | undefined;
  readonly memory: Buffer;
  users: number;
  lastUse: number;
  /** Data fragments' columns read from their nodes, by position * MAX_SEGMENT_BLOCKS + column. */
  readonly direct: Map<number, Promise<boolean>>;
  /** Columns whose missing fragments were rebuilt. */
  readonly rebuilt: Map<number, Promise<boolean>>;
}

export class StripeCache {
  readonly #parts: RebuildParts;
  readonly #allocate: (lengthBytes: number) => Buffer;
  readonly #onRebuilt: (blocks: number) => void;
  readonly #entries: Entry[] = [];
  #uses = 0;

  constructor(
    parts: RebuildParts,
    allocate: (lengthBytes: number) => Buffer,
    onRebuilt: (blocks: number) => void,
  ) {
    this.#parts = parts;
    this.#allocate = allocate;
    this.#onRebuilt = onRebuilt;
  }

  /** Whether such a read is better served from here. */
  suits(record: SegmentRecord, count: number): boolean {
    if (count < MIN_READ_BLOCKS || record.dataFragments < 2 || record.parityFragments === 0) return false;
    for (let position = 0; position < record.dataFragments; position++) {
      if (this.#reluctance(record, position) > 0) return true;
    }
    return false;
  }

  /** Of whoever is best asked for the fragment. */
  #reluctance(record: SegmentRecord, position: number): number {
    const { fragments } = this.#parts;
    return fragments.reluctance(fragments.holderOf(record, position));
  }

  /** False: the bytes cannot be had here; read the ordinary way. */
  async read(
    record: SegmentRecord,
    blockIndex: number,
    count: number,
    checksums: Uint32Array,
    checksumIndex: number,
    into: Uint8Array,
  ): Promise<boolean> {
    const entry = this.#enter(record);
    if (entry === undefined) return false;
    entry.users++;
    try {
      const columns: Promise<boolean>[] = [];
      for (let index = blockIndex; index < blockIndex + count; ) {
        const position = Math.floor(index / record.fragmentBlocks);
        const column = Math.floor((index % record.fragmentBlocks) / COLUMN_BLOCKS);
        columns.push(this.#ensure(entry, record, position, column));
        const next = Math.min((column + 1) * COLUMN_BLOCKS, record.fragmentBlocks);
        index = position * record.fragmentBlocks + next;
      }
      const complete = (await Promise.all(columns)).every((column) => column);
      if (!complete) return false;
      const bytes = entry.memory.subarray(blockIndex * BLOCK_BYTES, (blockIndex + count) * BLOCK_BYTES);
      into.set(bytes);
      if (this.#parts.fragments.matches(into, checksums, checksumIndex)) return true;
      if (sameSegment(entry.record, record)) entry.record = undefined;
      return false;
    } finally {
      entry.users--;
    }
  }

  /** The entry of the segment, a fresh one, or none when all are in use. */
  #enter(record: SegmentRecord): Entry | undefined {
    let oldest: Entry | undefined;
    for (const entry of this.#entries) {
      if (sameSegment(entry.record, record)) {
        entry.lastUse = ++this.#uses;
        return entry;
      }
      if (entry.users === 0 && (oldest === undefined || entry.lastUse < oldest.lastUse)) oldest = entry;
    }
    let entry = oldest;
    if (this.#entries.length < MAX_ENTRIES && (entry === undefined || entry.record !== undefined)) {
      const memory = this.#allocate(MAX_SEGMENT_BLOCKS * BLOCK_BYTES);
      entry = { record: undefined, memory, users: 0, lastUse: 0, direct: new Map(), rebuilt: new Map() };
      this.#entries.push(entry);
    }
    if (entry === undefined) return undefined;
    entry.record = record;
    entry.lastUse = ++this.#uses;
    entry.direct.clear();
    entry.rebuilt.clear();
    return entry;
  }

  async #ensure(entry: Entry, record: SegmentRecord, position: number, column: number): Promise<boolean> {
    const away = this.#reluctance(record, position) > 0;
    if (!away && (await this.#direct(entry, record, position, column))) return true;
    let rebuilt = entry.rebuilt.get(column);
    if (rebuilt === undefined) {
      rebuilt = this.#rebuild(entry, record, column);
      entry.rebuilt.set(column, rebuilt);
    }
    return rebuilt;
  }

  #direct(entry: Entry, record: SegmentRecord, position: number, column: number): Promise<boolean> {
    const key = position * MAX_SEGMENT_BLOCKS + column;
    let direct = entry.direct.get(key);
    if (direct === undefined) {
      direct = this.#readInto(entry, record, position, column, this.#view(entry, record, position, column));
      entry.direct.set(key, direct);
    }
    return direct;
  }

  /** Reads a column of one fragment. The entry stays in use until no transfer can touch its memory. */
  async #readInto(
    entry: Entry,
    record: SegmentRecord,
    position: number,
    column: number,
    into: Uint8Array,
  ): Promise<boolean> {
    const { fragments, watch } = this.#parts;
    const count = into.length / BLOCK_BYTES;
    const read = new FragmentRead(record, position, column * COLUMN_BLOCKS, count, into);
    read.nodeId = fragments.holderOf(record, position);
    entry.users++;
    const reading = fragments.read(read);
    const outcome = await watch.watch(reading);
    if (outcome !== 'slow') {
      entry.users--;
      return outcome === 'ok';
    }
    read.cancelled = true;
    // What a late transfer leaves here must not be taken for rebuilt bytes.
    if (sameSegment(entry.record, record)) entry.record = undefined;
    void fragments.outlast(read, reading).then(() => {
      entry.users--;
    });
    return false;
  }

  /** Reads what can be had of a column, with as much parity as will be needed, and rebuilds the data fragments that cannot. */
  async #rebuild(entry: Entry, record: SegmentRecord, column: number): Promise<boolean> {
    const { kernels, scratch } = this.#parts;
    const { dataFragments: k, parityFragments: m, nodes } = record;
    const answers = (position: number) => this.#reluctance(record, position) === 0;
    const away = nodes.slice(0, k).filter((_, position) => !answers(position)).length;
    const parity = nodes
      .map((_, position) => position)
      .filter((position) => position >= k && answers(position))
      .slice(0, Math.max(1, away));
    if (parity.length < Math.max(1, away)) return false;
    entry.users++;
    const reading = Array.from({ length: k }, (_, position) =>
      answers(position) ? this.#direct(entry, record, position, column) : false,
    );
    const columnBytes = this.#view(entry, record, 0, column).length;
    const rows = await scratch.whenBuffer(parity.length * columnBytes);
    try {
      const row = (index: number) => rows.bytes.subarray(index * columnBytes, (index + 1) * columnBytes);
      const readRows = await Promise.all(
        parity.map((position, index) => this.#readParity(record, position, column, row(index))),
      );
      const present = await Promise.all(reading);
      const missing = present.flatMap((have, position) => (have ? [] : [position]));
      const found = parity.filter((_, index) => readRows[index]);
      if (missing.length === 0) return true;
      if (found.length < missing.length) return false;
      const shards = new Array<Uint8Array | undefined>(k + m).fill(undefined);
      present.forEach((have, position) => {
        if (have) shards[position] = this.#view(entry, record, position, column);
      });
      for (const position of found) shards[position] = row(parity.indexOf(position));
      const wanted = missing.map((index) => ({ index, out: this.#view(entry, record, index, column) }));
      kernels.reconstruct(shards, k, m, wanted);
      this.#onRebuilt(missing.length * (columnBytes / BLOCK_BYTES));
      return true;
    } finally {
      rows.release();
      entry.users--;
    }
  }

  async #readParity(
    record: SegmentRecord,
    position: number,
    column: number,
    into: Uint8Array,
  ): Promise<boolean> {
    const count = into.length / BLOCK_BYTES;
    const read = new FragmentRead(record, position, column * COLUMN_BLOCKS, count, into);
    return (await readSource(this.#parts, read)) === 'ok';
  }

  #view(entry: Entry, record: SegmentRecord, position: number, column: number): Buffer {
    const first = column * COLUMN_BLOCKS;
    const end = Math.min(first + COLUMN_BLOCKS, record.fragmentBlocks);
    const base = position * record.fragmentBlocks;
    return entry.memory.subarray((base + first) * BLOCK_BYTES, (base + end) * BLOCK_BYTES);
  }
}

function sameSegment(a: SegmentRecord | undefined, b: SegmentRecord): boolean {
  return a !== undefined && a.segmentId === b.segmentId && a.generation === b.generation;
}
