/**
 * The copies of the metadata: the members' journals say the same, their replicas are complete, and the coordinator's record names those
 * that the primary counts on. With `data` each replica is held against the primary's own store, record by record.
 *
 * Members come and go while the volume is used: what does not fit is looked at again after a while before it is reported.
 */
import { CoordinatorUnavailable, coordinatorKeys } from '../cluster/coordinator.ts';
import { decodeManagerRecord } from '../cluster/node-record.ts';
import { FormatError } from '../format/fields.ts';
import type { JournalState } from '../format/journal-messages.ts';
import { keyLetters } from '../format/metadata-keys.ts';
import { encodeTotals } from '../format/metadata-records.ts';
import { isMemberFailure, MemberClient, MemberError } from '../metadata/member-client.ts';
import type { CheckContext } from './check-context.ts';
import type { FindingKind } from './findings.ts';
import type { Problem } from './problem.ts';
import { compareReplica } from './replica-comparison.ts';

const ATTEMPTS = 3;

export async function* checkReplicas(context: CheckContext): AsyncGenerator<Problem> {
  yield* checkCoordinator(context);
  let problems: Problem[] = [];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await context.volume.platform.timers.sleep(context.settleMs);
    problems = await membersProblems(context);
    if (problems.length === 0) break;
  }
  yield* problems;
  if (!context.data) return;
  for (const client of members(context)) yield* checkContents(context, client);
}

function members({ volume }: CheckContext): MemberClient[] {
  return volume.metadata.ensemble
    .map(({ nodeId }) => new MemberClient(volume.links, nodeId))
    .filter((client) => client.isUp);
}

/** A term that the primary took, and the members that it writes to. */
async function* checkCoordinator(context: CheckContext): AsyncGenerator<Problem> {
  let wrong: string | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    if (attempt > 0) await context.volume.platform.timers.sleep(context.settleMs);
    wrong = await coordinatorProblem(context);
    if (wrong === undefined) return;
  }
  if (wrong !== undefined) yield { kind: 'coordinator-record-wrong', subject: {}, detail: wrong };
}

async function coordinatorProblem({ volume }: CheckContext): Promise<string | undefined> {
  const { coordinator, metadata } = volume;
  if (coordinator === undefined) return undefined;
  try {
    const entry = await coordinator.get(coordinatorKeys.manager);
    const record = entry && decodeManagerRecord(entry.value);
    if (record === undefined) return 'the coordinator has no record of the metadata manager that can be read';
    if (record.term < metadata.term) {
      return `the coordinator knows term ${record.term}, and the primary reigns in term ${metadata.term}`;
    }
    const named = [...record.members].sort((a, b) => a - b).join(', ');
    const counted = metadata.ensemble.map(({ nodeId }) => nodeId).sort((a, b) => a - b);
    if (named === counted.join(', ')) return undefined;
    return `the coordinator names the members ${named}, and the primary writes to ${counted.join(', ')}`;
  } catch (error) {
    if (error instanceof CoordinatorUnavailable) return `the coordinator does not answer: ${error.message}`;
    throw error;
  }
}

interface MemberState {
  readonly client: MemberClient;
  readonly journal: JournalState;
}

async function membersProblems(context: CheckContext): Promise<Problem[]> {
  const problems: Problem[] = [];
  const states: MemberState[] = [];
  const report = (kind: FindingKind, { nodeId }: MemberClient, detail: string) =>
    problems.push({ kind, subject: { nodeId }, detail });
  for (const client of members(context)) {
    try {
      const journal = await client.journalState();
      const replica = await client.replicaState();
      if (journal.damagedSequence !== 0) {
        report('journal-damaged', client, `entry ${journal.damagedSequence} of its journal cannot be read`);
      } else states.push({ client, journal });
      if (!replica.complete)
        report('replica-incomplete', client, 'its replica of the metadata is not complete');
      else if (replica.appliedSequence < journal.firstSequence - 1) {
        const gap = `its replica ends at entry ${replica.appliedSequence}, its journal begins with ${journal.firstSequence}`;
        report('replica-incomplete', client, gap);
      }
    } catch (error) {
      if (!isMemberFailure(error)) throw error;
      if (!(error instanceof MemberError && error.reason === 'unreachable')) {
        report('journal-damaged', client, `it does not say what its journal holds: ${error.message}`);
      }
    }
  }
  const differing = await differingJournal(states);
  if (differing !== undefined) {
    const { client, detail } = differing;
    const repairOnNodes = () => letGoOfEntries(context);
    problems.push({ kind: 'journal-differs', subject: { nodeId: client.nodeId }, detail, repairOnNodes });
  }
  return problems;
}

/**
 * Entries count only until they are checkpointed, and what the primary checkpoints is its own state. So one more entry, which a member whose last one is
 * another does not take (it is dropped and filled again), and a checkpoint, behind which journals let go of everything before. False: they hold it still.
 */
async function letGoOfEntries(context: CheckContext): Promise<boolean> {
  const { metadata, platform } = context.volume;
  metadata.repair((redo, state) => {
    redo.setRecord(keyLetters.totals, encodeTotals(state.totalsRecord(), context.crc32c));
  });
  await (await metadata.openView()).close();
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    await platform.timers.sleep(context.settleMs);
    const states: MemberState[] = [];
    for (const client of members(context)) {
      try {
        states.push({ client, journal: await client.journalState() });
      } catch (error) {
        if (!isMemberFailure(error)) throw error;
      }
    }
    if ((await differingJournal(states)) === undefined) return true;
  }
  return false;
}

/** The first journal that does not say the same as the one before it, where both hold something. */
async function differingJournal(
  states: readonly MemberState[],
): Promise<{ client: MemberClient; detail: string } | undefined> {
  const [first, ...others] = states;
  if (first === undefined) return undefined;
  for (const other of others) {
    const from = Math.max(first.journal.firstSequence, other.journal.firstSequence);
    const to = Math.min(first.journal.lastSequence, other.journal.lastSequence);
    const differs = await firstDifference(first.client, other.client, from, to);
    if (differs !== undefined) {
      const detail = `entry ${differs} is another one than on node ${first.client.nodeId}`;
      return { client: other.client, detail };
    }
  }
  return undefined;
}

/** Entries that are trimmed meanwhile are no matter any more. */
async function firstDifference(
  a: MemberClient,
  b: MemberClient,
  from: number,
  to: number,
): Promise<number | undefined> {
  try {
    for (let sequence = from; sequence <= to; ) {
      const [left, right] = await Promise.all([a.read(sequence), b.read(sequence)]);
      const count = Math.min(left.length, right.length, to - sequence + 1);
      if (count === 0) return undefined;
      for (let at = 0; at < count; at++) {
        const [one, two] = [left[at]!, right[at]!];
        if (one.term !== two.term || Buffer.compare(one.bytes, two.bytes) !== 0) return sequence + at;
      }
      sequence += count;
    }
    return undefined;
  } catch (error) {
    if (error instanceof FormatError) throw error;
    if (isMemberFailure(error)) return undefined;
    throw error;
  }
}

async function* checkContents(context: CheckContext, client: MemberClient): AsyncGenerator<Problem> {
  const { nodeId } = client;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const compared = await compareReplica(context, client);
    if (compared === 'same') return;
    if (compared === 'moved') continue; // it took another checkpoint meanwhile
    if (compared === 'unreachable') return;
    yield {
      kind: 'replica-differs',
      subject: { nodeId },
      detail: `${compared.count} records are not those of the primary, the first of kind ${compared.firstKind}`,
      repairOnNodes: async () => {
        try {
          await context.volume.metadata.refillReplica(client);
          return true;
        } catch (error) {
          if (isMemberFailure(error)) return false;
          throw error;
        }
      },
    };
    return;
  }
}
