/**
 * What is read, counted where it is read: blocks of each segment, and bytes of each node, with those that it has not answered yet. Who works with the
 * counts takes them now and then; until then they are bounded, and segments beyond that are not counted.
 *
 * On the way of every read: a few additions, nothing is allocated for what was met before.
 */
const MOST_SEGMENTS = 8192;

export class NodeUse {
  /** Since the volume was opened. */
  readBytes = 0;
  /** Lately: halved whenever the counts are taken. */
  recentBytes = 0;
  outstandingBytes = 0;

  begin(lengthBytes: number): void {
    this.readBytes += lengthBytes;
    this.recentBytes += lengthBytes;
    this.outstandingBytes += lengthBytes;
  }

  end(lengthBytes: number): void {
    this.outstandingBytes -= lengthBytes;
  }
}

interface SegmentUse {
  blocks: number;
}

export class ReadUse {
  readonly #nodes = new Map<number, NodeUse>();
  #segments = new Map<number, SegmentUse>();
  #lastId = 0;
  #last: SegmentUse = { blocks: 0 };

  noteSegment(segmentId: number, blocks: number): void {
    if (segmentId !== this.#lastId) {
      let use = this.#segments.get(segmentId);
      if (use === undefined) {
        if (this.#segments.size >= MOST_SEGMENTS) return;
        use = { blocks: 0 };
        this.#segments.set(segmentId, use);
      }
      this.#lastId = segmentId;
      this.#last = use;
    }
    this.#last.blocks += blocks;
  }

  node(nodeId: number): NodeUse {
    let use = this.#nodes.get(nodeId);
    if (use === undefined) {
      use = new NodeUse();
      this.#nodes.set(nodeId, use);
    }
    return use;
  }

  /**
   * Of two nodes, the one with less to do; of two with as much, the one that was read from less lately. What was read before there was a choice is soon
   * forgotten: it is not to be made up for.
   */
  isLess(nodeId: number, thanNodeId: number): boolean {
    const one = this.node(nodeId);
    const other = this.node(thanNodeId);
    const difference = one.outstandingBytes - other.outstandingBytes;
    return difference === 0 ? one.recentBytes < other.recentBytes : difference < 0;
  }

  /** Bytes read from each node since the volume was opened. */
  *nodes(): Iterable<[number, number]> {
    for (const [nodeId, { readBytes }] of this.#nodes) yield [nodeId, readBytes];
  }

  /** Blocks read of each segment since it was last asked. */
  takeSegments(): Iterable<[number, number]> {
    for (const node of this.#nodes.values()) node.recentBytes /= 2;
    const taken = this.#segments;
    this.#segments = new Map();
    this.#lastId = 0;
    return Array.from(taken, ([segmentId, { blocks }]): [number, number] => [segmentId, blocks]);
  }
}
