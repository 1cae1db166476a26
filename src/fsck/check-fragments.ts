/**
 * Every fragment that a segment record names, and every copy (check-copies.ts), asked for at its node: is it there, is it the right one, do its checksums fit the extents. With
 * `data` every byte is read and the parity computed anew (fragment-data.ts).
 *
 * The records are those of the view. What does not fit is held against the record that the primary has now: a segment that died meanwhile is
 * no matter any more.
 */
import type { FragmentDescription } from '../format/fragment-header.ts';
import { keyLetters } from '../format/metadata-keys.ts';
import { decodeSegmentRecord, type SegmentRecord } from '../format/segment-record.ts';
import { type CallFailure, NodeCalls } from '../maintenance/node-calls.ts';
import { fits } from '../maintenance/segment-source.ts';
import { type CheckContext, decoded } from './check-context.ts';
import { CopyCheck } from './check-copies.ts';
import { FragmentData } from './fragment-data.ts';
import { rebuildFragment } from './fragment-repair.ts';
import { Mismatches } from './mismatches.ts';
import type { Problem } from './problem.ts';
import { checksumTerm } from './segment-index.ts';
import { recordsOf } from './view-cursor.ts';

/** Segments whose fragments are asked for at the same time. */
const SEGMENTS_AT_ONCE = 16;

/** What is known of a fragment by its position. */
export type FragmentState = FragmentDescription | CallFailure | 'wrong';

export async function* checkFragments(context: CheckContext): AsyncGenerator<Problem> {
  const walk = new FragmentWalk(context);
  let page: SegmentRecord[] = [];
  for await (const { value } of recordsOf(context.view, keyLetters.segment)) {
    const record = decoded(() => decodeSegmentRecord(value, context.crc32c)).value;
    if (record === undefined) continue; // was reported
    page.push(record);
    if (page.length < SEGMENTS_AT_ONCE) continue;
    yield* walk.segments(page);
    page = [];
  }
  yield* walk.segments(page);
  yield* walk.end();
}

class FragmentWalk {
  readonly #context: CheckContext;
  readonly #calls: NodeCalls;
  readonly #data: FragmentData | undefined;
  readonly #mismatches: Mismatches;
  readonly #copies: CopyCheck;
  /** Fragments that could not be asked for, by node. */
  readonly #unasked = new Map<number, number>();
  #done = 0;

  constructor(context: CheckContext) {
    this.#context = context;
    this.#calls = new NodeCalls(context.volume.links);
    this.#data = context.data ? new FragmentData(context, this.#calls) : undefined;
    this.#mismatches = new Mismatches(context);
    this.#copies = new CopyCheck(context, this.#calls);
    for (const { id, state } of context.volume.links.links.values()) {
      if (state !== 'up') this.#unasked.set(id, 0);
    }
  }

  async *segments(records: readonly SegmentRecord[]): AsyncGenerator<Problem> {
    const states = await Promise.all(records.map((record) => this.#ask(record)));
    for (const [index, record] of records.entries()) yield* this.#segment(record, states[index]!);
    this.#done += records.length;
    this.#context.progress('fragments', this.#done, this.#context.segments.count);
  }

  #ask(record: SegmentRecord): Promise<FragmentState[]> {
    const { segmentId } = record;
    return Promise.all(
      record.nodes.map(async (nodeId, position) => {
        if (!this.#context.volume.links.links.has(nodeId)) return 'missing';
        const found = await this.#calls.describe(nodeId, { segmentId, position });
        if (typeof found === 'string') return found;
        if (found.generation !== record.generation) return 'missing';
        return fits(record, position, found) ? found : 'wrong';
      }),
    );
  }

  async *#segment(record: SegmentRecord, states: FragmentState[]): AsyncGenerator<Problem> {
    const rank = this.#context.segments.rank(record.segmentId);
    // Nothing in it is in use: what is there of it goes.
    if (this.#context.segments.foundLive(rank) === 0) return;
    const isWhole = () => states.every((state) => typeof state !== 'string');
    let wrongParity: number[] = [];
    if (this.#data !== undefined) wrongParity = await this.#data.read(record, states);
    this.#context.fragments += states.filter((state) => typeof state !== 'string').length;
    this.#compareChecksums(rank, record, states);
    yield* this.#copies.check(record, states);
    if (isWhole() && wrongParity.length === 0) {
      if (this.#data !== undefined) yield* this.#data.checkSummary(rank, record);
      return;
    }
    if (!this.#isCurrent(record)) return;
    yield* this.#broken(record, states, wrongParity);
  }

  *#broken(
    record: SegmentRecord,
    states: readonly FragmentState[],
    wrongParity: readonly number[],
  ): Generator<Problem> {
    const { segmentId, dataFragments } = record;
    const bad = new Set<number>(wrongParity);
    for (const [position, state] of states.entries()) if (typeof state === 'string') bad.add(position);
    for (const [position, state] of states.entries()) {
      const nodeId = record.nodes[position]!;
      if (state === 'unreachable') {
        this.#unasked.set(nodeId, (this.#unasked.get(nodeId) ?? 0) + 1);
        continue;
      }
      const kind = bad.has(position) ? kindOf(state) : undefined;
      if (kind === undefined) continue;
      const repairOnNodes = () =>
        rebuildFragment(this.#context, this.#calls, { record, position, states, bad });
      const detail = `${details[kind]}; ${record.nodes.length - bad.size} of ${record.nodes.length} fragments are good`;
      yield { kind, subject: { segmentId, position, nodeId }, detail, repairOnNodes };
    }
    if (record.nodes.length - bad.size >= dataFragments) return;
    const needed = `${record.nodes.length - bad.size} of ${dataFragments} fragments that are needed can be read`;
    yield { kind: 'segment-unreadable', subject: { segmentId }, detail: needed };
  }

  /** The record still says the same, and something in the segment lives. */
  #isCurrent(record: SegmentRecord): boolean {
    const now = this.#context.volume.metadata.segment(record.segmentId);
    return (
      now !== undefined &&
      now.generation === record.generation &&
      now.liveBlocks > 0 &&
      now.nodes.every((nodeId, position) => nodeId === record.nodes[position])
    );
  }

  /** Only while all data fragments say what their checksums are: the sum covers the whole segment. */
  #compareChecksums(rank: number, record: SegmentRecord, states: readonly FragmentState[]): void {
    const { segments } = this.#context;
    let sum = 0;
    for (let index = 0; index < record.dataBlocks; index++) {
      const state = states[Math.floor(index / record.fragmentBlocks)];
      if (state === undefined || typeof state === 'string') return;
      if (!segments.isLive(rank, index)) continue;
      sum = (sum + checksumTerm(index, state.checksums[index % record.fragmentBlocks]!)) >>> 0;
    }
    if (sum !== segments.checksumSum(rank)) this.#mismatches.add(record, states);
  }

  async *end(): AsyncGenerator<Problem> {
    yield* this.#mismatches.find();
    for (const [nodeId, count] of this.#unasked) {
      const detail = `it does not answer; ${count} fragments on it were not looked at`;
      yield { kind: 'node-unreachable', subject: { nodeId }, detail };
    }
  }
}

const details = {
  'fragment-missing': 'the node does not have it',
  'fragment-corrupt': 'its bytes are damaged',
  'fragment-wrong': 'it is not what the segment says',
  'parity-wrong': 'it does not fit the data',
} as const;

function kindOf(state: FragmentState): keyof typeof details {
  if (typeof state !== 'string') return 'parity-wrong';
  if (state === 'missing') return 'fragment-missing';
  return state === 'wrong' ? 'fragment-wrong' : 'fragment-corrupt';
}
