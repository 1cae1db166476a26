/**
 * The segment table: records of committed segments with exact live-block counts, which segments are dead and not yet forgotten, and the segments
 * that are not committed yet but hold blocks made durable inline ("provisional").
 *
 * A committed segment whose count drops to 0 is dead from that moment: it is listed in `dead` (and under a key of its own, so that the next
 * start finds it without a scan) until `forget`. A provisional segment whose count drops to 0 is nothing any more, and its
 * inline blocks go. Its later commit, if there is one, makes an ordinary record.
 */
import { Arena } from '../base/arena.ts';
import { assert } from '../base/assert.ts';
import {
  deadSegmentKey,
  inlineBlockKey,
  inlineBlockOfKey,
  keyLetters,
  segmentKey,
  segmentOfKey,
} from '../format/metadata-keys.ts';
import {
  type Checksum,
  decodeInlineBlock,
  encodeInlineBlock,
  encodePlain,
  INLINE_BLOCK_RECORD_BYTES,
  type InlineBlockRecord,
  type ProvisionalSegment,
} from '../format/metadata-records.ts';
import { decodeSegmentRecord, encodeSegmentRecord, type SegmentRecord } from '../format/segment-record.ts';
import { OverlayTable } from './overlay-table.ts';
import { prefixEnd, type StateReader } from './state-reader.ts';

/** Told of what happens to segments, in the turn in which it does: for who keeps an index of them. Nothing is told of what a start loads. */
export interface SegmentObserver {
  /** A segment has its record and its extents. */
  committed(record: SegmentRecord): void;
  liveChanged(segmentId: number, liveBlocks: number): void;
  /** Its fragments lie elsewhere now, or it is cut into others. */
  laidAnew?(record: SegmentRecord, before: SegmentRecord): void;
  forgotten(segmentId: number, record: SegmentRecord): void;
}

/** A record whose count changes in place. */
export type SegmentEntry = { -readonly [Field in keyof SegmentRecord]: SegmentRecord[Field] };

interface Provisional {
  liveBlocks: number;
  /** Block indexes whose bytes are kept inline. */
  readonly inlineBlocks: Set<number>;
}

export interface InlineBlock extends InlineBlockRecord {
  readonly segmentId: number;
  readonly blockIndex: number;
}

const CLEAN_BYTES = 16 * 1024 * 1024;
const ENTRY_BYTES = 256;
const RECORD_WEIGHT = 300;
const NO_BYTES = new Uint8Array(0);

export class SegmentTable {
  readonly records: OverlayTable<number, SegmentEntry>;
  readonly #values: OverlayTable<string, Buffer>;
  readonly #crc32c: Checksum;
  /** Inline blocks go again with their segment, seconds after they came. */
  readonly #inlineMemory = new Arena();
  readonly #provisional = new Map<number, Provisional>();
  readonly dead = new Set<number>();
  /** Segments that died since this was last emptied. */
  died: number[] = [];
  segments = 0;
  segmentBlocks = 0;
  lastCommitted = 0;
  readonly observers = new Set<SegmentObserver>();

  constructor(reader: StateReader, crc32c: Checksum, values: OverlayTable<string, Buffer>) {
    this.#crc32c = crc32c;
    this.#values = values;
    this.records = new OverlayTable<number, SegmentEntry>({
      keyOf: segmentKey,
      encode: (record) => encodeSegmentRecord(record, crc32c),
      decode: (bytes) => decodeSegmentRecord(bytes, crc32c),
      read: reader.get,
      sizeOf: () => ENTRY_BYTES,
      cleanBytes: CLEAN_BYTES,
      weightOf: () => RECORD_WEIGHT,
    });
  }

  /** Small tables that are kept whole: found again by their key ranges, not by scanning. */
  async load(reader: StateReader): Promise<void> {
    for await (const key of keysOf(reader, keyLetters.deadSegment)) this.dead.add(segmentOfKey(key));
    for await (const key of keysOf(reader, keyLetters.inlineBlock)) {
      const { segmentId, blockIndex } = inlineBlockOfKey(key);
      this.#provisional.get(segmentId)?.inlineBlocks.add(blockIndex);
    }
  }

  /** A segment gets its record. Blocks that inline commits mapped to it count on. */
  begin(record: SegmentRecord): void {
    const provisional = this.#provisional.get(record.segmentId);
    this.records.set(record.segmentId, { ...record, liveBlocks: provisional?.liveBlocks ?? 0 });
    if (provisional !== undefined) this.#dropProvisional(record.segmentId, provisional);
    this.segments++;
    this.segmentBlocks += record.dataBlocks + record.summaryBlocks;
    this.lastCommitted = Math.max(this.lastCommitted, record.segmentId);
  }

  /** To be called when the extents of a new segment are in: dead on arrival if none of its blocks is in use. */
  end(segmentId: number): void {
    const record = this.records.get(segmentId);
    assert(record !== undefined, 'a segment that was begun');
    assert(record.liveBlocks <= record.dataBlocks, 'a segment has no more live blocks than blocks');
    for (const observer of this.observers) observer.committed(record);
    if (record.liveBlocks === 0) this.#die(segmentId);
  }

  isProvisional(segmentId: number): boolean {
    return this.#provisional.has(segmentId);
  }

  raise(segmentId: number, blocks: number): void {
    if (blocks === 0) return;
    // A segment is provisional or has a record. Asked first, since the store would be searched for a record in vain.
    const provisional = this.#provisional.get(segmentId);
    if (provisional !== undefined) {
      provisional.liveBlocks += blocks;
      return;
    }
    const record = this.records.edit(segmentId);
    if (record !== undefined) {
      record.liveBlocks += blocks;
      this.#tellLive(segmentId, record.liveBlocks);
    } else this.#provisional.set(segmentId, { liveBlocks: blocks, inlineBlocks: new Set() });
  }

  lower(segmentId: number, blocks: number): void {
    const provisional = this.#provisional.get(segmentId);
    if (provisional !== undefined) {
      provisional.liveBlocks -= blocks;
      assert(provisional.liveBlocks >= 0, 'live blocks do not go below none');
      if (provisional.liveBlocks === 0) this.#dropProvisional(segmentId, provisional);
      return;
    }
    const record = this.records.edit(segmentId);
    // Its record was lost. There is nothing to count, and files with such extents have to be deletable.
    if (record === undefined) return;
    record.liveBlocks -= blocks;
    assert(record.liveBlocks >= 0, 'live blocks do not go below none');
    this.#tellLive(segmentId, record.liveBlocks);
    if (record.liveBlocks === 0) this.#die(segmentId);
  }

  #tellLive(segmentId: number, liveBlocks: number): void {
    for (const observer of this.observers) observer.liveChanged(segmentId, liveBlocks);
  }

  /**
   * A repair, or a move: other numbers for a segment that is there. Counts of the volume are the caller's matter. Whoever moves a segment has just
   * read its record; one that is damaged in the store must not be asked for again.
   */
  replace(record: SegmentRecord): void {
    const before = this.records.peek(record.segmentId);
    this.records.set(record.segmentId, { ...record });
    if (before === undefined) return;
    for (const observer of this.observers) observer.laidAnew?.(record, before);
    if (record.liveBlocks !== before.liveBlocks) this.#tellLive(record.segmentId, record.liveBlocks);
  }

  #die(segmentId: number): void {
    this.dead.add(segmentId);
    this.died.push(segmentId);
    this.#values.set(deadSegmentKey(segmentId), encodePlain(NO_BYTES, this.#crc32c));
  }

  #dropProvisional(segmentId: number, provisional: Provisional): void {
    this.#provisional.delete(segmentId);
    for (const index of provisional.inlineBlocks) this.#values.deleteOnce(inlineBlockKey(segmentId, index));
  }

  /** The segment is freed on the nodes: nothing is known of it any more. */
  forget(segmentId: number): void {
    const record = this.records.get(segmentId);
    assert(record !== undefined && record.liveBlocks === 0, 'only dead segments are forgotten');
    this.records.delete(segmentId);
    this.dead.delete(segmentId);
    for (const observer of this.observers) observer.forgotten(segmentId, record);
    this.#values.delete(deadSegmentKey(segmentId));
    this.segments--;
    this.segmentBlocks -= record.dataBlocks + record.summaryBlocks;
  }

  /** Keeps the bytes of a block until its segment is committed or needs none of them. */
  keepInline(segmentId: number, blockIndex: number, block: InlineBlockRecord): void {
    const provisional = this.#provisional.get(segmentId);
    if (provisional === undefined) return;
    provisional.inlineBlocks.add(blockIndex);
    const into = this.#inlineMemory.take(INLINE_BLOCK_RECORD_BYTES);
    this.#values.set(inlineBlockKey(segmentId, blockIndex), encodeInlineBlock(block, this.#crc32c, into));
  }

  /** Which segments are provisional, and their counts; inline blocks stay with those that were. */
  setProvisional(segments: readonly ProvisionalSegment[]): void {
    const before = new Map(this.#provisional);
    this.#provisional.clear();
    for (const { segmentId, liveBlocks } of segments) {
      const inlineBlocks = before.get(segmentId)?.inlineBlocks ?? new Set<number>();
      this.#provisional.set(segmentId, { liveBlocks, inlineBlocks });
    }
  }

  /** A repair: the segment's place in the list of dead ones; the record that stands for it is the caller's matter. */
  setDead(segmentId: number, isDead: boolean): void {
    if (!isDead) this.dead.delete(segmentId);
    else if (!this.dead.has(segmentId)) {
      this.dead.add(segmentId);
      this.died.push(segmentId);
    }
  }

  /** A repair: whether the bytes of a block are kept inline; they are the caller's matter. */
  setInline(segmentId: number, blockIndex: number, isKept: boolean): void {
    const inlineBlocks = this.#provisional.get(segmentId)?.inlineBlocks;
    if (isKept) inlineBlocks?.add(blockIndex);
    else inlineBlocks?.delete(blockIndex);
  }

  provisionalSegments(): ProvisionalSegment[] {
    return Array.from(this.#provisional, ([segmentId, { liveBlocks }]) => ({ segmentId, liveBlocks }));
  }

  /** All inline blocks, in order of segments and block indexes. */
  inlineBlocks(): InlineBlock[] {
    const found: InlineBlock[] = [];
    for (const segmentId of [...this.#provisional.keys()].sort((a, b) => a - b)) {
      const { inlineBlocks } = this.#provisional.get(segmentId)!;
      for (const blockIndex of [...inlineBlocks].sort((a, b) => a - b)) {
        const bytes = this.#values.get(inlineBlockKey(segmentId, blockIndex));
        assert(bytes !== undefined, 'an inline block has its bytes');
        found.push({ segmentId, blockIndex, ...decodeInlineBlock(bytes, this.#crc32c) });
      }
    }
    return found;
  }
}

const PAGE = 1024;

/** Keys of one letter, in pages. */
export async function* keysOf(reader: StateReader, letter: string): AsyncGenerator<Buffer> {
  let from = letter;
  for (;;) {
    const page = await reader.range(from, prefixEnd(letter), PAGE);
    for (const [key] of page) yield key;
    if (page.length < PAGE) return;
    from = `${page[PAGE - 1]![0].toString('latin1')}\0`;
  }
}
