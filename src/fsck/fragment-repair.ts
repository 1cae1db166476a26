/**
 * Puts a fragment that is missing or damaged back, by the primitives of all background work: a copy takes its place, or it is rebuilt on the node that is to hold
 * it, or on another one. What
 * comes out has to fit the extents, as far as the other data fragments' headers allow to tell; what does not is not stored.
 */
import type { SegmentRecord } from '../format/segment-record.ts';
import type { FragmentClaims } from '../log/fragment-claims.ts';
import { promoteCopy } from '../maintenance/fragment-copies.ts';
import { freeOld, repairFragment } from '../maintenance/fragment-repair.ts';
import type { NodeCalls } from '../maintenance/node-calls.ts';
import { RepairMemory } from '../maintenance/repair-memory.ts';
import { payloadBytes, SegmentSources } from '../maintenance/segment-source.ts';
import type { Timers } from '../platform/platform.ts';
import type { CheckContext } from './check-context.ts';
import type { FragmentState } from './check-fragments.ts';
import { checksumTerm } from './segment-index.ts';

const CLAIM_ATTEMPTS = 600;
const CLAIM_PAUSE_MS = 50;

export interface BrokenFragment {
  readonly record: SegmentRecord;
  readonly position: number;
  readonly states: readonly FragmentState[];
  /** Positions that are not to be read. */
  readonly bad: Set<number>;
}

/** False: too few others can be read, no node takes it, or somebody else works on the segment. */
export async function rebuildFragment(
  context: CheckContext,
  calls: NodeCalls,
  broken: BrokenFragment,
): Promise<boolean> {
  const { record, position, bad } = broken;
  const { platform, links, metadata, claims } = context.volume;
  const isDone = await withClaim(context, record.segmentId, async () => {
    const sources = new SegmentSources(platform, links, calls);
    try {
      const memory = new RepairMemory(platform.memory);
      const parts = {
        ...{ platform, metadata, calls, sources, memory },
        ...(claims === undefined ? {} : { claims }),
      };
      const state = broken.states[position];
      const isLost = state === 'missing' || state === 'corrupt';
      if (isLost && (await promoteCopy(parts, record, position))) {
        await freeOld(parts, record, [position]);
        return true;
      }
      const targets = candidates(calls, record, position);
      const accept = (checksums: Uint32Array) => fitsExtents(context, broken, checksums);
      const outcome = await repairFragment(parts, { record, position, bad, targets, accept });
      return outcome === 'restored' || outcome === 'moved';
    } finally {
      sources.close();
    }
  });
  return isDone === true;
}

/** Does it with the segment's claim, where there are any; undefined: somebody else has it. */
export async function withClaim<T>(
  { volume: { claims, platform } }: CheckContext,
  segmentId: number,
  act: () => Promise<T>,
): Promise<T | undefined> {
  if (claims !== undefined && !(await held(claims, segmentId, platform.timers))) return undefined;
  try {
    return await act();
  } finally {
    claims?.release(segmentId);
  }
}

/** Whoever works on the segment is waited for: it may well be repairing the same fragment. */
async function held(claims: FragmentClaims, segmentId: number, timers: Timers): Promise<boolean> {
  for (let attempt = 0; !claims.hold(segmentId); attempt++) {
    if (attempt === CLAIM_ATTEMPTS) return false;
    await timers.sleep(CLAIM_PAUSE_MS);
  }
  return true;
}

/** The node that is to hold it, then others with room, those with the most first. */
function candidates(calls: NodeCalls, record: SegmentRecord, position: number): number[] {
  const holder = record.nodes[position]!;
  const others = calls.up
    .filter((nodeId) => !record.nodes.includes(nodeId) && calls.freeBytes(nodeId) > payloadBytes(record))
    .sort((a, b) => calls.freeBytes(b) - calls.freeBytes(a) || a - b);
  return calls.isUp(holder) ? [holder, ...others] : others;
}

function fitsExtents(
  context: CheckContext,
  { record, position, states }: BrokenFragment,
  rebuilt: Uint32Array,
): boolean {
  if (position >= record.dataFragments) return true;
  const { segments } = context;
  const rank = segments.rank(record.segmentId);
  let sum = 0;
  for (let index = 0; index < record.dataBlocks; index++) {
    if (!segments.isLive(rank, index)) continue;
    const at = Math.floor(index / record.fragmentBlocks);
    const state = states[at]!;
    if (at !== position && typeof state === 'string') return true; // nobody can tell
    const checksums = at === position || typeof state === 'string' ? rebuilt : state.checksums;
    sum = (sum + checksumTerm(index, checksums[index % record.fragmentBlocks]!)) >>> 0;
  }
  return sum === segments.checksumSum(rank);
}
