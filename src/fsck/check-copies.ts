/**
 * The copies of a segment's fragments: is each there, is it the same as the fragment, and with `data` can every byte of it be read. Nothing is lost with a
 * copy: one that is not what it should be is struck off the record, and freed.
 */
import type { SegmentRecord } from '../format/segment-record.ts';
import { copiesOf, type Holding, hasCopy } from '../log/fragment-holders.ts';
import { dropCopies } from '../maintenance/fragment-copies.ts';
import type { CallFailure, NodeCalls } from '../maintenance/node-calls.ts';
import { RepairMemory, STRIP_BLOCKS } from '../maintenance/repair-memory.ts';
import { fits, SegmentSources } from '../maintenance/segment-source.ts';
import type { CheckContext } from './check-context.ts';
import type { FragmentState } from './check-fragments.ts';
import { withClaim } from './fragment-repair.ts';
import type { Problem } from './problem.ts';

type Fault = Exclude<CallFailure, 'unreachable'> | 'wrong';

const details = {
  missing: 'the node does not have it',
  corrupt: 'its bytes are damaged',
  refused: 'the node does not give it',
  wrong: 'it is not the same as the fragment',
} as const satisfies Record<Fault, string>;

export class CopyCheck {
  readonly #context: CheckContext;
  readonly #calls: NodeCalls;
  readonly #memory: RepairMemory;

  constructor(context: CheckContext, calls: NodeCalls) {
    this.#context = context;
    this.#calls = calls;
    this.#memory = new RepairMemory(context.volume.platform.memory);
  }

  async *check(record: SegmentRecord, states: readonly FragmentState[]): AsyncGenerator<Problem> {
    const { segmentId } = record;
    for (const copy of copiesOf(record)) {
      const { position, nodeId } = copy;
      const fault = await this.#faultOf(record, copy, states[position]!);
      if (fault === undefined || !this.#isCurrent(record, copy)) continue;
      yield {
        kind: 'copy-bad',
        subject: { segmentId, position, nodeId },
        detail: `a copy: ${details[fault]}`,
        repairOnNodes: () => this.#drop(record, copy),
      };
    }
  }

  /** undefined: none, or nobody answers. */
  async #faultOf(
    { segmentId, generation, ...shape }: SegmentRecord,
    { position, nodeId }: Holding,
    state: FragmentState,
  ): Promise<Fault | undefined> {
    if (!this.#context.volume.links.links.has(nodeId)) return 'missing';
    const found = await this.#calls.describe(nodeId, { segmentId, position });
    if (found === 'unreachable') return undefined;
    if (typeof found === 'string') return found;
    if (found.generation !== generation) return 'missing';
    if (!fits({ segmentId, generation, ...shape }, position, found)) return 'wrong';
    const isSame =
      typeof state === 'string' ||
      found.checksums.every((checksum, index) => checksum === state.checksums[index]);
    if (!isSame) return 'wrong';
    this.#context.fragments++;
    if (!this.#context.data) return undefined;
    for (let first = 0; first < shape.fragmentBlocks; first += STRIP_BLOCKS) {
      const into = this.#memory.strip(0, Math.min(STRIP_BLOCKS, shape.fragmentBlocks - first));
      const name = { segmentId, position, generation };
      const outcome = await this.#calls.get(nodeId, name, first, into, this.#memory);
      if (outcome === 'unreachable') return undefined;
      if (outcome !== 'ok') return outcome;
      this.#context.bytesRead += into.length;
    }
    return undefined;
  }

  #isCurrent({ segmentId, generation }: SegmentRecord, copy: Holding): boolean {
    const now = this.#context.volume.metadata.segment(segmentId);
    return now !== undefined && now.generation === generation && now.liveBlocks > 0 && hasCopy(now, copy);
  }

  async #drop({ segmentId }: SegmentRecord, { nodeId }: Holding): Promise<boolean> {
    const { platform, links, metadata, claims } = this.#context.volume;
    const dropped = await withClaim(this.#context, segmentId, async () => {
      const record = metadata.segment(segmentId);
      if (record === undefined) return false;
      const sources = new SegmentSources(platform, links, this.#calls);
      const parts = {
        ...{ platform, metadata, calls: this.#calls, sources, memory: this.#memory },
        ...(claims === undefined ? {} : { claims }),
      };
      try {
        return await dropCopies(parts, record, (copy) => copy.nodeId === nodeId);
      } finally {
        sources.close();
      }
    });
    return dropped === true;
  }
}
