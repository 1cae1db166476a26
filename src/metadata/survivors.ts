/**
 * The members of the recorded ensemble that answer a new primary, and the log that they hold together.
 *
 * All that is not blank holds a prefix of one and the same log (docs/metadata-protocol.md), perhaps with entries in it that cannot be read. So an
 * entry may be read from whoever can, and the log's end is the furthest of theirs. What no answer may hide is a committed entry:
 * - a blank journal says nothing;
 * - an end that is in doubt says nothing about what is behind it, so somebody with a sound end is waited for, or everybody;
 * - a damaged entry is not the end.
 */
import type { ManagerRecord } from '../cluster/coordinator.ts';
import type { NodeLinks } from '../cluster/nodes.ts';
import type { JournalEntry, JournalState } from '../format/journal-messages.ts';
import type { ReplicaState } from '../format/replica-messages.ts';
import type { Platform } from '../platform/platform.ts';
import { isMemberFailure, MemberClient, MemberError } from './member-client.ts';
import { MetadataUnavailable } from './metadata.ts';

export interface Survivor {
  readonly client: MemberClient;
  readonly journal: JournalState;
  readonly replica: ReplicaState;
}

interface SurvivorParts {
  readonly platform: Platform;
  readonly links: NodeLinks;
  /** Nodes that are needed and do not answer are waited for so long. */
  readonly waitMs: number;
}

/** Time for members beside the first one to be reached. */
export const STRAGGLER_MS = 1000;
const POLL_MS = 50;

/** Enough members, all of which promised the record's term, with what they hold. The longest comes first. */
export async function fenceSurvivors(
  parts: SurvivorParts,
  record: ManagerRecord,
): Promise<[Survivor, ...Survivor[]]> {
  const { platform, links } = parts;
  const clients = record.members.map((id) => new MemberClient(links, id));
  const startMs = platform.clock.monotonicMs();
  for (;;) {
    const up = clients.filter((client) => client.isUp);
    const waitedMs = platform.clock.monotonicMs() - startMs;
    const isLate = waitedMs >= parts.waitMs;
    let answered: Survivor[] = [];
    if (up.length === clients.length || (up.length > 0 && waitedMs >= STRAGGLER_MS)) {
      answered = await fenceAll(platform, up, record.term);
      const everybody = answered.length === clients.length;
      const [first, ...others] = answered.filter(({ journal }) => !journal.blank).sort(byLength);
      if (first !== undefined && (everybody || holdsEverything([first, ...others], isLate))) {
        return [first, ...others];
      }
      if (everybody) throw new MetadataUnavailable(missing(record, answered));
    }
    if (isLate) throw new MetadataUnavailable(missing(record, answered));
    await platform.timers.sleep(POLL_MS);
  }
}

/** While others may still come, none of them needs to: nothing committed can be missing from what these hold. */
function holdsEverything(survivors: readonly Survivor[], isLate: boolean): boolean {
  if (survivors.every(({ journal }) => journal.doubtfulEnd)) return false;
  return isLate || survivors[0]!.journal.damagedSequence === 0;
}

function byLength({ journal: a }: Survivor, { journal: b }: Survivor): number {
  return b.endTerm - a.endTerm || b.endSequence - a.endSequence || a.damagedSequence - b.damagedSequence;
}

/** Why these members do not do, and what to do about it. */
function missing(record: ManagerRecord, answered: readonly Survivor[]): string {
  const ids = new Set(answered.map(({ client }) => client.nodeId));
  const absent = record.members.filter((id) => !ids.has(id));
  const lost = answered.filter(({ journal }) => journal.blank).map(({ client }) => client.nodeId);
  const lostText = lost.length === 0 ? '' : `; the journal of ${nodesText(lost)} is lost`;
  if (absent.length === 0) return `every node that held the journal lost it (${record.members.join(', ')})`;
  if (lost.length === answered.length) {
    const all = `none of the nodes that hold the journal (${record.members.join(', ')}) can be reached`;
    return lost.length === 0
      ? `${all}: start one of them`
      : `the journal of ${nodesText(lost)} is lost, and ${nodesText(absent)} cannot be reached: start one of them`;
  }
  const doubtful = answered.filter(({ journal }) => !journal.blank).map(({ client }) => client.nodeId);
  return `the journal of ${nodesText(doubtful)} ends in an entry that cannot be read, which ${nodesText(absent)} may hold: start one of them${lostText}`;
}

function nodesText(ids: readonly number[]): string {
  return `${ids.length === 1 ? 'node' : 'nodes'} ${ids.join(', ')}`;
}

async function fenceAll(
  platform: Platform,
  clients: readonly MemberClient[],
  term: number,
): Promise<Survivor[]> {
  const outcomes = await Promise.all(
    clients.map(async (client) => {
      const { nodeId } = client;
      try {
        const journal = await client.fence(term);
        const replica = await client.replicaState();
        if (journal.damagedSequence !== 0) {
          platform.log.error('journal-damaged', { nodeId, at: journal.damagedSequence });
        }
        if (journal.blank) platform.log.error('journal-lost', { nodeId });
        return { client, journal, replica };
      } catch (error) {
        checkStillFirst(error);
        platform.log.warn('journal-member-not-fenced', { nodeId, why: error.message });
        return undefined;
      }
    }),
  );
  return outcomes.filter((each) => each !== undefined);
}

/** Goes on with members that fail; not when a newer primary was there first. */
export function checkStillFirst(error: unknown): asserts error is Error {
  if (!isMemberFailure(error)) throw error;
  if (error instanceof MemberError && error.reason === 'fenced') {
    throw new MetadataUnavailable(`another mount took over the volume (term ${error.term})`);
  }
}

/** Reads the log that survivors hold together: each entry from the first of them that can. */
export class SurvivingLog {
  readonly #platform: Platform;
  /** One that served goes on serving. */
  #survivors: readonly Survivor[];
  readonly #endSequence: number;

  /** `survivors`: the longest first. */
  constructor(platform: Platform, survivors: readonly [Survivor, ...Survivor[]]) {
    this.#platform = platform;
    this.#survivors = survivors;
    this.#endSequence = survivors[0].journal.endSequence;
  }

  /** Entries from `sequence` on, at least one up to the end; none behind it. */
  async read(sequence: number): Promise<JournalEntry[]> {
    if (sequence > this.#endSequence) return [];
    const entries = await this.#fromAny((survivor) =>
      survivor.journal.endSequence < sequence ? undefined : survivor.client.read(sequence),
    );
    if (entries === undefined || entries.length === 0) throw this.#unreadable(sequence);
    return entries;
  }

  async termOf(sequence: number): Promise<number> {
    const term = await this.#fromAny(async ({ client, journal }) => {
      if (sequence === journal.firstSequence - 1) return journal.previousTerm;
      if (sequence === journal.endSequence) return journal.endTerm;
      if (sequence < journal.firstSequence || sequence > journal.endSequence) return undefined;
      return (await client.read(sequence))[0]?.term;
    });
    if (term === undefined) throw this.#unreadable(sequence);
    return term;
  }

  async #fromAny<T>(ask: (survivor: Survivor) => Promise<T | undefined> | undefined): Promise<T | undefined> {
    for (const survivor of this.#survivors) {
      try {
        const answer = await ask(survivor);
        if (answer === undefined) continue;
        if (survivor !== this.#survivors[0]) {
          this.#survivors = [survivor, ...this.#survivors.filter((each) => each !== survivor)];
        }
        return answer;
      } catch (error) {
        if (!isMemberFailure(error)) throw error;
        this.#platform.log.warn('journal-not-read', { nodeId: survivor.client.nodeId, why: error.message });
      }
    }
    return undefined;
  }

  #unreadable(sequence: number): MetadataUnavailable {
    const ids = this.#survivors.map(({ client }) => client.nodeId);
    return new MetadataUnavailable(
      `journal entry ${sequence} cannot be read from ${nodesText(ids)}: it is damaged there, or they went away. Start the other nodes and mount again`,
    );
  }
}
