/**
 * Sets single records of the state, whatever the rules of ordinary operations say: for repairs. Everything that the state keeps beside its records
 * (lists, counts, cached names) follows, so that replaying the journal comes to the same state.
 */
import { assert } from '../base/assert.ts';
import { NO_RANGES } from '../base/block-ranges.ts';
import {
  chunkOfKey,
  cookieOfEntryKey,
  inlineBlockOfKey,
  inodeOfKey,
  keyBytes,
  keyLetters,
  segmentOfKey,
} from '../format/metadata-keys.ts';
import {
  type Checksum,
  decodeChunk,
  decodeEntry,
  decodeInode,
  decodeReservation,
  decodeTotals,
} from '../format/metadata-records.ts';
import { decodeSegmentRecord } from '../format/segment-record.ts';
import type { MetadataState } from './state.ts';

const INODE_AT = 1;
const INODE_BYTES = 6;

/** `value`: the record as it is stored; undefined deletes it. Throws FormatError, before anything is changed, if it is not one. */
export function applyRecord(
  state: MetadataState,
  crc32c: Checksum,
  key: string,
  value: Buffer | undefined,
): void {
  const bytes = keyBytes(key);
  const owner = () => bytes.readUIntBE(INODE_AT, INODE_BYTES);
  switch (key[0]) {
    case keyLetters.inode: {
      const inode = inodeOfKey(bytes);
      if (value === undefined) state.inodes.delete(inode);
      else state.inodes.set(inode, decodeInode(value, crc32c));
      return;
    }
    case keyLetters.chunk: {
      const chunk = value && decodeChunk(value, crc32c);
      state.extents.setChunk(owner(), chunkOfKey(bytes), chunk);
      return;
    }
    case keyLetters.reservation: {
      const ranges = value && decodeReservation(value, crc32c);
      state.reservations.set(inodeOfKey(bytes), ranges ?? NO_RANGES);
      return;
    }
    case keyLetters.entry: {
      const entry = value && decodeEntry(value, crc32c);
      state.directories.setSlot(owner(), cookieOfEntryKey(bytes), entry);
      return;
    }
    case keyLetters.segment: {
      const segmentId = segmentOfKey(bytes);
      if (value === undefined) state.segments.records.delete(segmentId);
      else state.segments.replace(decodeSegmentRecord(value, crc32c));
      return;
    }
    case keyLetters.totals:
      assert(value !== undefined, 'totals are replaced and not deleted');
      state.setTotals(decodeTotals(value, crc32c));
      return;
    default:
      applyValue(state, bytes, key, value);
  }
}

/** Records without a codec of their own, and the lists that some of them stand for. */
function applyValue(state: MetadataState, bytes: Buffer, key: string, value: Buffer | undefined): void {
  const isThere = value !== undefined;
  switch (key[0]) {
    case keyLetters.deadSegment:
      state.segments.setDead(segmentOfKey(bytes), isThere);
      break;
    case keyLetters.inlineBlock: {
      const { segmentId, blockIndex } = inlineBlockOfKey(bytes);
      state.segments.setInline(segmentId, blockIndex, isThere);
      break;
    }
    case keyLetters.orphan:
      setMember(state.orphans, inodeOfKey(bytes), isThere);
      break;
    case keyLetters.unfinishedTruncate:
      setMember(state.unfinishedTruncates, inodeOfKey(bytes), isThere);
      break;
    default:
  }
  if (value === undefined) state.values.delete(key);
  else state.values.set(key, value);
}

function setMember(set: Set<number>, member: number, isThere: boolean): void {
  if (isThere) set.add(member);
  else set.delete(member);
}
