/**
 * The walk over everything that belongs to an inode beside its names: extents, reservations, marks, attributes, link targets. All of it is ordered by inode,
 * so one step for each inode takes in all kinds together; what is left over between two inodes belongs to none.
 */
import { type BlockRanges, blockCount, NO_RANGES } from '../base/block-ranges.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import {
  chunkKey,
  chunkOfKey,
  inodeKey,
  keyBytes,
  keyLetters,
  perInodeKey,
} from '../format/metadata-keys.ts';
import {
  CHUNK_BLOCKS,
  decodeChunk,
  decodeInode,
  decodePlain,
  decodeReservation,
  encodeInode,
  type InodeRecord,
} from '../format/metadata-records.ts';
import { S_IFLNK, S_IFMT, S_IFREG } from '../metadata/inode-rules.ts';
import { AttributeWalk } from './attribute-walk.ts';
import { type CheckContext, decoded } from './check-context.ts';
import { ExtentScan } from './extent-scan.ts';
import { dropMark } from './load.ts';
import type { Problem } from './problem.ts';
import { rescuedRecord } from './record-rescue.ts';
import { ViewCursor } from './view-cursor.ts';

const PROGRESS_EVERY = 4096;

interface Walks {
  readonly chunks: ViewCursor;
  readonly reservations: ViewCursor;
  readonly truncates: ViewCursor;
  readonly targets: ViewCursor;
  readonly attributes: AttributeWalk;
}

export async function* checkFiles(context: CheckContext): AsyncGenerator<Problem> {
  const { view } = context;
  const walks: Walks = {
    chunks: new ViewCursor(view, keyLetters.chunk),
    reservations: new ViewCursor(view, keyLetters.reservation),
    truncates: new ViewCursor(view, keyLetters.unfinishedTruncate),
    targets: new ViewCursor(view, keyLetters.symlink),
    attributes: new AttributeWalk(context),
  };
  const cursor = new ViewCursor(view, keyLetters.inode);
  for (let done = 0; ; cursor.advance(), done++) {
    if (cursor.isDry) await cursor.fetch();
    yield* leftOver(context, walks, cursor.inode);
    if (cursor.head === undefined) break;
    const { value } = cursor.head;
    const number = cursor.inode;
    // One that cannot be read was reported; what belongs to it is kept, and its extents count.
    const inode = decoded(() => decodeInode(value, context.crc32c)).value;
    yield* checkOne(context, walks, number, inode);
    if (done % PROGRESS_EVERY === 0) context.progress('extents', done, context.inodes.count);
  }
}

async function* checkOne(
  context: CheckContext,
  walks: Walks,
  number: number,
  inode: InodeRecord | undefined,
): AsyncGenerator<Problem> {
  const isTruncated = await take(walks.truncates, number);
  const target = await targetOf(walks.targets, number);
  const hasTarget = target !== undefined;
  if (hasTarget) yield* checkTargetRecord(context, number, target);
  if (inode !== undefined) yield* checkTarget(number, inode, hasTarget);
  yield* checkExtents(context, walks, number, inode, isTruncated);
  yield* walks.attributes.check(number, inode?.hasXattrs);
}

/** Whether there is a record of the inode; steps over it. */
async function take(cursor: ViewCursor, inode: number): Promise<boolean> {
  if (cursor.isDry) await cursor.fetch();
  if (cursor.inode !== inode) return false;
  cursor.advance();
  return true;
}

async function targetOf(targets: ViewCursor, inode: number): Promise<Buffer | undefined> {
  if (targets.isDry) await targets.fetch();
  const value = targets.inode === inode ? targets.head?.value : undefined;
  if (value !== undefined) targets.advance();
  return value;
}

function* checkTargetRecord(context: CheckContext, inode: number, target: Buffer): Generator<Problem> {
  const decode = (value: Buffer) => decodePlain(value, context.crc32c);
  const plain = decoded(() => decode(target));
  if (plain.value !== undefined) return;
  const repairOnNodes = rescuedRecord(context, keyBytes(perInodeKey(keyLetters.symlink, inode)), decode);
  yield { kind: 'record-damaged', subject: { inode }, detail: `its target: ${plain.why}`, repairOnNodes };
}

function* checkTarget(number: number, inode: InodeRecord, hasTarget: boolean): Generator<Problem> {
  const isLink = (inode.mode & S_IFMT) === S_IFLNK;
  if (isLink === hasTarget) return;
  if (isLink) {
    yield { kind: 'target-lost', subject: { inode: number }, detail: 'the link has no target any more' };
    return;
  }
  yield {
    kind: 'attribute-unowned',
    subject: { inode: number },
    detail: 'a link target of something that is no link',
    repairAtRest: dropMark(perInodeKey(keyLetters.symlink, number)),
  };
}

async function* checkExtents(
  context: CheckContext,
  { chunks, reservations }: Walks,
  number: number,
  inode: InodeRecord | undefined,
  isTruncated: boolean,
): AsyncGenerator<Problem> {
  const reservation = yield* reservationOf(context, reservations, number);
  const scan = new ExtentScan(context, number, reservation);
  for (; ; chunks.advance()) {
    if (chunks.isDry) await chunks.fetch();
    if (chunks.head === undefined || chunks.inode !== number) break;
    const { key, value } = chunks.head;
    const index = chunkOfKey(key);
    const chunk = decoded(() => decodeChunk(value, context.crc32c));
    if (chunk.value === undefined) {
      const range = `blocks ${index * CHUNK_BLOCKS} to ${(index + 1) * CHUNK_BLOCKS - 1}`;
      yield {
        kind: 'record-damaged',
        subject: { inode: number },
        detail: `where ${range} lie: ${chunk.why}`,
        repairOnNodes: rescuedRecord(context, key, (bytes) => decodeChunk(bytes, context.crc32c)),
      };
      continue;
    }
    yield* scan.chunk(index, chunk.value.pairs);
  }
  context.mappedBlocks += scan.mapped;
  const reserved = blockCount(reservation) - scan.mappedInReservation;
  context.reservedBlocks += reserved;
  if (inode === undefined) return;
  if (reserved !== inode.reservedBlocks || (reserved === 0 && reservation.length > 0))
    yield reservedCountWrong(context, inode, reserved);
  if (scan.mapped !== inode.mappedBlocks) yield mappedCountWrong(context, inode, scan.mapped);
  const sizeBlocks = (inode.mode & S_IFMT) === S_IFREG ? Math.ceil(inode.sizeBytes / BLOCK_BYTES) : 0;
  if (scan.endBlock > sizeBlocks && !isTruncated) yield beyondSize(inode, sizeBlocks, scan.endBlock);
}

function mappedCountWrong(context: CheckContext, inode: InodeRecord, found: number): Problem {
  const difference = found - inode.mappedBlocks;
  return {
    kind: 'mapped-count-wrong',
    subject: { inode: inode.inode },
    detail: `${inode.mappedBlocks} blocks are recorded and ${found} are mapped`,
    repairAtRest: (redo, state) => {
      const now = state.inodes.get(inode.inode);
      if (now === undefined || now.mappedBlocks + difference < 0) return false;
      const record = { ...now, mappedBlocks: now.mappedBlocks + difference };
      redo.setRecord(inodeKey(inode.inode), encodeInode(record, context.crc32c));
      return true;
    },
  };
}

/** What is set aside for the inode; steps over it. */
async function* reservationOf(
  context: CheckContext,
  cursor: ViewCursor,
  inode: number,
): AsyncGenerator<Problem, BlockRanges> {
  if (cursor.isDry) await cursor.fetch();
  const head = cursor.inode === inode ? cursor.head : undefined;
  if (head === undefined) return NO_RANGES;
  cursor.advance();
  const decode = (value: Buffer) => decodeReservation(value, context.crc32c);
  const found = decoded(() => decode(head.value));
  if (found.value !== undefined) return found.value;
  const repairOnNodes = rescuedRecord(context, head.key, decode);
  yield {
    kind: 'record-damaged',
    subject: { inode },
    detail: `what is reserved for it: ${found.why}`,
    repairOnNodes,
  };
  return NO_RANGES;
}

/** Also of a file whose reservation is used up and noted still. */
function reservedCountWrong(context: CheckContext, inode: InodeRecord, found: number): Problem {
  const difference = found - inode.reservedBlocks;
  return {
    kind: 'reserved-count-wrong',
    subject: { inode: inode.inode },
    detail: `${inode.reservedBlocks} blocks are recorded as reserved and ${found} are`,
    repairAtRest: (redo, state) => {
      const now = state.inodes.get(inode.inode);
      if (now === undefined || now.reservedBlocks + difference < 0) return false;
      const record = { ...now, reservedBlocks: now.reservedBlocks + difference };
      redo.setRecord(inodeKey(inode.inode), encodeInode(record, context.crc32c));
      if (record.reservedBlocks === 0)
        redo.setRecord(perInodeKey(keyLetters.reservation, inode.inode), undefined);
      return true;
    },
  };
}

function beyondSize(inode: InodeRecord, sizeBlocks: number, endBlock: number): Problem {
  return {
    kind: 'extent-beyond-size',
    subject: { inode: inode.inode },
    detail: `blocks up to ${endBlock - 1} are mapped and the file ends before block ${sizeBlocks}`,
    repairAtRest: (redo, state) => {
      if (state.inodes.get(inode.inode) === undefined) return false;
      redo.unmapBlocks(inode.inode, sizeBlocks, endBlock);
      return true;
    },
  };
}

/** Records of inodes before `next` that were not taken: their inode is not there. */
async function* leftOver(context: CheckContext, walks: Walks, next: number): AsyncGenerator<Problem> {
  yield* leftOverChunks(context, walks.chunks, next);
  yield* walks.attributes.leftOver(next);
  for (const [cursor, letter, what] of [
    [walks.truncates, keyLetters.unfinishedTruncate, 'a truncation is noted of it'],
    [walks.targets, keyLetters.symlink, 'a link target belongs to it'],
    [walks.reservations, keyLetters.reservation, 'space is reserved for it'],
  ] as const) {
    for (; ; cursor.advance()) {
      if (cursor.isDry) await cursor.fetch();
      if (cursor.inode >= next) break;
      const { inode } = cursor;
      yield {
        kind: 'mark-unowned',
        subject: { inode },
        detail: `${what}, and it is not there`,
        repairAtRest: dropMark(perInodeKey(letter, inode)),
      };
    }
  }
}

async function* leftOverChunks(
  context: CheckContext,
  chunks: ViewCursor,
  next: number,
): AsyncGenerator<Problem> {
  for (; ; chunks.advance()) {
    if (chunks.isDry) await chunks.fetch();
    if (chunks.head === undefined || chunks.inode >= next) return;
    const { inode } = chunks;
    const index = chunkOfKey(chunks.head.key);
    const { value } = chunks.head;
    const chunk = decoded(() => decodeChunk(value, context.crc32c));
    let mapped = 0;
    if (chunk.value !== undefined) {
      const scan = new ExtentScan(context, inode);
      yield* scan.chunk(index, chunk.value.pairs);
      mapped = scan.mapped;
    }
    context.mappedBlocks += mapped;
    yield {
      kind: 'extent-unowned',
      subject: { inode },
      detail: `${mapped} blocks belong to it, and it is not there`,
      repairAtRest: (redo, state) => {
        if (state.inodes.get(inode) !== undefined) return false;
        redo.setRecord(chunkKey(inode, index), undefined);
        return true;
      },
    };
  }
}
