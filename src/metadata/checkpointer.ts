/**
 * Moves the state's changes down: from the overlay into the replicas of the ensemble's members and into this process's own store, and then lets go of
 * the journal up to there.
 *
 * A checkpoint is one atomic batch that takes a store from one sequence to another. Rules:
 * - Only committed entries are checkpointed, so no store is ever ahead of the journal.
 * - The own store comes last: while this primary lives and after its crash, no member's replica is behind it. A replica ahead of it takes
 *   the next batch all the same, since that holds final values of everything that changed since the own store's sequence.
 * - A replica that cannot take the batch (new, lost, behind) gets a snapshot of the own store instead.
 * - The journal is trimmed when all of that is done, but not on a member whose replica did not come along: each member can bring back all
 *   of the state alone.
 *
 * Everything runs in slices, so no turn of the event loop is held up for long; new changes go to the next generation meanwhile.
 */

import { MIB } from '../base/units.ts';
import type { ReplicaStore } from '../cluster/replica-store.ts';
import { MAX_REPLICA_PART_BYTES } from '../format/journal-messages.ts';
import {
  encodeCheckpointPart,
  type ReplicaOperation,
  replicaOperationBytes,
} from '../format/replica-messages.ts';
import type { Platform } from '../platform/platform.ts';
import type { Journal, Member } from './journal.ts';
import { isMemberFailure, MemberError } from './member-client.ts';
import { MetadataUnavailable } from './metadata.ts';
import { installSnapshot } from './snapshot.ts';
import type { MetadataState } from './state.ts';

/** What is changed in it is what an opening after a crash has to replay. */
const INTERVAL_MS = 2000;
/** Changes, and journal entries, that start a checkpoint before its time. */
const DIRTY_BYTES = 12 * MIB;
const JOURNAL_BYTES = 48 * MIB;
/** Changes at which mutating callers are asked to wait. */
const BACKLOG_BYTES = 24 * MIB;
/** Largest batch that a replica takes; it gets a snapshot instead of a larger one. */
const MAX_BATCH_BYTES = 31 * MIB;
const PART_BYTES = MAX_REPLICA_PART_BYTES - 4096;
/** Records encoded, or made clean again, in one turn. */
const SLICE = 500;
const RETRY_MS = 200;

type Part = readonly ReplicaOperation[];
/** `behind`: the replica needs a snapshot. */
type Outcome = 'done' | 'behind' | 'failed';

export class Checkpointer {
  readonly #platform: Platform;
  readonly #state: MetadataState;
  readonly #journal: Journal;
  readonly #store: ReplicaStore;
  #running: Promise<void> | undefined;
  #waiting: (() => void)[] = [];
  #holds = 0;
  #timerArmed = false;
  #closed = false;
  /** The own store failed: nothing can be checkpointed any more. */
  onFailure: (error: unknown) => void = () => undefined;

  constructor(platform: Platform, state: MetadataState, journal: Journal, store: ReplicaStore) {
    this.#platform = platform;
    this.#state = state;
    this.#journal = journal;
    this.#store = store;
  }

  /** To be called after each transaction, and after a replay. */
  noteChange(): void {
    if (this.#state.dirtyBytes >= DIRTY_BYTES || this.#journal.bytesSinceCheckpoint >= JOURNAL_BYTES) {
      this.#start();
    } else if (!this.#timerArmed) {
      this.#timerArmed = true;
      this.#platform.timers.after(INTERVAL_MS, () => {
        this.#timerArmed = false;
        this.#start();
      });
    }
  }

  /** undefined: go on. Otherwise resolves when changes fit again. */
  backlog(): Promise<void> | undefined {
    if (this.#state.dirtyBytes < BACKLOG_BYTES || this.#closed) return undefined;
    this.#start();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #start(): void {
    if (this.#running !== undefined || this.#holds > 0 || this.#closed) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
    this.#running.catch((error: unknown) => this.onFailure(error));
  }

  /** Takes a checkpoint of everything so far. Rejects when the journal cannot commit it. */
  async checkpoint(): Promise<void> {
    await this.#running;
    this.#start();
    await this.#running;
  }

  /** Keeps checkpoints from starting until the returned function is called. Resolves when none runs. */
  async hold(): Promise<() => void> {
    this.#holds++;
    let held = true;
    const release = () => {
      if (!held) return;
      held = false;
      this.#holds--;
      for (const resolve of this.#waiting.splice(0)) resolve();
    };
    try {
      await this.#running;
    } catch (error) {
      release();
      throw error;
    }
    return release;
  }

  async #run(): Promise<void> {
    const journal = this.#journal;
    const fromSequence = this.#store.state.appliedSequence;
    const toSequence = journal.closeGroup();
    if (toSequence === fromSequence) return;
    this.#state.freeze();
    journal.bytesSinceCheckpoint = 0;
    const { parts, lengthBytes } = await this.#encode();
    await this.#committed(toSequence);
    const members = [...journal.members];
    const outcomes =
      lengthBytes <= MAX_BATCH_BYTES
        ? await this.#send(members, toSequence, parts)
        : members.map(() => 'behind' as const);
    await this.#store.applyCheckpoint(fromSequence, toSequence, parts.flat());
    const level = new Set<number>();
    for (const [index, member] of members.entries()) {
      const outcome = outcomes[index]!;
      if (outcome === 'behind' ? await this.#refill(member) : outcome === 'done')
        level.add(member.client.nodeId);
    }
    await this.#slices(this.#state.thaw());
    journal.retained.trim(toSequence);
    for (const member of journal.members) if (level.has(member.client.nodeId)) this.#trim(member, toSequence);
  }

  /** However long it takes: the frozen generation has no other way down. */
  async #committed(sequence: number): Promise<void> {
    for (;;) {
      try {
        return await this.#journal.whenCommitted(sequence);
      } catch (error) {
        if (!(error instanceof MetadataUnavailable) || this.#journal.stopped !== undefined) throw error;
        await this.#platform.timers.sleep(RETRY_MS);
      }
    }
  }

  async #encode(): Promise<{ parts: Part[]; lengthBytes: number }> {
    const parts: ReplicaOperation[][] = [];
    let part: ReplicaOperation[] = [];
    let partBytes = 0;
    let lengthBytes = 0;
    const records = this.#state.frozenRecords();
    const encodeAll = function* (): Generator<void> {
      for (const { key, value } of records) {
        const operation = { key: Buffer.from(key, 'latin1'), value };
        const operationBytes = replicaOperationBytes(operation);
        if (partBytes + operationBytes > PART_BYTES) {
          parts.push(part);
          part = [];
          partBytes = 0;
        }
        part.push(operation);
        partBytes += operationBytes;
        lengthBytes += operationBytes;
        yield;
      }
    };
    await this.#slices(encodeAll());
    parts.push(part);
    return { parts, lengthBytes };
  }

  async #slices(work: Generator<void>): Promise<void> {
    for (;;) {
      for (let i = 0; i < SLICE; i++) if (work.next().done) return;
      await new Promise<void>((resolve) => this.#platform.timers.defer(resolve));
    }
  }

  /** What became of it on each member. */
  #send(members: readonly Member[], toSequence: number, parts: readonly Part[]): Promise<Outcome[]> {
    const { appliedSequence } = this.#store.state;
    return Promise.all(
      members.map(async (member): Promise<Outcome> => {
        try {
          const replica = await member.client.replicaState();
          if (!replica.complete || replica.appliedSequence < appliedSequence) return 'behind';
          if (replica.appliedSequence > toSequence) return 'behind';
          if (replica.appliedSequence < toSequence) {
            await this.#sendTo(member, replica.appliedSequence, toSequence, parts);
          }
          return 'done';
        } catch (error) {
          if (!isMemberFailure(error)) throw error;
          this.#journal.fail(member, error);
          return 'failed';
        }
      }),
    );
  }

  /** From the beginning again when the term changed under way: a replica takes the parts of one term. */
  async #sendTo(
    member: Member,
    fromSequence: number,
    toSequence: number,
    parts: readonly Part[],
  ): Promise<void> {
    for (;;) {
      const { term } = this.#journal;
      try {
        for (const [index, operations] of parts.entries()) {
          const final = index === parts.length - 1;
          const part = { term, fromSequence, toSequence, part: index, final, operations };
          await member.client.applyCheckpoint(encodeCheckpointPart(part));
        }
        return;
      } catch (error) {
        const outdated = error instanceof MemberError && term !== this.#journal.term;
        if (!outdated || !this.#journal.members.includes(member)) throw error;
      }
    }
  }

  /** False: it failed. */
  async #refill(member: Member): Promise<boolean> {
    try {
      await installSnapshot(member.client, this.#journal.term, this.#store);
      return true;
    } catch (error) {
      if (!isMemberFailure(error)) throw error;
      this.#journal.fail(member, error);
      return false;
    }
  }

  /** Behind the caller's back: what is not trimmed now is trimmed with the next checkpoint. */
  #trim(member: Member, sequence: number): void {
    member.client.trim(this.#journal.term, sequence).catch((error: unknown) => {
      if (!isMemberFailure(error)) throw error;
      this.#platform.log.debug('journal-not-trimmed', { nodeId: member.client.nodeId, why: error.message });
    });
  }

  /** No checkpoint starts any more. Resolves when none runs. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running?.catch(() => undefined); // its failure was reported
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
