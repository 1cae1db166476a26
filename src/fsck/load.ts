/**
 * The first walk over the view: the totals, the segment table and the inode table into the indexes that everything else is compared with. Checks
 * what can be seen from one record alone.
 */

import {
  inodeKey,
  inodeOfKey,
  keyLetters,
  perInodeKey,
  segmentKey,
  segmentOfKey,
} from '../format/metadata-keys.ts';
import { decodeInode, decodeTotals, encodeInode, encodePlain } from '../format/metadata-records.ts';
import { decodeSegmentRecord } from '../format/segment-record.ts';
import { S_IFDIR, S_IFMT } from '../metadata/inode-rules.ts';
import { newInode } from '../metadata/namespace.ts';
import { ROOT } from '../metadata/state.ts';
import { type CheckContext, decoded } from './check-context.ts';
import { inodeFlags } from './inode-index.ts';
import type { Problem, StateRepair } from './problem.ts';
import { rescuedRecord } from './record-rescue.ts';
import { ViewCursor } from './view-cursor.ts';

const KNOWN_TYPES = new Set([0o010000, 0o020000, S_IFDIR, 0o060000, 0o100000, 0o120000, 0o140000]);
const PROGRESS_EVERY = 4096;

export async function* loadTotals(context: CheckContext): AsyncGenerator<Problem> {
  const [found] = await context.view.range(keyLetters.totals, `${keyLetters.totals}\0`, 1);
  if (found === undefined) return;
  const totals = decoded(() => decodeTotals(found[1], context.crc32c));
  if (totals.value === undefined) {
    yield {
      kind: 'record-damaged',
      subject: {},
      detail: `the totals of the volume: ${totals.why}`,
      repairOnNodes: rescuedRecord(context, found[0], (value) => decodeTotals(value, context.crc32c)),
    };
    return;
  }
  context.totals = totals.value;
  for (const { segmentId, liveBlocks } of totals.value.provisional) {
    context.provisional.set(segmentId, { segmentId, liveBlocks, foundLive: 0, extents: new Map() });
  }
}

export async function* loadSegments(context: CheckContext): AsyncGenerator<Problem> {
  const cursor = new ViewCursor(context.view, keyLetters.segment);
  for (; ; cursor.advance()) {
    if (cursor.isDry) await cursor.fetch();
    if (cursor.head === undefined) break;
    const { key, value } = cursor.head;
    const segmentId = segmentOfKey(key);
    const record = decoded(() => decodeSegmentRecord(value, context.crc32c));
    if (record.value?.segmentId === segmentId) context.segments.add(record.value);
    else {
      const why = record.value === undefined ? record.why : `it is that of ${record.value.segmentId}`;
      yield {
        kind: 'record-damaged',
        subject: { segmentId },
        detail: `its record: ${why}`,
        repairOnNodes: rescuedRecord(context, key, (bytes) => decodeSegmentRecord(bytes, context.crc32c)),
      };
    }
  }
  yield* loadDead(context);
}

async function* loadDead(context: CheckContext): AsyncGenerator<Problem> {
  const cursor = new ViewCursor(context.view, keyLetters.deadSegment);
  for (; ; cursor.advance()) {
    if (cursor.isDry) await cursor.fetch();
    if (cursor.head === undefined) return;
    const key = cursor.head.key.toString('latin1');
    const segmentId = segmentOfKey(cursor.head.key);
    const rank = context.segments.rank(segmentId);
    if (rank >= 0) {
      context.segments.setDead(rank);
      continue;
    }
    yield {
      kind: 'mark-unowned',
      subject: { segmentId },
      detail: 'it is listed as dead and has no record',
      repair: (redo, state) => {
        if (state.segments.records.get(segmentId) !== undefined) return false;
        redo.setRecord(key, undefined);
        return true;
      },
    };
  }
}

export async function* loadInodes(context: CheckContext): AsyncGenerator<Problem> {
  const { inodes } = context;
  const guess = context.totals?.inodes ?? 0;
  const cursor = new ViewCursor(context.view, keyLetters.inode);
  await cursor.fetch();
  const first = cursor.head === undefined ? context.totals?.nextInode : inodeOfKey(cursor.head.key);
  if (first !== undefined && first > ROOT) {
    context.rootIsLost = true;
    yield rootLost(context);
    return;
  }
  for (; ; cursor.advance()) {
    if (cursor.isDry) await cursor.fetch();
    if (cursor.head === undefined) break;
    const number = inodeOfKey(cursor.head.key);
    const { key, value } = cursor.head;
    const inode = decoded(() => decodeInode(value, context.crc32c));
    if (inode.value === undefined) {
      yield {
        kind: 'record-damaged',
        subject: { inode: number },
        detail: `its record: ${inode.why}`,
        repairOnNodes: rescuedRecord(context, key, (bytes) => decodeInode(bytes, context.crc32c)),
      };
      continue;
    }
    const { mode, linkCount } = inode.value;
    inodes.add(number, mode, linkCount);
    if (inode.value.inode !== number || !KNOWN_TYPES.has(mode & S_IFMT)) {
      const why = inode.value.inode === number ? 'it is of no known type' : 'its record is of another inode';
      yield { kind: 'inode-unusable', subject: { inode: number }, detail: why };
    }
    if (inodes.count % PROGRESS_EVERY === 0) context.progress('metadata', inodes.count, guess);
  }
  yield* loadOrphans(context);
}

/** An empty one is made; what its entries come to is counted in the next round. */
function rootLost(context: CheckContext): Problem {
  return {
    kind: 'inode-unusable',
    subject: { inode: ROOT },
    detail: 'the root directory is not there; names are looked at when it is',
    repairAtRest: (redo, state) => {
      if (state.inodes.get(ROOT) !== undefined) return false;
      const seconds = Math.floor(context.volume.platform.clock.wallMs() / 1000);
      const made = { mode: S_IFDIR | 0o755, uid: 0, gid: 0, rdev: 0, time: { seconds, nanoseconds: 0 } };
      redo.setRecord(inodeKey(ROOT), encodeInode(newInode(ROOT, made, ROOT, 0), context.crc32c));
      return true;
    },
  };
}

async function* loadOrphans(context: CheckContext): AsyncGenerator<Problem> {
  const { inodes } = context;
  const cursor = new ViewCursor(context.view, keyLetters.orphan);
  for (; ; cursor.advance()) {
    if (cursor.isDry) await cursor.fetch();
    if (cursor.head === undefined) return;
    const inode = inodeOfKey(cursor.head.key);
    const rank = inodes.rank(inode);
    if (rank >= 0) inodes.set(rank, inodeFlags.orphan);
    if (rank >= 0 && inodes.linkCount(rank) === 0) continue;
    yield {
      kind: 'mark-unowned',
      subject: { inode },
      detail:
        rank < 0 ? 'it is listed as deleted and not there any more' : 'it is listed as deleted and has names',
      repairAtRest: dropMark(perInodeKey(keyLetters.orphan, inode)),
    };
    if (rank >= 0) inodes.clear(rank, inodeFlags.orphan);
  }
}

/** Deletes a record that stands alone. */
export function dropMark(key: string): StateRepair {
  return (redo) => {
    redo.setRecord(key, undefined);
    return true;
  };
}

/** Notes a segment without live blocks as dead, so that it is freed. */
export function markDead(context: CheckContext, segmentId: number): StateRepair {
  return (redo, state) => {
    const record = state.segments.records.get(segmentId);
    if (record === undefined || record.liveBlocks > 0 || state.segments.dead.has(segmentId)) return false;
    const key = keyLetters.deadSegment + segmentKey(segmentId).slice(1);
    redo.setRecord(key, encodePlain(new Uint8Array(0), context.crc32c));
    return true;
  };
}
