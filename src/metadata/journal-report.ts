/** How the journal and its members stand, for people: nothing here decides anything. */
import type { Journal, Member } from './journal.ts';
import type { Recruiter } from './recruiter.ts';

export interface ReplicaReport {
  readonly nodeId: number;
  /**
   * current: has every committed entry, and a replica within one checkpoint. behind: does not answer appends. filling: a member whose copy of the
   * checkpointed state is not complete yet.
   */
  readonly state: 'current' | 'behind' | 'filling';
  readonly durableSequence: number;
  /** Entries closed by the primary that the member has not acknowledged. */
  readonly lagEntries: number;
  readonly lagBytes: number;
  /** What its copy of the state stands at, as it last said; null: not known, or no complete copy. */
  readonly checkpointSequence: number | null;
}

export interface JournalReport {
  /** Of the present ensemble; grows with every change of its members. */
  readonly term: number;
  /** Members wanted. */
  readonly wanted: number;
  readonly lastSequence: number;
  readonly committedSequence: number;
  /** Of the primary's own copy of the state. */
  readonly checkpointSequence: number;
  readonly replicas: readonly ReplicaReport[];
}

export function journalReport(journal: Journal, recruiter: Recruiter): JournalReport {
  return {
    term: journal.term,
    wanted: recruiter.size,
    lastSequence: journal.lastSequence,
    committedSequence: journal.committedSequence,
    checkpointSequence: journal.retained.baseSequence,
    replicas: journal.members.map((member) => replicaReport(journal, recruiter, member)),
  };
}

function replicaReport(journal: Journal, recruiter: Recruiter, member: Member): ReplicaReport {
  const { durableSequence, client } = member;
  const replica = recruiter.report(client.nodeId)?.replica;
  const answers = client.isUp && durableSequence >= journal.committedSequence;
  return {
    nodeId: client.nodeId,
    state: !answers ? 'behind' : replica?.complete === false ? 'filling' : 'current',
    durableSequence,
    lagEntries: Math.max(0, journal.lastSequence - durableSequence),
    lagBytes: journal.retained.lengthBehind(durableSequence),
    checkpointSequence: replica?.complete ? replica.appliedSequence : null,
  };
}
