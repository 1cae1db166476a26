/**
 * How much is read from each node and of each segment, and how much of those segments is overwritten or deleted, per millisecond: what was counted
 * (log/read-use.ts, and the metadata's observer), faded exponentially, so that old use counts for less.
 *
 * Only segments that are read are known, and the most read of them if they are many: a few hundred bytes each. Nothing of it survives a restart.
 */
import { BLOCK_BYTES } from '../../base/units.ts';
import type { SegmentRecord } from '../../format/segment-record.ts';
import type { ReadUse } from '../../log/read-use.ts';
import type { SegmentObserver } from '../../metadata/segment-table.ts';

const MOST_SEGMENTS = 4096;
/** A block that was read four windows ago. */
const FORGOTTEN_BYTES = BLOCK_BYTES / 64;

interface Metered {
  readBytes: number;
  overwrittenBytes: number;
  liveBlocks: number;
}

interface MeteredNode {
  countedBytes: number;
  readBytes: number;
}

export class UseMeter implements SegmentObserver {
  readonly #use: ReadUse;
  readonly #record: (segmentId: number) => SegmentRecord | undefined;
  readonly #segments = new Map<number, Metered>();
  readonly #nodes = new Map<number, MeteredNode>();
  #windowMs: number;
  #sinceMs: number;
  #lookedAtMs: number;

  constructor(
    use: ReadUse,
    record: (segmentId: number) => SegmentRecord | undefined,
    { windowMs, nowMs }: { windowMs: number; nowMs: number },
  ) {
    this.#use = use;
    this.#record = record;
    this.#windowMs = windowMs;
    this.#sinceMs = nowMs;
    this.#lookedAtMs = nowMs;
  }

  /** Begins anew: what was measured over another time says nothing. */
  restart(windowMs: number, nowMs: number): void {
    this.look(nowMs);
    this.#windowMs = windowMs;
    this.#sinceMs = nowMs;
    this.#segments.clear();
    for (const node of this.#nodes.values()) node.readBytes = 0;
  }

  /** It has measured for so long that what it has not seen is not there. */
  isSettled(nowMs: number): boolean {
    return nowMs - this.#sinceMs >= this.#windowMs;
  }

  /** Takes in what was counted since the last time. */
  look(nowMs: number): void {
    const kept = Math.exp(-(nowMs - this.#lookedAtMs) / this.#windowMs);
    this.#lookedAtMs = nowMs;
    for (const [segmentId, metered] of this.#segments) {
      metered.readBytes *= kept;
      metered.overwrittenBytes *= kept;
      if (metered.readBytes < FORGOTTEN_BYTES) this.#segments.delete(segmentId);
    }
    for (const [segmentId, blocks] of this.#use.takeSegments()) this.#add(segmentId, blocks * BLOCK_BYTES);
    if (this.#segments.size > MOST_SEGMENTS) {
      for (const segmentId of this.hottest().slice(MOST_SEGMENTS)) this.#segments.delete(segmentId);
    }
    for (const [nodeId, countedBytes] of this.#use.nodes()) {
      const node = this.#nodes.get(nodeId) ?? { countedBytes: 0, readBytes: 0 };
      node.readBytes = node.readBytes * kept + countedBytes - node.countedBytes;
      node.countedBytes = countedBytes;
      this.#nodes.set(nodeId, node);
    }
  }

  #add(segmentId: number, bytes: number): void {
    const metered = this.#segments.get(segmentId);
    if (metered !== undefined) {
      metered.readBytes += bytes;
      return;
    }
    const record = this.#record(segmentId);
    if (record === undefined || record.liveBlocks === 0) return;
    const { liveBlocks } = record;
    this.#segments.set(segmentId, { readBytes: bytes, overwrittenBytes: 0, liveBlocks });
  }

  /** Segments that are read, the most read first. */
  hottest(): number[] {
    return [...this.#segments]
      .sort((a, b) => b[1].readBytes - a[1].readBytes || a[0] - b[0])
      .map(([id]) => id);
  }

  segment(segmentId: number): { readBytesPerMs: number; overwrittenBytesPerMs: number } {
    const { readBytes = 0, overwrittenBytes = 0 } = this.#segments.get(segmentId) ?? {};
    return {
      readBytesPerMs: readBytes / this.#windowMs,
      overwrittenBytesPerMs: overwrittenBytes / this.#windowMs,
    };
  }

  nodeReadBytesPerMs(nodeId: number): number {
    return (this.#nodes.get(nodeId)?.readBytes ?? 0) / this.#windowMs;
  }

  committed(): void {
    // Nothing was read of it.
  }

  liveChanged(segmentId: number, liveBlocks: number): void {
    const metered = this.#segments.get(segmentId);
    if (metered === undefined) return;
    metered.overwrittenBytes += Math.max(0, metered.liveBlocks - liveBlocks) * BLOCK_BYTES;
    metered.liveBlocks = liveBlocks;
  }

  forgotten(segmentId: number): void {
    this.#segments.delete(segmentId);
  }
}
