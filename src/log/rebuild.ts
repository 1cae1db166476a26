/**
 * Rebuilds a range of blocks of one fragment from the same range of any k others, reading no more than that. If another node has a copy of the
 * fragment, it is read from there instead.
 *
 * Sources are read without checking at first, since nobody here knows their checksums; the result is what is checked. If it is wrong, one of
 * the sources is: they are read again through their nodes, which check them, and the bad one is left out.
 * Before it gives up, nodes that are taken for slow are asked through themselves, too: who was frozen a moment ago may answer.
 *
 * Memory: one piece of the scratch pool an attempt, for all sources and the result, so that any number of rebuilds at once cannot wait
 * for each other in a circle. A source that is too slow keeps the piece until its transfer is over; the next attempt takes another one.
 */
import { assert } from '../base/assert.ts';
import { MAX_REQUEST_BYTES } from '../base/limits.ts';
import { BLOCK_BYTES } from '../base/units.ts';
import type { SegmentRecord } from '../format/segment-record.ts';
import type { Kernels } from '../platform/platform.ts';
import { copyHolder } from './fragment-holders.ts';
import { FragmentRead, type ReadOutcome } from './fragment-read.ts';
import type { FragmentReader } from './fragment-reader.ts';
import type { ReadPool } from './read-pool.ts';
import type { ReadWatch } from './read-watch.ts';

const SCRATCH_BLOCKS = MAX_REQUEST_BYTES / BLOCK_BYTES;

/** What to rebuild, and how to tell that it is right. */
export interface RebuildRange {
  readonly record: SegmentRecord;
  readonly position: number;
  readonly firstBlock: number;
  readonly count: number;
  readonly checksums: Uint32Array;
  readonly checksumIndex: number;
  /** Who was asked for it in vain. */
  readonly notFrom: number;
}

type Deliver = (bytes: Uint8Array, rebuiltBlocks: number) => void;

/** 'stale': nodes that answer do not know the segment. 'lost': too few fragments can be had. */
export type RebuildOutcome = 'ok' | 'stale' | 'lost';

export interface RebuildParts {
  readonly fragments: FragmentReader;
  readonly watch: ReadWatch;
  readonly kernels: Kernels;
  readonly scratch: ReadPool;
}

/** Most blocks that one attempt has scratch memory for. */
export function rebuildStripBlocks(record: SegmentRecord): number {
  return Math.floor(SCRATCH_BLOCKS / (record.dataFragments + 1));
}

/**
 * `deliver` gets the checked bytes, and how many blocks had to be rebuilt; the bytes are valid during the call only. At most rebuildStripBlocks(record)
 * blocks.
 */
export async function rebuildStrip(
  parts: RebuildParts,
  range: RebuildRange,
  deliver: Deliver,
): Promise<RebuildOutcome> {
  const { record } = range;
  assert(range.count <= rebuildStripBlocks(record), `a strip of ${range.count} blocks`);
  if (record.copies !== undefined && (await readOther(parts, range, deliver))) return 'ok';
  if (record.parityFragments === 0) return 'lost';
  const verdicts = new Map<number, ReadOutcome | 'slow'>();
  for (let throughNodes = false, isLast = false; ; ) {
    const positions = chooseSources(parts.fragments, range, verdicts);
    if (positions === undefined) {
      if (isLast) return verdictOf(verdicts);
      isLast = true;
      throughNodes = true;
      for (const [position, verdict] of verdicts) if (isDoubtful(verdict)) verdicts.delete(position);
      continue;
    }
    const result = await attempt(parts, range, positions, throughNodes, verdicts, deliver);
    if (result === 'ok') return 'ok';
    if (result === 'wrong') {
      if (throughNodes) return 'lost';
      throughNodes = true;
    }
  }
}

/** From the other node that is to have the fragment. */
async function readOther(parts: RebuildParts, range: RebuildRange, deliver: Deliver): Promise<boolean> {
  const { record, position, firstBlock, count, checksums, checksumIndex, notFrom } = range;
  const copy = copyHolder(record, position);
  const other = notFrom === copy ? record.nodes[position] : copy;
  if (other === undefined || parts.fragments.reluctance(other) > 0) return false;
  const scratch = await parts.scratch.whenBuffer(count * BLOCK_BYTES);
  try {
    const into = scratch.bytes.subarray(0, count * BLOCK_BYTES);
    const read = new FragmentRead(record, position, firstBlock, count, into, checksums, checksumIndex);
    read.nodeId = other;
    if ((await readSource(parts, read)) !== 'ok') return false;
    deliver(into, 0);
    return true;
  } finally {
    scratch.release();
  }
}

/** Which k fragments to read: those of nodes that answer before those that hesitate; data before parity. */
export function chooseSources(
  fragments: FragmentReader,
  range: Pick<RebuildRange, 'record' | 'position'>,
  verdicts: ReadonlyMap<number, unknown>,
): number[] | undefined {
  const { record } = range;
  const able: { position: number; reluctance: number }[] = [];
  record.nodes.forEach((_, position) => {
    if (position === range.position || verdicts.has(position)) return;
    const reluctance = fragments.reluctance(sourceOf(fragments, record, position));
    if (reluctance < 2) able.push({ position, reluctance });
  });
  if (able.length < record.dataFragments) return undefined;
  able.sort((a, b) => a.reluctance - b.reluctance || a.position - b.position);
  return able.slice(0, record.dataFragments).map((source) => source.position);
}

/** Its own node while that answers. */
function sourceOf(fragments: FragmentReader, record: SegmentRecord, position: number): number {
  const own = record.nodes[position]!;
  if (record.copies === undefined || fragments.reluctance(own) === 0) return own;
  return fragments.holderOf(record, position);
}

/** 'again': some sources could not be read, which their verdicts say; 'wrong': all were read and the result does not match. */
async function attempt(
  parts: RebuildParts,
  range: RebuildRange,
  positions: readonly number[],
  throughNodes: boolean,
  verdicts: Map<number, ReadOutcome | 'slow'>,
  deliver: Deliver,
): Promise<'ok' | 'again' | 'wrong'> {
  const { record, firstBlock, count } = range;
  const stripBytes = count * BLOCK_BYTES;
  const scratch = await parts.scratch.whenBuffer((positions.length + 1) * stripBytes);
  try {
    const piece = (index: number) => scratch.bytes.subarray(index * stripBytes, (index + 1) * stripBytes);
    const outcomes = await Promise.all(
      positions.map((position, index) => {
        const into = piece(index);
        const from = sourceOf(parts.fragments, record, position);
        const read = new FragmentRead(record, position, firstBlock, count, into, undefined, 0, throughNodes);
        read.nodeId = from;
        return readSource(parts, read);
      }),
    );
    outcomes.forEach((outcome, index) => {
      if (outcome !== 'ok') verdicts.set(positions[index]!, outcome);
    });
    if (outcomes.some((outcome) => outcome !== 'ok')) return 'again';
    const out = piece(positions.length);
    const shards = new Array<Uint8Array | undefined>(record.nodes.length).fill(undefined);
    positions.forEach((position, index) => {
      shards[position] = piece(index);
    });
    const wanted = [{ index: range.position, out }];
    parts.kernels.reconstruct(shards, record.dataFragments, record.parityFragments, wanted);
    if (!parts.fragments.matches(out, range.checksums, range.checksumIndex)) return 'wrong';
    deliver(out, count);
    return 'ok';
  } finally {
    scratch.release();
  }
}

/** Reads into memory that is kept until the transfer is over, also when it takes too long to wait for. */
export async function readSource(
  parts: Pick<RebuildParts, 'fragments' | 'watch' | 'scratch'>,
  read: FragmentRead,
): Promise<ReadOutcome | 'slow'> {
  const reading = parts.fragments.read(read);
  const outcome = await parts.watch.watch(reading);
  if (outcome === 'slow') {
    read.cancelled = true;
    if (read.transferring) void parts.fragments.outlast(read, reading).then(parts.scratch.hold(read.into));
  }
  // Only the fragment's own node tells that the segment is gone.
  return outcome === 'missing' && read.isOfCopy ? 'unreachable' : outcome;
}

/** It may have been taken for slow, which it need not be any more: without need such a node is not asked. */
function isDoubtful(verdict: ReadOutcome | 'slow'): boolean {
  return verdict === 'unreachable' || verdict === 'slow';
}

function verdictOf(verdicts: ReadonlyMap<number, ReadOutcome | 'slow'>): 'stale' | 'lost' {
  for (const verdict of verdicts.values()) if (verdict === 'missing') return 'stale';
  return 'lost';
}
