/**
 * Fragments that no segment record names, and dead segments that were not freed: what a crash leaves, and what a mount takes away by itself.
 *
 * Judged by what the primary knows now; and since frees are on their way all the time, only what is seen twice, a while apart, is reported.
 * Memory: the candidates of a node's list, at most so many at once.
 */
import { RpcError } from '../cluster/rpc.ts';
import { FormatError } from '../format/fields.ts';
import type { FragmentName } from '../format/storage-messages.ts';
import { holdings, isHolder } from '../log/fragment-holders.ts';
import { NodeWalk } from '../log/segment-table.ts';
import { NodeCalls } from '../maintenance/node-calls.ts';
import type { CheckContext } from './check-context.ts';
import type { Problem } from './problem.ts';

const CANDIDATES_AT_ONCE = 1024;
const TWO_32 = 2 ** 32;

export async function* checkOrphans(context: CheckContext): AsyncGenerator<Problem> {
  const calls = new NodeCalls(context.volume.links);
  yield* checkDead(context, calls);
  for (const { id, state, client } of context.volume.links.links.values()) {
    if (state !== 'up' || client === undefined) continue;
    const walk = new NodeWalk(id, client);
    let candidates: FragmentName[] = [];
    for (;;) {
      const head = await nextOf(walk);
      if (head !== undefined && isOrphan(context, id, head)) candidates.push(head);
      if (candidates.length > 0 && (head === undefined || candidates.length === CANDIDATES_AT_ONCE)) {
        yield* confirmed(context, calls, id, candidates);
        candidates = [];
      }
      if (head === undefined) break;
      walk.advance();
    }
  }
}

/** undefined: the end, also of a node that stopped answering, which was or will be reported as such. */
async function nextOf(walk: NodeWalk): Promise<FragmentName | undefined> {
  try {
    return await walk.head();
  } catch (error) {
    if (error instanceof RpcError || error instanceof FormatError) return undefined;
    throw error;
  }
}

function isOrphan(context: CheckContext, nodeId: number, fragment: FragmentName): boolean {
  const { metadata } = context.volume;
  const { segmentId, position, generation } = fragment;
  if (Math.floor(segmentId / TWO_32) > metadata.term) return false; // of a primary that came after this one
  const record = metadata.segment(segmentId);
  if (context.volume.claims?.isHeld(segmentId) === true) return false; // being put there
  if (record === undefined) return !metadata.isKnownSegment(segmentId);
  return !isHolder(record, { position, nodeId }) || record.generation !== generation;
}

async function* confirmed(
  context: CheckContext,
  calls: NodeCalls,
  nodeId: number,
  candidates: readonly FragmentName[],
): AsyncGenerator<Problem> {
  await context.volume.platform.timers.sleep(context.settleMs);
  for (const { segmentId, position, generation } of candidates) {
    const fragment = { segmentId, position, generation };
    const found = await calls.describe(nodeId, fragment);
    if (found === 'missing' || found === 'unreachable' || !isOrphan(context, nodeId, fragment)) continue;
    if (typeof found !== 'string' && found.generation !== generation) continue;
    yield {
      kind: 'fragment-orphan',
      subject: { segmentId, position, nodeId },
      detail: `no segment needs it (generation ${generation})`,
      repairOnNodes: () => freeOrphan(context, calls, nodeId, fragment),
    };
  }
}

async function freeOrphan(
  context: CheckContext,
  calls: NodeCalls,
  nodeId: number,
  fragment: FragmentName,
): Promise<boolean> {
  if (!isOrphan(context, nodeId, fragment)) return false;
  const { claims, metadata } = context.volume;
  return calls.free(nodeId, metadata.term, [fragment], claims);
}

async function* checkDead(context: CheckContext, calls: NodeCalls): AsyncGenerator<Problem> {
  const { segments, volume } = context;
  const dead: number[] = [];
  for (let rank = 0; rank < segments.count; rank++) {
    if (segments.isDead(rank) && segments.foundLive(rank) === 0) dead.push(segments.id(rank));
  }
  if (dead.length > 0) await volume.platform.timers.sleep(context.settleMs);
  for (const segmentId of dead) {
    if (volume.metadata.segment(segmentId)?.liveBlocks !== 0) continue;
    const problem: Problem = {
      kind: 'segment-not-freed',
      subject: { segmentId },
      detail: 'no block in it lives any more',
    };
    // A mount frees it itself.
    yield context.atRest ? { ...problem, repairOnNodes: () => freed(context, calls, segmentId) } : problem;
  }
}

/** On the nodes that answer; what is left on others is an orphan. */
async function freed(context: CheckContext, calls: NodeCalls, segmentId: number): Promise<boolean> {
  const { metadata } = context.volume;
  const record = metadata.segment(segmentId);
  if (record === undefined || record.liveBlocks > 0) return false;
  await metadata.sync();
  const { generation } = record;
  const frees = holdings(record).map(({ nodeId, position }) =>
    calls.free(nodeId, metadata.term, [{ segmentId, position, generation }]),
  );
  await Promise.all(frees);
  metadata.forgetSegment(segmentId);
  return true;
}
