/**
 * The segment table's entry: where a segment's fragments lie and how much of it lives. Byte table: docs/format/segment-record.md.
 */
export interface SegmentRecord {
  readonly segmentId: number;
  /** Raised when the segment was laid out anew under the same id before it was committed. 0..255. */
  readonly generation: number;
  readonly dataFragments: number;
  readonly parityFragments: number;
  /** Length of every fragment, in blocks. */
  readonly fragmentBlocks: number;
  /** Blocks of file data, from index 0. */
  readonly dataBlocks: number;
  /** Summary blocks, right behind the data. */
  readonly summaryBlocks: number;
  /** Node of fragment i: data fragments first, then parity. No node twice. */
  readonly nodes: readonly number[];
  /** Data blocks that an extent still points to. */
  readonly liveBlocks: number;
}
