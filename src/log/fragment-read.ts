/** One read of consecutive blocks of one fragment: what is asked for, and what its parties have to know of each other. */
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentRecord } from '../format/segment-record.ts';

export type ReadOutcome =
  | 'ok'
  /** The node answers and does not have it. */
  | 'missing'
  /** It is there and its bytes are wrong. */
  | 'corrupt'
  /** No connection, no answer, or an error of the node's disk. */
  | 'unreachable';

export class FragmentRead {
  readonly record: SegmentRecord;
  readonly position: number;
  /** Within the fragment. */
  readonly firstBlock: number;
  readonly count: number;
  readonly into: Uint8Array;
  /** What the blocks must match, from checksumIndex on; undefined where nobody knows yet. */
  readonly checksums: Uint32Array | undefined;
  readonly checksumIndex: number;
  /** Go through the node, which checks the bytes against its own checksums. */
  readonly throughNode: boolean;
  /** Set by whoever gave up waiting: `into` must not be written to any more. */
  cancelled = false;
  /** A disk transfer into `into` is under way, which nobody can call back. */
  transferring = false;

  constructor(
    record: SegmentRecord,
    position: number,
    firstBlock: number,
    count: number,
    into: Uint8Array,
    checksums?: Uint32Array,
    checksumIndex = 0,
    throughNode = false,
  ) {
    this.record = record;
    this.position = position;
    this.firstBlock = firstBlock;
    this.count = count;
    this.into = into;
    this.checksums = checksums;
    this.checksumIndex = checksumIndex;
    this.throughNode = throughNode;
  }

  /** The same once more, by way of the node. */
  throughItsNode(): FragmentRead {
    const { record, position, firstBlock, count, into, checksums, checksumIndex } = this;
    return new FragmentRead(record, position, firstBlock, count, into, checksums, checksumIndex, true);
  }

  /** The same once more, as at first. */
  again(): FragmentRead {
    const { record, position, firstBlock, count, into, checksums, checksumIndex } = this;
    return new FragmentRead(record, position, firstBlock, count, into, checksums, checksumIndex);
  }

  get nodeId(): number {
    return this.record.nodes[this.position]!;
  }

  get lengthBytes(): number {
    return this.count * BLOCK_BYTES;
  }
}
