/**
 * From whatever a crash left to a state that can be served: wins a term, fences the members, takes the longest log that they hold together, and
 * brings the own store and the state up to its end. The members are brought level afterwards, by forming the first ensemble.
 *
 * Any one sound member that can be reached suffices (survivors.ts), since an entry is committed only when every member has it.
 */
import {
  type Coordinator,
  CoordinatorUnavailable,
  coordinatorKeys,
  type ManagerRecord,
} from '../cluster/coordinator.ts';
import { decodeManagerRecord, encodeRecord } from '../cluster/node-record.ts';
import { type NodeLinks, upNodes } from '../cluster/nodes.ts';
import { chooseEnsemble } from '../cluster/placement.ts';
import type { ReplicaStore } from '../cluster/replica-store.ts';
import { FormatError } from '../format/fields.ts';
import { decodeGroup } from '../format/journal-entry.ts';
import type { JournalState } from '../format/journal-messages.ts';
import type { ReplicaState } from '../format/replica-messages.ts';
import type { Platform } from '../platform/platform.ts';
import { isMemberFailure, MemberClient } from './member-client.ts';
import { MetadataUnavailable } from './metadata.ts';
import { RetainedEntries } from './retained-entries.ts';
import { fetchSnapshot } from './snapshot.ts';
import type { MetadataState } from './state.ts';
import { checkStillFirst, fenceSurvivors, STRAGGLER_MS, SurvivingLog, type Survivor } from './survivors.ts';

export interface RecoveryParts {
  readonly platform: Platform;
  readonly coordinator: Coordinator;
  readonly links: NodeLinks;
  readonly primary: string;
  readonly store: ReplicaStore;
  readonly ensembleSize: () => number;
  /** Nodes that do not answer are waited for so long when no member can be reached. */
  readonly waitMs: number;
}

/** Where the log that was adopted stands, relative to the own store. */
export interface Adopted {
  readonly term: number;
  readonly members: readonly number[];
  /** Members whose copy of the state was found damaged. */
  readonly damagedReplicas: readonly number[];
  /** undefined for a volume without one. */
  readonly log: SurvivingLog | undefined;
  readonly retained: RetainedEntries;
}

const POLL_MS = 50;
const MAX_CLAIMS = 20;

/** Wins the next term. The record keeps its members: each still has every committed entry. */
export async function claimTerm(parts: RecoveryParts): Promise<ManagerRecord> {
  const { coordinator, primary } = parts;
  for (let attempt = 0; attempt < MAX_CLAIMS; attempt++) {
    const entry = await coordinator.get(coordinatorKeys.manager);
    const old = entry && decodeManagerRecord(entry.value);
    if (entry !== undefined && old === undefined) {
      throw new MetadataUnavailable('the coordinator holds a manager record that cannot be read');
    }
    const record = { term: (old?.term ?? 0) + 1, primary, members: old?.members ?? [] };
    const version = entry?.version ?? 0;
    if (await coordinator.compareAndSwap(coordinatorKeys.manager, version, encodeRecord(record)))
      return record;
  }
  throw new CoordinatorUnavailable('other processes keep taking the volume over');
}

/** Brings the own store to where the adopted log can go on from. `retained` is at its base; `replay` fills it. */
export async function adoptLog(parts: RecoveryParts, record: ManagerRecord): Promise<Adopted> {
  if (record.members.length === 0) return formatVolume(parts, record.term);
  const survivors = await fenceSurvivors(parts, record);
  const damagedReplicas = await bringStoreNear(parts, survivors[0].journal, survivors);
  const { appliedSequence } = parts.store.state;
  const log = new SurvivingLog(parts.platform, survivors);
  const baseTerm = await log.termOf(appliedSequence);
  return {
    term: record.term,
    members: record.members,
    log,
    damagedReplicas,
    retained: new RetainedEntries(appliedSequence, baseTerm),
  };
}

/** The own store has to be within the log; if it is not, a member's replica that is gets copied. */
async function bringStoreNear(
  parts: RecoveryParts,
  journal: JournalState,
  survivors: readonly Survivor[],
): Promise<number[]> {
  const { store, platform } = parts;
  const damaged: number[] = [];
  const isWithin = ({ complete, appliedSequence }: ReplicaState) =>
    complete && appliedSequence >= journal.firstSequence - 1 && appliedSequence <= journal.endSequence;
  if (isWithin(store.state)) return damaged;
  const sources = survivors
    .filter(({ replica }) => isWithin(replica))
    // The oldest: no member may be behind the own store.
    .sort((a, b) => a.replica.appliedSequence - b.replica.appliedSequence);
  for (const { client } of sources) {
    try {
      await fetchSnapshot(client, store);
      platform.log.info('metadata-fetched', {
        nodeId: client.nodeId,
        sequence: store.state.appliedSequence,
      });
      return damaged;
    } catch (error) {
      if (!isMemberFailure(error)) throw error;
      if (error instanceof FormatError) damaged.push(client.nodeId);
      platform.log.warn('metadata-not-fetched', { nodeId: client.nodeId, why: error.message });
    }
  }
  if (journal.firstSequence === 1) {
    // Everything since the volume was made is in the journal.
    await store.beginInstall();
    await store.endInstall(0);
    return damaged;
  }
  throw new MetadataUnavailable('no node that can be reached holds a copy of the metadata');
}

/** A volume that never had an ensemble: empty logs and stores on the nodes that will be its first. */
async function formatVolume(parts: RecoveryParts, term: number): Promise<Adopted> {
  const { platform, links, store } = parts;
  const startMs = platform.clock.monotonicMs();
  for (;;) {
    const live = upNodes(links);
    const waitedMs = platform.clock.monotonicMs() - startMs;
    if (live.length > 0 && (live.length >= links.links.size || waitedMs >= STRAGGLER_MS)) {
      await mustBeNew(
        parts,
        live.map(({ id }) => id),
      );
      const chosen = chooseEnsemble(live, [], parts.ensembleSize());
      const members = await emptied(parts, chosen, term);
      if (members.length === chosen.length) {
        await store.beginInstall();
        await store.endInstall(0);
        return { term, members, damagedReplicas: [], log: undefined, retained: new RetainedEntries(0, 0) };
      }
    }
    if (waitedMs >= parts.waitMs) throw new MetadataUnavailable('no storage node can be reached');
    await platform.timers.sleep(POLL_MS);
  }
}

/**
 * A coordinator that lost its record of the members must not make a new volume of one that is there. Journals that were emptied by an attempt that was
 * cut short hold nothing.
 */
async function mustBeNew(parts: RecoveryParts, ids: readonly number[]): Promise<void> {
  const { complete, appliedSequence } = parts.store.state;
  if (complete && appliedSequence > 0) {
    throw new MetadataUnavailable(
      'this mount holds metadata of the volume, of which the coordinator knows nothing: it lost its records. Restore them from a backup',
    );
  }
  const holders: number[] = [];
  for (const id of ids) {
    try {
      const { blank, firstSequence, endSequence } = await new MemberClient(parts.links, id).journalState();
      if (!blank && (firstSequence > 1 || endSequence > 0)) holders.push(id);
    } catch (error) {
      checkStillFirst(error);
      parts.platform.log.warn('journal-not-asked', { nodeId: id, why: error.message });
    }
  }
  if (holders.length === 0) return;
  throw new MetadataUnavailable(
    `nodes ${holders.join(', ')} hold a journal of this volume, of which the coordinator knows nothing: it lost its records. Restore them from a backup`,
  );
}

async function emptied(parts: RecoveryParts, chosen: readonly number[], term: number): Promise<number[]> {
  const members: number[] = [];
  for (const id of chosen) {
    const client = new MemberClient(parts.links, id);
    try {
      await client.fence(term);
      const at = { term, page: 0, appliedSequence: 0, operations: [] };
      await client.installSnapshot({ ...at, phase: 'begin' });
      await client.installSnapshot({ ...at, phase: 'end' });
      await client.reset(term, 0, 0);
      members.push(id);
    } catch (error) {
      checkStillFirst(error);
      parts.platform.log.warn('journal-member-not-emptied', { nodeId: id, why: error.message });
    }
  }
  return members;
}

/** Applies the adopted log's entries behind the own store to the state, and retains them. */
export async function replay(platform: Platform, adopted: Adopted, state: MetadataState): Promise<void> {
  const { log, retained } = adopted;
  if (log === undefined) return;
  for (;;) {
    const entries = await log.read(retained.lastSequence + 1);
    if (entries.length === 0) return;
    for (const { term, bytes } of entries) {
      const kept = Buffer.from(bytes);
      try {
        decodeGroup(kept, retained.lastSequence + 1, platform.kernels.crc32c, state);
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        throw new MetadataUnavailable(`journal entry ${retained.lastSequence + 1}: ${error.message}`);
      }
      retained.push(term, kept);
    }
  }
}
