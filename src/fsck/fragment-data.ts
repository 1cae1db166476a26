/**
 * Reads all fragments of a segment, strip by strip: the nodes check the bytes against the fragments' own checksums, and here the parity is computed
 * anew from the data. The summary of the segment has to name the owners that the extents name.
 *
 * Memory: a strip of each fragment and of each parity, kept for the next segment; thrown away when a node does not answer in time, since its answer may
 * still be written to it.
 */
import { BLOCK_BYTES } from '../base/units.ts';
import { FormatError } from '../format/fields.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import { decodeSummary, type SegmentSummary } from '../format/segment-summary.ts';
import type { NodeCalls } from '../maintenance/node-calls.ts';
import type { Lender } from '../maintenance/repair-memory.ts';
import type { CheckContext } from './check-context.ts';
import type { FragmentState } from './check-fragments.ts';
import type { Problem } from './problem.ts';
import { ownerTerm } from './segment-index.ts';

const STRIP_BLOCKS = 128;

export class FragmentData implements Lender {
  readonly #context: CheckContext;
  readonly #calls: NodeCalls;
  #strips: Buffer[] = [];

  constructor(context: CheckContext, calls: NodeCalls) {
    this.#context = context;
    this.#calls = calls;
  }

  /** Turns the states of fragments that cannot be read into what they are. Returns positions of parity that does not fit the data. */
  async read(record: SegmentRecord, states: FragmentState[]): Promise<number[]> {
    const wrongParity = new Set<number>();
    for (let first = 0; first < record.fragmentBlocks; first += STRIP_BLOCKS) {
      const count = Math.min(STRIP_BLOCKS, record.fragmentBlocks - first);
      const strips = await this.#readStrip(record, states, first, count);
      if (states.some((state) => typeof state === 'string')) continue;
      for (const position of this.#compareParity(record, strips)) wrongParity.add(position);
    }
    return [...wrongParity];
  }

  async #readStrip(
    record: SegmentRecord,
    states: FragmentState[],
    firstBlock: number,
    count: number,
  ): Promise<Buffer[]> {
    const { segmentId, generation } = record;
    const strips = record.nodes.map((_, index) => this.#strip(index, count));
    await Promise.all(
      record.nodes.map(async (nodeId, position) => {
        if (typeof states[position] === 'string') return;
        const name = { segmentId, position, generation };
        const outcome = await this.#calls.get(nodeId, name, firstBlock, strips[position]!, this);
        if (outcome === 'ok') this.#context.bytesRead += count * BLOCK_BYTES;
        else states[position] = outcome;
      }),
    );
    return strips;
  }

  giveUp(): void {
    this.#strips = [];
  }

  #strip(index: number, blocks: number): Buffer {
    this.#strips[index] ??= this.#context.volume.platform.memory.allocate(STRIP_BLOCKS * BLOCK_BYTES);
    return this.#strips[index]!.subarray(0, blocks * BLOCK_BYTES);
  }

  #compareParity(record: SegmentRecord, strips: readonly Buffer[]): number[] {
    const { dataFragments: k, parityFragments: m } = record;
    if (m === 0) return [];
    const blocks = strips[0]!.length / BLOCK_BYTES;
    const parity = Array.from({ length: m }, (_, row) => this.#strip(k + m + row, blocks));
    this.#context.volume.platform.kernels.encodeParity(parity, strips.slice(0, k));
    return parity.flatMap((strip, row) => (strip.equals(strips[k + row]!) ? [] : [k + row]));
  }

  /** Of a segment all of whose fragments are good. */
  async *checkSummary(rank: number, record: SegmentRecord): AsyncGenerator<Problem> {
    const { segmentId } = record;
    const summary = await this.#readSummary(record);
    const fits = typeof summary !== 'string' && this.#ownersFit(rank, record, summary);
    if (fits) return;
    const why = typeof summary === 'string' ? summary : 'it names other owners than the extents';
    yield { kind: 'summary-wrong', subject: { segmentId }, detail: `its summary: ${why}` };
  }

  async #readSummary(record: SegmentRecord): Promise<SegmentSummary | string> {
    const { segmentId, generation, dataBlocks, summaryBlocks, fragmentBlocks } = record;
    const bytes = Buffer.alloc(summaryBlocks * BLOCK_BYTES);
    for (let at = 0; at < summaryBlocks; at++) {
      const index = dataBlocks + at;
      const position = Math.floor(index / fragmentBlocks);
      const into = this.#strip(0, 1);
      const name = { segmentId, position, generation };
      const nodeId = record.nodes[position]!;
      const outcome = await this.#calls.get(nodeId, name, index % fragmentBlocks, into, this);
      if (outcome !== 'ok') return outcome;
      into.copy(bytes, at * BLOCK_BYTES);
    }
    try {
      return decodeSummary(bytes, this.#context.crc32c);
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return error.message;
    }
  }

  #ownersFit(rank: number, record: SegmentRecord, summary: SegmentSummary): boolean {
    if (summary.segmentId !== record.segmentId || summary.dataBlocks !== record.dataBlocks) return false;
    const { segments } = this.#context;
    let sum = 0;
    let index = 0;
    for (let run = 0; run < summary.runCount; run++) {
      for (let at = 0; at < summary.counts[run]!; at++, index++) {
        if (!segments.isLive(rank, index)) continue;
        sum = (sum + ownerTerm(index, summary.inodes[run]!, summary.fileBlocks[run]! + at)) >>> 0;
      }
    }
    return sum === segments.ownerSum(rank);
  }
}
