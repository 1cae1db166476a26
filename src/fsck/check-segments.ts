/** The recount: what the extents came to against what segments, inline blocks and totals say. After all extents were seen. */
import {
  inlineBlockKey,
  inlineBlockOfKey,
  keyBytes,
  keyLetters,
  segmentKey,
} from '../format/metadata-keys.ts';
import { decodeInlineBlock, encodeTotals, type TotalsRecord } from '../format/metadata-records.ts';
import { encodeSegmentRecord } from '../format/segment-record.ts';
import { type CheckContext, decoded } from './check-context.ts';
import { rangeText } from './extent-scan.ts';
import { dropMark, markDead } from './load.ts';
import type { Problem } from './problem.ts';
import { rescuedRecord } from './record-rescue.ts';
import { ViewCursor } from './view-cursor.ts';

export async function* checkSegments(context: CheckContext): AsyncGenerator<Problem> {
  const { segments } = context;
  for (let rank = 0; rank < segments.count; rank++) yield* checkCount(context, rank);
  yield* checkInline(context);
  yield* checkTotals(context);
}

function* checkCount(context: CheckContext, rank: number): Generator<Problem> {
  const { segments } = context;
  const segmentId = segments.id(rank);
  const recorded = segments.recordedLive(rank);
  const found = segments.foundLive(rank);
  const isDead = segments.isDead(rank);
  if (recorded !== found) {
    yield {
      kind: 'segment-live-wrong',
      subject: { segmentId },
      detail: `${recorded} live blocks are recorded and ${found} are mapped`,
      repair: (redo, state) => {
        const record = state.segments.records.get(segmentId);
        const liveBlocks = (record?.liveBlocks ?? 0) + found - recorded;
        if (record === undefined || liveBlocks < 0 || liveBlocks > record.dataBlocks) return false;
        redo.setRecord(segmentKey(segmentId), encodeSegmentRecord({ ...record, liveBlocks }, context.crc32c));
        return true;
      },
    };
  }
  if (isDead && found > 0) {
    yield {
      kind: 'segment-dead-wrongly',
      subject: { segmentId },
      detail: `it is listed as dead, and ${found} blocks in it live`,
      repair: (redo, state) => {
        if (!state.segments.dead.has(segmentId)) return false;
        redo.setRecord(keyLetters.deadSegment + segmentKey(segmentId).slice(1), undefined);
        return true;
      },
    };
  }
  if (!isDead && found === 0) {
    yield {
      kind: 'segment-dead-unlisted',
      subject: { segmentId },
      detail: 'no block in it lives, and it is not listed as dead: its space would never come back',
      repair: markDead(context, segmentId),
    };
  }
}

/** Blocks whose bytes are in the metadata: each extent to a segment that is not committed has its bytes there, and they are the right ones. */
async function* checkInline(context: CheckContext): AsyncGenerator<Problem> {
  const { provisional, crc32c } = context;
  const cursor = new ViewCursor(context.view, keyLetters.inlineBlock);
  for (; ; cursor.advance()) {
    if (cursor.isDry) await cursor.fetch();
    if (cursor.head === undefined) break;
    const { key, value } = cursor.head;
    const { segmentId, blockIndex } = inlineBlockOfKey(key);
    const segment = provisional.get(segmentId);
    if (segment === undefined) {
      yield {
        kind: 'inline-unowned',
        subject: { segmentId },
        detail: `bytes of its block ${blockIndex} are kept, and it needs none`,
        repair: dropMark(key.toString('latin1')),
      };
      continue;
    }
    const extent = segment.extents.get(blockIndex);
    if (extent === undefined) continue; // overwritten since
    const block = decoded(() => decodeInlineBlock(value, crc32c)).value;
    const matches =
      block?.inode === extent.inode &&
      block.fileBlock === extent.fileBlock &&
      block.checksum === extent.checksum &&
      crc32c(block.bytes) === block.checksum;
    if (matches) segment.extents.delete(blockIndex);
  }
  for (const { segmentId, extents } of provisional.values()) {
    for (const [blockIndex, { inode, fileBlock }] of extents) {
      const range = rangeText(fileBlock, fileBlock + 1);
      const detail = `${range} were kept in the metadata and are not there`;
      const key = keyBytes(inlineBlockKey(segmentId, blockIndex));
      const repairOnNodes = rescuedRecord(context, key, (value) => decodeInlineBlock(value, crc32c));
      yield { kind: 'inline-lost', subject: { inode, segmentId }, detail, repairOnNodes };
    }
  }
}

function* checkTotals(context: CheckContext): Generator<Problem> {
  const { totals, inodes, segments } = context;
  if (totals === undefined) return;
  const lastInode = inodes.count === 0 ? 0 : inodes.number(inodes.count - 1);
  const lastSegment = segments.count === 0 ? 0 : segments.id(segments.count - 1);
  const provisional = [...context.provisional.values()];
  const moreLive = new Map(provisional.map((each) => [each.segmentId, each.foundLive - each.liveBlocks]));
  const more = {
    inodes: inodes.count - totals.inodes,
    mappedBlocks: context.mappedBlocks - totals.mappedBlocks,
    reservedBlocks: context.reservedBlocks - totals.reservedBlocks,
    segments: segments.count - totals.segments,
    segmentBlocks: segments.blocks - totals.segmentBlocks,
  };
  const wrong = Object.entries(more)
    .filter(([, difference]) => difference !== 0)
    .map(
      ([name, difference]) => `${name} ${difference > 0 ? 'too low' : 'too high'} by ${Math.abs(difference)}`,
    );
  if (totals.nextInode <= lastInode)
    wrong.push(`the next inode is ${totals.nextInode}, and ${lastInode} is there`);
  if (totals.lastCommittedSegment < lastSegment) wrong.push('the last segment is not the last one');
  for (const [segmentId, difference] of moreLive) {
    if (difference !== 0) wrong.push(`live blocks of the uncommitted segment ${segmentId} by ${difference}`);
  }
  if (wrong.length === 0) return;
  yield {
    kind: 'totals-wrong',
    subject: {},
    detail: wrong.join('; '),
    repair: (redo, state) => {
      const now = state.totalsRecord();
      const right: TotalsRecord = {
        nextInode: Math.max(now.nextInode, lastInode + 1),
        inodes: now.inodes + more.inodes,
        mappedBlocks: now.mappedBlocks + more.mappedBlocks,
        reservedBlocks: Math.max(0, now.reservedBlocks + more.reservedBlocks),
        segments: now.segments + more.segments,
        segmentBlocks: now.segmentBlocks + more.segmentBlocks,
        lastCommittedSegment: Math.max(now.lastCommittedSegment, lastSegment),
        provisional: now.provisional.flatMap(({ segmentId, liveBlocks }) => {
          const right = liveBlocks + (moreLive.get(segmentId) ?? 0);
          return right > 0 ? [{ segmentId, liveBlocks: right }] : [];
        }),
      };
      redo.setRecord(keyLetters.totals, encodeTotals(right, context.crc32c));
      return true;
    },
  };
}
