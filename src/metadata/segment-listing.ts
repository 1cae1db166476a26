/**
 * Listing the segment table in order, for background work that walks over it.
 */

import { keyLetters, segmentOfKey } from '../format/metadata-keys.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { OverlayTable } from './overlay-table.ts';
import type { SegmentEntry } from './segment-table.ts';
import { prefixEnd, type StateReader } from './state-reader.ts';

/** Records with id > after, at most `limit`; fewer only at the end. `fromKey` is the key of after + 1. */
export async function listSegments(
  records: OverlayTable<number, SegmentEntry>,
  reader: StateReader,
  fromKey: string,
  after: number,
  limit: number,
): Promise<SegmentRecord[]> {
  const ids = new Set<number>();
  // The overlay in the turn in which the store's view is made, so that a checkpoint between the two hides nothing.
  for (const [id] of records.changed()) if (id > after) ids.add(id);
  const page = await reader.range(fromKey, prefixEnd(keyLetters.segment), limit + ids.size);
  for (const [key] of page) ids.add(segmentOfKey(key));
  const found: SegmentRecord[] = [];
  for (const id of [...ids].sort((a, b) => a - b)) {
    const record = records.get(id);
    if (record === undefined) continue;
    found.push({ ...record });
    if (found.length === limit) break;
  }
  return found;
}
