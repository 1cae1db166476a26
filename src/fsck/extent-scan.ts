/** Holds a file's extents against the segment table, and gathers what consecutive blocks have in common into one problem. */
import { type BlockRanges, hasBlock, NO_RANGES } from '../base/block-ranges.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import { CHUNK_BLOCKS, type ChunkPairs } from '../format/metadata-records.ts';
import type { CheckContext } from './check-context.ts';
import type { FindingKind } from './findings.ts';
import type { Problem } from './problem.ts';

const TWO_32 = 2 ** 32;

interface Run {
  readonly kind: FindingKind;
  readonly segmentId: number;
  readonly firstBlock: number;
  endBlock: number;
}

export class ExtentScan {
  readonly #context: CheckContext;
  readonly #inode: number;
  readonly #reservation: BlockRanges;
  mapped = 0;
  /** Of those, how many lie in what is set aside for the file. */
  mappedInReservation = 0;
  /** Behind the last mapped block. */
  endBlock = 0;

  constructor(context: CheckContext, inode: number, reservation: BlockRanges = NO_RANGES) {
    this.#context = context;
    this.#inode = inode;
    this.#reservation = reservation;
  }

  *chunk(index: number, pairs: ChunkPairs): Generator<Problem> {
    let run: Run | undefined;
    for (let at = 0; 2 * at < pairs.length; at++) {
      const segmentId = pairs[2 * at]!;
      if (segmentId === 0) continue;
      const packed = pairs[2 * at + 1]!;
      const blockIndex = Math.floor(packed / TWO_32);
      const fileBlock = index * CHUNK_BLOCKS + at;
      this.mapped++;
      if (hasBlock(this.#reservation, fileBlock)) this.mappedInReservation++;
      this.endBlock = fileBlock + 1;
      const kind = this.#block(segmentId, blockIndex, fileBlock, packed - blockIndex * TWO_32);
      if (kind === undefined) continue;
      if (run?.kind === kind && run.segmentId === segmentId && run.endBlock === fileBlock) run.endBlock++;
      else {
        if (run !== undefined) yield this.#problem(run);
        run = { kind, segmentId, firstBlock: fileBlock, endBlock: fileBlock + 1 };
      }
    }
    if (run !== undefined) yield this.#problem(run);
  }

  /** What is wrong with it, if anything. */
  #block(
    segmentId: number,
    blockIndex: number,
    fileBlock: number,
    checksum: number,
  ): FindingKind | undefined {
    const { segments, provisional } = this.#context;
    const rank = segments.rank(segmentId);
    if (rank < 0) {
      const inFlight = provisional.get(segmentId);
      if (inFlight === undefined) return 'extent-lost';
      inFlight.foundLive++;
      inFlight.extents.set(blockIndex, { inode: this.#inode, fileBlock, checksum });
      return undefined;
    }
    const noted = segments.note(rank, blockIndex, this.#inode, fileBlock, checksum);
    if (noted === 'ok') return undefined;
    return noted === 'outside' ? 'extent-out-of-segment' : 'extent-shared';
  }

  #problem({ kind, segmentId, firstBlock, endBlock }: Run): Problem {
    const range = rangeText(firstBlock, endBlock);
    const what = {
      'extent-lost': 'lie in a segment that is not there: they cannot be read',
      'extent-out-of-segment': 'lie behind the end of their segment: they cannot be read',
      'extent-shared': 'lie where other blocks lie, too: one of the two is wrong',
    }[kind as 'extent-lost' | 'extent-out-of-segment' | 'extent-shared'];
    return { kind, subject: { inode: this.#inode, segmentId }, detail: `${range} ${what}` };
  }
}

/** A range of a file for people. */
export function rangeText(firstBlock: number, endBlock: number): string {
  return `bytes ${firstBlock * BLOCK_BYTES} to ${endBlock * BLOCK_BYTES - 1}`;
}
