/**
 * Segments whose extents do not sum up to what the fragments' headers say: one more walk over the extents finds which blocks of which files
 * they are. Bounded: so many segments' checksums are kept; of what is more only the segment is named.
 */
import { chunkOfKey, keyLetters } from '../format/metadata-keys.ts';
import { CHUNK_BLOCKS, decodeChunk } from '../format/metadata-records.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { type CheckContext, decoded } from './check-context.ts';
import type { FragmentState } from './check-fragments.ts';
import { rangeText } from './extent-scan.ts';
import type { Problem } from './problem.ts';
import { recordsOf } from './view-cursor.ts';

const MAX_SEGMENTS = 1024;
const TWO_32 = 2 ** 32;

export class Mismatches {
  readonly #context: CheckContext;
  /** Checksums of the data blocks, by segment. */
  readonly #expected = new Map<number, Uint32Array>();
  readonly #more: number[] = [];

  constructor(context: CheckContext) {
    this.#context = context;
  }

  /** All data fragments' states are descriptions. */
  add(record: SegmentRecord, states: readonly FragmentState[]): void {
    const { segmentId, dataBlocks, fragmentBlocks } = record;
    if (this.#expected.size >= MAX_SEGMENTS) {
      this.#more.push(segmentId);
      return;
    }
    const checksums = new Uint32Array(dataBlocks);
    for (let index = 0; index < dataBlocks; index++) {
      const state = states[Math.floor(index / fragmentBlocks)]!;
      if (typeof state !== 'string') checksums[index] = state.checksums[index % fragmentBlocks]!;
    }
    this.#expected.set(segmentId, checksums);
  }

  async *find(): AsyncGenerator<Problem> {
    for (const segmentId of this.#more) {
      const detail = 'its blocks are not those that the extents name';
      yield { kind: 'extent-mismatch', subject: { segmentId }, detail };
    }
    if (this.#expected.size === 0) return;
    for await (const { key, value } of recordsOf(this.#context.view, keyLetters.chunk)) {
      const chunk = decoded(() => decodeChunk(value, this.#context.crc32c)).value;
      if (chunk === undefined) continue; // was reported
      const first = chunkOfKey(key) * CHUNK_BLOCKS;
      for (const [from, to, segmentId] of this.#runs(chunk.pairs)) {
        const detail = `${rangeText(first + from, first + to)} are not what was written there: they cannot be read`;
        yield { kind: 'extent-mismatch', subject: { inode: key.readUIntBE(1, 6), segmentId }, detail };
      }
    }
  }

  /** Runs of blocks of one chunk whose checksums are not those of the segment. */
  *#runs(pairs: Float64Array): Generator<[from: number, to: number, segmentId: number]> {
    let run: [number, number, number] | undefined;
    for (let at = 0; 2 * at < pairs.length; at++) {
      const segmentId = pairs[2 * at]!;
      const blockIndex = Math.floor(pairs[2 * at + 1]! / TWO_32);
      const expected = this.#expected.get(segmentId)?.[blockIndex];
      if (expected === undefined || expected === pairs[2 * at + 1]! % TWO_32) continue;
      if (run?.[1] === at && run[2] === segmentId) run[1]++;
      else {
        if (run !== undefined) yield run;
        run = [at, at + 1, segmentId];
      }
    }
    if (run !== undefined) yield run;
  }
}
