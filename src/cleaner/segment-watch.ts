/**
 * Keeps the victim index in step with the metadata: reads the whole segment table once, in pages, and follows every change from the first turn on.
 *
 * Time is counted in blocks that users wrote. What was written before this reign is taken to have been written in the order of segment ids.
 */
import type { SegmentRecord } from '../format/segment-record.ts';
import type { SegmentSizes } from '../log/segment-size.ts';
import type { SegmentObserver } from '../metadata/segment-table.ts';
import type { VictimIndex } from './victim-index.ts';

const PAGE_SEGMENTS = 512;

export interface SegmentSource {
  observeSegments(observer: SegmentObserver): () => void;
  segments(after: number, limit: number): Promise<SegmentRecord[]>;
  segment(segmentId: number): SegmentRecord | undefined;
}

export class SegmentWatch implements SegmentObserver {
  readonly #source: SegmentSource;
  readonly #sizes: SegmentSizes;
  readonly #index: VictimIndex;
  readonly #unsubscribe: () => void;
  /** Below 0 for what was there before this reign. */
  now = 0;
  isLoaded = false;
  onForgotten: (segmentId: number) => void = () => undefined;
  /** A segment came or went. */
  onChange: () => void = () => undefined;

  constructor(source: SegmentSource, sizes: SegmentSizes, index: VictimIndex) {
    this.#source = source;
    this.#sizes = sizes;
    this.#index = index;
    this.#unsubscribe = source.observeSegments(this);
  }

  async load(isOver: () => boolean): Promise<void> {
    let after = 0;
    // Far in the past, and in order: nobody knows how long ago.
    let writtenAt = -(2 ** 40);
    for (;;) {
      const page = await this.#source.segments(after, PAGE_SEGMENTS);
      if (isOver()) return;
      for (const { segmentId } of page) {
        // What changed since the page was made counts; what was committed since is in the index.
        const record = this.#source.segment(segmentId);
        if (record === undefined || this.#index.writtenAt(segmentId) !== undefined) continue;
        const blocks = this.#sizes.blocksOf(record);
        writtenAt += record.dataBlocks;
        this.#index.put(segmentId, record.liveBlocks, blocks, writtenAt);
      }
      const last = page.at(-1);
      if (last === undefined || page.length < PAGE_SEGMENTS) break;
      after = last.segmentId;
    }
    // Times before this reign end where it began.
    this.#index.shiftTimes(-writtenAt, 0);
    this.isLoaded = true;
    this.onChange();
  }

  /** What segments take is counted by another shape from now on. */
  recount(): void {
    this.#index.recount((segmentId) => {
      const record = this.#source.segment(segmentId);
      return record === undefined ? undefined : this.#sizes.blocksOf(record);
    });
    this.onChange();
  }

  close(): void {
    this.#unsubscribe();
  }

  committed(record: SegmentRecord): void {
    this.now += record.dataBlocks;
    this.#index.put(record.segmentId, record.liveBlocks, this.#sizes.blocksOf(record), this.now);
    this.onChange();
  }

  /** The data of a segment is as old as the youngest of those that it was moved from; moving it is no writing. */
  tookOver(segmentId: number, from: readonly number[]): void {
    const record = this.#source.segment(segmentId);
    if (record === undefined) return;
    this.now -= record.dataBlocks;
    let youngest = Number.NEGATIVE_INFINITY;
    for (const origin of from) youngest = Math.max(youngest, this.#index.writtenAt(origin) ?? youngest);
    const writtenAt = Math.min(youngest, this.now);
    if (writtenAt > Number.NEGATIVE_INFINITY) {
      this.#index.put(segmentId, record.liveBlocks, this.#sizes.blocksOf(record), writtenAt);
    }
  }

  liveChanged(segmentId: number, liveBlocks: number): void {
    this.#index.setLive(segmentId, liveBlocks);
  }

  laidAnew(record: SegmentRecord): void {
    const writtenAt = this.#index.writtenAt(record.segmentId);
    if (writtenAt === undefined) return;
    this.#index.put(record.segmentId, record.liveBlocks, this.#sizes.blocksOf(record), writtenAt);
  }

  forgotten(segmentId: number): void {
    this.#index.remove(segmentId);
    this.onForgotten(segmentId);
    this.onChange();
  }
}
