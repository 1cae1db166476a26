/**
 * Where fragments lie in the log files of nodes on this machine: a bounded cache, fed by the replies to puts and by locate calls. An entry is
 * a hint: what is read there is checked against the checksums of the extents, and a mismatch makes the reader ask the node.
 */
import { entryCache } from '../base/entry-cache.ts';
import { MAX_NODES } from '../base/limits.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { FragmentLocation, FragmentName } from '../format/storage-messages.ts';
import type { LocalFile } from './local-files.ts';

/** Of a position with two holders, the one that was noted longer ago. */
const OTHERS_AT = MAX_NODES;

/** At 4 MiB a segment, 64 GiB of data; some 400 bytes each. */
const MAX_SEGMENTS = 16_384;

export interface NotedFragment extends FragmentName {
  readonly nodeId: number;
  readonly location: FragmentLocation;
  /** The reader's: the open file that the fragment lies in. Good while it is not retired. */
  file?: LocalFile;
}

export class FragmentLocations {
  readonly #segments = entryCache<number, (NotedFragment | undefined)[]>(MAX_SEGMENTS);

  note(fragment: NotedFragment): void {
    const { segmentId, position, nodeId } = fragment;
    const known = this.#segments.get(segmentId);
    if (known !== undefined) {
      const before = known[position];
      if (before !== undefined && before.nodeId !== nodeId) known[OTHERS_AT + position] = before;
      known[position] = fragment;
    } else {
      const positions: (NotedFragment | undefined)[] = [];
      positions[position] = fragment;
      this.#segments.set(segmentId, positions);
    }
  }

  find(record: SegmentRecord, position: number, nodeId: number): NotedFragment | undefined {
    // Not a use in the sense of the cache: re-ordering it at each read costs more than the entry that is dropped a little early.
    const known = this.#segments.peek(record.segmentId);
    if (known === undefined) return undefined;
    let found = known[position];
    if (found?.nodeId !== nodeId) found = known[OTHERS_AT + position];
    if (found === undefined || found.nodeId !== nodeId || found.generation !== record.generation) {
      return undefined;
    }
    return found;
  }

  forget(segmentId: number, position: number, nodeId: number): void {
    const known = this.#segments.get(segmentId);
    if (known === undefined) return;
    for (const at of [position, OTHERS_AT + position])
      if (known[at]?.nodeId === nodeId) known[at] = undefined;
  }

  forgetSegment(segmentId: number): void {
    this.#segments.delete(segmentId);
  }
}
