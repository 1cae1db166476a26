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
  /** Who is asked: the fragment's own node, unless it is set to one with a copy. */
  nodeId: number;
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
    this.nodeId = record.nodes[position]!;
    this.firstBlock = firstBlock;
    this.count = count;
    this.into = into;
    this.checksums = checksums;
    this.checksumIndex = checksumIndex;
    this.throughNode = throughNode;
  }

  /** The same once more, by way of the fragment's own node. */
  throughItsNode(): FragmentRead {
    const { record, position, firstBlock, count, into, checksums, checksumIndex } = this;
    return new FragmentRead(record, position, firstBlock, count, into, checksums, checksumIndex, true);
  }

  /** The same once more, from the fragment's own node. */
  again(): FragmentRead {
    const { record, position, firstBlock, count, into, checksums, checksumIndex } = this;
    return new FragmentRead(record, position, firstBlock, count, into, checksums, checksumIndex);
  }

  /** Of a node that only has a copy. */
  get isOfCopy(): boolean {
    return this.nodeId !== this.record.nodes[this.position];
  }

  get lengthBytes(): number {
    return this.count * BLOCK_BYTES;
  }
}
