/**
 * Where fragments lie in the log files of nodes on this machine: a bounded cache, fed by the replies to puts and by locate calls. An entry is
 * a hint: what is read there is checked against the checksums of the extents, and a mismatch makes the reader ask the node.
 */
import { entryCache } from '../base/entry-cache.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { FragmentLocation, FragmentName } from '../format/storage-messages.ts';
import type { LocalFile } from './local-files.ts';

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
    const { segmentId, position } = fragment;
    const known = this.#segments.get(segmentId);
    if (known !== undefined) known[position] = fragment;
    else {
      const positions: (NotedFragment | undefined)[] = [];
      positions[position] = fragment;
      this.#segments.set(segmentId, positions);
    }
  }

  find(record: SegmentRecord, position: number): NotedFragment | undefined {
    // Not a use in the sense of the cache: re-ordering it at each read costs more than the entry that is dropped a little early.
    const found = this.#segments.peek(record.segmentId)?.[position];
    if (found === undefined) return undefined;
    if (found.nodeId !== record.nodes[position] || found.generation !== record.generation) return undefined;
    return found;
  }

  forget(segmentId: number, position: number): void {
    const known = this.#segments.get(segmentId);
    if (known !== undefined) known[position] = undefined;
  }

  forgetSegment(segmentId: number): void {
    this.#segments.delete(segmentId);
  }
}
