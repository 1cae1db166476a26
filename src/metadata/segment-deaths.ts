/**
 * Segments that have died, from the transaction that took their last block until whoever frees fragments is told: once the entry with that transaction is
 * durable everywhere, since a block that is freed before could be wanted after a crash. In the order of their deaths.
 *
 * Which are dead is for the segment table to know, which also lists them for the next start.
 */
import type { SegmentRecord } from '../format/segment-record.ts';
import type { SegmentTable } from './segment-table.ts';

export class SegmentDeaths {
  readonly #segments: SegmentTable;
  #handler: ((record: SegmentRecord) => void) | undefined;
  /** Each with the entry that has to be committed first. */
  #dying: { segmentId: number; sequence: number }[];

  /** Begins with those that the last reign left, up to `lastSequence`. */
  constructor(segments: SegmentTable, lastSequence: number) {
    this.#segments = segments;
    this.#dying = [...segments.dead].map((segmentId) => ({ segmentId, sequence: lastSequence }));
    segments.died = [];
  }

  /** Those that the segment table names died in the transaction that goes into this entry. */
  note(sequence: number): void {
    for (const segmentId of this.#segments.died) this.#dying.push({ segmentId, sequence });
    this.#segments.died = [];
  }

  get handler(): ((record: SegmentRecord) => void) | undefined {
    return this.#handler;
  }

  /** Is told of those from here on that wait already, too; without one they wait. */
  handle(handler: ((record: SegmentRecord) => void) | undefined, committedSequence: number): void {
    this.#handler = handler;
    this.committed(committedSequence);
  }

  /** Entries up to `sequence` are durable everywhere. */
  committed(sequence: number): void {
    if (this.#handler === undefined) return;
    while (this.#dying.length > 0 && this.#dying[0]!.sequence <= sequence) {
      const { segmentId } = this.#dying.shift()!;
      const record = this.#segments.records.get(segmentId);
      if (record !== undefined) this.#handler(record);
    }
  }
}
